// What offheap writes for Firefox Profiler, read by that profiler's own code: unserialised, brought up to its newest version,
// and every stack compared with the collapsed ones. Arguments: OUT.firefox.json OUT.collapsed
//
// Outside of the repository: the sources of firefox-devtools/profiler as ./profiler, the npm packages it names, esbuild, and
//   esbuild firefox.ts --bundle --platform=node --outfile=firefox.js --loader:.svg=text --loader:.css=text
// with a tsconfig.json whose `paths` say that `firefox-profiler/*` is `./profiler/src/*`.
import { readFileSync } from 'fs';
import { unserializeProfileOfArbitraryFormat } from './profiler/src/profile-logic/process-profile';

async function main(profilePath: string, collapsedPath: string) {
  const profile = await unserializeProfileOfArbitraryFormat(readFileSync(profilePath).toString());
  const { stackTable, frameTable, funcTable, stringArray } = profile.shared as any;
  const { samples } = profile.threads[0] as any;
  const sums = (pairs: Iterable<[string, number]>) => {
    const sums = new Map<string, number>();
    for (const [stack, weight] of pairs) {
      sums.set(stack, (sums.get(stack) ?? 0) + weight);
    }
    return sums;
  };
  function* ours(): Iterable<[string, number]> {
    for (let sample = 0; sample < samples.length; sample++) {
      const names = [];
      // Version 70: how far before a stack its prefix is, 0 at a root.
      for (let stack = samples.stack[sample], offset = 1; stack !== null && offset !== 0; stack -= offset) {
        names.push(stringArray[funcTable.name[frameTable.func[stackTable.frame[stack]]]]);
        offset = stackTable.prefixOffset[stack];
      }
      yield [names.reverse().join(';'), samples.weight[sample]];
    }
  }
  const lines = readFileSync(collapsedPath).toString().trimEnd().split('\n');
  const expected = sums(lines.map((line) => {
    const blank = line.lastIndexOf(' ');
    return [line.slice(0, blank), Number(line.slice(blank + 1))];
  }));
  const found = sums(ours());
  const differ = [...expected].filter(([stack, weight]) => found.get(stack) !== weight);
  console.log(`version ${profile.meta.preprocessedProfileVersion}: ${found.size} stacks, ${differ.length} of ${expected.size} differ`);
  process.exit(differ.length > 0 || found.size !== expected.size ? 1 : 0);
}

main(process.argv[2], process.argv[3]);

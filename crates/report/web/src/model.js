// The data as the views want it.

import { bytes, rate } from './units.js';

/** Each domain has its colour everywhere: the JVM's in blues and greens, native ones in warm colours, files in greys. */
const HUES = {
  'java-heap': 'blue', 'metaspace': 'teal', 'cds': 'sky', 'code-cache': 'green', 'thread-stacks': 'lime', 'gc': 'indigo',
  'jvm-internal': 'violet', 'direct-memory': 'amber', 'native-malloc': 'red', 'malloc': 'red', 'native-mmap': 'brown',
  'python-heap': 'olive', 'allocator-retention': 'pink', 'mapped-files': 'grey1', 'libraries': 'grey2', 'kernel': 'grey3',
  'unattributed': 'grey4',
};

/** What the words mean, for whoever meets them here first. */
export const MEANING = {
  'java-heap': 'the garbage-collected heap',
  'metaspace': 'class metadata',
  'cds': 'class data sharing archives',
  'code-cache': 'compiled Java code',
  'thread-stacks': 'stacks of all threads',
  'gc': 'the collector’s own tables',
  'jvm-internal': 'other memory of the JVM itself',
  'direct-memory': 'direct buffers, Unsafe, memory segments',
  'native-malloc': 'malloc by anything but the JVM',
  'malloc': 'C heap; whose, is not known without NMT or the agent',
  'native-mmap': 'anonymous maps by anything but the JVM',
  'python-heap': 'Python objects',
  'allocator-retention': 'free, but kept by the allocator',
  'mapped-files': 'files mapped as data',
  'libraries': 'executables and shared libraries',
  'kernel': 'maps of the kernel’s making',
  'unattributed': 'what could not be told',
};

/** The name of a domain's colour: a CSS variable. */
export const hue = domain => `--${HUES[domain] || 'grey4'}`;

export const KINDS = {
  j: { name: 'Java', colour: '--frame-java' },
  n: { name: 'native', colour: '--frame-native' },
  v: { name: 'JVM', colour: '--frame-jvm' },
  p: { name: 'Python', colour: '--frame-python' },
};

const LETTER = { java: 'j', native: 'n', jvm: 'v', python: 'p' };

/** A frame of a finding in the form the profile's have. */
export const frameOf = frame => ({ name: frame.name, kind: LETTER[frame.kind] || 'n', file: frame.file, line: frame.line, module: frame.module });

/** Where a frame is: a file with its line, else the library. */
export function placeOf(frame) {
  if (frame.file) return frame.line ? `${frame.file}:${frame.line}` : frame.file;
  return frame.module ? frame.module.split('/').pop() : '';
}

export class Code {
  constructor(code) {
    Object.assign(this, { sampling: code.sampling, notes: code.notes, seconds: code.seconds, start_ms: code.start_ms, leftOut: code.left_out });
    this.parents = Uint32Array.from(code.up, (up, node) => node - up);
    this.nodeFrames = code.node_frames;
    this.columns = code.sites;
    this.size = code.sites.node.length;
    this.frames = code.frames.map(([name, kind, file, line, module]) =>
      ({ name, kind, file, line, module: module === null ? null : code.modules[module] }));
    // Which functions only hand an allocation on, and which methods are the JDK's, offheap knows.
    for (const number of code.plumbing) this.frames[number].plumbing = true;
    for (const number of code.jdk) this.frames[number].jdk = true;
    this.instants = code.instants;
    this.sums = { leak: sum(this.columns.leak), live: sum(this.columns.live), allocated: sum(this.columns.allocated) };
    this.titles = new Array(this.size);
  }

  /** The frames of a site, innermost first. */
  stack(site) {
    const frames = [];
    for (let node = this.columns.node[site]; node > 0; node = this.parents[node]) frames.push(this.frames[this.nodeFrames[node]]);
    return frames;
  }

  /** The innermost frame that is not the allocator's, and the Java method that is nearest. */
  title(site) {
    return this.titles[site] ||= titleOf(this.stack(site));
  }

  /** The live bytes of each site at the instant `index`. */
  liveAt(index) {
    const live = new Float64Array(this.size);
    const { step, live: values } = this.instants[index];
    let site = 0;
    step.forEach((more, place) => { site += more; live[site] = values[place]; });
    return live;
  }

  /** The instant nearest to `ms`. */
  nearest(ms) {
    let best = 0;
    this.instants.forEach((instant, index) => {
      if (Math.abs(instant.ms - ms) < Math.abs(this.instants[best].ms - ms)) best = index;
    });
    return best;
  }
}

/** What to call a stack: who asked for the memory, and the caller a reader knows. */
export function titleOf(stack) {
  const inner = stack.find(frame => !frame.plumbing) || stack[0];
  if (!inner) return { name: 'no stack', by: '' };
  const java = stack.find(frame => frame.kind === 'j' && !frame.jdk) || stack.find(frame => frame.kind === 'j');
  // Without Java behind it, the caller tells sites of one function apart.
  const caller = java || stack[stack.indexOf(inner) + 1];
  return { name: bare(inner.name), by: caller && caller !== inner ? bare(caller.name) : '' };
}

/** A C++ name without its parameters. */
export function bare(name) {
  const at = name.indexOf('(');
  return at > 0 ? name.slice(0, at) : name;
}

const sum = values => values.reduce((total, value) => total + value, 0);

export class Model {
  constructor(data) {
    this.data = data;
    const { diagnosis, series } = data;
    this.verdict = diagnosis.verdict;
    this.diagnosis = diagnosis;
    this.last = data.last;
    this.begin = series.begin_ms;
    this.at = series.at;
    this.length = series.at.at(-1) || 0;
    this.rss = series.rss;
    this.limit = series.limit && series.limit.at(-1);
    this.domains = series.domains;
    this.pools = series.pools;
    this.nmt = series.nmt;
    this.code = data.code && new Code(data.code);
    this.trends = new Map(diagnosis.domains.map(trend => [trend.domain, trend]));
    this.marks = data.marks.map(([ms, text]) => ({ at: ms - this.begin, text })).filter(mark => mark.at >= 0 && mark.at <= this.length);
    // The agent may have told apart what the account calls malloc.
    const named = name => this.domains.find(domain => domain.name === name);
    this.grower = named(this.verdict.domain) || (this.verdict.domain !== 'none' && named('malloc')) || null;
  }

  /** What the process is called: main class, else command. */
  get name() {
    const main = this.last?.jvm?.main;
    return main || this.diagnosis.target.command || `process ${this.diagnosis.target.pid}`;
  }

  /** The snapshot at or before `ms` after the begin. */
  index(ms) {
    let low = 0, high = this.at.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.at[middle] <= ms) low = middle; else high = middle - 1;
    }
    return low;
  }

  /** Seconds until the limit at this pace; null where there is no limit or no certain growth. */
  untilLimit() {
    const { rss } = this.diagnosis, headroom = this.last?.cgroup?.headroom_bytes;
    if (!headroom || this.verdict.status !== 'leak' || !(rss.slope_ci95[0] > 0)) return null;
    return headroom / rss.slope_bytes_per_s;
  }

  /** One line that says it. */
  headline() {
    const { status, domain } = this.verdict;
    const slope = this.verdict.slope_bytes_per_s;
    const where = domain === 'none' ? '' : ` in ${domain}`;
    switch (status) {
      case 'leak': return `Leak${where}: ${rate(slope)}`;
      case 'does-not-fit': return `Does not fit${where}`;
      case 'retention': return `Free, but not given back${where}`;
      case 'healthy': return `No leak: ${bytes(this.diagnosis.rss.end_bytes)} resident`;
      default: return `Not certain yet${where}`;
    }
  }
}

"""Two files of collapsed stacks, frames by name: are they the same stack by stack? Arguments: ours theirs"""
# heaptrack_print leaves out what called main, writes the source's name behind the function's, and has stacks that leaked nothing.
import re
import sys


def read(path):
    stacks = {}
    for line in open(path, encoding="utf-8", errors="replace"):
        stack, figure = line.rstrip("\n").rsplit(" ", 1)
        # Tools mark and spell Java frames differently.
        frames = tuple(re.sub(r"_\[[0-9a-z]\]$| \([^()]*\)$", "", frame).replace("/", ".")
                       for frame in stack.split(";") if frame)
        if "main" in frames:
            frames = frames[frames.index("main"):]
        if figure == "0":
            continue
        stacks[frames] = stacks.get(frames, 0) + int(figure)
    return stacks


ours, theirs = (read(path) for path in sys.argv[1:3])
differ = [s for s in ours.keys() | theirs.keys() if ours.get(s) != theirs.get(s)]
print(f"{len(ours)} and {len(theirs)} stacks, sums {sum(ours.values())} and {sum(theirs.values())}, {len(differ)} differ")
for stack in sorted(differ)[:5]:
    print(f"  {ours.get(stack)} {theirs.get(stack)} {';'.join(stack)[-300:]}")
sys.exit(bool(differ))

"""A heap profile as jemalloc writes it, of stacks made up over the libraries of a running JVM. Arguments: pid stacks"""
import random
import sys

pid, count = sys.argv[1], int(sys.argv[2])
random.seed(7)
maps = open(f"/proc/{pid}/maps").read()
code = []
for line in maps.splitlines():
    fields = line.split()
    if "x" in fields[1] and len(fields) > 5 and fields[5].startswith("/"):
        start, end = (int(part, 16) for part in fields[0].split("-"))
        code.append((start, end))
# As in a program, the same few thousand call sites come again and again.
weights = [end - start for start, end in code]
sites = []
for _ in range(6000):
    start, end = random.choices(code, weights)[0]
    sites.append(random.randrange(start, end))
stacks = {tuple(random.choices(sites, k=random.randrange(15, 45))) for _ in range(count)}
lines, total = [], [0, 0]
for stack in stacks:
    number = random.randrange(1, 50)
    size = number * random.choice([48, 512, 4096, 100_000])
    total = [total[0] + number, total[1] + size]
    lines.append("@ " + " ".join(f"{address:#x}" for address in stack))
    lines.append(f"  t*: {number}: {size} [0: 0]\n  t1: {number}: {size} [0: 0]")
print(f"heap_v2/524288\n  t*: {total[0]}: {total[1]} [0: 0]\n  t1: {total[0]}: {total[1]} [0: 0]")
print("\n".join(lines))
print(f"\nMAPPED_LIBRARIES:\n{maps}", end="")

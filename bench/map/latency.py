#!/usr/bin/env python3
"""How long does a process wait for its own mmap while offheap looks at it?

Usage: bench/map/latency.py [OFFHEAP] [--rounds 3] [--seconds 10] [--large]   (default: target/release/offheap)
A thread of the target does mmap, a first touch and munmap without end, and takes the time of each: alone, while `offheap record`
takes a snapshot each second, while `offheap map` runs without a pause, and while smaps is read without a pause. The rounds are
interleaved. Shown are the medians of the rounds, and of the slowest call the least and the most. --large adds 16 GiB.
"""
import argparse, os, statistics, subprocess, tempfile, time

HERE = os.path.dirname(os.path.abspath(__file__))


def build(folder):
    program = f"{folder}/latency"
    subprocess.run(["gcc", "-O2", "-Wall", "-o", program, f"{HERE}/latency.c"], check=True)
    return program


class Target:
    def __init__(self, command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline().strip() == "READY"
        self.pid = self.process.pid

    def measure(self, seconds, beside):
        """What it measured in that time, and how often what was beside it ran."""
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        runs, end = 0, time.monotonic() + seconds
        while beside and time.monotonic() < end - 0.2:
            subprocess.run(beside(end - time.monotonic()), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            runs += 1
        return [float(word) for word in self.process.stdout.readline().split()], runs

    def kill(self):
        self.process.kill()
        self.process.wait()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("offheap", nargs="?", default="target/release/offheap")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    folder = tempfile.mkdtemp()
    program, recording = build(folder), f"{folder}/recording.offheap"
    targets = [
        ("4 GiB in one map", ["4000", "4096", "small"]),
        ("4 GiB in huge pages", ["4000", "4096", "huge"]),
        ("4 GiB given back", ["4000", "4096", "empty"]),
        ("60,000 maps", ["60000", "0", "small"]),
    ]
    if arguments.large:
        targets.append(("16 GiB in one map", ["1000", "16384", "small"]))
    print("| target | beside it | mmap p50 | p99.9 | max (least to most of the rounds) | munmap max | touch p99.9 | load |")
    print("|---|---|---:|---:|---:|---:|---:|---:|", flush=True)
    for name, sizes in targets:
        if arguments.only not in name:
            continue
        target = Target([program, *sizes])
        beside = {
            "nothing": None,
            "record, each second": lambda left: [
                arguments.offheap, "record", str(target.pid), "-o", recording, "--for", f"{max(left - 0.3, 1):.0f}s"],
            "map without a pause": lambda left: [arguments.offheap, "map", str(target.pid)],
            "cat smaps without a pause": lambda left: ["cat", f"/proc/{target.pid}/smaps"],
        }
        found = {what: [] for what in beside}
        for _ in range(arguments.rounds):
            for what, command in beside.items():
                found[what].append(target.measure(arguments.seconds, command)[0])
                if os.path.exists(recording):
                    os.remove(recording)
        target.kill()
        for what, rounds in found.items():
            column = lambda index: [row[index] for row in rounds]
            middle = lambda index: statistics.median(column(index))
            print(f"| {name} | {what} | {middle(1):.0f} µs | {middle(2):.0f} µs | {middle(3):.0f} µs "
                  f"({min(column(3)):.0f} to {max(column(3)):.0f}) | {middle(9):.0f} µs | {middle(5):.0f} µs "
                  f"| {os.getloadavg()[0]:.0f} |", flush=True)


main()

#!/usr/bin/env python3
"""run.py OFFHEAP: what busy.c still does while `offheap profile` probes it, for each of its modes. Needs gcc and root."""
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

AROUND, DURING = 15, 30


def lines(path):
    return [float(line) for line in path.read_text().split("\n")[:-1]]


def main():
    offheap = sys.argv[1]
    folder = Path(tempfile.mkdtemp())
    busy = folder / "busy"
    source = Path(__file__).with_name("busy.c")
    subprocess.run(["gcc", "-O2", "-o", busy, source], check=True)
    print("| mode | allocations per second of processor time | while probed | live of keep() |\n|---|---|---|---|")
    for mode in ("steady", "ticks"):
        out = folder / mode
        with out.open("w") as file, subprocess.Popen([busy, mode], stdout=file) as program:
            time.sleep(AROUND)
            begin = len(lines(out))
            said = subprocess.run([offheap, "profile", str(program.pid), "--for", f"{DURING}s"], capture_output=True)
            end = len(lines(out))
            time.sleep(AROUND)
            program.kill()
        rates = lines(out)
        around = statistics.median(rates[2 : begin - 1] + rates[end + 2 :])
        during = statistics.median(rates[begin + 1 : end - 1])
        site = [line for line in said.stdout.decode().split("\n") if line.rstrip().endswith("keep")]
        live = " ".join(site[0].split()[3:5]) if site else "not named"
        print(f"| {mode} | {around / 1e6:.2f} million | {during / around:.3f} | {live} |", flush=True)


main()

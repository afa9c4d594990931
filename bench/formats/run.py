#!/usr/bin/env python3
"""offheap convert beside the tools that the files come from: interleaved, medians of wall time, CPU time and peak memory.

Argument: the folder with the files that README.md tells how to make. Environment: OFFHEAP, JFR_CONVERTER (jar), JFR_JAVA_OPTIONS, JEPROF,
HPROF_SLURP.
"""
import os
import statistics
import subprocess
import sys
import time

folder = sys.argv[1]
rounds = int(os.environ.get("ROUNDS", "3"))
offheap = os.environ.get("OFFHEAP", "target/release/offheap")
java = os.environ.get("JAVA", "java")
binary = os.environ.get("JVM_BINARY", "/usr/lib/jvm/java-17-openjdk-amd64/bin/java")


def measure(command, output=None):
    """Wall seconds, CPU seconds, peak MB."""
    begin = time.monotonic()
    with open(output or os.devnull, "w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL, cwd=folder)
        _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - begin
    if status:
        sys.exit(f"failed: {command}")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def pair(name, ours, theirs):
    figures = ([], [])
    for _ in range(rounds):
        for place, (command, output) in enumerate((ours, theirs)):
            if command:
                figures[place].append(measure(command, output and f"{folder}/{output}"))
    medians = [[statistics.median(column) for column in zip(*rows)] for rows in figures]
    for who, row in zip(("offheap", "other"), medians):
        if row:
            print(f"{name:10} {who:8} wall {row[0]:8.2f} s  CPU {row[1]:8.2f} s  peak {row[2]:7.0f} MB")
    if medians[1]:
        print(f"{name:10} ratio    wall {medians[1][0] / medians[0][0]:8.1f}    CPU {medians[1][1] / medians[0][1]:8.1f}"
              f"    peak {medians[1][2] / medians[0][2]:7.1f}", flush=True)


wanted = sys.argv[2:] or ["jfr", "jemalloc", "heaptrack", "hprof"]
if "jfr" in wanted:
    pair("jfr", ([offheap, "convert", "big.jfr", "-o", "ours.html"], None),
         ([java, *os.environ.get("JFR_JAVA_OPTIONS", "").split(), "-jar", os.environ["JFR_CONVERTER"], "--nativemem", "--leak", "--total", "-o", "html", "big.jfr", "theirs.html"], None))
if "jemalloc" in wanted:
    pair("jemalloc", ([offheap, "convert", "je.heap", "-o", "ours.collapsed"], None),
         (["perl", os.environ["JEPROF"], "--collapsed", binary, "je.heap"], "theirs.collapsed"))
if "heaptrack" in wanted:
    pair("heaptrack", ([offheap, "convert", "ht.zst", "-o", "ours.ht.html"], None),
         (["heaptrack_print", "-f", "ht.zst", "-F", "theirs.ht", "--flamegraph-cost-type", "leaked", "-p", "0", "-a", "0",
           "-T", "0"], "theirs.txt"))
if "hprof" in wanted:
    # One core for each; hprof-slurp counts classes and strings in one pass, and looks for no references.
    for dump in ("big.hprof", "service.hprof"):
        slurp = os.environ.get("HPROF_SLURP")
        pair(dump, (["taskset", "-c", "0", offheap, "convert", dump], "ours.hprof.txt"),
             (slurp and ["taskset", "-c", "0", slurp, dump], "theirs.hprof.txt"))

#!/usr/bin/env python3
"""offheap map beside `cat smaps`, on a JVM of 200 MB and on a program of 4 GB in 5,000 mappings.

Usage: bench/map/run.py [OFFHEAP]   (default: target/release/offheap)
Each pair is interleaved and the median of the rounds is shown; peak memory is the largest seen. See README.md.
"""
import os, resource, statistics, subprocess, sys, tempfile, time

OFFHEAP = sys.argv[1] if len(sys.argv) > 1 else "target/release/offheap"
ROUNDS = 9

JAVA = """
import java.nio.ByteBuffer;
public class Load {
    static final Object[] kept = new Object[4096];
    public static void main(String[] a) throws Exception {
        for (int i = 0; i < 60; i++) kept[i] = ByteBuffer.allocateDirect(1 << 20);
        for (int i = 60; i < 1000; i++) kept[i] = new byte[64 << 10];
        for (int i = 1000; i < 3000; i++) kept[i] = ByteBuffer.allocateDirect(2000);
        System.out.println("READY");
        Thread.sleep(1_000_000);
    }
}
"""

C = """
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
int main(void) {
    /* 2 GB in seven million chunks would take the walk's time alone; half large chunks, half small ones. */
    for (long i = 0; i < 1500000; i++) { char *p = malloc(1000); memset(p, 1, 1000); }
    for (int i = 0; i < 2500; i++) {
        char *p = mmap(0, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        memset(p, 1, 1 << 20);
        /* A neighbour of other rights keeps the kernel from merging them. */
        mmap(0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    }
    puts("READY"); fflush(stdout);
    pause();
}
"""


def start(command):
    program = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert program.stdout.readline().strip() == "READY"
    return program


def timed(command):
    begun = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    assert status == 0, command
    return time.perf_counter() - begun, usage.ru_utime + usage.ru_stime, usage.ru_maxrss


def measure(name, pid):
    smaps, account, cpu, peak = [], [], [], 0
    for _ in range(ROUNDS):
        smaps.append(timed(["cat", f"/proc/{pid}/smaps"])[0])
        wall, used, memory = timed([OFFHEAP, "map", str(pid), "--json"])
        account.append(wall)
        cpu.append(used)
        peak = max(peak, memory)
    text = open(f"/proc/{pid}/smaps_rollup").read()
    rss = int(text.split("Rss:")[1].split()[0]) // 1024
    maps = len(open(f"/proc/{pid}/maps").readlines())
    a, s, c = (statistics.median(x) * 1000 for x in (account, smaps, cpu))
    print(f"| {name} | {rss} MB | {maps} | {a:.0f} ms | {c:.0f} ms | {s:.1f} ms | {a / s:.1f} | {peak / 1024:.0f} MB |")


def main():
    folder = tempfile.mkdtemp()
    open(f"{folder}/Load.java", "w").write(JAVA)
    subprocess.run(["javac", "-d", folder, f"{folder}/Load.java"], check=True)
    open(f"{folder}/big.c", "w").write(C)
    subprocess.run(["gcc", "-O1", "-o", f"{folder}/big", f"{folder}/big.c"], check=True)
    print("| target | RSS | mappings | map, wall | map, CPU | cat smaps | ratio | map's peak memory |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for name, command in [
        ("JVM, 128 MB heap", ["java", "-Xmx128m", "-cp", folder, "Load"]),
        ("JVM, NMT on", ["java", "-Xmx128m", "-XX:NativeMemoryTracking=summary", "-cp", folder, "Load"]),
        ("C program", [f"{folder}/big"]),
    ]:
        program = start(command)
        try:
            time.sleep(2)
            measure(name, program.pid)
        finally:
            program.kill()


main()

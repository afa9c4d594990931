#!/usr/bin/env python3
"""What GC.class_histogram and GC.run stop a JVM for, by collector, per MiB of heap in use.

run.py JAVA [JAVA ...]      needs javac and jcmd of any JDK; prints a Markdown table (README.md has the last one)
"""
import re, subprocess, sys, tempfile, time
from pathlib import Path

HERE = Path(__file__).parent
MIB = 512
COLLECTORS = ["Serial", "Parallel", "G1", "Z", "Shenandoah"]


def pauses(log: str) -> list[tuple[str, float]]:
    """Operation and milliseconds of each safepoint."""
    found = re.findall(r'Safepoint "([^"]+)".*?Total: *(\d+) ns', log)
    return [(name, int(nanoseconds) / 1e6) for name, nanoseconds in found]


def one(java: str, classes: str, collector: str, kind: str):
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "safepoints.log"
        command = [java, f"-Xmx{MIB * 3}m", "-XX:+UnlockExperimentalVMOptions", f"-XX:+Use{collector}GC",
                   f"-Xlog:safepoint:file={log}", "-cp", classes, "Heap", str(MIB), kind]
        jvm = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            if jvm.stdout.readline().strip() != "READY":
                return None
            jcmd = lambda *what: subprocess.run(["jcmd", str(jvm.pid), *what], capture_output=True, check=True)
            results = []
            for what in (["GC.class_histogram", "-all"], ["GC.run"]):
                best = []
                for _ in range(3):
                    before = len(pauses(log.read_text()))
                    start = time.time()
                    jcmd(*what)
                    took = (time.time() - start) * 1000
                    time.sleep(0.3)
                    seen = [ms for _, ms in pauses(log.read_text())[before:]]
                    best.append((max(seen, default=0.0), took))
                results.append(sorted(best)[1])
            return results
        finally:
            jvm.kill()
            jvm.wait()


def main():
    with tempfile.TemporaryDirectory() as classes:
        subprocess.run(["javac", "--release", "11", "-nowarn", "-d", classes, str(HERE / "Heap.java")], check=True)
        print(f"| JVM | collector | objects | count, ms | ms/MiB | collection, ms | ms/MiB | until the reply, ms |")
        print("|---|---|---|---|---|---|---|---|")
        for java in sys.argv[1:]:
            version = subprocess.run([java, "-version"], capture_output=True, text=True).stderr
            release = re.search(r'"([^"]+)"', version).group(1)
            for collector in COLLECTORS:
                for kind in ("small", "large"):
                    figures = one(java, classes, collector, kind)
                    if figures is None:
                        continue
                    (count, _), (collect, reply) = figures
                    print(f"| {release} | {collector} | {kind} | {count:.0f} | {count / MIB:.2f} | {collect:.0f} | "
                          f"{collect / MIB:.2f} | {reply:.0f} |", flush=True)


main()

#!/usr/bin/env python3
"""What a program still does while it is diagnosed: its throughput before, during and after `offheap diagnose`, in one process.

Usage: run.py OFFHEAP JAVA_HOME [JAVA…]   (JAVA_HOME needs javac and the JNI headers; JAVA: more runtimes)
From the environment: ROUNDS=3, ONLY=part of a workload's name, SECONDS=60.
"""
import os, statistics, subprocess, sys, tempfile, threading, time

here = os.path.dirname(os.path.abspath(__file__))
offheap, jdk = sys.argv[1], sys.argv[2]
javas = [f"{jdk}/bin/java", *sys.argv[3:]]
rounds = int(os.environ.get("ROUNDS", "3"))
seconds = int(os.environ.get("SECONDS", "60"))
only = os.environ.get("ONLY", "")
around = 20
tmp = tempfile.mkdtemp()

def sh(*args):
    subprocess.run(args, check=True)

# The same two functions as bench/agent's, under the names of this class.
with open(f"{here}/../agent/jni.c") as source, open(f"{tmp}/jni.c", "w") as own:
    own.write(source.read().replace("Java_Jni_", "Java_Steady_"))
sh("gcc", "-O2", "-shared", "-fPIC", f"-I{jdk}/include", f"-I{jdk}/include/linux", "-o", f"{tmp}/libjni.so", f"{tmp}/jni.c")
sh(f"{jdk}/bin/javac", "-nowarn", "-XDignore.symbol.file", "-d", tmp, f"{here}/Steady.java")

def rates(lines):
    """Operations per second of processor time and of the clock, second by second."""
    points = [tuple(map(int, line.split())) for line in lines if len(line.split()) == 3]
    steps = list(zip(points, points[1:]))
    return ([(b[1] - a[1]) / (b[2] - a[2]) * 1e9 for a, b in steps if b[2] > a[2]],
            [(b[1] - a[1]) / (b[0] - a[0]) * 1e9 for a, b in steps])

def one(java, which, threads):
    program = subprocess.Popen(
        [java, "-XX:+UseSerialGC", "-Xmx256m", f"-Djava.library.path={tmp}", "-cp", tmp, "Steady", which, str(threads)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    lines = []
    reader = threading.Thread(target=lambda: lines.extend(iter(program.stdout.readline, "")), daemon=True)
    reader.start()
    try:
        time.sleep(8 + around)
        begin = len(lines)
        done = subprocess.run([offheap, "diagnose", str(program.pid), "--for", f"{seconds}s", "--yes"],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        end = len(lines)
        time.sleep(around)
        before, during, after = rates(lines[begin - around:begin]), rates(lines[begin:end]), rates(lines[end + 1:])
        found = next((l for l in done.stdout.splitlines() if "agent loaded" in l), "no agent")
        return [statistics.mean(during[i]) / statistics.mean(before[i] + after[i]) for i in (0, 1)], done.returncode, found
    finally:
        program.kill()

print("| workload | per second of processor time, during : around | by the clock | exit code |\n|---|---|---|---|", flush=True)
for java in javas:
    version = subprocess.run([java, "-version"], stderr=subprocess.PIPE, text=True).stderr.split('"')[1]
    for which in "abhs":
        for threads in (1, 2):
            name = f"{which}, {threads} threads, JDK {version}"
            if only not in name:
                continue
            all = [one(java, which, threads) for _ in range(rounds)]
            cells = [" ".join(f"{r[0][i]:.3f}" for r in all) + f" (median {statistics.median(r[0][i] for r in all):.3f})" for i in (0, 1)]
            print(f"| {name} | {cells[0]} | {cells[1]} | {' '.join(str(r[1]) for r in all)} |", flush=True)

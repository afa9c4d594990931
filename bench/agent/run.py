#!/usr/bin/env python3
"""What the agent costs: interleaved runs of each workload without and with it; see README.md.

Usage: run.py AGENT.so JAVA_HOME [JAVA…]   (JAVA_HOME needs javac and the JNI headers; JAVA: more runtimes)
ROUNDS=9 and ONLY=part of a workload's name come from the environment.
"""
import os, statistics, subprocess, sys, tempfile

here = os.path.dirname(os.path.abspath(__file__))
agent, jdk = sys.argv[1], sys.argv[2]
javas = [f"{jdk}/bin/java", *sys.argv[3:]]
rounds = int(os.environ.get("ROUNDS", "9"))
only = os.environ.get("ONLY", "")
tmp = tempfile.mkdtemp()

def sh(*args):
    subprocess.run(args, check=True)

sh("gcc", "-O2", "-fno-optimize-sibling-calls", "-pthread", "-o", f"{tmp}/pairs", f"{here}/pairs.c")
sh("gcc", "-O2", "-shared", "-fPIC", f"-I{jdk}/include", f"-I{jdk}/include/linux", "-o", f"{tmp}/libjni.so", f"{here}/jni.c")
sh(f"{jdk}/bin/javac", "-nowarn", "-XDignore.symbol.file", "-d", tmp, f"{here}/Jni.java")

def run(command, interval=None, jvm=False):
    """One run; with an interval under the agent."""
    env = dict(os.environ)
    live = f"{tmp}/bench.live"
    if os.path.exists(live):
        os.remove(live)
    if interval is not None:
        if jvm:
            command = [command[0], f"-agentpath:{agent}=file={live},interval={interval}", *command[1:]]
        else:
            env.update(LD_PRELOAD=agent, OFFHEAP_FILE=live, OFFHEAP_INTERVAL=str(interval))
    return float(subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout)

def compare(name, command, interval, jvm=False):
    if only not in name:
        return
    base, ours = [], []
    for _ in range(rounds):
        base.append(run(command, None, jvm))
        ours.append(run(command, interval, jvm))
    b, o = statistics.median(base), statistics.median(ours)
    print(f"| {name} | {interval} | {b:.2f} | {o:.2f} | {o / b:.3f} | {o - b:+.2f} | {min(base):.2f} | {min(ours):.2f} | {min(ours) - min(base):+.2f} |", flush=True)

print("| workload | interval | base, median ns | with agent | ratio | difference | base, least | with agent | difference |")
print("|---|---|---|---|---|---|---|---|---|")
for threads in (1, 2, 8):
    compare(f"c, {threads} threads", [f"{tmp}/pairs", str(threads), "20000000"], 512 << 10)
compare("c, every one, 4 frames", [f"{tmp}/pairs", "1", "1000000"], 1)
compare("c, every one, 44 frames", [f"{tmp}/pairs", "1", "1000000", "40"], 1)
compare("c, every one, 2 threads", [f"{tmp}/pairs", "2", "1000000"], 1)
for java in javas:
    version = subprocess.run([java, "-version"], stderr=subprocess.PIPE, text=True).stderr.split('"')[1]
    for which in "ab":
        for threads in (1, 2, 8):
            command = [java, "-XX:+UseSerialGC", "-Xmx128m", f"-Djava.library.path={tmp}", "-cp", tmp, "Jni", which, str(threads), "4000000"]
            compare(f"{which}, {threads} threads, JDK {version}", command, 512 << 10, True)
    command = [java, "-XX:+UseSerialGC", "-Xmx128m", f"-Djava.library.path={tmp}", "-cp", tmp, "Jni", "a", "1", "400000"]
    compare(f"a, every one, JDK {version}", command, 1, True)

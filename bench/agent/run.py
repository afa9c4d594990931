#!/usr/bin/env python3
"""What the agent costs: interleaved runs of each workload without and with it, and with a neighbour; see README.md.

Usage: run.py AGENT.so JAVA_HOME [JAVA…]   (JAVA_HOME needs javac and the JNI headers; JAVA: more runtimes)
From the environment: ROUNDS=9, ONLY=part of a workload's name, NEIGHBOUR=libasyncProfiler.so (in malloc mode, frees tracked).
"""
import os, statistics, subprocess, sys, tempfile

here = os.path.dirname(os.path.abspath(__file__))
agent, jdk = sys.argv[1], sys.argv[2]
javas = [f"{jdk}/bin/java", *sys.argv[3:]]
rounds = int(os.environ.get("ROUNDS", "9"))
only = os.environ.get("ONLY", "")
neighbour = os.environ.get("NEIGHBOUR", "")
# The neighbour takes thirty times as long.
pairs = "4000000" if neighbour else "20000000"
tmp = tempfile.mkdtemp()

def sh(*args):
    subprocess.run(args, check=True)

sh("gcc", "-O2", "-fno-optimize-sibling-calls", "-pthread", "-o", f"{tmp}/pairs", f"{here}/pairs.c")
sh("gcc", "-O2", "-shared", "-fPIC", f"-I{jdk}/include", f"-I{jdk}/include/linux", "-o", f"{tmp}/libjni.so", f"{here}/jni.c")
sh(f"{jdk}/bin/javac", "-nowarn", "-XDignore.symbol.file", "-d", tmp, f"{here}/Jni.java")

def with_agent(command, interval, jvm, env):
    live = f"{tmp}/bench.live"
    if os.path.exists(live):
        os.remove(live)
    if jvm:
        return [command[0], f"-agentpath:{agent}=file={live},interval={interval}", *command[1:]]
    env.update(LD_PRELOAD=agent, OFFHEAP_FILE=live, OFFHEAP_INTERVAL=str(interval))
    return command

def with_neighbour(command, interval, jvm, env):
    # Its interval 0 is every call.
    options = f"start,nativemem={0 if interval == 1 else interval},file={tmp}/neighbour.jfr"
    if jvm:
        return [command[0], f"-agentpath:{neighbour}={options}", *command[1:]]
    # By itself it follows frame pointers, which this program has none of: its stacks would have one frame.
    env.update(LD_PRELOAD=neighbour, ASPROF_COMMAND=f"{options},cstack=dwarf")
    return command

def run(command, under=None, interval=0, jvm=False):
    env = dict(os.environ)
    if under:
        command = under(command, interval, jvm, env)
    out = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    # A profiler may say something too.
    return float([line for line in out.splitlines() if line.replace(".", "", 1).isdigit()][-1])

def compare(name, command, interval, jvm=False):
    if only not in name:
        return
    kinds = [None, with_agent] + ([with_neighbour] if neighbour else [])
    times = {kind: [] for kind in kinds}
    for _ in range(rounds):
        for kind in kinds:
            times[kind].append(run(command, kind, interval, jvm))
    base, *others = [statistics.median(times[kind]) for kind in kinds]
    least, *least_others = [min(times[kind]) for kind in kinds]
    cells = [f"{base:.2f}"]
    for median, low in zip(others, least_others):
        cells += [f"{median:.2f}", f"{median / base:.3f}", f"{median - base:+.2f}", f"{low - least:+.2f}"]
    print(f"| {name} | {interval} | {' | '.join(cells)} |", flush=True)

heads = ["workload", "interval", "base, median ns"]
for who in ["agent"] + (["async-profiler"] if neighbour else []):
    heads += [f"{who}", "ratio", "difference", "of the least"]
print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}", flush=True)
for threads in (1, 2, 8):
    compare(f"c, {threads} threads", [f"{tmp}/pairs", str(threads), pairs], 512 << 10)
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

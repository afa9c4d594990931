#!/usr/bin/env python3
"""What the agent costs, beside its neighbours: interleaved runs of each workload without and with each; see README.md.

Usage: run.py AGENT.so JAVA_HOME [JAVA…]   (JAVA_HOME needs javac and the JNI headers; JAVA: more runtimes)
From the environment: ROUNDS=9, ONLY=part of a workload's name (several by |), and the neighbours, each left out by default:
ASYNC_PROFILER=libasyncProfiler.so (malloc mode, frees tracked), JEMALLOC=libjemalloc.so.2 (built with --enable-prof, as Debian's
is), HEAPTRACK=libheaptrack_preload.so (its records go to /dev/null).
"""
import os, statistics, subprocess, sys, tempfile

here = os.path.dirname(os.path.abspath(__file__))
agent, jdk = sys.argv[1], sys.argv[2]
javas = [f"{jdk}/bin/java", *sys.argv[3:]]
rounds = int(os.environ.get("ROUNDS", "9"))
only = os.environ.get("ONLY", "").split("|")
tmp = tempfile.mkdtemp()

def sh(*args):
    subprocess.run(args, check=True)

sh("gcc", "-O2", "-fno-optimize-sibling-calls", "-pthread", "-o", f"{tmp}/pairs", f"{here}/pairs.c")
sh("gcc", "-O2", "-shared", "-fPIC", f"-I{jdk}/include", f"-I{jdk}/include/linux", "-o", f"{tmp}/libjni.so", f"{here}/jni.c")
sh(f"{jdk}/bin/javac", "-nowarn", "-XDignore.symbol.file", "-d", tmp, f"{here}/Jni.java", f"{here}/Objects.java")

# Each puts a tool beside a command: changes its environment, returns it with what else it needs.

def plain(command, interval, jvm, env):
    return command

def with_agent(command, interval, jvm, env):
    live = f"{tmp}/bench.live"
    if os.path.exists(live):
        os.remove(live)
    if jvm:
        return [command[0], f"-agentpath:{agent}=file={live},interval={interval}", *command[1:]]
    env.update(LD_PRELOAD=agent, OFFHEAP_FILE=live, OFFHEAP_INTERVAL=str(interval))
    return command

def with_objects(command, interval, jvm, env):
    first, option, *rest = with_agent(command, interval, jvm, env)
    return [first, f"{option},objects={interval}", *rest]

def with_async_profiler_objects(command, interval, jvm, env):
    library = os.environ["ASYNC_PROFILER"]
    return [command[0], f"-agentpath:{library}=start,alloc={interval},live,file={tmp}/neighbour.jfr", *command[1:]]

def with_async_profiler(command, interval, jvm, env):
    library = os.environ["ASYNC_PROFILER"]
    # Its interval 0 is every call.
    options = f"start,nativemem={0 if interval == 1 else interval},file={tmp}/neighbour.jfr"
    if jvm:
        return [command[0], f"-agentpath:{library}={options}", *command[1:]]
    # By itself it follows frame pointers, which this program has none of: its stacks would have one frame.
    env.update(LD_PRELOAD=library, ASPROF_COMMAND=f"{options},cstack=dwarf")
    return command

def with_jemalloc(command, interval, jvm, env):
    env.update(LD_PRELOAD=os.environ["JEMALLOC"])
    return command

def with_jemalloc_profiling(command, interval, jvm, env):
    lg = max(interval.bit_length() - 1, 0)
    env.update(MALLOC_CONF=f"prof:true,lg_prof_sample:{lg},prof_prefix:{tmp}/jeprof")
    return with_jemalloc(command, interval, jvm, env)

def with_heaptrack(command, interval, jvm, env):
    env.update(LD_PRELOAD=os.environ["HEAPTRACK"], DUMP_HEAPTRACK_OUTPUT="/dev/null")
    return command

# Name, how, what it is compared with, and how many times fewer operations it gets at 512 KiB: some are slow.
tools = [("agent", with_agent, plain, 1)]
if "ASYNC_PROFILER" in os.environ:
    tools.append(("async-profiler", with_async_profiler, plain, 10))
if "JEMALLOC" in os.environ:
    tools += [("jemalloc", with_jemalloc, plain, 1), ("jemalloc, profiling", with_jemalloc_profiling, with_jemalloc, 1)]
if "HEAPTRACK" in os.environ:
    tools.append(("heaptrack (every call)", with_heaptrack, plain, 10))
pairs = 20000000
operations = 4000000

def run(command, under, interval, jvm):
    env = dict(os.environ)
    command = under(command, interval, jvm, env)
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    # A profiler may say something too.
    figures = [line for line in done.stdout.splitlines() if line.replace(".", "", 1).isdigit()]
    return float(figures[-1]) if figures and done.returncode == 0 else None

def compare(name, command, count, interval, jvm=False, more=(), tools=tools):
    if not any(part in name for part in only):
        return
    times = {how: [] for how in [plain] + [how for _, how, _, _ in tools]}
    for _ in range(rounds):
        for how, fewer in [(plain, 1)] + [(how, fewer) for _, how, _, fewer in tools]:
            n = count // fewer if interval > 1 else count
            times[how].append(run([*command, str(n), *more], how, interval, jvm))
    good = {how: [t for t in all if t is not None] for how, all in times.items()}
    cells = [f"{statistics.median(good[plain]):.2f}"]
    for _, how, against, _ in tools:
        if not good[how] or not good[against]:
            cells.append("ends badly")
            continue
        here, there = statistics.median(good[how]), statistics.median(good[against])
        cell = f"{here:.2f} = {here / there:.3f} ×, {here - there:+.2f} ({min(good[how]) - min(good[against]):+.2f})"
        bad = rounds - len(good[how])
        cells.append(cell + (f", {bad} of {rounds} end badly" if bad else ""))
    print(f"| {name} | {interval} | {' | '.join(cells)} |", flush=True)

heads = ["workload", "interval", "base, ns"] + [name for name, _, _, _ in tools]
print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}", flush=True)
for threads in (1, 2, 8):
    compare(f"c, {threads} threads", [f"{tmp}/pairs", str(threads)], pairs, 512 << 10)
compare("c, every one, 4 frames", [f"{tmp}/pairs", "1"], 1000000, 1)
compare("c, every one, 44 frames", [f"{tmp}/pairs", "1"], 1000000, 1, more=["40"])
compare("c, every one, 2 threads", [f"{tmp}/pairs", "2"], 1000000, 1)
for java in javas:
    version = subprocess.run([java, "-version"], stderr=subprocess.PIPE, text=True).stderr.split('"')[1]
    jvm = [java, "-XX:+UseSerialGC", "-Xmx128m", f"-Djava.library.path={tmp}", "-cp", tmp, "Jni"]
    for which in "ab":
        for threads in (1, 2, 8):
            compare(f"{which}, {threads} threads, JDK {version}", [*jvm, which, str(threads)], operations, 512 << 10, True)
    compare(f"a, every one, JDK {version}", [*jvm, "a", "1"], 400000, 1, True)
    compare(f"a, every one, 40 frames, JDK {version}", [*jvm, "a", "1"], 400000, 1, True, ["7"])

# Java objects, with collections and without, beside the agent without them.
tools = [("agent", with_agent, plain, 1), ("agent, objects", with_objects, plain, 1)]
if "ASYNC_PROFILER" in os.environ:
    tools.append(("async-profiler, alloc and live", with_async_profiler_objects, plain, 1))
heads = ["workload", "interval", "base, ns"] + [name for name, _, _, _ in tools]
print(f"\n| {' | '.join(heads)} |\n|{'---|' * len(heads)}", flush=True)
for java in javas:
    version = subprocess.run([java, "-version"], stderr=subprocess.PIPE, text=True).stderr.split('"')[1]
    for collector in ("Serial", "G1"):
        jvm = [java, f"-XX:+Use{collector}GC", "-Xmx256m", "-Xms256m", "-cp", tmp, "Objects"]
        for threads in (1, 2):
            name = f"o, {threads} threads, {collector}, JDK {version}"
            compare(name, [*jvm, str(threads)], 60000000, 512 << 10, True, ["all"], tools)

#!/usr/bin/env python3
"""What the agent takes apart from time per allocation: from attach to first sample, memory in the target, and the time a page
of 10,000 sites takes; see README.md.

Usage: limits.py AGENT.so OFFHEAP JAVA_HOME [JAVA…]   (JAVA_HOME needs javac and the JNI headers; JAVA: more runtimes)
"""
import os, re, signal, socket, statistics, struct, subprocess, sys, tempfile, time

here = os.path.dirname(os.path.abspath(__file__))
agent, offheap, jdk = sys.argv[1:4]
javas = [f"{jdk}/bin/java", *sys.argv[4:]]
rounds = int(os.environ.get("ROUNDS", "7"))
tmp = tempfile.mkdtemp()

def sh(*args, **more):
    return subprocess.run(args, check=True, **more)

sh("gcc", "-O2", "-shared", "-fPIC", f"-I{jdk}/include", f"-I{jdk}/include/linux", "-o", f"{tmp}/libjni.so", f"{here}/jni.c")
sh(f"{jdk}/bin/javac", "-nowarn", "-XDignore.symbol.file", "-d", tmp, f"{here}/Jni.java")
sh("gcc", "-O1", "-fno-optimize-sibling-calls", "-o", f"{tmp}/sites", f"{here}/sites.c")

def attach(pid, options):
    """The HotSpot attach protocol, without a JDK's tool, which would take longer than all the rest."""
    path = f"/tmp/.java_pid{pid}"
    if not os.path.exists(path):
        trigger = f"/tmp/.attach_pid{pid}"
        open(trigger, "w").close()
        os.kill(pid, signal.SIGQUIT)
        while not os.path.exists(path):
            time.sleep(0.001)
        os.remove(trigger)
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(path)
        s.sendall(b"".join(word.encode() + b"\0" for word in ["1", "load", agent, "true", options]))
        answer = b""
        while part := s.recv(4096):
            answer += part
    assert b"return code: 0" in answer or answer.split()[:2] == [b"0", b"0"] or answer.strip() == b"0\n0", answer

# Header::counters[0], the samples taken, by the layout of crates/live: behind the fields before it.
COUNTERS = 8 + 4 + 4 + 8 + 10 * 16 + 4 + 4 + 8 + 8 + 8 + 8 + 4 * 4 + 8 + 4 * 8

def samples(live):
    with open(live, "rb") as f:
        return struct.unpack("Q", os.pread(f.fileno(), 8, COUNTERS))[0]

def mappings(pid):
    found, key = {}, None
    for line in open(f"/proc/{pid}/smaps"):
        head = re.match(r"([0-9a-f]+-[0-9a-f]+) (\S+) \S+ \S+ \S+ *(.*)", line)
        if head:
            key = (head[1], head[2], head[3])
            found[key] = 0
        elif line.startswith("Rss:"):
            found[key] = int(line.split()[1])
    return found

def one(java, seconds):
    command = [java, "-XX:+UseSerialGC", "-Xmx128m", "-XX:+EnableDynamicAgentLoading", f"-Djava.library.path={tmp}", "-cp", tmp, "Jni", "b", "4", "1000000000"]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp)
    try:
        time.sleep(1.5)
        live = f"{tmp}/{child.pid}.live"
        before = {key[0].split("-")[0] for key in mappings(child.pid)}
        begin = time.monotonic()
        attach(child.pid, f"file={live},interval=524288")
        while samples(live) == 0:
            time.sleep(0.0005)
        first = (time.monotonic() - begin) * 1000
        if seconds == 0:
            return first, 0
        attach(child.pid, f"file={live},interval=1")
        time.sleep(seconds)
        # All that was mapped since and is not the live file: the library, its unwind tables; also the stack of the JVM's
        # thread that was attached to, and what malloc has mapped since.
        new = {key: rss for key, rss in mappings(child.pid).items() if key[0].split("-")[0] not in before and ".live" not in key[2]}
        if "VERBOSE" in os.environ:
            for (place, rights, path), rss in new.items():
                print(place, rights, path, rss)
        memory = sum(new.values())
        return first, memory
    finally:
        child.kill()
        child.wait()
        if os.path.exists(f"/tmp/.java_pid{child.pid}"):
            os.remove(f"/tmp/.java_pid{child.pid}")

print("| JDK | attach to first sample, ms: median, most | memory mapped since but for the live file, KiB, after 10 s at interval 1 |\n|---|---|---|", flush=True)
for java in javas:
    version = subprocess.run([java, "-version"], stderr=subprocess.PIPE, text=True).stderr.split('"')[1]
    all = [one(java, 0)[0] for _ in range(rounds)]
    memory = one(java, 10)[1]
    print(f"| {version} | {statistics.median(all):.0f}, {max(all):.0f} | {memory} |", flush=True)

live = f"{tmp}/sites.live"
sh(f"{tmp}/sites", "10000", env={**os.environ, "LD_PRELOAD": agent, "OFFHEAP_FILE": live, "OFFHEAP_INTERVAL": "1"})
times = []
for _ in range(rounds):
    begin = time.monotonic()
    sh(offheap, "profile", "--from", live, "-o", f"{tmp}/page.html", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    times.append(time.monotonic() - begin)
document = sh(offheap, "profile", "--from", live, "--json", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
import json
sites = json.loads(document)["sites"]
print(f"\nA page of {len(sites)} sites, {sum(len(s['frames']) for s in sites) / len(sites):.0f} frames each: {statistics.median(times):.2f} s, {os.path.getsize(f'{tmp}/page.html') >> 10} KiB")

"""A Python program: a registry of events that is never pruned in one mode, and bounded in the other."""

import collections
import random
import select
import sys
import time

EVENT_BYTES = 600
LIMIT = 20_000


def register(registry, number):
    registry.append({"id": number, "topic": f"topic-{number}", "values": [number + i for i in range(4)]})


def background(scratch, load):
    for _ in range(int(40 * load)):
        scratch[random.randrange(200)] = [str(random.random()) for _ in range(20)]


def main():
    options = {"mode": "", "rate": "1048576", "load": "1", "delay": "0", "dir": "", "stdin": ""}
    for argument in sys.argv[1:]:
        key, equals, value = argument.partition("=")
        options[key if equals else "mode"] = value if equals else argument
    rate, load = float(options["rate"]), float(options["load"])
    watched = [sys.stdin] if options["stdin"] else []
    random.seed(8)
    registry = collections.deque(maxlen={"unbounded": None, "bounded": LIMIT}[options["mode"]])
    scratch = {}
    print("READY", flush=True)
    start = time.monotonic() + float(options["delay"])
    done = 0
    while True:
        while done < (time.monotonic() - start) * rate / EVENT_BYTES:
            register(registry, done)
            done += 1
        background(scratch, load)
        readable, _, _ = select.select(watched, [], [], 0.02)
        if readable and not sys.stdin.buffer.raw.read(1):
            return


main()

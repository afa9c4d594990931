"""A Python program that fetches documents: one mode remembers every one, the other only the latest."""

import collections
import select
import sys
import time

DOCUMENT_BYTES = 7_000
LIMIT = 4_000


def fetch(number):
    return number.to_bytes(8, "big") * (DOCUMENT_BYTES // 8)


def main():
    options = {"mode": "", "rate": "1048576", "delay": "0", "stdin": ""}
    for argument in sys.argv[1:]:
        key, equals, value = argument.partition("=")
        options[key if equals else "mode"] = value if equals else argument
    limit = {"archive": None, "latest": LIMIT}[options["mode"]]
    watched = [sys.stdin] if options["stdin"] else []
    documents = collections.OrderedDict()
    print("READY", flush=True)
    start = time.monotonic() + float(options["delay"])
    done = 0
    while True:
        while done < (time.monotonic() - start) * float(options["rate"]) / DOCUMENT_BYTES:
            documents[f"document-{done}"] = fetch(done)
            if limit and len(documents) > limit:
                documents.popitem(last=False)
            done += 1
        readable, _, _ = select.select(watched, [], [], 0.03)
        if readable and not sys.stdin.buffer.raw.read(1):
            return


main()

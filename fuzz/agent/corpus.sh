#!/bin/sh
# The first corpora: unwind tables of this machine's libraries, and a live file of a shell's.
set -eu
cd "$(dirname "$0")"
python3 corpus.py
offheap=${OFFHEAP_BIN:-../../target/release/offheap}
"$offheap" run --live "$PWD/template.live" --size 4M --interval 64 -- /bin/sh -c 'for i in 1 2 3; do echo $i; done' > /dev/null 2>&1
mkdir -p corpus/live
head -c 130 /dev/urandom > corpus/live/seed

#!/bin/sh
# Every fuzz target of every folder, one after the other, each for so many seconds (600 if not said); ends with a list of what
# was found.
set -eu
cd "$(dirname "$0")"
seconds=${1:-600}
export RUSTC_BOOTSTRAP=1
for group in formats nmt outside agent; do
    (
        cd "$group"
        if [ -x corpus.sh ]; then ./corpus.sh; fi
        for target in fuzz_targets/*.rs; do
            name=$(basename "$target" .rs)
            echo "== $group/$name"
            cargo fuzz run "$name" --fuzz-dir . -- -max_total_time="$seconds" -timeout=20 -rss_limit_mb=1024 \
                > "/tmp/fuzz-$group-$name.log" 2>&1 && tail -1 "/tmp/fuzz-$group-$name.log" || echo "FOUND: /tmp/fuzz-$group-$name.log"
        done
    )
done

#!/bin/sh
# The first corpus of every target: the samples, unwrapped; all of them for every target, the fuzzer drops what is of no use.
set -eu
cd "$(dirname "$0")"
samples=../../crates/formats/tests/samples
for target in fuzz_targets/*.rs; do
    folder=corpus/$(basename "$target" .rs)
    mkdir -p "$folder"
    for sample in "$samples"/*; do
        name=$(basename "$sample")
        case $name in
            *.gz) gzip -dc "$sample" > "$folder/${name%.gz}" ;;
            *.zst) zstd -qdfc "$sample" > "$folder/${name%.zst}" ;;
            *) cp "$sample" "$folder/$name" ;;
        esac
    done
done
cp "$samples"/*.gz "$samples"/*.zst corpus/unwrap/

#!/bin/sh
# Makes report.png beside this from a real run: a JVM that leaks in native code, diagnosed with the agent.
# `cargo xtask picture` builds what it needs and runs it. OFFHEAP and SCENARIOS name other binaries.
set -eu
cd "$(dirname "$0")/../.."
offheap=${OFFHEAP:-target/release/offheap}
scenarios=${SCENARIOS:-target/release/offheap-scenarios}
work=$(mktemp -d)
"$scenarios" start jni-malloc --rate 1MB > "$work/pid" &
program=$!
# It ends its JVM when it is told to end.
trap 'kill $program 2>/dev/null || true; wait $program 2>/dev/null || true; rm -rf "$work"' EXIT
waited=0
until pid=$(grep -o '[0-9][0-9]*' "$work/pid" | head -n 1) && [ -n "$pid" ]; do
    kill -0 $program
    waited=$((waited + 1))
    [ $waited -lt 600 ] || { echo 'the scenario never began' >&2; exit 1; }
    sleep 1
done
# 1 is the verdict "leak": what the picture is about.
"$offheap" diagnose "$pid" --yes --for 90s -o "$work/report.html" || [ $? -eq 1 ]
chromium --headless=new --no-sandbox --disable-gpu --hide-scrollbars --window-size=1280,1180 \
    --virtual-time-budget=3000 --user-data-dir="$work/chromium" --screenshot="$work/report.png" "file://$work/report.html" \
    2> "$work/chromium.log" || { cat "$work/chromium.log" >&2; exit 1; }
cp "$work/report.html" "${REPORT:-/dev/null}"
cp "$work/report.png" docs/img/report.png
ls -l docs/img/report.png

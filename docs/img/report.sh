#!/bin/sh
# Makes report.png beside this from a real run: a JVM that leaks in native code, diagnosed with the agent.
# `cargo xtask picture` builds what it needs and runs it. OFFHEAP names another binary, JAVA_HOME another JDK.
set -eu
cd "$(dirname "$0")/../.."
offheap=${OFFHEAP:-target/release/offheap}
java=${JAVA_HOME:-/usr/lib/jvm/java-17-openjdk-amd64}
work=$(mktemp -d)
program=
trap '[ -z "$program" ] || kill $program 2>/dev/null || true; rm -rf "$work"' EXIT

# The scenario `jni-malloc`, without its harness.
"$java/bin/javac" --release 11 -d "$work" -sourcepath scenarios/java/jdk scenarios/java/jdk/app/NativeCodec.java
gcc -shared -fPIC -g -O1 -I "$java/include" -I "$java/include/linux" -o "$work/libjni_codec.so" scenarios/native/jni_codec.c
"$java/bin/java" -Xms128m -Xmx128m -XX:NativeMemoryTracking=summary -Djava.library.path="$work" -cp "$work" \
    app.NativeCodec encode rate=1000000 > "$work/said" &
program=$!
until grep -q READY "$work/said"; do
    kill -0 $program
    sleep 1
done

# 1 is the verdict "leak": what the picture is about.
"$offheap" diagnose $program --yes --for 90s -o "$work/report.html" || [ $? -eq 1 ]
chromium --headless=new --no-sandbox --disable-gpu --hide-scrollbars --window-size=1280,1180 --virtual-time-budget=3000 \
    --user-data-dir="$work/chromium" --screenshot="$work/report.png" "file://$work/report.html" 2> "$work/chromium.log" ||
    { cat "$work/chromium.log" >&2; exit 1; }
if [ -n "${REPORT:-}" ]; then
    cp "$work/report.html" "$REPORT"
fi
cp "$work/report.png" docs/img/report.png
ls -l docs/img/report.png

#!/bin/bash
# JVMs on other releases of glibc: chroots.sh ROOT… ; each ROOT is a Debian tree with a JRE, made by debtree (research/reach.md). The agent
# is loaded, started and stopped twenty times, in weather where that release can load it; and preloaded. Root; OFFHEAP=path, AGENT=path of
# the agent's library, STORM=folder with libstorm.so and p0.so…, CLASSES=folder with Storm.class and Host.class.
set -u
cycles=${CYCLES:-20}
for root in "$@"; do
    mkdir -p "$root"/{proc,dev,tmp,harm}
    mount -t proc proc "$root/proc"
    mount --bind /dev "$root/dev"
    cp "$STORM"/*.so "$CLASSES"/*.class "$root/harm/"
    cp "$AGENT" "$root/harm/.offheap_agent-preload.so"
    java=$(cd "$root" && echo usr/lib/jvm/java-*-openjdk-amd64/bin/java | tr ' ' '\n' | grep -v 1\\. | head -1)
    libc=$(cat "$root"/{usr/,}lib/x86_64-linux-gnu/libc.so.6 2>/dev/null | strings | grep -o "GNU C Library.*version [0-9.]*" | grep -o "[0-9.]*$" | head -1)
    weather=,fork,dlopen,maps,mprotect,threads,cancel,signals,altstack,blocks,coroutines,classes,objects,
    rm -f "$root/harm/in"
    mkfifo "$root/harm/in"
    exec 8<> "$root/harm/in"
    words="Storm /harm $weather"
    chroot "$root" "/$java" -Xmx64m -cp /harm $words <&8 > "$root/harm/out" 2> "$root/harm/err" & jvm=$!
    for i in $(seq 50); do grep -q READY "$root/harm/out" && break; sleep 0.2; kill -0 $jvm 2>/dev/null || break; done
    if ! grep -q READY "$root/harm/out"; then
        # A glibc too old for the storms, which were built here.
        words=Host
        chroot "$root" "/$java" -Xmx64m -cp /harm $words <&8 > "$root/harm/out" 2> "$root/harm/err" & jvm=$!
        for i in $(seq 50); do grep -q READY "$root/harm/out" && break; sleep 0.2; done
    fi
    good=0
    for i in $(seq "$cycles"); do
        timeout 60 "$OFFHEAP" profile $jvm --for 200ms --interval $((1 << (i % 17))) --json > /dev/null 2> "$root/harm/said" && good=$((good + 1))
        kill -0 $jvm 2>/dev/null || break
    done
    if kill -0 $jvm 2>/dev/null; then state=lives; else wait $jvm; state="DIED $?"; fi
    if [ "$words" != Host ] && [ "$state" = lives ]; then
        echo end >&8
        for i in $(seq 50); do grep -q '^bad' "$root/harm/out" && break; sleep 0.2; done
        state="$state, $(grep -a '^bad' "$root/harm/out" | cut -c1-60)"
    fi
    kill -9 $jvm 2>/dev/null
    wait $jvm 2>/dev/null
    exec 8>&-
    # The chroot program itself has no such library, and says so.
    preloaded=$(LD_PRELOAD=/harm/.offheap_agent-preload.so OFFHEAP_FILE=/tmp/live OFFHEAP_INTERVAL=1 timeout 60 chroot "$root" "/$java" -Xmx32m \
        -version > /dev/null 2>&1; echo "exit $?")
    [ -s "$root/tmp/live" ] && preloaded="$preloaded, live file $(stat -c %s "$root/tmp/live")"
    echo "| glibc $libc | ${java#usr/lib/jvm/} | ${words%% *} | $good of $cycles | $state | $preloaded |  $(tail -1 "$root/harm/said")"
    rm -rf "$root/harm" "$root/tmp/live"
    umount "$root/proc" "$root/dev"
done

//! The C heap of real JVMs against what they say themselves over jcmd.

mod common;

use common::{Target, javas};
use offheap_heaps::{Heap, LabelKind, Options, Walker};
use std::path::PathBuf;
use std::process::Command;

fn jcmd(target: &Target, command: &str) -> String {
    let tool = std::fs::read_dir("/usr/lib/jvm")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin/jcmd"))
        .find(|tool| tool.is_file())
        .expect("a jcmd in /usr/lib/jvm: cargo xtask test installs openjdk-17-jdk-headless");
    let output = Command::new(tool).arg(target.pid().to_string()).arg(command).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn idle(java: &PathBuf) -> Target {
    let classes = common::java_class("Idle");
    Target::ready(Command::new(java).args(["-Xmx128m", "-XX:+UseSerialGC", "-cp"]).arg(&classes).arg("Idle"))
}

fn walk(target: &Target) -> Heap {
    let memory = target.memory();
    let walker = Walker::open(&memory).unwrap();
    // A JVM that idles still has threads that wake now and then: the walk that nobody disturbed is
    // the one to compare.
    let mut heap = walker.walk(&memory, &Options::default());
    for _ in 0..50 {
        if heap.exact {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
        heap = walker.walk(&target.memory(), &Options::default());
    }
    assert_eq!(heap.doubts, Vec::<String>::new());
    heap
}

/// `"-1508K"` → -1544192.
fn bytes(text: &str) -> i64 {
    let digits = text.trim_end_matches(['B', 'K', 'M', 'G']);
    let unit = match text.chars().last() {
        Some('K') => 1 << 10,
        Some('M') => 1 << 20,
        Some('G') => 1 << 30,
        _ => 1,
    };
    digits.parse::<i64>().unwrap() * unit
}

#[test]
fn direct_buffers_are_found_and_trimmable_is_what_trim_gives_back() {
    for (name, java) in javas() {
        let mut target = idle(&java);
        let full = walk(&target);
        let megabytes = full.size_classes.iter().find(|class| class.chunk_bytes == (1 << 20) + 4096);
        assert!(megabytes.is_some_and(|class| class.count >= 50), "{name}");
        assert!(
            full.size_classes.iter().any(|class| class.chunk_bytes == 30_016 && class.count >= 500),
            "{name}"
        );
        let mapped: u64 = full
            .labels
            .iter()
            .filter(|label| label.kind == LabelKind::MmappedChunk)
            .map(|label| label.resident)
            .sum();
        assert!(mapped >= 50 << 20, "{name}: {mapped}");

        assert_eq!(target.ask("gc"), "gone");
        std::thread::sleep(std::time::Duration::from_millis(300));
        let freed = walk(&target);
        assert!(freed.free > full.free + (8 << 20), "{name}: {} after {}", freed.free, full.free);
        let answer = jcmd(&target, "System.trim_native_heap");
        // JDK 11 has no such command.
        let Some(change) = answer.split_once('(').and_then(|(_, rest)| rest.split_once(')')) else {
            assert!(name.contains("11"), "{name}: {answer}");
            continue;
        };
        let given_back = -bytes(change.0);
        let off = (freed.returnable as i64 - given_back).abs();
        println!("{name}: returnable {}, given back {given_back}", freed.returnable);
        // The attaching itself takes and frees some memory.
        assert!(off <= (1 << 20).max(given_back / 50), "{name}: {} against {given_back}", freed.returnable);
        let trimmed = walk(&target);
        assert!(trimmed.returnable < 1 << 20, "{name}: {} left", trimmed.returnable);
    }
}

#[test]
fn arenas_are_what_malloc_info_says() {
    let mut compared = 0;
    for (name, java) in javas() {
        let target = idle(&java);
        // What answering takes, it takes the first time.
        jcmd(&target, "System.native_heap_info");
        let info = jcmd(&target, "System.native_heap_info");
        if !info.contains("<malloc") {
            continue;
        }
        let heap = walk(&target);
        let total = |start: &str| {
            let line = info.lines().rev().find(|line| line.starts_with(start)).unwrap();
            let number = |key: &str| -> u64 {
                let rest = line.split_once(&format!("{key}=\"")).map_or("0", |(_, rest)| rest);
                rest.split('"').next().unwrap().parse().unwrap()
            };
            (number("count"), number("size"))
        };
        let (mapped, system) = (total("<total type=\"mmap\""), total("<system type=\"current\"").1);
        assert_eq!(heap.arenas.len(), info.matches("<heap nr=").count(), "{name}");
        assert!(heap.large_count.abs_diff(mapped.0) <= 2, "{name}: {mapped:?}");
        assert!(heap.large_bytes.abs_diff(mapped.1) <= 1 << 20, "{name}: {mapped:?}");
        assert!(heap.system.abs_diff(system) <= 1 << 20, "{name}: {} against {system}", heap.system);
        compared += 1;
    }
    assert!(compared > 0, "no JVM here has System.native_heap_info: 21.0.8 or later is needed");
}

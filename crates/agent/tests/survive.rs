//! The agent among everything that a process can do to itself; and right in the end.

mod common;

use std::process::Command;

use offheap_live::{Counter, Reader, RegionKind};

fn survive(rounds: u32, threads: u32, allocator: Option<&str>, seconds: u32) {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("survive");
    let plugin = dir.path().join("plugin.so");
    let file = dir.path().join("s.live");
    common::compile("gcc", "c/survive.c", &program, &[]);
    common::compile("gcc", "c/plugin.c", &plugin, &["-shared", "-fPIC"]);
    let mut command = Command::new(&program);
    command
        .arg(common::agent())
        .arg(format!("file={},size=8388608", file.display()))
        .arg(&plugin)
        .args([rounds.to_string(), threads.to_string()]);
    if let Some(allocator) = allocator {
        command.env("LD_PRELOAD", allocator);
    }
    let (stdout, stderr, code) = common::run(&mut command, seconds);
    assert_eq!((stdout.as_str(), stderr.as_str(), code), ("survived\n", "", Some(0)));
    let bytes = std::fs::read(&file).unwrap();
    let r = Reader::new(&bytes).unwrap();
    let stale: Vec<_> = r.samples().filter(|s| (40000..50000).contains(&s.size)).collect();
    assert!(stale.is_empty(), "{} freed blocks are still in the table: {:?}", stale.len(), stale.first());
    assert!(r.counter(Counter::Samples) > u64::from(rounds), "{}", r.counter(Counter::Samples));
    assert_eq!(r.counter(Counter::AgentHeap), 0);
    assert_eq!(r.counter(Counter::MissedFrees), 0);
    assert_eq!(r.counter(Counter::LostFrees), 0);
    let stacks = r.regions().filter(|g| g.kind == RegionKind::ThreadStack).count();
    assert_eq!(stacks, 0, "stacks of threads that have ended");
    let mappings = r.regions().filter(|g| [1, 10, 16, 40].map(|n| n * 4096).contains(&g.size)).count();
    assert_eq!(mappings, 0, "mappings that were unmapped");
    let modules = r.modules().count();
    assert!(modules < 40, "{modules} modules: a library that comes and goes must not fill the table");
}

#[test]
fn survives_glibc() {
    survive(300, 4, None, 120);
}

#[test]
fn survives_few_and_many_threads() {
    for (rounds, threads) in [(100, 2), (60, 32), (40, 128)] {
        survive(rounds, threads, None, 240);
    }
}

#[test]
fn survives_other_allocators() {
    for name in ["libjemalloc.so.2", "libtcmalloc_minimal.so.4"] {
        let path = format!("/usr/lib/x86_64-linux-gnu/{name}");
        if std::path::Path::new(&path).exists() {
            survive(100, 4, Some(&path), 120);
        }
    }
}

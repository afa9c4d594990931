//! The coverage table: which ways of getting memory the agent sees, under LD_PRELOAD and loaded
//! late, over glibc, jemalloc and tcmalloc. Every allocation is a sample (interval 1), so the
//! answers are exact.

mod common;

use std::collections::HashSet;
use std::path::Path;
use std::process::Command;

use offheap_live::{Counter, Reader, RegionKind};

struct Programs {
    dir: tempfile::TempDir,
}

impl Programs {
    fn new() -> Programs {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir(at("sub")).unwrap();
        common::compile(
            "g++",
            "c/coverage.cpp",
            &at("coverage"),
            &["-Wl,-rpath,$ORIGIN/sub,--enable-new-dtags"],
        );
        for name in ["plain.so", "deep.so", "sub/libbyname.so"] {
            common::compile("gcc", "c/plugin.c", &at(name), &["-shared", "-fPIC"]);
        }
        Programs { dir }
    }

    /// Runs the program and returns the cases that the live file gets wrong.
    fn wrong(&self, late: bool, allocator: Option<&str>) -> Vec<String> {
        let dir = self.dir.path();
        let file = dir.join(format!("{late}.live"));
        let _ = std::fs::remove_file(&file);
        let mut command = Command::new(dir.join("coverage"));
        let agent = common::agent();
        let options = format!("file={},interval=1", file.display());
        let mut preload = Vec::new();
        if late {
            command.arg(agent).arg(&options);
        } else {
            command.arg("-").arg("-");
            command.env("OFFHEAP_FILE", &file).env("OFFHEAP_INTERVAL", "1");
            preload.push(agent.display().to_string());
        }
        preload.extend(allocator.map(ToOwned::to_owned));
        command.args([dir.join("plain.so"), dir.join("deep.so")]).arg("libbyname.so");
        if allocator.is_some_and(|a| a.contains("jemalloc")) {
            command.arg("nopvalloc");
        }
        if !preload.is_empty() {
            command.env("LD_PRELOAD", preload.join(" "));
        }
        let (stdout, stderr, code) = common::run(&mut command, 60);
        assert_eq!(code, Some(0), "{stdout}{stderr}");
        assert_eq!(stderr, "");
        let bytes = std::fs::read(&file).unwrap();
        let r = Reader::new(&bytes).unwrap();
        assert_eq!(r.dropped(), 0);
        assert_eq!(r.counter(Counter::AgentHeap), 0);
        let mut live: HashSet<u64> = r.samples().map(|s| s.size).collect();
        // Mappings are counted in pages.
        live.extend(r.regions().filter(|g| g.kind == RegionKind::Anonymous).map(|g| g.size));
        let page = |n: u64| n.next_multiple_of(4096);
        let mut wrong = Vec::new();
        for line in stdout.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let [name, leaked, freed] = words[..] else { panic!("{line}") };
            let mapping = name.starts_with('m') && name.contains("map");
            let size = |text: &str| {
                let n: u64 = text.parse().unwrap();
                if mapping { page(n) } else { n }
            };
            if !live.contains(&size(leaked)) {
                wrong.push(format!("{name}: not seen"));
            }
            if live.contains(&size(freed)) {
                wrong.push(format!("{name}: free not seen"));
            }
        }
        assert!(stdout.lines().count() >= 23, "{stdout}");
        wrong
    }
}

#[test]
fn preloaded_sees_everything() {
    assert_eq!(Programs::new().wrong(false, None), Vec::<String>::new());
}

#[test]
fn loaded_late_sees_everything() {
    assert_eq!(Programs::new().wrong(true, None), Vec::<String>::new());
}

#[test]
fn over_other_allocators() {
    let programs = Programs::new();
    let mut tried = 0;
    for name in ["libjemalloc.so.2", "libtcmalloc_minimal.so.4"] {
        let path = format!("/usr/lib/x86_64-linux-gnu/{name}");
        if !Path::new(&path).exists() {
            continue;
        }
        tried += 1;
        for late in [false, true] {
            let wrong: Vec<_> = programs.wrong(late, Some(&path));
            assert_eq!(wrong, Vec::<String>::new(), "{name}, late: {late}");
        }
    }
    assert!(tried > 0, "neither jemalloc nor tcmalloc is installed: apt-get install libjemalloc2");
}

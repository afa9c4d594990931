//! The ways in and out: kill -9, other copies of the agent, children, refusals.

mod common;

use std::path::Path;
use std::process::Command;

use common::{Lines, program};
use offheap_live::{Objects, Reader};

fn sizes(file: &Path) -> Vec<u64> {
    let bytes = std::fs::read(file).unwrap();
    let mut all: Vec<u64> =
        Reader::new(&bytes).unwrap().samples().map(|s| s.size).filter(|s| *s >= 70000).collect();
    all.sort_unstable();
    all
}

fn preloaded(program: &Path, file: &Path) -> Command {
    let mut command = Command::new(program);
    command.env("LD_PRELOAD", common::agent()).env("OFFHEAP_FILE", file).env("OFFHEAP_INTERVAL", "1");
    command
}

#[test]
fn the_file_outlives_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("k.live");
    let mut p = Lines::start(&mut preloaded(&program(dir.path()), &file));
    assert_eq!(p.tell("70001"), "ok");
    p.child.kill().unwrap();
    p.child.wait().unwrap();
    assert_eq!(sizes(&file), [70001]);
}

#[test]
fn children_leave_the_parents_file_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("p.live");
    let mut p = Lines::start(&mut preloaded(&program(dir.path()), &file));
    assert_eq!(p.tell("70001"), "ok");
    // By fork, in which a block is freed and another allocated; and by exec, with the same
    // environment.
    assert_eq!(p.tell("fork 70002"), "ok");
    assert_eq!(p.tell("exec 70003"), "ok");
    assert_eq!(p.tell("70004"), "ok");
    assert_eq!(sizes(&file), [70001, 70004]);
    let bytes = std::fs::read(&file).unwrap();
    assert_eq!(Reader::new(&bytes).unwrap().info().pid, p.child.id());
}

#[test]
fn another_copy_hands_its_commands_on() {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("copy.so");
    std::fs::copy(common::agent(), &copy).unwrap();
    let file = dir.path().join("first.live");
    let second = dir.path().join("second.live");
    let mut p = Lines::start(Command::new(program(dir.path())).env_remove("LD_PRELOAD"));
    let load = |agent: &Path, options: &str| format!("load {} {options}", agent.display());
    assert_eq!(p.tell(&load(common::agent(), "cmd=status")), "103");
    assert_eq!(p.tell(&load(common::agent(), &format!("file={},interval=1", file.display()))), "0");
    assert_eq!(p.tell(&load(&copy, &format!("file={},interval=1", second.display()))), "0");
    assert!(!second.exists());
    assert_eq!(p.tell("70001"), "ok");
    assert_eq!(p.tell(&load(&copy, "cmd=stop")), "0");
    assert_eq!(p.tell("70002"), "ok");
    assert_eq!(sizes(&file), [70001]);
}

/// A program that may not write large files would get SIGXFSZ for trying, whose default is to end
/// it.
#[test]
fn a_limit_on_file_sizes_ends_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("limited.live");
    let program = program(dir.path());
    let line = format!("ulimit -f 1000; exec {} 70001", program.display());
    let (out, err, code) = common::run(preloaded(Path::new("sh"), &file).args(["-c", &line]), 30);
    assert_eq!((out.as_str(), err.as_str(), code), ("", "", Some(0)));
    let line = format!("ulimit -f 1000; exec {}", program.display());
    let mut p = Lines::start(Command::new("sh").args(["-c", &line]));
    let load = format!("load {} file={}", common::agent().display(), file.display());
    assert_eq!(p.tell(&load), "102");
    assert_eq!(p.tell(&format!("load {} interval=1", common::agent().display())), "106");
    assert_eq!(p.tell("70001"), "ok");
}

/// Where other libraries have taken all static TLS the loader refuses the agent, and nothing else
/// happens.
#[test]
fn no_room_for_its_thread_local_state_is_a_refusal() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tls.live");
    let mut p = Lines::start(&mut Command::new(program(dir.path())));
    for size in [1024, 512, 256, 128, 64, 32, 16, 16, 16] {
        for turn in 0..3 {
            let library = dir.path().join(format!("tls{size}-{turn}.so"));
            common::compile("gcc", "c/tls.c", &library, &["-shared", "-fPIC", &format!("-DSIZE={size}")]);
            // Loaded or not: neither has the agent's entry.
            assert_eq!(p.tell(&format!("load {} x", library.display())), "-1");
        }
    }
    assert_eq!(p.tell(&format!("load {} file={}", common::agent().display(), file.display())), "-1");
    assert_eq!(p.tell("70001"), "ok");
    assert!(!file.exists());
}

/// musl's loader finds that a symbol of glibc is missing, and says so: the process that would load
/// the agent goes on, the one that was to begin with it does not begin.
#[test]
fn another_c_library_refuses_it() {
    if Command::new("musl-gcc").arg("--version").output().is_err() {
        eprintln!("musl-gcc is missing: not tested");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (program, file) = (dir.path().join("musl"), dir.path().join("musl.live"));
    common::compile("musl-gcc", "c/lines.c", &program, &[]);
    let mut p = Lines::start(&mut Command::new(&program));
    assert_eq!(p.tell(&format!("load {} file={}", common::agent().display(), file.display())), "-1");
    assert_eq!(p.tell("70001"), "ok");
    let out = preloaded(&program, &file).arg("70001").output().unwrap();
    assert!(String::from_utf8_lossy(&out.stderr).contains("symbol not found"), "{out:?}");
    assert_eq!(out.status.code(), Some(127));
    assert!(!file.exists());
}

/// Without a JVM there are no Java objects, which is no reason not to sample blocks.
#[test]
fn objects_need_a_jvm() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("objects.live");
    let mut p = Lines::start(&mut Command::new(program(dir.path())));
    let load = format!("load {} file={},interval=1,objects=1", common::agent().display(), file.display());
    assert_eq!(p.tell(&load), "0");
    assert_eq!(p.tell("70001"), "ok");
    assert_eq!(p.tell(&format!("load {} cmd=sweep", common::agent().display())), "0");
    assert_eq!(sizes(&file), [70001]);
    let bytes = std::fs::read(&file).unwrap();
    assert_eq!(Reader::new(&bytes).unwrap().info().objects, Objects::NoJvm);
}

#[test]
fn refuses_what_it_can_not_do() {
    let dir = tempfile::tempdir().unwrap();
    let mut p = Lines::start(&mut Command::new(program(dir.path())));
    let mut load = |options: &str| p.tell(&format!("load {} {options}", common::agent().display()));
    assert_eq!(load("interval=0"), "100");
    assert_eq!(load("file=/no/such/directory/x"), "102");
    assert_eq!(load("file=/dev/null"), "102");
    let precious = dir.path().join("precious");
    std::fs::write(&precious, vec![7; 10_000]).unwrap();
    assert_eq!(load(&format!("file={}", precious.display())), "102");
    assert_eq!(std::fs::read(&precious).unwrap(), vec![7; 10_000]);
    // An image of a disk, which begins with nothing.
    let image = [vec![0; 1 << 20], vec![7; 1 << 20]].concat();
    std::fs::write(&precious, &image).unwrap();
    assert_eq!(load(&format!("file={}", precious.display())), "102");
    assert_eq!(std::fs::read(&precious).unwrap(), image);
    assert_eq!(load(&format!("file={},size=1000", dir.path().join("x").display())), "100");
    assert_eq!(p.tell("70001"), "ok");
}

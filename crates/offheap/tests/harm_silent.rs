//! File systems that don't answer, of a dead NFS or FUSE server: a target with a library on one is
//! looked at without it.

use offheap_testkit::{Program, build_harm, offheap, run_within};
use rustix::process::{Pid, Signal, kill_process};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// What a verb may take: its own two seconds of looking, and some calls that are given up after
/// three each.
const LIMIT: Duration = Duration::from_secs(60);

/// Unmounts it, whatever becomes of the test.
struct Mounted<'a>(&'a Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).stderr(Stdio::null()).status();
    }
}

#[test]
fn a_library_on_a_silent_file_system_holds_nothing_up() {
    let library = build_harm("silent", &["storm/plugin/plugin.c"], &["-shared"]);
    let folder = tempfile::tempdir().unwrap();
    let _mounted = Mounted(folder.path());
    let mut server = Command::new(build_harm("fuse", &["targets/fuse.c"], &[]));
    let mut server = Program::start(server.arg(folder.path()).arg(&library));
    if server.line() != "mounted" {
        // Without root, or without FUSE in the kernel.
        eprintln!("skipped: no file system can be mounted here");
        return;
    }
    let on_it = folder.path().join("library.so");
    let mut target = Program::start(
        Command::new("/bin/sh").args(["-c", "echo READY; exec cat"]).env("LD_PRELOAD", &on_it),
    );
    let pid = target.pid().to_string();
    let run = |words: &[&str]| run_within(Command::new(offheap()).args(words), LIMIT);
    let map = |why: &str| {
        let ended = run(&["map", &pid, "--json"]);
        assert_eq!(ended.code(), Some(0), "{why}: {}", ended.err);
        assert!(ended.out.contains("library.so"), "{why}: it is mapped");
        ended.took
    };
    map("it answers");

    let signal = |signal| kill_process(Pid::from_raw(server.pid()).unwrap(), signal).unwrap();
    signal(Signal::STOP);
    let silent = map("it is silent");
    let recording = tempfile::tempdir().unwrap();
    let recording = recording.path().join("silent.offheap");
    let words: [&[&str]; 4] = [
        &["diagnose", &pid, "--for", "2s", "--no-agent"],
        &["profile", &pid, "--for", "1s"],
        &["record", &pid, "--for", "1s", "-o", recording.to_str().unwrap()],
        &["doctor", &pid],
    ];
    for words in words {
        let ended = run(words);
        assert!(ended.code().is_some(), "{words:?} was held up for {:.0?}: {}", ended.took, ended.err);
        assert!(!ended.err.contains("panicked"), "{words:?}: {}", ended.err);
        eprintln!("{words:?}: {:.1?}, {:?}", ended.took, ended.code());
    }
    assert!(target.ended().is_none(), "the target died");
    signal(Signal::CONT);
    map("it answers again");
    eprintln!("map of a target on a silent file system: {silent:.1?}");
}

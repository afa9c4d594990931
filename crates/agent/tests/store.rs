//! The live file in memory: how a reader gets it, what is left after a stop, how the agent is
//! woken, and its lease.

mod common;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use common::{Lines, program};
use offheap_live::{Counter, FrameKind, Reader, State};

/// A program that the agent can be loaded into, with its own folder.
struct Target {
    lines: Lines,
    _dir: tempfile::TempDir,
}

impl Target {
    fn new() -> Target {
        let dir = tempfile::tempdir().unwrap();
        let lines = Lines::start(&mut Command::new(program(dir.path())));
        Target { lines, _dir: dir }
    }

    fn tell(&mut self, line: &str) {
        assert_eq!(self.lines.tell(line), "ok");
    }

    fn command(&mut self, options: &str) -> String {
        self.lines.tell(&format!("load {} {options}", common::agent().display()))
    }

    fn proc(&self, name: &str) -> PathBuf {
        format!("/proc/{}/{name}", self.lines.child.id()).into()
    }

    /// What is open under such a name, to be opened by us.
    fn open(&self, name: &str) -> Option<PathBuf> {
        std::fs::read_dir(self.proc("fd")).unwrap().flatten().map(|entry| entry.path()).find(|path| {
            std::fs::read_link(path)
                .is_ok_and(|link| link.to_string_lossy().starts_with(&format!("/memfd:{name}")))
        })
    }

    /// The live file and its lease, as a reader takes them.
    fn take(&mut self) -> (File, File) {
        let live = File::open(self.open("offheap-live").expect("the live file")).unwrap();
        let lease = self.open("offheap-lease").expect("the lease");
        let lease = std::fs::OpenOptions::new().read(true).write(true).open(lease).unwrap();
        assert_eq!(self.command("cmd=close"), "0");
        assert_eq!((self.open("offheap-live"), self.open("offheap-lease")), (None, None), "closed");
        (live, lease)
    }

    fn shared(&self) -> usize {
        let maps = std::fs::read_to_string(self.proc("maps")).unwrap();
        maps.lines().filter(|line| line.contains("rw-s")).count()
    }

    fn rss(&self) -> i64 {
        let smaps = std::fs::read_to_string(self.proc("smaps_rollup")).unwrap();
        let rss = smaps.lines().find(|line| line.starts_with("Rss:")).unwrap();
        rss.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    fn held(&self) -> (usize, usize, String) {
        let maps = std::fs::read_to_string(self.proc("maps")).unwrap().lines().count();
        let fds = std::fs::read_dir(self.proc("fd")).unwrap().count();
        let status = std::fs::read_to_string(self.proc("status")).unwrap();
        (maps, fds, status.lines().find(|l| l.starts_with("VmSize")).unwrap().to_owned())
    }
}

fn bytes(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

fn sizes(file: &File) -> Vec<u64> {
    let bytes = bytes(file);
    let all = Reader::new(&bytes).unwrap().samples().map(|s| s.size).filter(|s| *s >= 70000);
    let mut all: Vec<u64> = all.collect();
    all.sort_unstable();
    all
}

fn state(file: &File) -> (Option<State>, u32) {
    let bytes = bytes(file);
    let info = Reader::new(&bytes).unwrap().info();
    (info.state, info.session)
}

#[test]
fn a_reader_takes_it_and_it_outlives_the_program() {
    let mut target = Target::new();
    assert_eq!(target.command("interval=1,size=4194304"), "0");
    target.tell("70001");
    assert_eq!(target.command("cmd=status"), "0");
    let path = target.open("offheap-live").expect("status closes nothing");
    // Nobody writes there but the agent, and nobody makes it shorter.
    let writer = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    assert!(writer.write_at(b"x", 0).is_err() && writer.set_len(0).is_err());
    let (live, lease) = target.take();
    assert!(lease.set_len(0).is_err(), "the agent reads it");
    target.tell("70002");
    assert_eq!(sizes(&live), [70001, 70002]);
    let copy = bytes(&live);
    let info = Reader::new(&copy).unwrap().info();
    assert_eq!((info.state, info.session, info.lease_seconds), (Some(State::Running), 1, 60));
    target.lines.child.kill().unwrap();
    target.lines.child.wait().unwrap();
    assert_eq!(sizes(&live), [70001, 70002]);
}

#[test]
fn descriptors_that_the_program_has_closed_itself_are_not_closed_again() {
    let mut target = Target::new();
    assert_eq!(target.command("interval=1,size=4194304"), "0");
    target.tell("reopen");
    let before = std::fs::read_dir(target.proc("fd")).unwrap().count();
    assert!(before > 60, "{before}");
    assert_eq!(target.command("cmd=close"), "0");
    assert_eq!(std::fs::read_dir(target.proc("fd")).unwrap().count(), before);
}

/// At most 1 MiB is left, code and tables included; and nothing shared.
#[test]
fn a_stop_gives_back_nearly_all() {
    let mut target = Target::new();
    target.tell("many 100");
    let before = target.rss();
    assert_eq!(target.command("interval=1"), "0");
    let (live, _) = target.take();
    target.tell("70001");
    // All that a walk leaves behind: remembered ones, cached addresses, unwind tables.
    target.tell("many 200000");
    let running = target.rss();
    assert_eq!(target.shared(), 2);
    assert_eq!(target.command("cmd=stop"), "0");
    assert_eq!(target.shared(), 0);
    let after = target.rss();
    println!("{before} kB before, {running} kB running, {after} kB stopped");
    assert!(running > before + 1000, "the live file's pages that were used are the program's");
    assert!(after <= before + 1024, "{before} kB before, {after} kB after");
    assert_eq!((state(&live), sizes(&live)), ((Some(State::Stopped), 1), vec![70001]));
    target.tell("70002");
    assert_eq!(sizes(&live), [70001]);
    assert_eq!((target.command("cmd=stop"), target.command("cmd=status")), ("0".into(), "0".into()));
}

#[test]
fn a_woken_agent_begins_anew() {
    let mut target = Target::new();
    let mut first = None;
    for session in 1..=3 {
        // No larger than the first: that is what there is room for.
        let size = [8 << 20, 4 << 20, 32 << 20][session as usize - 1];
        assert_eq!(target.command(&format!("interval=1,size={size}")), "0");
        let (live, _) = target.take();
        target.tell("70001");
        target.tell("many 1000");
        assert_eq!((state(&live), sizes(&live)), ((Some(State::Running), session), vec![70001]));
        let bytes = bytes(&live);
        assert_eq!(bytes.len(), size.min(8 << 20));
        let r = Reader::new(&bytes).unwrap();
        let patched = r.counter(Counter::SlotsPatched);
        assert!(
            patched > 2 && *first.get_or_insert(patched) == patched,
            "{patched} patched, at first {first:?}"
        );
        // Every index is of this file: modules, frames and stacks.
        let stacks: Vec<_> = r.stacks().collect();
        assert!(stacks.len() > 50, "{}", stacks.len());
        for stack in stacks {
            let frames: Vec<_> = stack.frames().collect();
            assert!(frames.len() >= 2);
            for frame in frames {
                assert_eq!(frame.kind, FrameKind::Native);
                let module = r.module(frame.module.expect("its library")).expect("whole");
                assert!((module.start..module.end).contains(&frame.pc), "{frame:?} {module:?}");
            }
        }
        assert_eq!(target.command("cmd=stop"), "0");
    }
}

#[test]
fn two_hundred_cycles_leave_nothing() {
    let mut target = Target::new();
    let cycle = |target: &mut Target, n: u32| {
        assert_eq!(
            target.command(["interval=1,size=4194304", "interval=4096,size=8388608"][n as usize % 2]),
            "0"
        );
        target.tell("many 20");
        if n.is_multiple_of(3) {
            drop(target.take());
        }
        assert_eq!(target.command("cmd=stop"), "0");
    };
    for n in 0..20 {
        cycle(&mut target, n);
    }
    let (held, rss) = (target.held(), target.rss());
    for n in 0..200 {
        cycle(&mut target, n);
    }
    assert_eq!(target.held(), held);
    assert!(target.rss() < rss + 100, "{} kB, {rss} kB before", target.rss());
}

/// Until the agent has stopped by itself, or some time has passed.
fn stops(target: &mut Target, live: &File, within: Duration) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < within {
        target.tell("many 10");
        if state(live).0 == Some(State::Stopped) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

/// Has the program allocate for half a lease after a renewal: it may not stop before the lease is
/// over. (On a machine that stands still for that long it may, and nothing is shown.)
fn goes_on(target: &mut Target, live: &File, renewed: Instant) {
    if stops(target, live, LEASE / 2) {
        assert!(renewed.elapsed() >= LEASE, "it was renewed");
    }
}

const LEASE: Duration = Duration::from_secs(3);

#[test]
fn a_lease_that_nobody_renews_runs_out() {
    let mut target = Target::new();
    assert_eq!(target.command("interval=1,size=4194304,lease=3"), "0");
    let (live, lease) = target.take();
    for n in 1..5u64 {
        let renewed = Instant::now();
        lease.write_all_at(&(u64::MAX / n).to_le_bytes(), 0).unwrap();
        goes_on(&mut target, &live, renewed);
    }
    assert!(stops(&mut target, &live, Duration::from_secs(30)));
    assert_eq!(target.shared(), 0);
    // And is woken again; commands renew it as well.
    assert_eq!(target.command("interval=1,size=4194304,lease=3"), "0");
    let (live, _) = target.take();
    for _ in 0..4 {
        let renewed = Instant::now();
        assert_eq!(target.command("cmd=status"), "0");
        goes_on(&mut target, &live, renewed);
    }
    assert!(stops(&mut target, &live, Duration::from_secs(30)));
    // None of its own.
    assert_eq!(target.command("interval=1,size=4194304,lease=0"), "0");
    assert_eq!(target.open("offheap-lease"), None);
}

#[test]
fn a_named_file_has_its_lease_in_itself() {
    let mut target = Target::new();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("named");
    assert_eq!(target.command(&format!("file={},interval=1,lease=3", path.display())), "0");
    assert_eq!((target.open("offheap-live"), target.open("offheap-lease")), (None, None));
    let live = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let at = std::mem::offset_of!(offheap_live::Header, lease) as u64;
    for n in 1..4u64 {
        let renewed = Instant::now();
        live.write_all_at(&n.to_le_bytes(), at).unwrap();
        goes_on(&mut target, &live, renewed);
    }
    assert!(stops(&mut target, &live, Duration::from_secs(30)));
    // It stays, and is taken again by the next start.
    assert_eq!(target.command(&format!("file={},interval=1", path.display())), "0");
    let live = File::open(&path).unwrap();
    assert_eq!(state(&live), (Some(State::Running), 2));
    assert!(!stops(&mut target, &live, Duration::from_millis(100)));
}

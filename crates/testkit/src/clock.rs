//! How long a thread of the target that does nothing but look at the clock is kept from it by an
//! attach.
//!
//! That thread has a processor of its own, and everything else of the target and of offheap shares
//! the others; times in which somebody else took that processor all the same, by the kernel's
//! account (schedstat), are not counted.

use crate::{Jdk, Program, offheap, run_within, storm};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

/// Which thread looks at the clock: its name, and its kind of weather in `harm/storm`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thread {
    /// One that the JVM knows nothing of.
    Native,
    /// One that waits for safepoints too.
    Java,
}

impl Thread {
    fn name(self) -> &'static str {
        match self {
            Thread::Native => "clock",
            Thread::Java => "jclock",
        }
    }
}

/// The longest times between two looks, a window each.
#[derive(Debug, Default, Clone)]
pub struct Gaps {
    /// While the agent was loaded and stopped.
    pub attached: Vec<Duration>,
    /// In the same JVM for as long, without that.
    pub alone: Vec<Duration>,
}

/// The `part` (0 to 1) of them, counted from the shortest.
pub fn quantile(gaps: &[Duration], part: f64) -> Duration {
    let mut all = gaps.to_vec();
    all.sort_unstable();
    let at = (all.len() as f64 * part).ceil() as usize;
    all.get(at.saturating_sub(1)).copied().unwrap_or_default()
}

/// Loads the agent into that many new JVMs.
///
/// # Panics
/// When a JVM ends, or there is one processor only.
pub fn attaches(jdk: &Jdk, thread: Thread, count: u32) -> Gaps {
    let mut gaps = Gaps::default();
    for _ in 0..count {
        let folder = tempfile::tempdir().expect("the temporary folder is writable");
        let mut jvm = storm::start(jdk, &["-XX:+UseSerialGC"], &[thread.name()], folder.path());
        // Until what a starting JVM compiles is compiled.
        std::thread::sleep(Duration::from_millis(500));
        let pid = jvm.pid().to_string();
        separate(&jvm, thread.name());
        let mut window = |what: &mut dyn FnMut()| {
            gap(&mut jvm);
            what();
            gap(&mut jvm)
        };
        let mut command = Command::new(offheap());
        command.args(["profile", &pid, "--for", "100ms", "--json"]);
        // SAFETY: one system call, with a set on this stack.
        unsafe { command.pre_exec(|| pin(0, false)) };
        let mut took = Duration::ZERO;
        gaps.attached.push(window(&mut || {
            let ended = run_within(&mut command, Duration::from_secs(60));
            assert_eq!(ended.code(), Some(0), "{}", ended.err);
            took = ended.took;
        }));
        gaps.alone.push(window(&mut || std::thread::sleep(took)));
    }
    gaps
}

/// The longest time between two looks since it was last asked.
fn gap(jvm: &mut Program) -> Duration {
    let answer = jvm.ask("gap");
    Duration::from_nanos(answer.parse().unwrap_or_else(|_| panic!("no number of nanoseconds: {answer}")))
}

/// Gives the thread of that name the last processor, and all others the rest.
fn separate(jvm: &Program, name: &str) {
    let mut found = false;
    let tasks = std::fs::read_dir(format!("/proc/{}/task", jvm.pid())).expect("it runs");
    for task in tasks.flatten() {
        let own = std::fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim() == name);
        if let Some(tid) = task.file_name().to_str().and_then(|tid| tid.parse().ok()) {
            found |= own;
            // One that has ended meanwhile is in nobody's way.
            let _ = pin(tid, own);
        }
    }
    assert!(found, "there is no thread called {name}");
}

/// Lets the thread `tid` (0: this one) run on the last processor only, or on all but that.
fn pin(tid: i32, last: bool) -> std::io::Result<()> {
    // SAFETY: asks for a number; writes within a set on this stack, whose size is given.
    let result = unsafe {
        let count = libc::sysconf(libc::_SC_NPROCESSORS_ONLN).max(2) as usize;
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        (0..count).filter(|cpu| (*cpu == count - 1) == last).for_each(|cpu| libc::CPU_SET(cpu, &mut set));
        libc::sched_setaffinity(tid, size_of_val(&set), &raw const set)
    };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

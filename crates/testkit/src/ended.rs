//! Running a command that may hang.

use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// What became of a command.
#[derive(Debug)]
pub struct Ended {
    /// How it ended; `None`: it hung, and was killed with all it started.
    pub status: Option<ExitStatus>,
    /// What it printed.
    pub out: String,
    /// What it printed to its standard error.
    pub err: String,
    /// How long it took.
    pub took: Duration,
    /// The most memory it, or a child of it, had at once.
    pub peak_bytes: u64,
}

impl Ended {
    /// Its exit code; `None` also where a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status?.code()
    }

    /// The signal that ended it.
    pub fn signal(&self) -> Option<i32> {
        self.status?.signal()
    }

    /// The last line of its standard error.
    pub fn reason(&self) -> &str {
        self.err.trim_end().lines().last().unwrap_or_default()
    }
}

/// Runs `command` until it ends, at most for `limit`. It dies with the caller.
///
/// # Panics
/// When it can't be started.
pub fn run_within(command: &mut Command, limit: Duration) -> Ended {
    // SAFETY: prctl is async-signal-safe; the child that fork made does nothing else here.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
    let begin = Instant::now();
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?} can't be started: {error}"));
    let mut out = child.stdout.take().expect("its output is piped");
    let mut err = child.stderr.take().expect("its errors are piped");
    let reader = |pipe: &mut dyn Read| {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let out = std::thread::spawn(move || reader(&mut out));
    let err = std::thread::spawn(move || reader(&mut err));
    let pid = child.id();
    let mut peak_bytes = 0;
    let status = loop {
        peak_bytes = peak_bytes.max(peak(pid));
        match child.try_wait() {
            Ok(Some(status)) => break Some(status),
            _ if begin.elapsed() > limit => break None,
            _ => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let took = begin.elapsed();
    // Also what it left running, which holds the pipes open.
    // SAFETY: a signal to the group that the command was started in.
    unsafe { libc::kill(-(pid as i32), libc::SIGKILL) };
    let _ = child.wait();
    let text = |thread: std::thread::JoinHandle<String>| thread.join().unwrap_or_default();
    Ended { status, out: text(out), err: text(err), took, peak_bytes }
}

/// The most memory that a process had until now.
fn peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024
}

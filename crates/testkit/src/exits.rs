//! JVMs that end while the agent is being loaded: each ends as it would have, and offheap with it.

use crate::{Jdk, offheap, storm};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The ways out, and how a JVM that takes one ends.
const WAYS: &[(&str, &str)] = &[
    ("exit", "exit status: 42"),
    ("leave", "exit status: 42"),
    ("exec", "exit status: 42"),
    ("kill", "signal: 9"),
    ("term", "exit status: 143"),
];

/// Starts a JVM, loads the agent, and ends the JVM `after` the begin of the loading, in one of the
/// ways; what was wrong.
pub fn one(jdk: &Jdk, way: usize, after: Duration) -> Result<(), String> {
    let (way, expected) = WAYS[way % WAYS.len()];
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mut jvm = storm::start(jdk, &["-XX:+UseSerialGC"], &["objects"], folder.path());
    let pid = jvm.pid();
    let mut command = Command::new(offheap());
    command.args(["profile", &pid.to_string(), "--for", "300ms", "--json"]).stdin(Stdio::null());
    let err = folder.path().join("offheap");
    let file = std::fs::File::create(&err).map_err(|error| error.to_string())?;
    let mut child = command.stdout(Stdio::null()).stderr(file).spawn().map_err(|error| error.to_string())?;
    std::thread::sleep(after);
    match way {
        // SAFETY: signals to a process that this one started and has not waited for.
        "kill" => unsafe { libc::kill(pid, libc::SIGKILL) },
        // SAFETY: as above.
        "term" => unsafe { libc::kill(pid, libc::SIGTERM) },
        _ => {
            jvm.tell(way);
            0
        }
    };
    let status = jvm.ends_within(Duration::from_secs(30));
    let seen = status.map_or("it hangs".to_owned(), |status: ExitStatus| status.to_string());
    let deadline = Instant::now() + Duration::from_secs(60);
    let own = loop {
        match child.try_wait() {
            Ok(Some(status)) => break Some(status),
            _ if Instant::now() > deadline => break None,
            _ => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let _ = child.kill();
    let _ = child.wait();
    let said = std::fs::read_to_string(&err).unwrap_or_default();
    let context = format!("{way} after {after:?}");
    if !seen.starts_with(expected) {
        return Err(format!("{context}: the JVM: {seen}, not {expected}{}", storm::crash(folder.path())));
    }
    match own.and_then(|status| status.code()) {
        Some(0 | 2) if !said.contains("panicked") => Ok(()),
        code => Err(format!("{context}: offheap: {code:?} {own:?}: {said}")),
    }
}

//! An offheap that is ended in the middle: its agent stops too.

use crate::{Jdk, Program, build_harm_java, offheap};
use std::mem::offset_of;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Sends `signal` to an offheap whose agent is sampling in a JVM; `Ok` if the agent sleeps within
/// `limit`, and the JVM lives.
///
/// # Errors
/// What is wrong.
///
/// # Panics
/// When the JVM can't be started.
pub fn one(jdk: &Jdk, signal: &str, limit: Duration) -> Result<Duration, String> {
    let mut command = Command::new(&jdk.java);
    command.args(["-Xmx32m", "-XX:+UseSerialGC", "-cp"]).arg(build_harm_java("Host")).arg("Host");
    let mut jvm = Program::start(&mut command);
    let pid = jvm.pid();
    let mut command = Command::new(offheap());
    command.args(["profile", &pid.to_string(), "--for", "5m", "--interval", "1k"]);
    // Whoever started this test may ignore them (nohup), and offheap keeps to what it inherits.
    // SAFETY: calls that a child may make before exec.
    unsafe {
        command.pre_exec(|| {
            for signal in [libc::SIGHUP, libc::SIGPIPE, libc::SIGINT, libc::SIGTERM] {
                libc::signal(signal, libc::SIG_DFL);
            }
            Ok(())
        });
    }
    let mut child =
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().map_err(|error| error.to_string())?;
    let end = Instant::now() + Duration::from_secs(60);
    while state(pid) != Some(RUNNING) {
        if Instant::now() > end {
            let _ = child.kill();
            let _ = child.wait();
            return Err("the agent was never loaded".to_owned());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status();
    let _ = child.wait();
    let begin = Instant::now();
    while state(pid) == Some(RUNNING) {
        if begin.elapsed() > limit {
            return Err(format!("SIG{signal}: the agent still samples after {limit:?}"));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let took = begin.elapsed();
    if jvm.try_ask("alive").as_deref() == Some("alive") {
        Ok(took)
    } else {
        Err(format!("SIG{signal}: the JVM ended"))
    }
}

/// [`offheap_live::State::Running`].
const RUNNING: u32 = offheap_live::State::Running as u32;

/// The state in the header of the live file that a process has mapped; `None` where there is none.
fn state(pid: i32) -> Option<u32> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let memory = std::fs::File::open(format!("/proc/{pid}/mem")).ok()?;
    maps.lines().filter(|line| line.contains("rw-s")).find_map(|line| {
        let start = u64::from_str_radix(line.split('-').next()?, 16).ok()?;
        let mut head = [0; 8];
        memory.read_exact_at(&mut head, start).ok()?;
        if u64::from_ne_bytes(head) != offheap_live::MAGIC {
            return None;
        }
        let mut word = [0; 4];
        memory.read_exact_at(&mut word, start + offset_of!(offheap_live::Header, state) as u64).ok()?;
        Some(u32::from_ne_bytes(word))
    })
}

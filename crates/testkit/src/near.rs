//! JVMs whose memory group is almost full: nobody is killed because offheap looks.

use crate::{Jdk, Program, build_harm, build_harm_java, offheap, run_within};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The limit: of a small pod.
pub const LIMIT: u64 = 256 << 20;

/// A memory group of its own with the limit, removed when dropped; all that lives in it is killed
/// then.
#[derive(Debug)]
pub struct Group {
    folder: PathBuf,
    version: u8,
}

impl Group {
    /// Makes one below this process's own, by version 1 or 2.
    ///
    /// # Errors
    /// Why there can be none here.
    pub fn create(limit: u64) -> Result<Group, String> {
        let name = format!(
            "offheap-harm-{}-{:x}",
            std::process::id(),
            std::time::UNIX_EPOCH.elapsed().map_or(0, |t| t.as_nanos())
        );
        let first = Path::new("/sys/fs/cgroup/memory");
        let (version, parent) = if first.is_dir() { (1, first) } else { (2, Path::new("/sys/fs/cgroup")) };
        let group = Group { folder: parent.join(name), version };
        std::fs::create_dir(&group.folder).map_err(|error| format!("{}: {error}", group.folder.display()))?;
        let file = if version == 1 { "memory.limit_in_bytes" } else { "memory.max" };
        std::fs::write(group.folder.join(file), limit.to_string())
            .map_err(|error| format!("{file}: {error}"))?;
        Ok(group)
    }

    /// What a shell has to do to be in it.
    pub fn enter(&self) -> String {
        format!("echo $$ > {}/cgroup.procs", self.folder.display())
    }

    /// Bytes that count against the limit and can't be had by dropping cache.
    pub fn used(&self) -> u64 {
        let text = |name: &str| std::fs::read_to_string(self.folder.join(name)).unwrap_or_default();
        let usage = if self.version == 1 { "memory.usage_in_bytes" } else { "memory.current" };
        let used = text(usage).trim().parse::<u64>().unwrap_or(0);
        let stat = text("memory.stat");
        let cache = |name: &str| {
            let line = stat.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
            line.unwrap_or(0)
        };
        used.saturating_sub(cache("inactive_file ")).saturating_sub(cache("active_file "))
    }

    /// Processes that the kernel killed in it.
    pub fn kills(&self) -> u64 {
        let file = if self.version == 1 { "memory.oom_control" } else { "memory.events" };
        let text = std::fs::read_to_string(self.folder.join(file)).unwrap_or_default();
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()).unwrap_or(0)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for _ in 0..100 {
            let all = std::fs::read_to_string(self.folder.join("cgroup.procs")).unwrap_or_default();
            for pid in all.lines().filter_map(|line| line.parse::<i32>().ok()) {
                // SAFETY: a signal to a process in a group that is ours alone.
                unsafe { libc::kill(pid, libc::SIGKILL) };
            }
            if std::fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// What became of one look.
#[derive(Debug)]
pub struct Look {
    /// Processes in the group that were killed.
    pub kills: u64,
    /// Whether the JVM lives.
    pub lives: bool,
    /// What offheap said last.
    pub said: String,
    /// What was left to the limit before and, of what had been left, is not there any more
    /// afterwards.
    pub left: [u64; 2],
}

/// Starts a JVM in a full group, `left` bytes below the limit, and has offheap look at it:
/// `diagnose` or `profile`, from outside the group or from `inside`, as in `docker exec`.
///
/// # Errors
/// Why that can't be tried here.
pub fn look(jdk: &Jdk, left: u64, arguments: &[&str], inside: bool) -> Result<Look, String> {
    let group = Group::create(LIMIT)?;
    let classes = build_harm_java("Host");
    // A heap that is all there from the begin: what is used later is not Java's doing.
    let java = format!(
        "{}; exec {} -Xms100m -Xmx100m -XX:+AlwaysPreTouch -XX:+UseSerialGC -cp {} Host",
        group.enter(),
        jdk.java.display(),
        classes.display()
    );
    let mut jvm = Program::start(Command::new("sh").args(["-c", &java]));
    std::thread::sleep(Duration::from_millis(700));
    // Ballast fills the rest.
    let program = build_harm("ballast", &["targets/ballast.c"], &[]);
    let line = format!("{}; exec {}", group.enter(), program.display());
    let mut ballast = Program::start(Command::new("sh").args(["-c", &line]));
    for _ in 0..50 {
        let missing = (LIMIT - left) as i64 - group.used() as i64;
        if missing < 128 << 10 {
            break;
        }
        ballast.ask(&(missing & !4095).to_string());
    }
    let before = group.used();
    let pid = jvm.pid().to_string();
    let mut command = Command::new("sh");
    let enter = if inside { group.enter() } else { "true".to_owned() };
    let line = format!("{enter}; exec \"$@\"");
    command.args(["-c", &line, "sh"]).arg(offheap()).arg(arguments[0]).arg(&pid).args(&arguments[1..]);
    let ended = run_within(&mut command, Duration::from_secs(120));
    let lives = jvm.ended().is_none() && jvm.try_ask("alive").as_deref() == Some("alive");
    let kills = group.kills();
    let said = format!("{:?} {}", ended.code(), ended.reason());
    Ok(Look { kills, lives, said, left: [LIMIT.saturating_sub(before), group.used().saturating_sub(before)] })
}

//! A disk that stops answering (fsfreeze) under every file that offheap could use: the target's
//! allocations don't wait for it.

use crate::{Jdk, Program, build_harm, build_harm_java, offheap, run_within};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long it is frozen.
const FROZEN: Duration = Duration::from_millis(1500);

/// A file system of its own, ext4 in a file, mounted; thawed, unmounted and gone when dropped.
/// Never one of the machine's own.
#[derive(Debug)]
pub struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    /// Makes and mounts one.
    ///
    /// # Errors
    /// Why there can be none here.
    pub fn create() -> Result<Disk, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let disk = Disk { folder };
        let image = disk.folder.path().join("image");
        std::fs::create_dir(disk.path()).map_err(|error| error.to_string())?;
        let file = std::fs::File::create(&image).map_err(|error| error.to_string())?;
        file.set_len(300 << 20).map_err(|error| error.to_string())?;
        must(Command::new("mkfs.ext4").arg("-q").arg(&image))?;
        must(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(disk.path()))?;
        must(Command::new("chmod").arg("1777").arg(disk.path()))?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    /// Freezes it for a while, or only waits as long, for the control.
    fn freeze(&self, really: bool) -> Result<(), String> {
        must(Command::new("sync").arg("-f").arg(self.path()))?;
        if !really {
            std::thread::sleep(FROZEN);
            return Ok(());
        }
        must(Command::new("fsfreeze").arg("-f").arg(self.path()))?;
        std::thread::sleep(FROZEN);
        must(Command::new("fsfreeze").arg("-u").arg(self.path()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let silent = |name: &str, arguments: &[&str]| {
            let mut command = Command::new(name);
            let _ =
                command.args(arguments).arg(self.path()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        };
        silent("fsfreeze", &["-u"]);
        silent("umount", &["-l"]);
    }
}

fn must(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(format!("{command:?}: {}", error.trim())) }
}

/// The slowest malloc with free of a program while the disk was frozen.
#[derive(Debug, Clone, Copy)]
pub struct Slowest {
    /// With offheap.
    pub with: Duration,
    /// The same program, as often frozen, without it.
    pub without: Duration,
}

/// Puts the disk at `/tmp` of `command`'s own mount namespace, and its temporary folder, home and
/// working folder on it.
fn on(disk: &Path, program: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    let line = "mount --bind \"$0\" /tmp && cd /tmp && export TMPDIR=/tmp HOME=/tmp && exec \"$@\"";
    command
        .args(["--mount", "--propagation", "private", "sh", "-c", line])
        .arg(disk)
        .arg(program)
        .args(arguments);
    command
}

fn microseconds(line: &str) -> Option<Duration> {
    let word = line.split(' ').nth(2)?;
    line.starts_with("slowest malloc").then(|| word.parse().ok().map(Duration::from_micros))?
}

/// A C program, from its begin by `offheap run`.
///
/// # Errors
/// What can't be done here, or the program's end.
pub fn of_run() -> Result<Slowest, String> {
    let program = build_harm("latency", &["targets/latency.c"], &[]);
    let latency = program.to_string_lossy().into_owned();
    // Its own folders are outside of /tmp, which it can't see.
    let here = tempfile::tempdir_in("/var/tmp").map_err(|error| error.to_string())?;
    let copies = [(&program, "latency"), (&offheap(), "offheap")].map(|(from, name)| {
        let to = here.path().join(name);
        std::fs::copy(from, &to).map(|_| to.to_string_lossy().into_owned())
    });
    let [Ok(program), Ok(offheap)] = copies else { return Err(format!("{latency} can't be copied")) };
    let one = |words: &[&str]| -> Result<Duration, String> {
        let disk = Disk::create()?;
        let mut target = Program::start(&mut on(&disk.path(), Path::new(words[0]), &words[1..]));
        std::thread::sleep(Duration::from_millis(500));
        disk.freeze(true)?;
        let rest = target.rest();
        rest.lines().find_map(microseconds).ok_or_else(|| format!("the program said: {rest}"))
    };
    let words = [program.as_str(), "4", "20000", "100"];
    let with = one(&[&[offheap.as_str(), "run", "--interval", "64k", "--json", "--"][..], &words].concat())?;
    Ok(Slowest { with, without: one(&words)? })
}

/// A JVM that is looked at, the disk frozen while the agent runs (`after_stop`: after it was
/// stopped).
///
/// # Errors
/// What can't be done here, or the JVM's end.
pub fn of_jvm(jdk: &Jdk, after_stop: bool) -> Result<Slowest, String> {
    let one = |looked_at: bool| -> Result<Duration, String> {
        let disk = Disk::create()?;
        let here = tempfile::tempdir_in("/var/tmp").map_err(|error| error.to_string())?;
        for (from, name) in
            [(build_harm_java("Host").join("Host.class"), "Host.class"), (library(), "libpulse.so")]
        {
            std::fs::copy(from, here.path().join(name)).map_err(|error| error.to_string())?;
        }
        let (class_path, library) = (here.path().to_string_lossy(), here.path().join("libpulse.so"));
        let library = library.to_string_lossy();
        let words =
            ["-Xmx64m", "-XX:+UseSerialGC", "-XX:-UsePerfData", "-cp", &class_path, "Host", &library, "0"];
        let mut jvm = Program::start(&mut on(&disk.path(), &jdk.java, &words));
        std::thread::sleep(Duration::from_millis(500));
        let pid = jvm.pid().to_string();
        let mut child = None;
        if looked_at {
            let mut command = Command::new(offheap());
            command.args(["profile", &pid, "--interval", "64k", "--json", "--for"]);
            // Its own temporary folder and home are on the disk as well.
            command.env("TMPDIR", disk.path()).env("HOME", disk.path());
            if after_stop {
                let ended = run_within(command.arg("1s"), Duration::from_secs(60));
                if ended.code() != Some(0) {
                    return Err(format!("offheap: {}", ended.err));
                }
            } else {
                let child_of = command.arg("4s").stdout(Stdio::null()).stderr(Stdio::null()).spawn();
                child = Some(child_of.map_err(|error| error.to_string())?);
                std::thread::sleep(Duration::from_millis(1500));
            }
        }
        jvm.try_ask("1").ok_or("the JVM ended")?;
        disk.freeze(true)?;
        let answer = jvm.try_ask("1").ok_or("the JVM ended")?;
        if let Some(mut child) = child {
            let _ = child.wait();
        }
        answer.parse().map(Duration::from_micros).map_err(|_| answer)
    };
    Ok(Slowest { with: one(true)?, without: one(false)? })
}

/// A thread that allocates without end, and says how long it took at most.
fn library() -> PathBuf {
    build_harm("pulse", &["targets/pulse.c"], &["-shared", "-DJNI"])
}

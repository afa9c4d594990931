//! What the tests share: the agent as it ships, C programs, JVMs.
#![allow(dead_code, reason = "every test uses a part")]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

/// The agent, built as the product builds it: optimised, panic=abort, without std.
pub fn agent() -> &'static Path {
    static AGENT: OnceLock<PathBuf> = OnceLock::new();
    AGENT.get_or_init(|| {
        if let Some(path) = std::env::var_os("OFFHEAP_AGENT_SO") {
            return path.into();
        }
        let target = target_dir().join("agent-product");
        let status = Command::new(env!("CARGO"))
            .args([
                "build",
                "--quiet",
                "--release",
                "-p",
                "offheap-agent",
                "--config",
                "profile.release.panic='abort'",
            ])
            .arg("--target-dir")
            .arg(&target)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .expect("cargo runs");
        assert!(status.success(), "the agent can't be built");
        target.join("release/liboffheap_agent.so")
    })
}

/// Cargo's target directory: the test itself is in <target>/<profile>/deps.
fn target_dir() -> PathBuf {
    let exe = std::env::current_exe().expect("a test has a path");
    exe.ancestors().nth(3).expect("target/profile/deps").to_path_buf()
}

/// A source file of tests/.
pub fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

/// Compiles with gcc or g++.
pub fn compile(compiler: &str, name: &str, out: &Path, flags: &[&str]) {
    let status = Command::new(compiler)
        .args(["-O2", "-fno-optimize-sibling-calls", "-fno-builtin", "-w", "-pthread"])
        .arg("-o")
        .arg(out)
        .arg(source(name))
        .args(flags)
        .arg("-ldl")
        .status()
        .unwrap_or_else(|e| panic!("{compiler}: {e}; install gcc and g++"));
    assert!(status.success(), "{name} does not compile");
}

/// A Java runtime.
#[derive(Clone, Debug)]
pub struct Jvm {
    pub version: u32,
    pub java: PathBuf,
}

/// A JDK with a compiler and JNI headers.
pub fn jdk() -> PathBuf {
    let found = std::fs::read_dir("/usr/lib/jvm")
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.join("bin/javac").exists() && p.join("include/jni.h").exists())
        .min();
    found.expect("no JDK below /usr/lib/jvm; install openjdk-17-jdk-headless")
}

/// All runtimes: those of $OFFHEAP_JRES (default <workspace>/target/offheap-tools/jres), and the
/// JDKs.
pub fn jvms() -> Vec<Jvm> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/offheap-tools/jres");
    let root = std::env::var_os("OFFHEAP_JRES").map_or(default, PathBuf::from);
    let mut all = Vec::new();
    for dir in [root, "/usr/lib/jvm".into()] {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            if let Some(java) = find_java(&entry.path(), 4) {
                all.push(java);
            }
        }
    }
    let mut jvms: Vec<Jvm> = all
        .into_iter()
        .filter_map(|java| {
            let java = java.canonicalize().ok()?;
            let out = Command::new(&java).arg("-version").output().ok()?;
            let text = String::from_utf8_lossy(&out.stderr).into_owned();
            let version = text.split('"').nth(1)?.split('.').next()?.parse().ok()?;
            Some(Jvm { version, java })
        })
        .collect();
    jvms.sort_by(|a, b| (a.version, &a.java).cmp(&(b.version, &b.java)));
    jvms.dedup_by(|a, b| a.java == b.java);
    assert!(!jvms.is_empty(), "no Java runtime found; run `cargo xtask setup`, or set OFFHEAP_JRES");
    jvms
}

fn find_java(dir: &Path, depth: u32) -> Option<PathBuf> {
    let java = dir.join("bin/java");
    if java.exists() {
        return Some(java);
    }
    if depth == 0 {
        return None;
    }
    std::fs::read_dir(dir).ok()?.flatten().find_map(|e| find_java(&e.path(), depth - 1))
}

/// Runs a command to its end, with a limit; its output and whether it ended well.
pub fn run(command: &mut Command, seconds: u32) -> (String, String, Option<i32>) {
    let program = command.get_program().to_owned();
    let args: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let mut limited = Command::new("timeout");
    limited.arg("--signal=KILL").arg(seconds.to_string()).arg(&program).args(args);
    for (key, value) in command.get_envs() {
        match value {
            // The variables are for the program, not for timeout.
            Some(v) if key == "LD_PRELOAD" => {
                limited = prefixed(limited, v);
            }
            Some(v) => {
                limited.env(key, v);
            }
            None => {
                limited.env_remove(key);
            }
        }
    }
    if let Some(dir) = command.get_current_dir() {
        limited.current_dir(dir);
    }
    let out = limited.output().expect("timeout runs");
    let text = |b: Vec<u8>| String::from_utf8_lossy(&b).into_owned();
    (text(out.stdout), text(out.stderr), out.status.code())
}

/// `timeout … env LD_PRELOAD=… program`.
fn prefixed(limited: Command, preload: &std::ffi::OsStr) -> Command {
    let args: Vec<_> = limited.get_args().map(ToOwned::to_owned).collect();
    let mut new = Command::new("timeout");
    let (head, tail) = args.split_at(2);
    let mut assignment = std::ffi::OsString::from("LD_PRELOAD=");
    assignment.push(preload);
    new.args(head).arg("env").arg(assignment).args(tail);
    for (k, v) in limited.get_envs() {
        if let Some(v) = v {
            new.env(k, v);
        }
    }
    new
}

/// A program that allocates one block of as many bytes as each line of its input says, and answers
/// "ok".
pub fn program(dir: &Path) -> PathBuf {
    let out = dir.join("lines");
    compile("gcc", "c/lines.c", &out, &[]);
    out
}

/// Such a program, told line by line.
pub struct Lines {
    pub child: Child,
    out: BufReader<std::process::ChildStdout>,
}

impl Lines {
    /// Starts it.
    pub fn start(command: &mut Command) -> Lines {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Lines { child, out }
    }

    /// Its answer to a line.
    pub fn tell(&mut self, line: &str) -> String {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
        let mut answer = String::new();
        self.out.read_line(&mut answer).unwrap();
        answer.trim().to_owned()
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

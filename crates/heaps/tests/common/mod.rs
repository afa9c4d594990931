//! Programs to look at: compiled, started, asked over a pipe, and ended with the test.

#![allow(dead_code, reason = "each test file uses some of it")]

use offheap_linux::{Live, Process};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Compiles `tests/programs/NAME` (`.c` or `.cpp`) once and gives the path of the executable.
pub fn compiled(name: &str, flags: &[&str]) -> PathBuf {
    compiled_by(if name.ends_with(".cpp") { "g++" } else { "gcc" }, name, flags)
}

/// As [`compiled`], by the compiler asked for.
pub fn compiled_by(compiler: &str, name: &str, flags: &[&str]) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs").join(name);
    let distinct: String = flags.concat().chars().filter(|c| c.is_alphanumeric()).collect();
    let out = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("{}-{compiler}{distinct}", name.replace('.', "-")));
    let modified = |path: &Path| path.metadata().and_then(|metadata| metadata.modified()).ok();
    static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap();
    if modified(&out) <= modified(&source) {
        // Other test programs may be doing the same: only a finished file gets the name.
        let unfinished = out.with_extension(std::process::id().to_string());
        let status = Command::new(compiler)
            .args(["-O0", "-g", "-Wall", "-pthread", "-o"])
            .arg(&unfinished)
            .arg(&source)
            .args(flags)
            .status()
            .unwrap_or_else(|error| panic!("{compiler}: {error}: apt-get install {compiler}"));
        assert!(status.success(), "{compiler} compiles {}", source.display());
        std::fs::rename(&unfinished, &out).unwrap();
    }
    out
}

/// A running program, killed when dropped.
pub struct Target {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Target {
    pub fn start(command: &mut Command) -> Target {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the program starts");
        let stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Target { child, stdin, stdout }
    }

    /// Starts it and waits for its first line.
    pub fn ready(command: &mut Command) -> Target {
        let mut target = Target::start(command);
        assert_eq!(target.line(), "ready");
        target
    }

    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    pub fn ask(&mut self, question: &str) -> String {
        writeln!(self.stdin, "{question}").unwrap();
        self.line()
    }

    pub fn numbers(&mut self, question: &str) -> Vec<u64> {
        self.ask(question).split(' ').map(|word| word.parse().expect("a number")).collect()
    }

    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    pub fn process(&self) -> Process {
        Process::open(self.pid()).unwrap()
    }

    pub fn memory(&self) -> Live {
        let process = self.process();
        let vmas = process.smaps().unwrap();
        process.memory(&vmas).unwrap()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `java` of each JDK that is there: name and path.
pub fn javas() -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    let root = std::env::var_os("OFFHEAP_JRES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/offheap-tools/jres"),
        PathBuf::from,
    );
    for (root, depth) in [(root.as_path(), 5), (Path::new("/usr/lib/jvm"), 1)] {
        for entry in std::fs::read_dir(root).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            if let Some(java) = find_java(&entry.path(), depth) {
                found.push((entry.file_name().to_string_lossy().into_owned(), java));
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no JDK in /usr/lib/jvm nor in OFFHEAP_JRES: cargo xtask test installs them");
    found
}

fn find_java(dir: &Path, depth: usize) -> Option<PathBuf> {
    let java = dir.join("bin/java");
    if java.is_file() {
        return Some(java);
    }
    if depth == 0 {
        return None;
    }
    let mut entries: Vec<_> = std::fs::read_dir(dir).ok()?.flatten().collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    entries
        .into_iter()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .find_map(|entry| find_java(&entry.path(), depth - 1))
}

/// Compiles `tests/java/NAME.java` with the JDK of the machine, for Java 11; gives the directory of
/// its classes.
pub fn java_class(name: &str) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/java").join(format!("{name}.java"));
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("classes-{}", std::process::id()));
    let javac = std::fs::read_dir("/usr/lib/jvm")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin/javac"))
        .find(|javac| javac.is_file())
        .expect("a javac in /usr/lib/jvm: cargo xtask test installs openjdk-17-jdk-headless");
    static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap();
    if !out.join(format!("{name}.class")).exists() {
        let status =
            Command::new(javac).args(["--release", "11", "-d"]).arg(&out).arg(&source).status().unwrap();
        assert!(status.success(), "javac compiles {}", source.display());
    }
    out
}

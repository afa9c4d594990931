//! JVMs to attach to.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use offheap_attach::{AttachError, Options, Session};

/// Every `java` on this machine: below `OFFHEAP_JRES` (one folder per version) and /usr/lib/jvm.
pub fn javas() -> Vec<PathBuf> {
    let jres = std::env::var_os("OFFHEAP_JRES")
        .map(PathBuf::from)
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/offheap-tools/jres"));
    let mut found = Vec::new();
    for root in [jres, PathBuf::from("/usr/lib/jvm")] {
        find_java(&root, 5, &mut found);
    }
    found.sort();
    found.dedup();
    assert!(!found.is_empty(), "no JDK at all: install openjdk-17-jre-headless, or set OFFHEAP_JRES");
    found
}

fn find_java(directory: &Path, depth: u32, found: &mut Vec<PathBuf>) {
    if let Ok(java) = directory.join("bin/java").canonicalize() {
        // Of a JDK 8 the JRE inside it is the same JVM.
        found.push(java);
        return;
    }
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        if depth > 0 && entry.path().is_dir() {
            find_java(&entry.path(), depth - 1, found);
        }
    }
}

/// One `java`, where it doesn't matter which.
pub fn any_java() -> PathBuf {
    javas().pop().expect("javas() found one")
}

/// The feature version: 8, 11, 17…
pub fn version_of(java: &Path) -> u32 {
    let home = java.parent().and_then(Path::parent).expect("HOME/bin/java");
    let release = fs::read_to_string(home.join("release")).expect("the release file");
    let version =
        release.lines().find_map(|line| line.strip_prefix("JAVA_VERSION=\"")).expect("JAVA_VERSION");
    let version = version.trim_start_matches("1.");
    version.split(['.', '_', '"', '-']).next().and_then(|n| n.parse().ok()).expect("a number")
}

/// Whether this is root, as some tests must be. Says so where not.
pub fn root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: this test needs root");
    }
    root
}

/// Whether namespaces can be made here. Says so where not.
pub fn namespaces() -> bool {
    let can = root()
        && Command::new("unshare")
            .args(["-m", "-p", "-f", "true"])
            .status()
            .is_ok_and(|status| status.success());
    if !can {
        eprintln!(
            "skipped: this test needs to make namespaces (root with CAP_SYS_ADMIN, and util-linux's unshare)"
        );
    }
    can
}

/// A JVM that says `up` and sleeps. Killed when dropped.
pub struct Jvm {
    child: Child,
    /// Of the JVM itself, as seen from here.
    pub pid: u32,
    output: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
    _classes: tempfile::TempDir,
}

impl Jvm {
    pub fn start(java: &Path, flags: &[&str]) -> Jvm {
        Jvm::start_with(java, flags, |_| {})
    }

    /// `change` sets the user, the directory…
    pub fn start_with(java: &Path, flags: &[&str], change: impl FnOnce(&mut Command)) -> Jvm {
        let mut command = Command::new(java);
        let classes = arguments(&mut command, flags);
        change(&mut command);
        Jvm::run(command, classes)
    }

    /// In namespaces of its own: `setup` is run there first, as a line of shell.
    pub fn start_unshared(java: &Path, unshare: &[&str], setup: &str, flags: &[&str]) -> Jvm {
        let mut command = Command::new("unshare");
        command.args(unshare).arg("sh").arg("-c").arg(format!("{setup}\nexec \"$0\" \"$@\"")).arg(java);
        let classes = arguments(&mut command, flags);
        let mut jvm = Jvm::run(command, classes);
        // With -f the JVM is a child of unshare.
        let children = format!("/proc/{0}/task/{0}/children", jvm.child.id());
        let child =
            fs::read_to_string(children).ok().and_then(|pids| pids.split_whitespace().next()?.parse().ok());
        jvm.pid = child.unwrap_or(jvm.child.id());
        jvm
    }

    fn run(mut command: Command, classes: tempfile::TempDir) -> Jvm {
        // A group of its own, so that all of it can be killed.
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let output = Arc::new(Mutex::new(String::new()));
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let stderr = child.stderr.take().expect("piped");
        let errors = collect(stderr, &output);
        let mut line = String::new();
        while !line.ends_with("up\n") {
            line.clear();
            if stdout.read_line(&mut line).expect("text") == 0 {
                errors.join().expect("a reader");
                panic!("{command:?} did not come up: {}", output.lock().expect("text"));
            }
        }
        let readers = vec![errors, collect(stdout, &output)];
        Jvm { pid: child.id(), child, output, readers, _classes: classes }
    }

    /// What it printed, errors included.
    pub fn output(&self) -> String {
        self.output.lock().expect("text").clone()
    }

    /// It runs, and was not made to print a thread dump.
    pub fn assert_unharmed(&mut self) {
        assert_eq!(self.child.try_wait().expect("a child"), None, "it ended: {}", self.output());
        assert!(!self.output().contains("Full thread dump"), "it printed a thread dump");
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(pid(self.pid), signal).expect("a signal");
    }

    /// Stops it, and waits until it is.
    pub fn stop(&self) {
        self.signal(rustix::process::Signal::STOP);
        let status = format!("/proc/{}/status", self.pid);
        while !fs::read_to_string(&status).expect("a status").contains("State:\tT") {
            std::thread::yield_now();
        }
    }

    /// The file in its /tmp, as seen from here.
    pub fn tmp(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root/tmp/{name}", self.pid))
    }

    /// No file that was made for the attach is left behind.
    pub fn assert_tidy(&self) {
        let inner: u32 = fs::read_to_string(format!("/proc/{}/status", self.pid))
            .expect("a status")
            .lines()
            .find_map(|line| line.strip_prefix("NStgid:")?.split_whitespace().last()?.parse().ok())
            .expect("NStgid");
        let name = format!(".attach_pid{inner}");
        assert!(!self.tmp(&name).exists(), "{name} is left in /tmp");
        assert!(!Path::new(&format!("/proc/{}/cwd/{name}", self.pid)).exists(), "{name} is left");
    }
}

impl Drop for Jvm {
    fn drop(&mut self) {
        let _ = rustix::process::kill_process_group(pid(self.child.id()), rustix::process::Signal::KILL);
        let _ = self.child.wait();
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        for file in [".java_pid", ".attach_pid"] {
            let _ = fs::remove_file(format!("/tmp/{file}{}", self.pid));
        }
    }
}

fn pid(pid: u32) -> rustix::process::Pid {
    rustix::process::Pid::from_raw(pid as i32).expect("a pid")
}

fn collect(mut from: impl Read + Send + 'static, to: &Arc<Mutex<String>>) -> JoinHandle<()> {
    let to = Arc::clone(to);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            to.lock().expect("text").push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
    })
}

fn arguments(command: &mut Command, flags: &[&str]) -> tempfile::TempDir {
    // Not in /tmp, which some tests put something else in the place of.
    let classes = tempfile::tempdir_in("/var/tmp").expect("a directory");
    fs::write(classes.path().join("Sleeper.class"), sleeper()).expect("a class");
    // Other users have to read it.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(classes.path(), open).expect("permissions");
    command.args(["-Xmx32m", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]);
    command.args(flags).arg("-cp").arg(classes.path()).arg("Sleeper");
    classes
}

/// `class Sleeper { public static void main(String[] a) { System.out.println("up");
/// Thread.sleep(600000L); } }`, compiled for Java 8 by hand, so that no compiler is needed where
/// the tests run.
fn sleeper() -> Vec<u8> {
    let mut pool: Vec<Vec<u8>> = Vec::new();
    let mut add = |entry: Vec<u8>| {
        pool.push(entry);
        pool.len() as u16
    };
    let refer = |tag: u8, indices: &[u16]| -> Vec<u8> {
        std::iter::once(tag).chain(indices.iter().flat_map(|index| index.to_be_bytes())).collect()
    };
    let utf8 = |text: &str| -> Vec<u8> { [&[1, 0, text.len() as u8], text.as_bytes()].concat() };
    let mut member = |tag: u8, class: &str, name: &str, kind: &str| {
        let class = add(utf8(class));
        let class = add(refer(7, &[class]));
        let (name, kind) = (add(utf8(name)), add(utf8(kind)));
        let name_and_type = add(refer(12, &[name, kind]));
        add(refer(tag, &[class, name_and_type]))
    };
    let out = member(9, "java/lang/System", "out", "Ljava/io/PrintStream;");
    let println = member(10, "java/io/PrintStream", "println", "(Ljava/lang/String;)V");
    let sleep = member(10, "java/lang/Thread", "sleep", "(J)V");
    let up = add(utf8("up"));
    let up = add(refer(8, &[up]));
    let (this, object) = (add(utf8("Sleeper")), add(utf8("java/lang/Object")));
    let (this, object) = (add(refer(7, &[this])), add(refer(7, &[object])));
    let (main, kind, code) = (add(utf8("main")), add(utf8("([Ljava/lang/String;)V")), add(utf8("Code")));
    // A long takes two places in the pool, so it is the last.
    let hour = add([&[5][..], &3_600_000_i64.to_be_bytes()].concat());

    let [out, println, sleep, up, hour] = [out, println, sleep, up, hour].map(u16::to_be_bytes);
    let instructions = [
        &[0xb2, out[0], out[1], 0x13, up[0], up[1], 0xb6, println[0], println[1]][..], // getstatic ldc_w invokevirtual
        &[0x14, hour[0], hour[1], 0xb8, sleep[0], sleep[1], 0xb1], // ldc2_w invokestatic return
    ]
    .concat();
    let mut class = vec![0xca, 0xfe, 0xba, 0xbe, 0, 0, 0, 52];
    let u16s =
        |class: &mut Vec<u8>, values: &[u16]| class.extend(values.iter().flat_map(|v| v.to_be_bytes()));
    u16s(&mut class, &[pool.len() as u16 + 2]);
    class.extend(pool.concat());
    u16s(&mut class, &[0x20, this, object, 0, 0, 1, 9, main, kind, 1, code]);
    class.extend((12 + instructions.len() as u32).to_be_bytes());
    u16s(&mut class, &[2, 1]);
    class.extend((instructions.len() as u32).to_be_bytes());
    class.extend(instructions);
    u16s(&mut class, &[0, 0, 0]);
    class
}

/// Opens a session with the default options.
pub fn open(jvm: &Jvm) -> Result<Session, AttachError> {
    Session::open(jvm.pid, &Options::default())
}

/// Opens a session that must come about.
pub fn attach(jvm: &Jvm) -> Session {
    open(jvm).unwrap_or_else(|error| panic!("{error}\n{error:?}"))
}

/// The error of a session that must not come about.
pub fn refusal(jvm: &Jvm) -> AttachError {
    match open(jvm) {
        Ok(_) => panic!("it was attached to"),
        Err(error) => error,
    }
}

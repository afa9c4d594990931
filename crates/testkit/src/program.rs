//! Building and running the programs that tests look at.

use std::fs::Permissions;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The workspace's root.
pub fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// The `offheap` binary under test: the variable `OFFHEAP_BIN`, else the one cargo built beside the test.
///
/// # Panics
/// When there is none.
pub fn offheap() -> PathBuf {
    if let Some(path) = std::env::var_os("OFFHEAP_BIN") {
        return PathBuf::from(path);
    }
    // target/PROFILE/deps/test-1234 → target/PROFILE/offheap
    let test = std::env::current_exe().expect("a test knows its own path");
    let beside = test.ancestors().nth(2).expect("tests lie in target/PROFILE/deps").join("offheap");
    assert!(beside.exists(), "{} is not built; run: cargo build", beside.display());
    beside
}

/// The folder in which `build` has made something of `parts`; the same parts are built once, whichever test asks.
///
/// The name is that of the content, not of the process: a pid comes again, within one run of all tests too.
fn built_once(parts: &[&str], build: impl FnOnce(&Path)) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    parts.hash(&mut hasher);
    let name = parts.first().copied().unwrap_or_default();
    let all = std::env::temp_dir().join("offheap-tests");
    std::fs::create_dir_all(&all).expect("the temporary folder is writable");
    let folder = all.join(format!("{name}-{:016x}", hasher.finish()));
    if !folder.exists() {
        let unfinished = tempfile::tempdir_in(&all).expect("the temporary folder is writable").keep();
        // Other users run these programs too.
        std::fs::set_permissions(&unfinished, Permissions::from_mode(0o755)).expect("the folder is ours");
        build(&unfinished);
        // Another test may have been first: its build is as good.
        if std::fs::rename(&unfinished, &folder).is_err() {
            let _ = std::fs::remove_dir_all(&unfinished);
        }
    }
    folder
}

/// Compiles the Java class `name` for Java 11 and up; returns the class path.
///
/// # Panics
/// When there is no javac or the source is wrong.
pub fn build_java(name: &str, source: &str) -> PathBuf {
    built_once(&[name, source], |folder| {
        let file = folder.join(format!("{name}.java"));
        std::fs::write(&file, source).expect("the temporary folder is writable");
        run(Command::new(javac()).args(["--release", "11", "-nowarn", "-d"]).arg(folder).arg(&file));
    })
}

fn javac() -> PathBuf {
    let debian = Path::new("/usr/lib/jvm/java-17-openjdk-amd64/bin/javac");
    if debian.exists() { debian.to_owned() } else { PathBuf::from("javac") }
}

/// Compiles the C program (or, with `-shared` among `flags`, library) `name`; returns its path.
///
/// # Panics
/// When there is no compiler or the source is wrong.
pub fn build_c(name: &str, source: &str, flags: &[&str]) -> PathBuf {
    let file = if flags.contains(&"-shared") { format!("lib{name}.so") } else { name.to_owned() };
    let folder = built_once(&[&[name, source], flags].concat(), |folder| {
        let source_file = folder.join(format!("{name}.c"));
        std::fs::write(&source_file, source).expect("the temporary folder is writable");
        let mut compiler = Command::new("gcc");
        run(compiler
            .args(["-O1", "-g", "-pthread", "-o"])
            .arg(folder.join(&file))
            .arg(&source_file)
            .args(flags));
    });
    folder.join(file)
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?} can't be started: {error}"));
    assert!(output.status.success(), "{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
}

/// A program that runs until it is dropped, also when the test dies.
#[derive(Debug)]
pub struct Program {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Program {
    /// Starts `command` and waits for the line `READY`.
    ///
    /// # Panics
    /// When it can't be started or ends first.
    pub fn start(command: &mut Command) -> Program {
        // SAFETY: prctl is async-signal-safe; the child that fork made does nothing else here.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} can't be started: {error}"));
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("its output is piped"));
        let mut program = Program { child, input, output };
        while program.line() != "READY" {}
        program
    }

    /// Its pid.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// The next line it prints.
    ///
    /// # Panics
    /// When it has ended.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        let count = self.output.read_line(&mut line).expect("its output is readable");
        assert!(count > 0, "the program ended: {:?}", self.child.wait());
        line.trim_end().to_owned()
    }

    /// Writes a line to its input and returns the line it answers.
    ///
    /// # Panics
    /// When it has ended.
    pub fn ask(&mut self, line: &str) -> String {
        let input = self.input.as_mut().expect("its input is piped");
        writeln!(input, "{line}").expect("it reads its input");
        self.line()
    }

    /// Kills it now.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

//! Building and running the programs that tests look at.

use std::fs::Permissions;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The workspace's root.
pub fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// The `offheap` binary under test: the variable `OFFHEAP_BIN`, else the one cargo built beside the
/// test.
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

/// The folder in which `build` has made something of `parts`; the same parts are built once,
/// whichever test asks.
///
/// The name is that of the content, not of the process: a pid comes again, within one run of all
/// tests too.
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

/// A file or folder of `harm/`, where the programs are that do, or provoke, harm.
pub fn harm(name: &str) -> PathBuf {
    workspace().join("harm").join(name)
}

/// Compiles C files of `harm/` into the program (or, with `-shared` among `flags`, library) `name`;
/// returns its path.
///
/// Beside them the headers of their folder and, where there is a JDK, `jni.h` are found.
///
/// # Panics
/// As [`build_c`].
pub fn build_harm(name: &str, files: &[&str], flags: &[&str]) -> PathBuf {
    let is_library = flags.contains(&"-shared");
    let file = if is_library { format!("lib{name}.so") } else { name.to_owned() };
    let mut texts: Vec<String> = Vec::new();
    for path in files.iter().map(|file| harm(file)).chain([harm("storm/storm.h"), harm("targets/host.h")]) {
        let text = std::fs::read_to_string(&path);
        texts.push(text.unwrap_or_else(|error| panic!("{}: {error}", path.display())));
    }
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let folder = built_once(&[&[name][..], &texts, flags].concat(), |folder| {
        let mut compiler = Command::new("gcc");
        // Frame pointers: the hand-made coroutines have nothing else.
        compiler
            .args(["-O1", "-g", "-pthread", "-fno-omit-frame-pointer", "-Wall", "-o"])
            .arg(folder.join(&file));
        compiler.args(files.iter().map(|file| harm(file)));
        let include = crate::jdk::home().map(|home| home.join("include"));
        for include in include.iter().flat_map(|include| [include.clone(), include.join("linux")]) {
            compiler.arg("-I").arg(include);
        }
        run(compiler.args(if is_library { &["-fPIC"][..] } else { &[] }).args(flags));
    });
    folder.join(file)
}

/// Compiles the Java class `name` of `harm/java`; returns the class path.
///
/// # Panics
/// As [`build_java`].
pub fn build_harm_java(name: &str) -> PathBuf {
    let path = harm("java").join(format!("{name}.java"));
    let source = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    build_java(name, &source)
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

    /// As [`Program::ask`]; `None` when it has ended. What the JVM itself says there (`[warning]…`)
    /// is left out.
    pub fn try_ask(&mut self, line: &str) -> Option<String> {
        writeln!(self.input.as_mut()?, "{line}").ok()?;
        self.try_line()
    }

    /// Its next line, but for a JVM's own (`[warning]…`, `# …`); `None` once it has ended.
    pub fn try_line(&mut self) -> Option<String> {
        loop {
            let mut answer = String::new();
            match self.output.read_line(&mut answer) {
                Ok(count) if count > 0 && answer.starts_with(['[', '#']) => {}
                Ok(count) if count > 0 => return Some(answer.trim_end().to_owned()),
                _ => return None,
            }
        }
    }

    /// Tells it something that it does not answer.
    pub fn tell(&mut self, line: &str) {
        if let Some(input) = &mut self.input {
            let _ = writeln!(input, "{line}");
        }
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// How it ended, if it does within `limit`.
    pub fn ends_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        let end = Instant::now() + limit;
        while Instant::now() < end {
            if let Some(status) = self.ended() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        None
    }

    /// What it has printed since and prints until it ends.
    pub fn rest(&mut self) -> String {
        self.input = None;
        let mut text = String::new();
        let _ = self.output.read_to_string(&mut text);
        text
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

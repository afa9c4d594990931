//! Starting a scenario and waiting until it is ready.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::table::{Language, Need};
use crate::{Error, Jdk, Scenario, Workshop};

/// How long a program may take until READY, on a machine that is busy with others.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// The heap of every JVM whose flags in the table do not say otherwise: of fixed size, so that it can settle.
const DEFAULT_HEAP: [&str; 2] = ["-Xms128m", "-Xmx128m"];

/// How to start a scenario.
#[derive(Debug, Clone)]
pub struct StartOptions {
    /// The runtime for Java programs; release 17 if not given.
    pub jdk: Option<Jdk>,
    /// Bytes per second; the table's rate if not given. Never above the table's `max_rate`.
    pub rate: Option<u64>,
    /// Background work as a multiple of the normal amount.
    pub load: f64,
    /// From READY to the first step of a program that paces itself; those that fill or burst at once ignore it.
    pub delay: Duration,
    /// Flags of the JVM beside the table's, such as `-XX:NativeMemoryTracking=summary`.
    pub flags: Vec<String>,
}

impl Default for StartOptions {
    fn default() -> StartOptions {
        StartOptions { jdk: None, rate: None, load: 1.0, delay: Duration::ZERO, flags: Vec::new() }
    }
}

/// A program that has said READY. It is killed, and its files are removed, when this is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    scratch: TempDir,
}

impl Scenario {
    /// Builds what is missing, starts the program and waits until it is ready.
    pub fn start(&self, workshop: &Workshop, options: &StartOptions) -> Result<Running, Error> {
        let scratch = workshop.scratch()?;
        let files = scratch.path().join("files");
        fs::create_dir(&files).map_err(Error::at(&files))?;
        let mut command = match self.language {
            Language::Java => self.java(workshop, options, &files)?,
            Language::C | Language::Cpp => Command::new(workshop.native().join(&self.program)),
            Language::Python => python(&self.program),
        };
        if !self.mode.is_empty() {
            command.arg(&self.mode);
        }
        let rate = self.rate_for(options.rate);
        command
            .arg(format!("rate={rate}"))
            .arg(format!("load={}", options.load))
            .arg(format!("delay={}", options.delay.as_secs_f64()))
            .arg(assignment("dir=", &files))
            .arg("stdin=watch");
        let stderr = scratch.path().join("stderr");
        let log = File::create(&stderr).map_err(Error::at(&stderr))?;
        let program = command.get_program().to_owned();
        // JVMs take more flags from these, and print that they did.
        for variable in ["JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS"] {
            command.env_remove(variable);
        }
        let child = command
            .current_dir(&files)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(Error::at(program))?;
        let mut running = Running { child, scratch };
        let said = running.child.stdout.take().map(first_line);
        match said.and_then(|line| line.recv_timeout(READY_WITHIN).ok()) {
            Some(line) if line.trim() == "READY" => Ok(running),
            line => Err(Error::NotReady {
                scenario: self.name.clone(),
                reason: match line {
                    Some(line) if line.is_empty() => "it ended".into(),
                    Some(line) => format!("it said `{}`", line.trim()),
                    None => format!("nothing in {} s", READY_WITHIN.as_secs()),
                },
                stderr: fs::read_to_string(&stderr).unwrap_or_default(),
            }),
        }
    }

    fn java(&self, workshop: &Workshop, options: &StartOptions, files: &Path) -> Result<Command, Error> {
        let jdk = options.jdk.clone().map_or_else(|| Jdk::find("17"), Ok)?;
        if jdk.feature < self.min_jdk {
            return Err(Error::JdkTooOld {
                scenario: self.name.clone(),
                needs: self.min_jdk,
                given: jdk.feature,
            });
        }
        let class_path =
            if self.needs(Need::Jars) { workshop.class_path_with_jars()? } else { workshop.class_path() };
        let mut command = Command::new(jdk.tool("java"));
        command.args(DEFAULT_HEAP).args(&self.flags).args(&options.flags);
        if jdk.feature >= 22 {
            command.arg("--enable-native-access=ALL-UNNAMED");
        }
        if jdk.feature >= 23 {
            command.arg("--sun-misc-unsafe-memory-access=allow");
        }
        command
            .arg(assignment("-Djava.library.path=", &workshop.native()))
            .arg(assignment("-Djava.io.tmpdir=", files))
            .arg("-cp")
            .arg(class_path)
            .arg(&self.program);
        Ok(command)
    }
}

impl Running {
    /// The program's process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it is still alive.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> Result<(), Error> {
        // The pipe to its standard input stays open: closing it would end the program.
        let stdin = self.child.stdin.take();
        let ended = self.child.wait().map(drop).map_err(Error::at("the scenario's process"));
        drop(stdin);
        ended
    }

    /// What it wrote to its standard error so far.
    pub fn stderr(&self) -> String {
        fs::read_to_string(self.scratch.path().join("stderr")).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A program that has ended already cannot be killed; both errors mean that it is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn python(script: &str) -> Command {
    let mut command = Command::new("python3");
    command.arg(crate::workshop::sources().join("python").join(script));
    command
}

fn assignment(name: &str, path: &Path) -> OsString {
    let mut argument = OsString::from(name);
    argument.push(path);
    argument
}

/// The first line of the program's output, empty at its end; whatever follows is read and dropped, so that the
/// program never blocks on a full pipe.
fn first_line(stdout: ChildStdout) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        let _ = stdout.read_line(&mut line);
        let _ = sender.send(line);
        let _ = std::io::copy(&mut stdout, &mut std::io::sink());
    });
    receiver
}

//! The interpreters of this machine, and programs that they run for a test.
#![allow(dead_code, reason = "each test binary uses its part")]

use offheap_cpython::Interpreter;
use offheap_linux::{Live, Process};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Every CPython there is: those of pyenv, of the system, and those that OFFHEAP_PYTHONS lists,
/// separated by colons.
pub fn pythons() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let home = std::env::var("HOME").unwrap_or_default();
    for root in [format!("{home}/.pyenv/versions"), "/opt/python".to_owned()] {
        for entry in std::fs::read_dir(root).into_iter().flatten().flatten() {
            found.push(entry.path().join("bin/python3"));
        }
    }
    found.extend((8..=15).map(|minor| PathBuf::from(format!("/usr/bin/python3.{minor}"))));
    found.extend(std::env::var("OFFHEAP_PYTHONS").iter().flat_map(|list| list.split(':')).map(PathBuf::from));
    found.retain(|path| path.exists());
    found.sort();
    assert!(!found.is_empty(), "no CPython on this machine: apt-get install python3");
    found
}

/// A program at work; it ends with the test.
pub struct Target {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Target {
    /// Starts `program`, and waits until it has said "ready".
    pub fn start(python: &PathBuf, program: &str) -> Target {
        let mut command = Command::new(python);
        command.args(["-c", program]).env_remove("PYTHONMALLOC").env_remove("PYTHONHOME");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut target = Target { child, stdin, stdout };
        while target.line() != "ready" {}
        target
    }

    /// The next line that it says.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.stdout.read_line(&mut line).unwrap() > 0, "the program ended");
        line.trim_end().to_owned()
    }

    /// Tells it to go on, and gives its answer.
    pub fn ask(&mut self, question: &str) -> String {
        use std::io::Write;
        writeln!(self.stdin, "{question}").unwrap();
        self.line()
    }

    /// The process, its memory as it is now, and the interpreter in it.
    pub fn open(&self) -> (Process, Live, Interpreter) {
        let process = Process::open(self.child.id() as i32).unwrap();
        let memory = memory(&process);
        let interpreter = Interpreter::open(&memory).expect("it is a CPython");
        (process, memory, interpreter)
    }
}

/// Its memory as it is now.
pub fn memory(process: &Process) -> Live {
    process.memory(&process.maps().unwrap()).unwrap()
}

/// Its minor version; `None` where it is older than what can be read.
pub fn minor(interpreter: &Interpreter) -> Option<u32> {
    let minor = interpreter.version().split('.').nth(1).unwrap().parse().unwrap();
    (interpreter.version().starts_with("3.") && minor >= 8).then_some(minor)
}

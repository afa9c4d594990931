//! Every CPython of the machine, asked how many blocks and arenas it has.

mod common;

use common::pythons;
use offheap_cpython::Interpreter;
use offheap_linux::{Live, Process};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};

const PROGRAM: &str = "
import gc, sys
keep = [bytes(100) for _ in range(200000)] + [object() for _ in range(100000)] + [str(i) * 3 for i in range(50000)]
for i in range(0, len(keep), 3): keep[i] = None
gc.collect()
print('ready')
sys.stdout.flush()
while True:
    line = sys.stdin.readline()
    if not line: break
    sys._debugmallocstats()
    print('told', file=sys.stderr, flush=True)
";

/// Ends the interpreter with the test.
struct Target(Child);

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What `sys._debugmallocstats` says: blocks in use (the fourth column of its table) and arenas.
fn ask(stdin: &mut impl Write, stderr: &mut impl BufRead) -> (u64, u64) {
    writeln!(stdin, "how many?").unwrap();
    let (mut blocks, mut arenas, mut in_table) = (0, 0, false);
    for line in stderr.lines().map(Result::unwrap).take_while(|line| line != "told") {
        let words: Vec<&str> = line.split_whitespace().collect();
        in_table = in_table && !line.is_empty() || line.starts_with("-----");
        if let (true, [_, _, _, in_use, _]) = (in_table, words.as_slice()) {
            blocks += in_use.parse().unwrap_or(0);
        }
        if line.starts_with("# arenas allocated current") {
            arenas = words.last().unwrap().replace(',', "").parse().unwrap();
        }
    }
    (blocks, arenas)
}

fn memory(process: &Process) -> Live {
    process.memory(&process.maps().unwrap()).unwrap()
}

#[test]
fn blocks_and_arenas_are_what_the_interpreter_says() {
    for python in pythons() {
        let mut command = Command::new(&python);
        command.args(["-c", PROGRAM]).env_remove("PYTHONMALLOC");
        let child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut target = Target(child);
        let mut stderr = BufReader::new(target.0.stderr.take().unwrap());
        let mut stdin = target.0.stdin.take().unwrap();
        let mut stdout = BufReader::new(target.0.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "{}", python.display());
        // What the interpreter needs to answer, it has from the first time on.
        ask(&mut stdin, &mut stderr);

        let process = Process::open(target.0.id() as i32).unwrap();
        let before: Vec<_> =
            process.smaps().unwrap().iter().map(|vma| (vma.start, vma.end, vma.rss)).collect();
        let seen = memory(&process);
        let interpreter = Interpreter::open(&seen).expect("the interpreter is found");
        let view = interpreter.view(&seen);
        let after: Vec<_> =
            process.smaps().unwrap().iter().map(|vma| (vma.start, vma.end, vma.rss)).collect();
        assert_eq!(before, after, "looking changed the target");

        let version = Command::new(&python).arg("--version").output().unwrap();
        let version = String::from_utf8_lossy(&version.stdout).trim().replace("Python ", "");
        assert_eq!(interpreter.version(), version);
        assert!(interpreter.is_main());
        assert_eq!(view.doubts, Vec::<String>::new(), "{version}");
        let (blocks, arenas) = ask(&mut stdin, &mut stderr);
        // Reading the question takes a few blocks itself.
        assert!(view.blocks.abs_diff(blocks) < 50, "{version}: {} blocks seen, {blocks} told", view.blocks);
        assert_eq!(view.ranges.len() as u64, arenas, "{version}");
        assert!(view.block_bytes > view.blocks * 32 && view.block_bytes < view.resident, "{version}");
        assert!(view.ranges.is_sorted_by(|a, b| a.1 <= b.0));
    }
}

#[test]
fn what_is_no_python_is_not_taken_for_one() {
    let process = Process::open(std::process::id() as i32).unwrap();
    assert!(Interpreter::open(&memory(&process)).is_none());
}

#[test]
fn without_pymalloc_there_are_no_arenas_and_it_says_so() {
    let python = pythons().into_iter().next_back().unwrap();
    let mut command = Command::new(python);
    command.args(["-c", "print('ready', flush=True); input()"]).env("PYTHONMALLOC", "malloc");
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut target = Target(child);
    let mut ready = [0; 5];
    // Open to the end: unbuffered, the line's end is a second write.
    let mut stdout = target.0.stdout.take().unwrap();
    stdout.read_exact(&mut ready).unwrap();
    let process = Process::open(target.0.id() as i32).unwrap();
    let seen = memory(&process);
    let view = Interpreter::open(&seen).unwrap().view(&seen);
    assert_eq!((view.blocks, view.resident, view.doubts.len()), (0, 0, 1));
}

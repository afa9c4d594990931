//! Runs test programs side by side: many of them wait for a JVM's minute, not for a processor.

use super::programs::Program;
use anyhow::{Context, Result};
use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How many programs run at a time on each processor. Measured on two cores: so they are busy for
/// four fifths of the time.
const LANES_PER_PROCESSOR: usize = 1;

/// How long one program may take: several times what the longest takes (3 min on two cores). One
/// that hangs must not hold back what the others say.
const LIMIT: Duration = Duration::from_secs(15 * 60);

/// How often a running program is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// The programs that take longest, longest first: they start first, so that none of them is left
/// alone at the end. Measured on two cores; a wrong order only costs time.
const LONGEST: [&str; 12] = [
    "offheap::procedure",
    "agent::objects",
    "offheap::harm_storms",
    "hotspot::view",
    "offheap::matrix",
    "hotspot::matrix",
    "agent::storm",
    "agent::java",
    "hotspot::damage",
    "offheap::time",
    "store::recording",
    "offheap::profile",
];

/// Runs all of `programs`; prints what each said when it has ended; gives the names of those that
/// failed.
pub fn run(programs: &[Program], environment: &[(&str, OsString)]) -> Result<Vec<String>> {
    let waiting = Mutex::new(longest_first(programs));
    let failed = Mutex::new(Vec::new());
    let folder = Path::new("target/offheap-tools/said");
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let lanes = LANES_PER_PROCESSOR * std::thread::available_parallelism().map_or(1, usize::from);
    eprintln!("{} test programs, {lanes} at a time", programs.len());
    std::thread::scope(|scope| {
        for lane in 0..lanes {
            let (waiting, failed) = (&waiting, &failed);
            let said = folder.join(format!("{lane}"));
            scope.spawn(move || {
                while let Some(program) = next(waiting) {
                    if !one(program, environment, &said) {
                        lock(failed).push(program.name.clone());
                    }
                }
            });
        }
    });
    Ok(failed.into_inner().unwrap_or_else(|poison| poison.into_inner()))
}

fn longest_first(programs: &[Program]) -> VecDeque<&Program> {
    let mut order: Vec<&Program> = programs.iter().collect();
    order.sort_by_key(|program| {
        LONGEST.iter().position(|name| *name == program.name).unwrap_or(LONGEST.len())
    });
    order.into()
}

fn next<'a>(waiting: &Mutex<VecDeque<&'a Program>>) -> Option<&'a Program> {
    lock(waiting).pop_front()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poison| poison.into_inner())
}

/// Runs one program, with its words in the file `said`; prints them; whether it succeeded.
fn one(program: &Program, environment: &[(&str, OsString)], said: &Path) -> bool {
    let start = Instant::now();
    let ended = start_one(program, environment, said).and_then(|mut child| wait(&mut child, LIMIT));
    let words = std::fs::read(said).unwrap_or_default();
    let how = match &ended {
        Ok(Some(status)) if status.success() => "ok".to_owned(),
        Ok(Some(status)) => format!("FAILED ({status})"),
        Ok(None) => format!("FAILED (took over {} s, ended)", LIMIT.as_secs()),
        Err(error) => format!("FAILED ({error:#})"),
    };
    let mut out = std::io::stderr().lock();
    // Where standard error is closed there is nobody to tell.
    let _ = writeln!(out, "\n     Running {} ({})", program.name, program.file.display());
    let _ = out.write_all(&words);
    let _ = writeln!(out, "     {}: {how} after {:.1} s", program.name, start.elapsed().as_secs_f64());
    matches!(ended, Ok(Some(status)) if status.success())
}

fn start_one(program: &Program, environment: &[(&str, OsString)], said: &Path) -> Result<Child> {
    let output = File::create(said)?;
    Command::new(&program.file)
        .current_dir(&program.folder)
        .env("CARGO_MANIFEST_DIR", &program.folder)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .spawn()
        .context("cannot start it")
}

/// Waits for `child`; ends it, and gives `None`, where it takes longer than `limit`.
fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if start.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(name: &str, file: &str) -> Program {
        Program { name: name.to_owned(), file: file.into(), folder: "/".into() }
    }

    #[test]
    fn the_longest_start_first() {
        let all =
            [program("model::model", "a"), program("hotspot::view", "b"), program("offheap::procedure", "c")];
        let order: Vec<&str> = longest_first(&all).iter().map(|program| program.name.as_str()).collect();
        assert_eq!(order, ["offheap::procedure", "hotspot::view", "model::model"]);
    }

    #[test]
    fn a_failure_and_what_does_not_start_are_failures() {
        let folder = tempfile::tempdir().expect("a folder");
        let said = folder.path().join("said");
        assert!(one(&program("good", "/bin/true"), &[], &said));
        assert!(!one(&program("bad", "/bin/false"), &[], &said));
        assert!(!one(&program("absent", "/no/such/program"), &[], &said));
    }

    #[test]
    fn what_hangs_is_ended() {
        let mut child = Command::new("/bin/sleep").arg("60").spawn().expect("sleep");
        assert_eq!(wait(&mut child, Duration::from_millis(100)).expect("waited"), None);
        assert!(child.try_wait().expect("ended").is_some());
    }
}

//! Processes whose memory is damaged at random, where offheap reads it: heads of heaps and arenas,
//! the JVM's own structures. Whatever it finds there, a look ends soon, with little memory, and
//! without a panic.

use crate::{Program, build_harm, build_harm_java, jdk, offheap, run_within};
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::time::{Duration, Instant};

/// Whose memory is damaged.
pub const TARGETS: &[&str] = &["arenas", "jvm 11", "jvm 17", "jvm 21", "jvm 25", "python"];

/// A look that takes longer has hung.
const HANGS_AFTER: Duration = Duration::from_secs(30);
/// More memory than that is too much for these small processes.
const TOO_MUCH: u64 = 1 << 30;

/// What became of the looks.
#[derive(Debug, Default)]
pub struct Report {
    /// How many there were.
    pub looks: u32,
    /// How many words were damaged.
    pub words: u64,
    /// The slowest.
    pub slowest: Duration,
    /// The most memory that one took.
    pub peak_bytes: u64,
    /// What went wrong. Empty is well.
    pub harm: Vec<String>,
}

/// Numbers at random, always the same from the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 16) % n.max(1)
    }
}

fn start(target: &str) -> Program {
    match target.split_once(' ') {
        Some((_, feature)) => {
            let jdk = jdk(feature.parse().unwrap_or(17));
            let classes = build_harm_java("Host");
            Program::start(
                Command::new(&jdk.java).args(["-Xmx32m", "-XX:+UseSerialGC", "-cp"]).arg(classes).arg("Host"),
            )
        }
        None if target == "python" => {
            let line = "import json, decimal, time\nx = [str(i) * 9 for i in range(50000)]\nprint('READY', flush=True)\ntime.sleep(9e9)";
            Program::start(Command::new("python3").args(["-c", line]))
        }
        None => Program::start(&mut Command::new(build_harm("arenas", &["targets/arenas.c"], &[]))),
    }
}

/// The verbs that look at such a target, in turn.
fn looks_at(target: &str) -> &'static [&'static [&'static str]] {
    match target {
        "arenas" => &[&["map", "--json"]],
        "python" => &[&["map", "--json"], &["python", "--json"], &["python", "--holders", "str", "--json"]],
        _ => &[&["map", "--json"], &["handles", "--json"]],
    }
}

/// Places that are worth damaging: most of what is read lies at the begin of a mapping, or in a
/// library's data.
fn places(pid: i32) -> Vec<(u64, u64)> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    let mut found = Vec::new();
    for line in maps.lines().filter(|line| line.get(..).is_some_and(|line| line.contains(" rw-p "))) {
        let Some((start, rest)) = line.split_once('-') else { continue };
        let end = rest.split(' ').next().unwrap_or_default();
        let (Ok(start), Ok(end)) = (u64::from_str_radix(start, 16), u64::from_str_radix(end, 16)) else {
            continue;
        };
        found.push((start, (end - start).min(4096)));
        found.push((start, end - start));
        if line.contains("libjvm")
            || line.contains("libc.so")
            || line.contains("[heap]")
            || line.contains("python")
        {
            found.extend([(start, end - start); 4]);
        }
    }
    found
}

/// Damages `target`, looks, mends it, so many times.
///
/// # Panics
/// When it can't be started.
pub fn run(target: &str, looks: u32, seed: u64, until: Instant) -> Report {
    let mut report = Report::default();
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let program = start(target);
    let pid = program.pid();
    std::thread::sleep(Duration::from_millis(500));
    // It must not run with what it is given.
    // SAFETY: a signal to a process that this one has started.
    unsafe { libc::kill(pid, libc::SIGSTOP) };
    let places = places(pid);
    let verbs = looks_at(target);
    let path = format!("/proc/{pid}/mem");
    let memory = std::fs::OpenOptions::new().read(true).write(true).open(path).expect("it is our child");
    while report.looks < looks && Instant::now() < until {
        let here = random.0;
        let mut was: Vec<(u64, [u8; 8])> = Vec::new();
        for _ in 0..1 + random.below(2000) {
            let (start, length) = places[random.below(places.len() as u64) as usize];
            let at = start + (random.below(length) & !7);
            let mut word = [0; 8];
            if memory.read_exact_at(&mut word, at).is_err() || word == [0; 8] && random.below(4) > 0 {
                continue;
            }
            let (other, size) = places[random.below(places.len() as u64) as usize];
            let value = match random.below(8) {
                0 => 0,
                1 => at,
                2 => other + (random.below(size) & !7),
                3 => u64::from_ne_bytes(word) ^ 1 << random.below(48),
                4 => u64::from_ne_bytes(word).wrapping_add(random.below(1 << 12)),
                5 => 0x7fff_ffff_7fff_ffff,
                6 => u64::MAX,
                _ => random.next(),
            };
            if memory.write_all_at(&value.to_ne_bytes(), at).is_ok() {
                was.push((at, word));
            }
        }
        let verb = verbs[report.looks as usize % verbs.len()];
        let ended = run_within(Command::new(offheap()).args(verb).arg(pid.to_string()), HANGS_AFTER);
        report.looks += 1;
        report.words += was.len() as u64;
        report.slowest = report.slowest.max(ended.took);
        report.peak_bytes = report.peak_bytes.max(ended.peak_bytes);
        let fell = if ended.status.is_none() {
            Some("it hung".to_owned())
        } else if ended.signal().is_some() || ended.err.contains("panicked") {
            Some(format!("{:?}: {:.400}", ended.status, ended.err))
        } else {
            (ended.peak_bytes > TOO_MUCH).then(|| format!("it took {} MiB", ended.peak_bytes >> 20))
        };
        if let Some(fell) = fell {
            let verb = verb.join(" ");
            report
                .harm
                .push(format!("damaged {target}, {verb}, {} words from state {here:#x}: {fell}", was.len()));
            // At once: who runs this for hours may not see its end.
            eprintln!("HARM: {}", report.harm.last().map_or("", |harm| harm));
            if report.harm.len() > 5 {
                break;
            }
        }
        for (at, word) in was.iter().rev() {
            let _ = memory.write_all_at(word, *at);
        }
    }
    report
}

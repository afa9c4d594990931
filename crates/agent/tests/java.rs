//! Java stacks against the truth that the program knows, on every JVM found × collectors × ways of
//! execution, with the agent loaded at the start (-agentpath) and while running (attach).

mod common;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::Jvm;
use offheap_attach::LoadOutcome;
use offheap_live::{Counter, FrameKind, Reader, stack_flags};

fn build(dir: &Path) {
    let jdk = common::jdk();
    let status = Command::new(jdk.join("bin/javac"))
        .args(["--release", "11", "-nowarn", "-d"])
        .arg(dir)
        .arg(common::source("java/Truth.java"))
        .status()
        .unwrap();
    assert!(status.success());
    let include = jdk.join("include");
    let flags = [
        "-shared".to_owned(),
        "-fPIC".to_owned(),
        "-fomit-frame-pointer".to_owned(),
        format!("-I{}", include.display()),
        format!("-I{}", include.join("linux").display()),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    common::compile("gcc", "java/truth.c", &dir.join("libtruth.so"), &flags);
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a run came to.
#[derive(Default)]
struct Outcome {
    wrong: Vec<String>,
    /// Samples that the program knows the Java stack of, and those of them that have exactly that.
    known: u64,
    right: u64,
    /// Samples of Java threads, and those whose walk came to the thread's first frame with nothing
    /// in doubt.
    java: u64,
    whole: u64,
}

impl Outcome {
    fn failed(why: String) -> Outcome {
        Outcome { wrong: vec![why], ..Outcome::default() }
    }
}

/// Runs Truth, and holds the live file against what it says.
fn outcome(jvm: &Jvm, dir: &Path, flags: &[&str], attach: bool) -> Outcome {
    let name = format!("{}{}{attach}.live", jvm.version, flags.join("")).replace([':', '/'], "");
    let file = dir.join(name);
    let options = format!("file={},interval=1,size=67108864", file.display());
    let mut command = Command::new("timeout");
    command.args(["--signal=KILL", "120"]).arg(&jvm.java).args(flags).args(["-Xmx256m", "-XX:-UsePerfData"]);
    if jvm.version >= 22 {
        command.arg("--enable-native-access=ALL-UNNAMED");
    }
    if attach && jvm.version >= 21 {
        command.arg("-XX:+EnableDynamicAgentLoading");
    }
    if !attach {
        command.arg(format!("-agentpath:{}={options}", common::agent().display()));
    }
    command
        .arg(format!("-Djava.library.path={}", dir.display()))
        .arg("-cp")
        .arg(dir)
        .args(["Truth", "20000"]);
    if jvm.version >= 21 {
        command.arg("virtual");
    }
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut child = Killed(child);
    let mut out = BufReader::new(child.0.stdout.take().unwrap()).lines();
    let mut stdin = child.0.stdin.take().unwrap();
    let mut next = || out.next().and_then(Result::ok);
    let first = next();
    if first.as_deref() != Some("READY") {
        let mut text = String::new();
        let _ = child.0.stderr.take().unwrap().read_to_string(&mut text);
        return Outcome::failed(format!("does not start: {first:?} {text}"));
    }
    if attach {
        // timeout's only child.
        let pid = child.0.id();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        let pid = children.split_whitespace().next().unwrap().parse().unwrap();
        match offheap_attach::load_agent(pid, common::agent().to_str().unwrap(), &options) {
            Ok(LoadOutcome::Loaded) => {}
            other => return Outcome::failed(format!("not loaded: {other:?}")),
        }
    }
    stdin.write_all(b"\n").unwrap();
    let mut said = Vec::new();
    loop {
        match next() {
            Some(line) if line == "DONE" => break,
            Some(line) => said.push(line),
            None => {
                let mut text = String::new();
                let _ = child.0.stderr.take().unwrap().read_to_string(&mut text);
                return Outcome::failed(format!("ended early: {text}"));
            }
        }
    }
    let bytes = std::fs::read(&file).unwrap();
    stdin.write_all(b"\n\n").unwrap();
    let mut text = String::new();
    child.0.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    let mut outcome = compare(&bytes, &said);
    if !text.is_empty() {
        outcome.wrong.push(format!("stderr: {text}"));
    }
    outcome
}

fn compare(bytes: &[u8], said: &[String]) -> Outcome {
    let r = Reader::new(bytes).unwrap();
    let mut outcome = Outcome::default();
    // Size → Java frames → how often.
    let mut seen: HashMap<u64, HashMap<Vec<String>, u64>> = HashMap::new();
    for s in r.samples() {
        let Some(stack) = s.stack.and_then(|s| r.stack(s)) else { continue };
        if stack.flags & stack_flags::JAVA_THREAD != 0 {
            outcome.java += 1;
            let doubtful = stack_flags::JAVA_BROKEN | stack_flags::TRUNCATED | stack_flags::NATIVE_GAP;
            outcome.whole += u64::from(stack.flags & doubtful == 0);
        }
        let frames = stack.frames().filter(|f| {
            !matches!(f.kind, FrameKind::Native | FrameKind::Stub | FrameKind::Unknown | FrameKind::Compiling)
        });
        let text = |b: Option<&[u8]>| String::from_utf8_lossy(b.unwrap_or(b"?")).replace('/', ".");
        let names = frames.map(|f| format!("{}.{}", text(f.class), text(f.name)));
        *seen.entry(s.size).or_default().entry(names.collect()).or_default() += 1;
    }
    if outcome.whole * 100 < outcome.java * 99 {
        let (whole, java) = (outcome.whole, outcome.java);
        outcome.wrong.push(format!("only {whole} of {java} stacks of Java threads are whole"));
    }
    for line in said {
        let words: Vec<&str> = line.split(' ').collect();
        let size: i64 = words[0].parse().unwrap();
        let count: u64 = words[1].parse().unwrap();
        // A negative size: the innermost frames may be the JDK's, and the outermost too.
        let inside = size < 0;
        let matches = |frames: &[String]| {
            if inside {
                frames.windows(words.len() - 2).any(|w| w == &words[2..])
            } else {
                frames == &words[2..]
            }
        };
        // Direct buffers get a page or a few bytes more than asked for.
        let sizes =
            size.unsigned_abs()..=size.unsigned_abs() + if words[2] == "Truth.direct" { 4112 } else { 0 };
        let all = || seen.iter().filter(|(s, _)| sizes.contains(s)).flat_map(|(_, stacks)| stacks);
        let found: u64 = all().filter(|(f, _)| matches(f)).map(|(_, n)| n).sum();
        outcome.known += count;
        outcome.right += found.min(count);
        if found != count {
            let others: Vec<_> = all().filter(|(f, _)| !matches(f)).take(2).collect();
            outcome.wrong.push(format!("{found} of {count} for {line}; instead: {others:?}"));
        }
    }
    if said.len() < 11 {
        outcome.wrong.push(format!("the program said only {said:?}"));
    }
    for counter in [Counter::AgentHeap, Counter::NamesLost, Counter::DropReentrant, Counter::MissedFrees] {
        if r.counter(counter) != 0 {
            outcome.wrong.push(format!("{counter:?}: {}", r.counter(counter)));
        }
    }
    outcome
}

const COLLECTORS: [&str; 5] =
    ["-XX:+UseSerialGC", "-XX:+UseParallelGC", "-XX:+UseG1GC", "-XX:+UseZGC", "-XX:+UseShenandoahGC"];
const MODES: [&str; 3] = ["-Xint", "-XX:TieredStopAtLevel=1", "-XX:+TieredCompilation"];

/// Whether this JVM has that collector.
fn has(jvm: &Jvm, collector: &str) -> bool {
    let unlock = ["-XX:+UnlockExperimentalVMOptions", collector, "-version"];
    Command::new(&jvm.java).args(unlock).output().is_ok_and(|o| o.status.success())
}

/// `OFFHEAP_JDK=25` looks at that one only.
fn check(pick: impl Fn(usize, usize) -> bool) {
    let dir = tempfile::tempdir().unwrap();
    build(dir.path());
    let mut wrongs = Vec::new();
    let mut runs = 0;
    let only = std::env::var("OFFHEAP_JDK").ok();
    for jvm in common::jvms() {
        if only.as_ref().is_some_and(|only| *only != jvm.version.to_string()) {
            continue;
        }
        for (g, collector) in COLLECTORS.iter().enumerate() {
            if !has(&jvm, collector) {
                continue;
            }
            for (m, mode) in MODES.iter().enumerate() {
                if !pick(g, m) {
                    continue;
                }
                runs += 1;
                let flags = ["-XX:+UnlockExperimentalVMOptions", collector, mode];
                let attach = (g + m + jvm.version as usize).is_multiple_of(2);
                let outcome = outcome(&jvm, dir.path(), &flags, attach);
                let share = |part: u64, of: u64| part as f64 * 100.0 / of.max(1) as f64;
                // The table of bench/agent/README.md.
                println!(
                    "| {} | {} | {} | {} | {:.2} % of {} | {:.2} % of {} |",
                    jvm.version,
                    collector.trim_start_matches("-XX:+Use"),
                    ["-Xint", "C1 only", "default"][m],
                    if attach { "attach" } else { "-agentpath" },
                    share(outcome.right, outcome.known),
                    outcome.known,
                    share(outcome.whole, outcome.java),
                    outcome.java,
                );
                for w in outcome.wrong {
                    wrongs.push(format!("JDK {} {collector} {mode} attach {attach}: {w}", jvm.version));
                }
            }
        }
    }
    println!("{runs} runs of {} JVMs", common::jvms().len());
    assert!(wrongs.is_empty(), "{} runs:\n{}", runs, wrongs.join("\n"));
}

#[test]
fn every_mode_with_the_serial_collector() {
    check(|g, _| g == 0);
}

#[test]
fn every_other_collector_by_default() {
    check(|g, m| g != 0 && m == 2);
}

/// The rest of the matrix: minutes. `cargo test -p offheap-agent --test java -- --ignored`
#[test]
#[ignore = "takes minutes"]
fn the_rest_of_the_matrix() {
    check(|g, m| g != 0 && m != 2);
}

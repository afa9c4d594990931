//! Running `offheap diagnose` on scenarios and comparing its answers with the table.

use std::collections::VecDeque;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::{Error, Jdk, Scenario, StartOptions, Status, Workshop};

/// What to run: the cross product of its parts.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The offheap binary.
    pub offheap: PathBuf,
    /// The scenarios.
    pub scenarios: Vec<Scenario>,
    /// The runtimes of Java scenarios; the others run once.
    pub jdks: Vec<Jdk>,
    /// The windows for `--for`.
    pub windows: Vec<Duration>,
    /// Rates for leaking scenarios; `None` is the table's.
    pub rates: Vec<Option<u64>>,
    /// Background work as a multiple of the normal amount.
    pub load: f64,
    /// Seconds between READY and the start of the leak.
    pub delay: Duration,
    /// How often to repeat everything.
    pub runs: u32,
    /// How many at the same time.
    pub jobs: usize,
    /// Whether offheap may load its agent; then the site is judged too.
    pub agent: bool,
    /// A directory for a recording of each window, so that a verdict can be looked at again; one file per attempt.
    pub keep: Option<PathBuf>,
}

/// One diagnosis that is to be made.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// What runs.
    pub scenario: Scenario,
    /// Its runtime, for Java.
    pub jdk: Option<Jdk>,
    /// The window for `--for`.
    pub window: Duration,
    /// The rate, where it is not the table's.
    pub rate: Option<u64>,
}

/// The parts of `offheap/diagnose/v1` that are judged.
#[derive(Debug, Clone, Deserialize)]
struct Diagnosis {
    schema: String,
    verdict: Verdict,
}

/// `verdict` of the contract.
#[derive(Debug, Clone, Deserialize)]
pub struct Verdict {
    /// Leak, retention, healthy or inconclusive.
    pub status: Status,
    /// A domain's word, or `none`.
    pub domain: String,
    /// The rule's id.
    pub cause: String,
    /// 0 to 1.
    pub confidence: f64,
    /// The paragraph for a ticket.
    pub summary: String,
    /// The code, where it is known.
    pub site: Option<Site>,
}

/// `verdict.site` of the contract.
#[derive(Debug, Clone, Deserialize)]
pub struct Site {
    /// Innermost first.
    pub frames: Vec<Frame>,
}

/// A frame of a site.
#[derive(Debug, Clone, Deserialize)]
pub struct Frame {
    /// `package.Class.method`, or a native function's demangled name.
    pub name: String,
}

/// A verdict beside the truth.
#[derive(Debug, Clone)]
pub struct Answer {
    /// What offheap said.
    pub verdict: Verdict,
    /// Whether the status is one that the table allows.
    pub status_right: bool,
    /// Whether the domain is one that the table allows; `None` where the status needs none.
    pub domain_right: Option<bool>,
    /// Whether the cause contains one of the table's hints; `None` where the status needs none.
    pub cause_right: Option<bool>,
    /// Whether the site contains the table's frames; `None` without an agent or without frames in the table.
    pub site_right: Option<bool>,
    /// From the command to its answer.
    pub took: Duration,
    /// Where the answer breaks the contract or the target was harmed.
    pub problems: Vec<String>,
}

/// What came of an attempt.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// Judged.
    Answered(Answer),
    /// offheap gave no verdict: counted as wrong.
    Failed(String),
    /// The scenario could not run here: not counted.
    Skipped(String),
}

/// Runs the plan, `jobs` attempts at a time, in the order of the table; calls `done` after each.
pub fn run(
    plan: &Plan,
    workshop: &Workshop,
    done: impl Fn(&Attempt, &Outcome) + Sync,
) -> Vec<(Attempt, Outcome)> {
    let attempts = attempts(plan);
    let queue: Mutex<VecDeque<(usize, Attempt)>> = Mutex::new(attempts.into_iter().enumerate().collect());
    let finished = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..plan.jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some((index, attempt)) = next else { return };
                    let outcome = diagnose(plan, workshop, &attempt);
                    done(&attempt, &outcome);
                    finished.lock().unwrap_or_else(PoisonError::into_inner).push((index, attempt, outcome));
                }
            });
        }
    });
    let mut finished = finished.into_inner().unwrap_or_else(PoisonError::into_inner);
    finished.sort_by_key(|(index, ..)| *index);
    finished.into_iter().map(|(_, attempt, outcome)| (attempt, outcome)).collect()
}

fn attempts(plan: &Plan) -> Vec<Attempt> {
    let mut attempts = Vec::new();
    for _ in 0..plan.runs {
        for &window in &plan.windows {
            for scenario in &plan.scenarios {
                let rates = rates(plan, scenario);
                let jdks: Vec<Option<Jdk>> = match scenario.language {
                    crate::Language::Java => plan.jdks.iter().cloned().map(Some).collect(),
                    _ => vec![None],
                };
                for jdk in jdks {
                    for &rate in &rates {
                        attempts.push(Attempt { scenario: scenario.clone(), jdk: jdk.clone(), window, rate });
                    }
                }
            }
        }
    }
    attempts
}

/// The rates at which a scenario really runs: two wishes above its maximum are one attempt.
fn rates(plan: &Plan, scenario: &Scenario) -> Vec<Option<u64>> {
    if !scenario.leaking {
        return vec![None];
    }
    let mut rates: Vec<Option<u64>> =
        plan.rates.iter().map(|wanted| wanted.map(|rate| scenario.rate_for(Some(rate)))).collect();
    rates.dedup();
    rates
}

fn diagnose(plan: &Plan, workshop: &Workshop, attempt: &Attempt) -> Outcome {
    let options = StartOptions {
        jdk: attempt.jdk.clone(),
        rate: attempt.rate,
        load: plan.load,
        delay: plan.delay,
        flags: Vec::new(),
    };
    let mut running = match attempt.scenario.start(workshop, &options) {
        Ok(running) => running,
        Err(error @ (Error::JdkTooOld { .. } | Error::Build { .. })) => {
            return Outcome::Skipped(error.to_string());
        }
        Err(error) => return Outcome::Failed(error.to_string()),
    };
    let recorder = match plan.keep.as_deref().map(|dir| record(plan, attempt, running.pid(), dir)).transpose()
    {
        Ok(recorder) => recorder,
        Err(error) => return Outcome::Failed(format!("offheap record: {error}")),
    };
    let start = Instant::now();
    let mut command = Command::new(&plan.offheap);
    command.args(["diagnose", &running.pid().to_string(), "--json"]);
    command.arg("--for").arg(format!("{}s", attempt.window.as_secs()));
    command.arg(if plan.agent { "--yes" } else { "--no-agent" });
    let answer = match finish(&mut command, attempt.window * 2 + Duration::from_secs(120)) {
        Ok(answer) => answer,
        Err(reason) => return Outcome::Failed(reason),
    };
    let took = start.elapsed();
    if let Some(mut recorder) = recorder {
        // It ends with the window, as diagnose does; a failed recording is no miss.
        let _ = recorder.wait();
    }
    let diagnosis: Diagnosis = match serde_json::from_slice(&answer.stdout) {
        Ok(diagnosis) => diagnosis,
        Err(error) => {
            let code = answer.code.map_or("a signal".into(), |code| code.to_string());
            return Outcome::Failed(format!("no verdict ({error}), exit {code}: {}", answer.stderr.trim()));
        }
    };
    let mut problems = Vec::new();
    if diagnosis.schema != "offheap/diagnose/v1" {
        problems.push(format!("schema is `{}`", diagnosis.schema));
    }
    if answer.code != exit_code(diagnosis.verdict.status) {
        problems.push(format!("exit code {:?} with status {}", answer.code, diagnosis.verdict.status));
    }
    if !running.is_alive() {
        problems.push(format!("the target died: {}", running.stderr().trim()));
    }
    Outcome::Answered(judge(&attempt.scenario, diagnosis.verdict, plan.agent, took, problems))
}

/// Starts `offheap record` for the attempt's window, into `dir`.
fn record(plan: &Plan, attempt: &Attempt, pid: u32, dir: &Path) -> std::io::Result<Child> {
    let mut name = attempt.scenario.name.clone();
    name.extend(attempt.jdk.iter().map(|jdk| format!("-jdk{}", jdk.feature)));
    name.extend(attempt.rate.map(|rate| format!("-{}k", rate >> 10)));
    Command::new(&plan.offheap)
        .args(["record", &pid.to_string(), "--every", "1s", "-o"])
        .arg(dir.join(format!("{name}-{}s-{pid}.offheap", attempt.window.as_secs())))
        .arg("--for")
        .arg(format!("{}s", attempt.window.as_secs()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

/// Exit codes of `diagnose`: 0 no leak, 1 leak, 3 inconclusive.
fn exit_code(status: Status) -> Option<i32> {
    Some(match status {
        Status::Leak => 1,
        Status::Retention | Status::Healthy => 0,
        Status::Inconclusive => 3,
    })
}

fn judge(
    scenario: &Scenario,
    verdict: Verdict,
    agent: bool,
    took: Duration,
    problems: Vec<String>,
) -> Answer {
    let status_right = scenario.status.contains(&verdict.status);
    // A healthy process has no domain to name; of retention the table names one where only one is right.
    let named = scenario.leaking || verdict.status == Status::Retention;
    let cause = verdict.cause.to_lowercase();
    Answer {
        status_right,
        domain_right: (named && !scenario.domain.is_empty())
            .then(|| status_right && scenario.domain.contains(&verdict.domain)),
        cause_right: (named && !scenario.cause.is_empty())
            .then(|| status_right && scenario.cause.iter().any(|hint| cause.contains(hint.as_str()))),
        site_right: (agent && scenario.leaking)
            .then(|| site_right(scenario, verdict.site.as_ref()))
            .flatten(),
        verdict,
        took,
        problems,
    }
}

/// Whether the Java frame is there by its whole name, and the native one as a part of a name. `None` where the table
/// knows neither.
fn site_right(scenario: &Scenario, site: Option<&Site>) -> Option<bool> {
    let (java, native) = (scenario.java_site.as_deref(), scenario.native_site.as_deref());
    if java.is_none() && native.is_none() {
        return None;
    }
    let frames = site.map_or(&[][..], |site| &site.frames);
    let has_java = java.is_none_or(|wanted| frames.iter().any(|frame| frame.name == wanted));
    let has_native = native.is_none_or(|wanted| frames.iter().any(|frame| frame.name.contains(wanted)));
    Some(has_java && has_native)
}

struct Finished {
    code: Option<i32>,
    stdout: Vec<u8>,
    stderr: String,
}

/// Runs the command to its end, or kills it after `limit`.
fn finish(command: &mut Command, limit: Duration) -> Result<Finished, String> {
    let program = Path::new(command.get_program()).display().to_string();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{program}: {error}"))?;
    let stdout = child.stdout.take().map(drain);
    let stderr = child.stderr.take().map(drain);
    let start = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if start.elapsed() < limit => thread::sleep(Duration::from_millis(100)),
            unfinished => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(match unfinished {
                    Err(error) => error.to_string(),
                    _ => format!("no answer in {} s", limit.as_secs()),
                });
            }
        }
    };
    let read =
        |pipe: Option<thread::JoinHandle<Vec<u8>>>| pipe.and_then(|p| p.join().ok()).unwrap_or_default();
    Ok(Finished {
        code: status.code(),
        stdout: read(stdout),
        stderr: String::from_utf8_lossy(&read(stderr)).into_owned(),
    })
}

fn drain(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(status: Status, domain: &str, cause: &str, frames: &[&str]) -> Verdict {
        let frames = frames.iter().map(|name| Frame { name: (*name).into() }).collect();
        Verdict {
            status,
            domain: domain.into(),
            cause: cause.into(),
            confidence: 0.9,
            summary: String::new(),
            site: Some(Site { frames }),
        }
    }

    fn judged(name: &str, verdict: Verdict) -> Answer {
        judge(&Scenario::named(name).unwrap(), verdict, true, Duration::ZERO, Vec::new())
    }

    #[test]
    fn a_rate_above_the_maximum_is_named_as_what_runs() {
        let scenario = Scenario::named("class-loaders").unwrap();
        let maximum = scenario.max_rate.unwrap();
        let plan = Plan {
            offheap: PathBuf::new(),
            scenarios: vec![scenario],
            jdks: Vec::new(),
            windows: Vec::new(),
            rates: vec![Some(maximum / 2), Some(maximum * 2), Some(maximum * 3)],
            load: 1.0,
            delay: Duration::ZERO,
            runs: 1,
            jobs: 1,
            agent: false,
            keep: None,
        };
        assert_eq!(rates(&plan, &plan.scenarios[0]), [Some(maximum / 2), Some(maximum)]);
    }

    #[test]
    fn a_leak_needs_status_domain_cause_and_site() {
        let frames = ["malloc", "frame_new", "app.NativeCodec.encode", "app.NativeCodec.handleFrame"];
        let right = judged("jni-malloc", verdict(Status::Leak, "malloc", "native-malloc", &frames));
        assert!(right.status_right);
        assert_eq!(right.domain_right, Some(true));
        assert_eq!(right.cause_right, Some(true));
        assert_eq!(right.site_right, Some(true));

        let wrong = judged("jni-malloc", verdict(Status::Leak, "java-heap", "heap-leak", &frames[..2]));
        assert!(wrong.status_right);
        assert_eq!(wrong.domain_right, Some(false));
        assert_eq!(wrong.cause_right, Some(false));
        assert_eq!(wrong.site_right, Some(false));
    }

    #[test]
    fn a_right_domain_under_a_wrong_status_does_not_count() {
        let missed = judged("jni-malloc", verdict(Status::Healthy, "malloc", "native-malloc", &[]));
        assert!(!missed.status_right);
        assert_eq!(missed.domain_right, Some(false));
    }

    #[test]
    fn a_healthy_program_needs_no_domain() {
        let answer = judged("idle", verdict(Status::Healthy, "none", "none", &[]));
        assert!(answer.status_right);
        assert_eq!((answer.domain_right, answer.cause_right, answer.site_right), (None, None, None));
        assert!(!judged("idle", verdict(Status::Leak, "malloc", "native-malloc", &[])).status_right);
    }

    #[test]
    fn retention_that_is_named_must_be_named_rightly() {
        let answer =
            judged("jni-burst-before", verdict(Status::Retention, "java-heap", "heap-committed", &[]));
        assert!(answer.status_right);
        assert_eq!(answer.domain_right, Some(false));
        let answer = judged("jni-burst-before", verdict(Status::Healthy, "none", "none", &[]));
        assert_eq!(answer.domain_right, None);
    }
}

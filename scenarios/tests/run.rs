//! The harness with real programs, and with a stand-in for offheap that gives a fixed answer.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use offheap_scenarios::{Jdk, Outcome, Plan, Scenario, StartOptions, Workshop, markdown, run};

/// A script that answers as `offheap diagnose` would, and fails unless it is called as the contract says and the
/// process that it is pointed at is alive.
fn stand_in(dir: &Path, body: &str) -> PathBuf {
    let path = dir.join("offheap");
    let check = "[ \"$1\" = diagnose ] && [ -d /proc/$2 ] && [ \"$3 $4 $5 $6\" = '--json --for 1s --no-agent' ] || exit 2";
    fs::write(&path, format!("#!/bin/sh\n{check}\n{body}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn answer(status: &str, domain: &str, cause: &str, code: u8) -> String {
    format!(
        r#"echo '{{"schema":"offheap/diagnose/v1","verdict":{{"status":"{status}","domain":"{domain}","cause":"{cause}","confidence":0.9,"summary":"a summary","site":null,"fix":[],"confirm":[]}},"findings":[]}}'; exit {code}"#
    )
}

fn outcomes(body: &str, names: &[&str]) -> (Vec<Outcome>, String) {
    let dir = tempfile::tempdir().unwrap();
    let plan = Plan {
        offheap: stand_in(dir.path(), body),
        scenarios: names.iter().map(|name| Scenario::named(name).unwrap()).collect(),
        jdks: vec![Jdk::compiler().unwrap()],
        windows: vec![Duration::from_secs(1)],
        rates: vec![None],
        load: 1.0,
        delay: Duration::ZERO,
        runs: 1,
        jobs: 2,
        agent: false,
        keep: None,
    };
    let results = run(&plan, &Workshop::open().unwrap(), |_, _| {});
    let page = markdown(&plan, &results);
    (results.into_iter().map(|(_, outcome)| outcome).collect(), page)
}

#[test]
fn a_right_and_a_wrong_verdict_are_told_apart() {
    let leak = answer("leak", "native-malloc", "native-malloc-growth", 1);
    let (outcomes, page) = outcomes(&leak, &["c-queue", "c-queue-bounded"]);
    let [Outcome::Answered(right), Outcome::Answered(wrong)] = &outcomes[..] else { panic!("{outcomes:?}") };
    assert!(right.status_right && right.domain_right == Some(true) && right.cause_right == Some(true));
    assert!(right.problems.is_empty(), "{:?}", right.problems);
    assert!(!wrong.status_right);
    assert!(page.contains("| right status | 50.0 % (1 of 2) |"), "{page}");
    assert!(page.contains("| right domain, of the leaking ones | 100.0 % (1 of 1) |"), "{page}");
    assert!(page.contains("| healthy programs called a leak | 1 of 1 |"), "{page}");
    assert!(page.contains("**c-queue-bounded, 1 s**: wrong status: leak / native-malloc"), "{page}");
}

#[test]
fn an_exit_code_that_contradicts_the_status_is_a_problem() {
    let (outcomes, _) = outcomes(&answer("healthy", "none", "none", 1), &["c-queue-bounded"]);
    let [Outcome::Answered(answer)] = &outcomes[..] else { panic!("{outcomes:?}") };
    assert!(answer.status_right);
    assert_eq!(answer.problems.len(), 1, "{:?}", answer.problems);
}

#[test]
fn no_verdict_counts_as_wrong() {
    let (outcomes, page) = outcomes("echo 'cannot read it' >&2; exit 2", &["c-queue"]);
    assert!(
        matches!(&outcomes[..], [Outcome::Failed(reason)] if reason.contains("cannot read it")),
        "{outcomes:?}"
    );
    assert!(page.contains("| right status | 0.0 % (0 of 1) |"), "{page}");
    assert!(page.contains("| right domain, of the leaking ones | 0.0 % (0 of 1) |"), "{page}");
}

#[test]
fn a_jvm_runs_until_it_is_dropped() {
    let jdk = Some(Jdk::compiler().unwrap());
    let options = StartOptions { jdk, ..StartOptions::default() };
    let workshop = Workshop::open().unwrap();
    let mut running = Scenario::named("jni-malloc").unwrap().start(&workshop, &options).unwrap();
    let process = PathBuf::from(format!("/proc/{}", running.pid()));
    assert!(running.is_alive());
    let command = fs::read_to_string(process.join("cmdline")).unwrap();
    assert!(command.contains("app.NativeCodec\0encode\0rate=1048576\0"), "{command}");
    drop(running);
    assert!(!process.exists());
}

#[test]
fn a_scenario_that_needs_a_later_jdk_says_so() {
    let jdk = Jdk { feature: 17, ..Jdk::compiler().unwrap() };
    let options = StartOptions { jdk: Some(jdk), ..StartOptions::default() };
    let error =
        Scenario::named("ffm-arenas").unwrap().start(&Workshop::open().unwrap(), &options).unwrap_err();
    assert_eq!(error.to_string(), "ffm-arenas needs JDK 22 or later, this is 17");
}

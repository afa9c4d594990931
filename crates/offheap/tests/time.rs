//! `record`, `mark`, `diff`, `diagnose` and `check` on real processes.

mod common;

use common::{json, offheap, wait_for_growth};
use offheap_testkit::{Program, build_c, build_java, jdks};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Leaks as many bytes a second as its argument says, in blocks of 1,000; frees as many more.
const LEAKS: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
char *volatile sink;
int main(int count, char **words) {
    long per_tick = atol(words[1]) / 20;
    for (int i = 0; i < 20000; i++) { sink = malloc(1000); memset(sink, 1, 1000); }
    puts("READY"); fflush(stdout);
    for (;;) {
        for (long done = 0; done < per_tick; done += 1000) {
            char *kept = malloc(1000), *freed = malloc(1000);
            memset(kept, 1, 1000); memset(freed, 1, 1000);
            sink = kept; free(freed);
        }
        usleep(50000);
    }
}
"#;

fn leaks(bytes_per_s: &str) -> Program {
    Program::start(Command::new(build_c("leaks", LEAKS, &[])).arg(bytes_per_s))
}

#[test]
fn a_leak_is_called_a_leak_and_a_still_program_is_not() {
    let (leaking, still) = (leaks("1000000"), leaks("0"));
    let start = |program: &Program| -> Child {
        Command::new(offheap_testkit::offheap())
            .args(["diagnose", &program.pid().to_string(), "--no-agent", "--for", "30s", "--json"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let (first, second) = (start(&leaking), start(&still));
    let (first, second) = (first.wait_with_output().unwrap(), second.wait_with_output().unwrap());
    let verdict: serde_json::Value = serde_json::from_slice(&first.stdout).unwrap();
    assert_eq!(first.status.code(), Some(1), "{:#}", verdict["verdict"]);
    assert_eq!(verdict["schema"], "offheap/diagnose/v1");
    assert_eq!(verdict["verdict"]["status"], "leak");
    assert_eq!(verdict["verdict"]["domain"], "native-malloc");
    let slope = verdict["verdict"]["slope_bytes_per_s"].as_f64().unwrap();
    assert!((600_000.0..1_100_000.0).contains(&slope), "1 MB/s at most was leaked: {slope}");
    let summary = verdict["verdict"]["summary"].as_str().unwrap();
    assert!(summary.contains(&leaking.pid().to_string()), "it stands alone: {summary}");
    let evidence = verdict["verdict"]["evidence"].to_string();
    assert!(
        evidence.contains("1008") || summary.contains("1008"),
        "the chunk size that grows is named: {evidence}"
    );
    let quiet: serde_json::Value = serde_json::from_slice(&second.stdout).unwrap();
    assert_eq!(quiet["verdict"]["status"], "healthy", "{:#}", quiet["verdict"]);
    assert_eq!(second.status.code(), Some(0));
}

#[test]
fn a_recording_tells_what_a_look_tells() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.offheap");
    let path = file.to_str().unwrap();
    let mut program = leaks("2000000");
    let pid = program.pid().to_string();
    let mut recorder = Command::new(offheap_testkit::offheap())
        .args(["record", &pid, "-o", path, "--every", "500ms"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for_growth(program.pid(), 20_000_000);
    assert!(offheap(&["mark", path, "half"]).status.success());
    wait_for_growth(program.pid(), 24_000_000);
    program.kill();
    // The recording ends with its only target.
    let until = Instant::now() + Duration::from_secs(20);
    while recorder.try_wait().unwrap().is_none() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(recorder.wait().unwrap().success());
    let diagnosis = offheap(&["diagnose", path, "--json"]);
    let diagnosis: serde_json::Value = serde_json::from_slice(&diagnosis.stdout).unwrap();
    assert_eq!(diagnosis["verdict"]["status"], "leak", "{:#}", diagnosis["verdict"]);
    let grown = json(&["diff", path, "--json"])["rss"]["delta_bytes"].as_i64().unwrap();
    let since_half =
        json(&["diff", &format!("{path}@half"), path, "--json"])["rss"]["delta_bytes"].as_i64().unwrap();
    assert!(since_half > 10_000_000 && grown > since_half, "{since_half} of {grown}");
    let check = offheap(&["check", path, "--max-growth", "100k/s"]);
    assert_eq!(check.status.code(), Some(1), "{}", String::from_utf8_lossy(&check.stdout));
    let junit = folder.path().join("junit.xml");
    let check = offheap(&["check", path, "--max-growth", "50M/s", "--junit", junit.to_str().unwrap()]);
    assert_eq!(check.status.code(), Some(0), "{}", String::from_utf8_lossy(&check.stdout));
    assert!(std::fs::read_to_string(&junit).unwrap().contains("<testsuite"));
    let connection = rusqlite::Connection::open(&file).unwrap();
    let end: String = connection.query_row("SELECT ended_how FROM target", [], |row| row.get(0)).unwrap();
    assert!(end.contains("exited"), "{end}");
}

#[test]
fn a_process_that_ends_half_way_gives_what_was_learnt_and_exit_code_2() {
    let mut program = leaks("1000000");
    let child = Command::new(offheap_testkit::offheap())
        .args(["diagnose", &program.pid().to_string(), "--for", "60s", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for_growth(program.pid(), 5_000_000);
    program.kill();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let verdict: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(verdict["window"]["snapshots"].as_u64() >= Some(3));
    assert!(String::from_utf8_lossy(&output.stderr).contains("ended while"));
}

#[test]
fn watch_draws_on_a_terminal_of_eighty_columns() {
    let jdk = jdks().iter().rfind(|jdk| jdk.feature == 17).expect("JDK 17 is here");
    let classes = build_java("Ordinary", common::ORDINARY);
    let program =
        Program::start(Command::new(&jdk.java).args(["-Xmx64m", "-cp"]).arg(classes).arg("Ordinary"));
    // script(1) gives it a terminal; stty its size. It ends with the key that is piped in.
    let binary = offheap_testkit::offheap();
    let command = format!("stty rows 24 cols 80; {} watch {}", binary.display(), program.pid());
    let output = Command::new("sh")
        .args(["-c", &format!("(sleep 4; printf 2; sleep 1; printf q) | script -qec '{command}' /dev/null")])
        .env("TERM", "xterm")
        .output()
        .expect("script is installed");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("java-heap") && text.contains("worker-*"), "{text}");
}

/// A memory control group of the test's own with a limit, removed when dropped; `None` where none
/// can be made.
struct Group(std::path::PathBuf);

impl Group {
    fn with_limit(bytes: u64) -> Option<Group> {
        let name = format!("offheap-test-{}", std::process::id());
        let (v1, v2) = ("/sys/fs/cgroup/memory", "/sys/fs/cgroup");
        let (root, file) = if std::path::Path::new(v1).is_dir() {
            (v1, "memory.limit_in_bytes")
        } else {
            (v2, "memory.max")
        };
        let path = std::path::Path::new(root).join(name);
        std::fs::create_dir(&path).ok()?;
        let group = Group(path);
        std::fs::write(group.0.join(file), bytes.to_string()).ok()?;
        // Swap would only put off the end.
        let _ = std::fs::write(group.0.join("memory.swap.max"), "0");
        Some(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A killed process leaves its group a moment later.
        for _ in 0..100 {
            if std::fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn a_process_killed_for_memory_is_recorded_as_such() {
    let Some(group) = Group::with_limit(60 << 20) else {
        println!("skipped: no memory control group can be made here");
        return;
    };
    let command = format!(
        "echo $$ > {}/cgroup.procs; exec {} 4000000",
        group.0.display(),
        build_c("leaks", LEAKS, &[]).display()
    );
    let program = Program::start(Command::new("sh").args(["-c", &command]));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("oom.offheap");
    let account = json(&["map", &program.pid().to_string(), "--json"]);
    assert_eq!(account["cgroup"]["limit_bytes"].as_u64(), Some(60 << 20));
    let output = offheap(&[
        "record",
        &program.pid().to_string(),
        "-o",
        file.to_str().unwrap(),
        "--every",
        "300ms",
        "--for",
        "60s",
    ]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let connection = rusqlite::Connection::open(&file).unwrap();
    let end: Option<String> =
        connection.query_row("SELECT ended_how FROM target", [], |row| row.get(0)).unwrap();
    assert!(end.as_deref().is_some_and(|how| how.contains("killed for memory")), "{end:?}");
    drop(program);
}

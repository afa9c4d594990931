//! `offheap python` and `diagnose` on a CPython that grows: the type and the holder are named.

mod common;

use common::{json, offheap};
use offheap_testkit::Program;
use std::process::Command;

const GROWS: &str = "
import sys, time
sessions = {}
class Session:
    def __init__(self, i): self.data = [i + k for k in range(100, 130)]
def login(i):
    sessions[i] = Session(i)
print('READY', flush=True)
i = 0
while True:
    for _ in range(40): login(i); i += 1
    time.sleep(0.01)
";

#[test]
fn the_type_that_grows_its_holder_and_the_stack_are_named() {
    let program = Program::start(Command::new("python3").args(["-c", GROWS]));
    let pid = program.pid().to_string();
    let report = json(&["python", &pid, "--for", "3s", "--holders", "__main__.Session", "--json"]);
    let growth = report["growth"]["types"].as_array().unwrap();
    let session = growth.iter().find(|kind| kind["name"] == "__main__.Session").unwrap();
    assert!(session["to_count"].as_u64() > session["from_count"].as_u64(), "{session}");
    assert!(session["slope_bytes_per_s"].as_f64() > Some(0.0), "{session}");
    let held = &report["held"][0];
    assert_eq!(held["holders"][0]["what"], "`sessions` of module __main__", "{held}");
    let frames = &report["interpreters"][0]["threads"][0]["frames"];
    assert_eq!(frames.as_array().unwrap().last().unwrap()["name"], "<module>", "{report}");
}

#[test]
fn diagnose_says_who_holds_what_grows() {
    let program = Program::start(Command::new("python3").args(["-c", GROWS]));
    let output = offheap(&["diagnose", &program.pid().to_string(), "--for", "30s", "--no-agent", "--json"]);
    let diagnosis: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let verdict = &diagnosis["verdict"];
    assert_eq!(
        (verdict["status"].as_str(), verdict["cause"].as_str()),
        (Some("leak"), Some("python-container")),
        "{verdict:#}"
    );
    assert!(
        verdict["summary"].as_str().unwrap().contains("held by `sessions` of module __main__"),
        "{verdict:#}"
    );
}

#[test]
fn where_there_is_no_python_the_next_command_is_named() {
    let output = offheap(&["python", &std::process::id().to_string()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("offheap ps"));
}

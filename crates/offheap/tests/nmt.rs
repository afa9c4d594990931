//! `offheap nmt` and `jcmd` on running JVMs and saved reports.

mod common;

use common::{json, offheap};
use offheap_testkit::{Jdk, Program, build_java, jdks};
use std::path::PathBuf;
use std::process::Command;

fn start(jdk: &Jdk, flags: &[&str]) -> Program {
    let classes = build_java("Ordinary", common::ORDINARY);
    Program::start(Command::new(&jdk.java).arg("-Xmx64m").args(flags).arg("-cp").arg(classes).arg("Ordinary"))
}

fn sample(name: &str) -> String {
    let path: PathBuf = offheap_testkit::workspace().join("crates/nmt/tests/samples").join(name);
    assert!(path.exists(), "{} is missing", path.display());
    path.to_string_lossy().into_owned()
}

#[test]
fn every_jdk_answers_and_its_categories_add_up() {
    for jdk in jdks() {
        let program = start(jdk, &["-XX:NativeMemoryTracking=summary"]);
        let pid = program.pid().to_string();
        let report = json(&["nmt", &pid, "summary", "--json"]);
        assert_eq!(report["schema"], "offheap/nmt/v1", "{}", jdk.name);
        assert_eq!(
            report["problems"].as_array().map(Vec::len),
            Some(0),
            "{}: {}",
            jdk.name,
            report["problems"]
        );
        let categories = report["categories"].as_array().unwrap();
        let sum: u64 = categories.iter().filter_map(|category| category["committed_bytes"].as_u64()).sum();
        assert_eq!(Some(sum), report["total"]["committed_bytes"].as_u64(), "{}", jdk.name);
        let other =
            categories.iter().find(|category| category["name"] == "Other").expect("direct buffers are Other");
        assert!(other["malloc"]["bytes"].as_u64() >= Some(20 << 20), "{}: {other}", jdk.name);
        assert!(offheap(&["nmt", &pid, "baseline"]).status.success());
        let diff = json(&["nmt", &pid, "diff", "--json"]);
        assert!(diff["total"]["committed_bytes_delta"].is_i64(), "{}: {}", jdk.name, diff["total"]);
    }
}

#[test]
fn a_jvm_without_nmt_says_so_and_how_to_turn_it_on() {
    let program = start(&jdks()[0], &[]);
    let output = offheap(&["nmt", &program.pid().to_string()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stdout).unwrap().contains("-XX:NativeMemoryTracking"));
}

#[test]
fn saved_reports_are_read_and_compared() {
    let report = json(&["nmt", &sample("17-summary.txt"), "--json"]);
    assert!(report["total"]["reserved_bytes"].as_u64() > Some(0));
    let diff = json(&["nmt", &sample("21-summary.txt"), &sample("21-summary-b.txt"), "--json"]);
    assert!(
        diff["categories"]
            .as_array()
            .unwrap()
            .iter()
            .any(|category| category["committed_bytes_delta"].is_i64())
    );
    let missing = offheap(&["nmt", "/no/such/file", "summary"]);
    assert_eq!(missing.status.code(), Some(2));
}

#[test]
fn jcmd_lists_and_runs_commands() {
    let program = start(&jdks()[0], &[]);
    let pid = program.pid().to_string();
    let list = offheap(&["jcmd", &pid]);
    assert!(String::from_utf8(list.stdout).unwrap().contains("VM.native_memory"));
    let flags = json(&["jcmd", &pid, "--json", "VM.flags"]);
    assert!(flags["text"].as_str().unwrap().contains("-XX:MaxHeapSize=67108864"));
    let wrong = offheap(&["jcmd", &pid, "No.such_command"]);
    assert_eq!(wrong.status.code(), Some(1));
}

#[test]
fn what_a_target_says_is_cleaned_unless_it_is_asked_for_raw() {
    let program = start(&jdks()[0], &["-Dname=\u{1b}]0;pwned\u{7}\u{202e}x", "-Ddb.password=hunter2"]);
    let pid = program.pid().to_string();
    let text = |arguments: &[&str]| String::from_utf8(offheap(arguments).stdout).unwrap();
    let clean = text(&["jcmd", &pid, "VM.command_line"]);
    assert!(clean.contains("-Dname=·]0;pwned··x") && clean.lines().count() > 2, "{clean:?}");
    let raw = text(&["jcmd", "--raw", &pid, "VM.command_line"]);
    assert!(raw.contains("-Dname=\u{1b}]0;pwned\u{7}\u{202e}x"), "{raw:?}");
    let whole = text(&["map", &pid, "--json"]);
    assert!(whole.contains("-Ddb.password=***") && !whole.contains("hunter2"), "{whole}");
    assert!(whole.contains("\\u001b]0;pwned\\u0007\\u202ex"), "{whole}");
    for verb in [&["map", &pid][..], &["ps"]] {
        let shown = text(verb);
        assert!(!shown.contains(['\u{1b}', '\u{7}', '\u{202e}']) && !shown.contains("hunter2"), "{shown:?}");
    }
}

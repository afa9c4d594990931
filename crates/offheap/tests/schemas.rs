//! What the verbs write as JSON, held against docs/schemas.

mod common;

use common::{json, offheap};
use offheap_testkit::{Program, build_java, jdks};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

fn sample(krate: &str, name: &str) -> String {
    let path = offheap_testkit::workspace().join("crates").join(krate).join("tests/samples").join(name);
    assert!(path.exists(), "{} is missing", path.display());
    path.to_string_lossy().into_owned()
}

/// Fails where `document` is not as the schema `name` says.
fn is_of(name: &str, document: &Value) {
    assert_eq!(document["schema"], format!("offheap/{name}/v1"));
    let path = offheap_testkit::workspace().join(format!("docs/schemas/{name}.v1.json"));
    let schema: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> = validator
        .iter_errors(document)
        .take(5)
        .map(|error| format!("{error} at {}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{name}: {errors:#?}");
    // It is not so lax that anything goes.
    assert!(!validator.is_valid(&serde_json::json!({ "schema": document["schema"] })), "{name}");
}

/// What `offheap` with `arguments` writes on its standard output, whatever its exit code.
fn said(arguments: &[&str]) -> Value {
    let output = offheap(arguments);
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn files_of_other_tools() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.json");
    for (input, schema) in [
        ("heaptrack.zst", "profile"),
        ("native.jfr.gz", "profile"),
        ("lsan.txt", "profile"),
        ("smaps.txt", "figures"),
        ("hs_err_oom_17.log.gz", "figures"),
        ("hs_err_17.log.gz", "figures"),
    ] {
        let done = offheap(&["convert", &sample("formats", input), "-o", out.to_str().unwrap()]);
        assert!(done.status.success(), "{input}");
        is_of(schema, &serde_json::from_slice(&std::fs::read(&out).unwrap()).unwrap());
    }
    let heaps = ["jemalloc.heap", "jemalloc-sampled.heap"].map(|name| sample("formats", name));
    is_of("series", &json(&["diff", &heaps[0], &heaps[1], "--json"]));
    is_of("diagnose", &said(&["diagnose", &sample("formats", "lsan.txt"), "--json"]));
    for report in
        ["17-detail.txt", "21-zgc-summary.txt", "25-detail.diff.txt", "17-off.txt", "25-statistics.txt"]
    {
        is_of("nmt", &said(&["nmt", &sample("nmt", report), "--json"]));
    }
    is_of(
        "nmt",
        &said(&["nmt", &sample("nmt", "17-summary-b.txt"), &sample("nmt", "17-detail.txt"), "--json"]),
    );
}

#[test]
fn a_running_python() {
    let program = Program::start(Command::new("python3").args([
        "-c",
        "import sys; kept = [str(i) for i in range(9999)]; print('READY', flush=True); sys.stdin.read()",
    ]));
    let pid = program.pid().to_string();
    is_of("python", &json(&["python", &pid, "--for", "2s", "--holders", "str", "--json"]));
    is_of("map", &json(&["map", &pid, "--json"]));
}

#[test]
fn a_running_jvm() {
    let jdk = jdks().iter().rfind(|jdk| jdk.feature == 17).expect("JDK 17 is here");
    let classes = build_java("Ordinary", common::ORDINARY);
    let flags = ["-Xmx128m", "-XX:NativeMemoryTracking=detail"];
    let program = Program::start(Command::new(&jdk.java).args(flags).arg("-cp").arg(classes).arg("Ordinary"));
    let pid = program.pid().to_string();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_string_lossy().into_owned();

    is_of("ps", &json(&["ps", "--json"]));
    is_of("doctor", &said(&["doctor", "--json"]));
    is_of("doctor", &said(&["doctor", &pid, "--json"]));
    is_of("handles", &json(&["handles", "--json", &pid]));
    is_of("handles", &json(&["handles", "--json", "--for", "100ms", &pid]));
    is_of("jcmd", &json(&["jcmd", "--json", &pid, "VM.version"]));
    is_of("nmt", &json(&["nmt", &pid, "detail", "--json"]));
    let before = json(&["map", &pid, "--json"]);
    is_of("map", &before);
    is_of("trim", &json(&["trim", &pid, "--json"]));
    std::fs::write(file("before.json"), before.to_string()).unwrap();
    std::fs::write(file("after.json"), json(&["map", &pid, "--json"]).to_string()).unwrap();
    is_of("diff", &json(&["diff", &file("before.json"), &file("after.json"), "--json"]));

    // Some seconds each: too short for a verdict, but the document is whole.
    let recording = file("run.offheap");
    assert!(offheap(&["record", &pid, "-o", &recording, "--for", "3s"]).status.success());
    is_of("fit", &said(&["fit", &recording, "--limit", "1G", "--json"]));
    is_of("check", &said(&["check", &recording, "--json"]));
    is_of("diagnose", &said(&["diagnose", &recording, "--json"]));
    let compared = said(&["diagnose", &recording, "--compare", &recording, "--json"]);
    is_of("diagnose", &compared);
    is_of("compare", &compared["compare"]);

    let mut server = Command::new(offheap_testkit::offheap())
        .args(["serve", &pid, "--every", "100ms"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut url = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut url).unwrap();
    let (host, path) = url.trim().strip_prefix("http://").unwrap().split_once('/').unwrap();
    let get = |what: &str| -> Option<Value> {
        let mut stream = TcpStream::connect(host).unwrap();
        stream.write_all(format!("GET /{path}{what} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
    };
    is_of("serve", &get("views.json").unwrap());
    // Its first view comes with the first snapshot.
    let report = std::iter::repeat_with(|| get("views/0.json")).take(600).find_map(|answer| {
        std::thread::sleep(std::time::Duration::from_millis(if answer.is_none() { 100 } else { 0 }));
        answer
    });
    server.kill().unwrap();
    server.wait().unwrap();
    is_of("report", &report.expect("a view within a minute"));
}

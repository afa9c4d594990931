//! `offheap serve` of a running process and of a recording that grows.

use offheap_collect::{Collector, Effort};
use offheap_store::{Options, Recorder};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The server, ended with the test.
struct Serving {
    child: Child,
    host: String,
    path: String,
}

impl Serving {
    fn start(targets: &[&str]) -> Serving {
        let mut child = Command::new(offheap_testkit::offheap())
            .arg("serve")
            .args(targets)
            .args(["--every", "100ms"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        let (host, path) = url.trim().strip_prefix("http://").unwrap().split_once('/').unwrap();
        Serving { host: host.to_owned(), path: format!("/{path}"), child }
    }

    fn get(&self, what: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.host).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let request = format!("GET {}{what} HTTP/1.1\r\nHost: {}\r\n\r\n", self.path, self.host);
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), body.to_owned())
    }

    /// Asks for `what` until the answer is as wanted.
    fn wait(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + Duration::from_secs(120);
        loop {
            let (status, body) = self.get(what);
            if status == 200 && wanted(&body) {
                return body;
            }
            assert!(Instant::now() < end, "{what} never became as wanted: {status} {body:.500}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_process_and_a_recording_that_grows_are_shown_fresh() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.offheap");
    let mut recorder = Recorder::create(&path, Options::default()).unwrap();
    let me = std::process::id() as i32;
    let mut collector = Collector::open(me).unwrap();
    let mut snapshot = collector.snapshot(Effort::SERIES).unwrap();
    recorder.append(&snapshot).unwrap();

    let mut serving = Serving::start(&[&me.to_string(), path.to_str().unwrap()]);
    serving.wait("metrics", |body| body.matches("\noffheap_rss_bytes{").count() == 2);
    let views: Value = serde_json::from_str(&serving.get("views.json").1).unwrap();
    let names: Vec<&str> =
        views["views"].as_array().unwrap().iter().filter_map(|v| v["name"].as_str()).collect();
    let id = names.iter().position(|name| *name != format!("pid {me}")).expect("the recording's view");
    let snapshots = |body: &str| {
        let data: Value = serde_json::from_str(body).unwrap();
        data["diagnosis"]["window"]["snapshots"].as_u64().unwrap()
    };
    let recorded = format!("views/{id}.json");
    assert_eq!(snapshots(&serving.get(&recorded).1), 1);
    snapshot.time_ms += 1000;
    recorder.append(&snapshot).unwrap();
    serving.wait(&recorded, |body| snapshots(body) == 2);
    // The running process has its own, ever more of them.
    let live = format!("views/{}.json", 1 - id);
    serving.wait(&live, |body| snapshots(body) >= 3);

    // SIGINT ends it, and well.
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(serving.child.id() as i32).unwrap(),
        rustix::process::Signal::INT,
    )
    .unwrap();
    assert!(serving.child.wait().unwrap().success());
}

#[test]
fn what_can_not_be_served_is_said() {
    let serve = |arguments: &[&str], token: &str| {
        let output = Command::new(offheap_testkit::offheap())
            .arg("serve")
            .args(arguments)
            .env("OFFHEAP_SERVE_TOKEN", token)
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, error) = serve(&["no such process, surely"], "a-token-of-the-tests");
    assert!(code == Some(2) && error.contains("no such process"), "{code:?} {error}");
    let (code, error) = serve(&[&std::process::id().to_string()], "short");
    assert!(code == Some(2) && error.contains("OFFHEAP_SERVE_TOKEN"), "{code:?} {error}");
}

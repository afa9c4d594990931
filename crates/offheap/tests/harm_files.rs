//! Files and answers of strangers: recordings that run code, live files without an end, escape
//! sequences, bombs; and our own files, which are nobody else's.

use offheap_testkit::{Program, build_harm, build_harm_java, jdk, run_within};
use rusqlite::Connection;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);
/// What a hostile file may cost at most: a good deal less than it says it is.
const MEMORY: u64 = 400 << 20;

fn offheap(words: &[&str]) -> offheap_testkit::Ended {
    run_within(Command::new(offheap_testkit::offheap()).args(words), LIMIT)
}

/// A recording of this very test.
fn recording(folder: &Path) -> PathBuf {
    let path = folder.join("base.offheap");
    let me = std::process::id().to_string();
    let ended = offheap(&["record", &me, "-o", path.to_str().unwrap(), "--every", "200ms", "--for", "2s"]);
    assert_eq!(ended.code(), Some(0), "{}", ended.err);
    path
}

/// A copy of `base` in which `statements` were executed.
fn crafted(base: &Path, name: &str, statements: &[&str]) -> PathBuf {
    let path = base.with_file_name(format!("{name}.offheap"));
    std::fs::copy(base, &path).unwrap();
    let connection = Connection::open(&path).unwrap();
    for statement in statements {
        connection.execute_batch(statement).unwrap();
    }
    path
}

const ENDLESS: &str = "WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n)";

#[test]
fn a_recording_of_a_stranger_runs_nothing_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let base = recording(folder.path());
    let view = |rows: &str| {
        format!(
            "ALTER TABLE mark RENAME TO m2; CREATE VIEW mark AS {ENDLESS} SELECT id, id AS time_ms, {rows}"
        )
    };
    let all = [
        crafted(&base, "endless", &[&view("'x' AS text FROM n")]),
        crafted(&base, "silent", &[&view("'x' AS text FROM n WHERE id < 0")]),
        crafted(&base, "growing", &[&view("hex(zeroblob(100000000)) AS text FROM n LIMIT 64")]),
        crafted(
            &base,
            "blobs",
            &[
                "ALTER TABLE frame RENAME TO f2; CREATE VIEW frame AS SELECT id, zeroblob(999999999) AS body FROM f2",
            ],
        ),
        crafted(&base, "large", &["UPDATE frame SET body = zeroblob(400000000)"]),
        crafted(
            &base,
            "many",
            &[&format!(
                "INSERT INTO mark(time_ms, text) SELECT id, 'x' FROM ({ENDLESS} SELECT id FROM n LIMIT 3000000)"
            )],
        ),
        crafted(
            &base,
            "generated",
            &[
                "ALTER TABLE mark RENAME TO m2; CREATE TABLE mark(id INTEGER PRIMARY KEY, time_ms INTEGER, text TEXT AS (hex(zeroblob(300000000))))",
                "INSERT INTO mark(time_ms) VALUES (1)",
            ],
        ),
    ];
    for path in &all {
        let path = path.to_str().unwrap();
        for words in [
            &["diagnose", path][..],
            &["check", path],
            &["map", path],
            &["profile", "--from", path],
            &["mark", path, "x"],
        ] {
            let ended = offheap(words);
            assert!(ended.status.is_some(), "{words:?} hung");
            assert!(ended.took < Duration::from_secs(30), "{words:?}: {:?}", ended.took);
            assert!(ended.peak_bytes < MEMORY, "{words:?}: {} MiB", ended.peak_bytes >> 20);
            assert!(ended.signal().is_none() && !ended.err.contains("panicked"), "{words:?}: {}", ended.err);
        }
    }
    // A trigger of the file's would run with what `mark` writes.
    let path = crafted(
        &base,
        "trigger",
        &[
            "CREATE TRIGGER t AFTER INSERT ON mark BEGIN DELETE FROM snapshot; UPDATE target SET command = 'pwned'; END",
        ],
    );
    let before: i64 = Connection::open(&path)
        .unwrap()
        .query_row("SELECT count(*) FROM snapshot", [], |row| row.get(0))
        .unwrap();
    let _ = offheap(&["mark", path.to_str().unwrap(), "now"]);
    let after: i64 = Connection::open(&path)
        .unwrap()
        .query_row("SELECT count(*) FROM snapshot", [], |row| row.get(0))
        .unwrap();
    assert_eq!(before, after, "the trigger ran");
    let path = crafted(
        &base,
        "endless-trigger",
        &[&format!(
            "CREATE TRIGGER t AFTER INSERT ON mark BEGIN INSERT INTO mark(time_ms, text) SELECT 1, 'x' FROM ({ENDLESS} SELECT id FROM n); END"
        )],
    );
    let ended = offheap(&["mark", path.to_str().unwrap(), "now"]);
    assert!(ended.status.is_some() && ended.took < Duration::from_secs(30), "mark hung");
    // Bytes flipped anywhere: refused or read, never a panic.
    let good = std::fs::read(&base).unwrap();
    let mut x = 88_172_645_463_325_252_u64;
    for n in 0..40 {
        let mut bytes = good.clone();
        for _ in 0..60 {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            let at = 100 + x as usize % (bytes.len() - 100);
            bytes[at] = (x >> 40) as u8;
        }
        let path = folder.path().join(format!("flipped{n}.offheap"));
        std::fs::write(&path, bytes).unwrap();
        let ended = offheap(&["diagnose", path.to_str().unwrap()]);
        assert!(
            ended.status.is_some() && ended.signal().is_none() && !ended.err.contains("panicked"),
            "{}: {}",
            path.display(),
            ended.err
        );
        assert!(ended.peak_bytes < MEMORY, "{}", path.display());
    }
}

/// `run --live` with a file that is there: only a live file that nobody uses any more is replaced.
#[test]
fn live_replaces_only_what_is_a_live_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("precious.img");
    let mut magic = b"offheap".to_vec();
    magic.resize(100_000, 0);
    for bytes in [
        vec![0; 4 << 20],
        vec![0; 100_000],
        vec![0; 32 << 20],
        Vec::new(),
        magic,
        b"\0\0\0\0\0\0\0\0precious".to_vec(),
    ] {
        std::fs::write(&path, &bytes).unwrap();
        let _ = offheap(&["run", "--live", path.to_str().unwrap(), "--for", "1s", "--", "/bin/true"]);
        assert!(std::fs::read(&path).unwrap() == bytes, "a file of {} bytes was touched", bytes.len());
    }
    // A link is not followed either.
    let target = folder.path().join("target");
    std::fs::write(&target, vec![0; 4 << 20]).unwrap();
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(&target, &path).unwrap();
    let _ = offheap(&["run", "--live", path.to_str().unwrap(), "--", "/bin/true"]);
    assert!(std::fs::read(&target).unwrap() == vec![0; 4 << 20]);
    assert!(path.is_symlink());
}

/// Command lines, and with them passwords, are in all of them.
#[test]
fn our_files_are_readable_by_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let me = std::process::id().to_string();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (record, report, profile, live) = (file("a.offheap"), file("a.html"), file("p.json"), file("a.live"));
    offheap(&["record", &me, "-o", &record, "--every", "200ms", "--for", "1s"]);
    offheap(&["diagnose", &record, "-o", &report]);
    offheap(&["run", "--live", &live, "-o", &profile, "--", "/bin/sleep", "0.2"]);
    let mut seen = 0;
    for entry in std::fs::read_dir(folder.path()).unwrap().flatten() {
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode & 0o077, 0, "{:?} is {mode:o}", entry.file_name());
        seen += 1;
    }
    assert!(seen >= 3, "{seen} files");
}

/// What a target chose as a thread's name goes to a pipe without its escape sequences; to who asks
/// for it, as it is.
#[test]
fn jcmd_cleans_what_the_target_says() {
    let jdk = jdk(17);
    let mut jvm = Program::start(
        Command::new(&jdk.java).args(["-Xmx32m", "-cp"]).arg(build_harm_java("Named")).arg("Named"),
    );
    let pid = jvm.pid().to_string();
    let ended = offheap(&["jcmd", &pid, "Thread.print"]);
    assert_eq!(ended.code(), Some(0), "{}", ended.err);
    assert!(ended.out.contains("pwned"), "{}", ended.out);
    let raw = |text: &str| text.chars().filter(|c| c.is_control() && !matches!(c, '\n' | '\t')).count();
    assert_eq!(raw(&ended.out), 0, "{:?}", ended.out.lines().find(|line| raw(line) > 0));
    let ended = offheap(&["jcmd", "--raw", &pid, "Thread.print"]);
    assert!(raw(&ended.out) > 0, "{}", ended.err);
    assert_eq!(jvm.try_ask("alive").as_deref(), Some("alive"));
}

/// A page that many ask for slowly, or not at all, is still there for who asks well.
#[test]
fn serve_survives_slow_clients() {
    let me = std::process::id().to_string();
    let mut command = Command::new(offheap_testkit::offheap());
    let mut child = command.args(["serve", &me, "--every", "500ms"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut url = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut url)
        .unwrap();
    let (host, path) = url.trim().strip_prefix("http://").unwrap().split_once('/').unwrap();
    let ask = |limit: Duration| -> Option<String> {
        let mut stream = TcpStream::connect(host).ok()?;
        stream.set_read_timeout(Some(limit)).ok()?;
        write!(stream, "GET /{path}views.json HTTP/1.1\r\nHost: {host}\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.starts_with("HTTP/1.1 200").then_some(answer)
    };
    assert!(ask(Duration::from_secs(20)).is_some(), "it answers");
    // Half of a request each, and a byte now and then.
    let mut slow: Vec<TcpStream> = (0..200).filter_map(|_| TcpStream::connect(host).ok()).collect();
    for stream in &mut slow {
        let _ = stream.write_all(b"GET / HTTP/1.1\r\n");
    }
    let mut answered = 0;
    for _ in 0..5 {
        for stream in &mut slow {
            let _ = stream.write_all(b"X");
        }
        // Turned away, one asks again.
        let end = Instant::now() + Duration::from_secs(8);
        while Instant::now() < end && ask(Duration::from_secs(4)).is_none() {
            std::thread::sleep(Duration::from_millis(200));
        }
        answered += u32::from(Instant::now() < end);
    }
    let _ = child.kill();
    let _ = child.wait();
    assert!(answered >= 4, "only {answered} of 5 were answered within eight seconds");
}

/// A megabyte that unpacks to a gigabyte is refused before it has been.
#[test]
fn bombs_are_refused_by_what_comes_out() {
    let folder = tempfile::tempdir().unwrap();
    for (name, packer) in
        [("bomb.hprof.gz", "gzip -1"), ("bomb.json.gz", "gzip -9"), ("bomb.zst", "zstd -q -19 -c")]
    {
        let path = folder.path().join(name);
        let line = format!("head -c 1500000000 /dev/zero | {packer} > {}", path.display());
        // Where there is no packer there is no bomb.
        if !Command::new("sh")
            .args(["-c", &line])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
            || std::fs::metadata(&path).map_or(0, |metadata| metadata.len()) < 1000
        {
            eprintln!("NOT TESTED: {name}: {packer} is not here");
            continue;
        }
        let ended = offheap(&["convert", path.to_str().unwrap()]);
        assert_eq!(ended.code(), Some(2), "{name}: {}", ended.err);
        assert!(ended.peak_bytes < 900 << 20, "{name}: {} MiB", ended.peak_bytes >> 20);
    }
}

/// A JVM that only pretends to have an agent: its live file is gigabytes long, and its sections lie
/// anywhere.
#[test]
fn a_hostile_live_file_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    // A real one to begin with.
    let good = folder.path().join("good");
    let live = good.to_str().unwrap();
    offheap(&["run", "--live", live, "--interval", "1k", "--", "/bin/sh", "-c", "exit 0"]);
    let whole = std::fs::read(&good).unwrap();
    let file = folder.path().join("hostile");
    let agent = folder.path().join(".offheap_agent-1-0.so");
    let fake = build_harm("fake_agent", &["targets/evil.c"], &["-shared", "-DWHERE=\"/nowhere\""]);
    std::fs::copy(fake, &agent).unwrap();
    let poison = build_harm("poison", &["targets/poison.c"], &["-shared", "-DJNI", "-ldl"]);
    for spoil in [false, true] {
        let mut bytes = whole.clone();
        bytes.truncate(8 << 20);
        if spoil {
            for at in (24..600).step_by(8) {
                bytes[at..at + 8].copy_from_slice(&(0x7fff_ffff_u64 << (at % 3)).to_ne_bytes());
            }
        }
        std::fs::write(&file, &bytes).unwrap();
        std::fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(3 << 30).unwrap();
        let from = offheap(&["profile", "--from", file.to_str().unwrap(), "--json"]);
        let mut command = Command::new(&jdk(17).java);
        command.env("POISON_FILE", &file).env("POISON_AGENT", &agent).args(["-Xmx32m", "-cp"]);
        let jvm = Program::start(command.arg(build_harm_java("Host")).arg("Host").arg(&poison).arg("0"));
        let pid = jvm.pid().to_string();
        let all = [
            from,
            offheap(&["profile", &pid, "--for", "1s"]),
            offheap(&["doctor", &pid]),
            offheap(&["map", &pid]),
        ];
        for (n, ended) in all.iter().enumerate() {
            assert!(ended.status.is_some(), "{n} hung");
            assert!(ended.signal().is_none() && !ended.err.contains("panicked"), "{n}: {}", ended.err);
            assert!(ended.peak_bytes < MEMORY, "{n}: {} MiB: {}", ended.peak_bytes >> 20, ended.err);
        }
    }
}

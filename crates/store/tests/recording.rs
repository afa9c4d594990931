//! Recordings on a real disk: complete, bounded, and readable whatever happens to their writer.

use offheap_model::{
    Domain, DomainFigure, FileFigure, FileKind, Malloc, SizeClass, Snapshot, ThreadKind, ThreadPool,
};
use offheap_store::{End, Error, Options, Recorder, Recording, is_recording};
use std::path::Path;

/// A snapshot like a JVM's: 17 domains, 30 pools, 60 files, 200 chunk sizes, with noise that differs from second to second.
fn snapshot(second: i64, start_ticks: u64) -> Snapshot {
    let mut seed = (second as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ start_ticks;
    let mut noise = |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    let mut snapshot = Snapshot { time_ms: 1_700_000_000_000 + second * 1000, ..Snapshot::default() };
    snapshot.process.pid = 4711;
    snapshot.process.start_ticks = start_ticks;
    snapshot.process.command = "java -jar app.jar".to_owned();
    snapshot.domains = Domain::ALL
        .iter()
        .enumerate()
        .map(|(index, domain)| {
            // One domain grows by 4 KB/s, three wander, the others stay.
            let wander = if index % 5 == 0 { noise(64) * 4096 } else { 0 };
            let growth = if *domain == Domain::Malloc { second.unsigned_abs() * 4096 } else { 0 };
            DomainFigure {
                domain: *domain,
                rss_bytes: (10 << 20) + wander + growth,
                virtual_bytes: 100 << 20,
                swap_bytes: 0,
                huge_bytes: 0,
                source: "smaps".to_owned(),
                detail: Vec::new(),
            }
        })
        .collect();
    snapshot.memory.rss_bytes = snapshot.domains.iter().map(|figure| figure.rss_bytes).sum();
    snapshot.threads = (0..30)
        .map(|pool| ThreadPool {
            pool: format!("pool-{pool}-thread-*"),
            kind: ThreadKind::Java,
            count: 4 + noise(2),
            reserved_bytes: 4 << 20,
            resident_bytes: 400_000 + noise(8) * 4096,
            huge_bytes: 0,
        })
        .collect();
    snapshot.files = (0..60)
        .map(|file| FileFigure {
            path: format!("/usr/lib/jvm/java-17/lib/lib{file}.so"),
            kind: FileKind::Library,
            deleted: false,
            mappings: 5,
            virtual_bytes: 1 << 20,
            rss_bytes: 500_000,
            text_bytes: 400_000,
            dirty_bytes: 4096,
        })
        .collect();
    snapshot.malloc = Some(Malloc {
        size_classes: (0..200)
            .map(|class| {
                let count = 1000 + class + if class % 10 == 0 { noise(50) } else { 0 };
                SizeClass {
                    chunk_bytes: 32 + class * 16,
                    count,
                    total_bytes: count * (32 + class * 16),
                    hint: None,
                }
            })
            .collect(),
        ..Malloc::default()
    });
    snapshot
}

fn recorder(path: &Path) -> Recorder {
    Recorder::create(path, Options { boot_id: "boot".to_owned(), ..Options::default() }).unwrap()
}

#[test]
fn what_was_written_is_read_again_to_the_byte() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.offheap");
    let mut writer = recorder(&path);
    let written: Vec<Snapshot> = (0..50).map(|second| snapshot(second, 7)).collect();
    for snapshot in &written {
        writer.append(snapshot).unwrap();
    }
    writer.mark(written[20].time_ms, "load test starts").unwrap();
    // Read while it is being written.
    let reader = Recording::open(&path).unwrap();
    let target = &reader.targets().unwrap()[0];
    assert_eq!((target.pid, target.snapshots, target.ended.clone()), (4711, 50, None));
    assert_eq!(reader.snapshots(target.id, 0..=i64::MAX, 1000).unwrap(), written);
    let few = reader.snapshots(target.id, 0..=i64::MAX, 10).unwrap();
    assert!(few.len() <= 10 && few.last() == written.last());
    assert_eq!(reader.marks().unwrap()[0].text, "load test starts");
    let end = End { time_ms: 1, how: "killed for memory".to_owned() };
    writer.end(4711, 7, &end).unwrap();
    // The same pid, started again, is another target.
    writer.append(&snapshot(60, 8)).unwrap();
    let targets = reader.targets().unwrap();
    assert_eq!((targets.len(), targets[0].ended.as_ref()), (2, Some(&end)));
    drop(reader);
    writer.finish().unwrap();
    assert!(is_recording(&path));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "one file is all there is");
    let mut again = recorder(&path);
    again.append(&snapshot(61, 8)).unwrap();
    assert_eq!(Recording::open(&path).unwrap().targets().unwrap()[1].snapshots, 2);
}

#[test]
fn people_can_query_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.offheap");
    let mut writer = recorder(&path);
    writer.append(&snapshot(0, 7)).unwrap();
    writer.append(&snapshot(1, 7)).unwrap();
    let connection = rusqlite::Connection::open(&path).unwrap();
    let count = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("SELECT count(*) FROM domain_rss WHERE domain = 'malloc'"), 2);
    assert_eq!(count("SELECT max(rss_bytes) - min(rss_bytes) FROM domain_rss WHERE domain = 'malloc'"), 4096);
    assert_eq!(count("SELECT sum(rss_bytes) FROM domain_rss"), count("SELECT sum(rss_bytes) FROM rss"));
    assert_eq!(count("SELECT count(*) FROM thread_pools WHERE threads >= 4"), 48);
}

#[test]
fn a_day_at_one_a_second_stays_small_and_keeps_its_slope() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("day.offheap");
    let mut writer = recorder(&path);
    // Every tenth second of a day, and then the density of one a second: the last hour is whole.
    let day = 86_400;
    for second in (0..day - 3600).step_by(10).chain(day - 3600..day) {
        writer.append(&snapshot(second, 7)).unwrap();
    }
    writer.finish().unwrap();
    let size = std::fs::metadata(&path).unwrap().len();
    let reader = Recording::open(&path).unwrap();
    let target = &reader.targets().unwrap()[0];
    println!("{} snapshots in {} KiB", target.snapshots, size / 1024);
    assert!(size <= 64 << 20, "{size} bytes");
    assert_eq!(target.first_ms, snapshot(0, 7).time_ms, "growth is counted from the first snapshot");
    let malloc =
        |snapshot: &Snapshot| (snapshot.time_ms as f64 / 1000.0, snapshot.rss_of(Domain::Malloc) as f64);
    let slopes: Vec<f64> = reader
        .snapshots(target.id, 0..=i64::MAX, 400)
        .unwrap()
        .windows(2)
        .map(|pair| {
            let (a, b) = (malloc(&pair[0]), malloc(&pair[1]));
            (b.1 - a.1) / (b.0 - a.0)
        })
        .collect();
    assert!(slopes.iter().all(|slope| (slope - 4096.0).abs() < 1.0), "{slopes:?}");
}

#[test]
fn a_small_limit_is_kept_by_thinning_more() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("small.offheap");
    let options = Options { limit_bytes: 1 << 20, ..Options::default() };
    let mut writer = Recorder::create(&path, options).unwrap();
    for second in 0..4000 {
        writer.append(&snapshot(second, 7)).unwrap();
    }
    writer.finish().unwrap();
    let size = std::fs::metadata(&path).unwrap().len();
    assert!(size <= 2 << 20, "{size} bytes");
    let reader = Recording::open(&path).unwrap();
    assert!(reader.targets().unwrap()[0].snapshots > 60);
}

#[test]
fn a_full_disk_is_said_and_the_file_stays_readable() {
    let folder = tempfile::tempdir().unwrap();
    let mount = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "none"])
        .arg(folder.path())
        .status()
        .unwrap();
    assert!(mount.success(), "this test mounts a small tmpfs and needs root");
    let path = folder.path().join("run.offheap");
    let mut writer = recorder(&path);
    let mut written = 0;
    let error = loop {
        match writer.append(&snapshot(written, 7)) {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
    };
    let seen = Recording::open(&path).and_then(|reader| Ok(reader.targets()?[0].snapshots));
    drop(writer);
    let unmount = std::process::Command::new("umount").arg(folder.path()).status().unwrap();
    assert!(unmount.success());
    assert!(matches!(error, Error::Full(_)), "{error}");
    assert_eq!(seen.unwrap(), written.unsigned_abs());
}

/// The other half of the next test: writes until it is killed, and prints a line after each snapshot.
#[test]
#[ignore = "run by the test below"]
fn writer_process() {
    let path = std::env::var("OFFHEAP_STORE_TEST").expect("the test below sets it");
    let mut writer = recorder(Path::new(&path));
    for second in 0.. {
        writer.append(&snapshot(second, 7)).unwrap();
        println!("wrote {}", second + 1);
    }
}

#[test]
fn a_killed_writer_loses_at_most_the_snapshot_being_written() {
    use std::io::{BufRead, BufReader};
    let folder = tempfile::tempdir().unwrap();
    for round in 0..50 {
        let path = folder.path().join(format!("{round}.offheap"));
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writer_process", "--ignored", "--nocapture"])
            .env("OFFHEAP_STORE_TEST", &path)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said = 0;
        while said <= round {
            let line = lines.next().unwrap().unwrap();
            said = line.split("wrote ").nth(1).and_then(|count| count.parse().ok()).unwrap_or(said);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let said = lines
            .map_while(Result::ok)
            .filter_map(|line| line.split("wrote ").nth(1)?.parse().ok())
            .last()
            .unwrap_or(said);
        let reader = Recording::open(&path).unwrap();
        let target = &reader.targets().unwrap()[0];
        // It may have been killed between the write and the word.
        assert!(target.snapshots >= said && target.snapshots <= said + 1, "{} of {said}", target.snapshots);
        assert_eq!(reader.snapshots(target.id, 0..=i64::MAX, 10_000).unwrap().len() as u64, target.snapshots);
    }
}

#[test]
fn other_files_and_newer_versions_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    std::fs::write(&path, "not a database, and long enough to be looked at as one".repeat(50)).unwrap();
    assert!(matches!(Recording::open(&path), Err(Error::NotARecording(_))));
    assert!(!is_recording(&path));
    let other = folder.path().join("other.sqlite");
    rusqlite::Connection::open(&other).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    assert!(matches!(Recording::open(&other), Err(Error::NotARecording(_))));
    assert!(matches!(Recorder::create(&other, Options::default()), Err(Error::NotARecording(_))));
    let newer = folder.path().join("newer.offheap");
    recorder(&newer).finish().unwrap();
    rusqlite::Connection::open(&newer).unwrap().pragma_update(None, "user_version", 99).unwrap();
    assert!(matches!(Recording::open(&newer), Err(Error::Newer { found: 99, .. })));
}

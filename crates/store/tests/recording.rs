//! Recordings on a real disk: complete, bounded, and readable whatever happens to their writer.

mod support;

use offheap_model::{Domain, FigureKind, Snapshot};
use offheap_store::{End, Error, Options, Recorder, Recording, is_recording};
use std::path::Path;
use support::snapshot;

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
    assert_eq!(reader.targets().unwrap().len(), 1, "it is what it was when it was opened");
    let reader = Recording::open(&path).unwrap();
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
fn of_many_profiles_some_stay_spread_over_the_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.offheap");
    let mut writer = recorder(&path);
    writer.append(&snapshot(0, 7)).unwrap();
    for minute in 0..500 {
        let profile = offheap_model::Profile { seconds: minute as f64, ..Default::default() };
        writer.profile(&snapshot(0, 7), minute, &profile).unwrap();
    }
    let reader = Recording::open(&path).unwrap();
    let target = reader.targets().unwrap()[0].id;
    let profiles = reader.profiles(target).unwrap();
    let times: Vec<i64> = profiles.iter().map(|(time, _)| *time).collect();
    assert_eq!((times.len(), times.first(), times.last()), (32, Some(&0), Some(&499)), "{times:?}");
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] <= 40), "{times:?}");
    assert!(profiles.iter().all(|(time, profile)| profile.seconds == *time as f64));
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
fn a_limit_takes_old_snapshots_and_leaves_recent_ones() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("small.offheap");
    let options = Options { limit_bytes: 3 << 20, ..Options::default() };
    let mut writer = Recorder::create(&path, options).unwrap();
    for second in 0..4000 {
        writer.append(&snapshot(second, 7)).unwrap();
    }
    writer.finish().unwrap();
    // Thinning happens every 120 snapshots: that many may be above the limit.
    let size = std::fs::metadata(&path).unwrap().len();
    assert!(size <= 4 << 20, "{size} bytes");
    let reader = Recording::open(&path).unwrap();
    // The whole part is halved until all fits: from an hour to 225 s here, far from the least there
    // can be (60 s).
    let recent = reader.snapshots(1, snapshot(3800, 7).time_ms..=i64::MAX, 10_000).unwrap();
    assert_eq!(recent.len(), 200, "no more may go than the limit needs");
}

#[test]
fn a_reader_is_not_disturbed_by_a_writer_that_thins() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.offheap");
    let mut writer = Recorder::create(&path, Options { limit_bytes: 1 << 20, ..Options::default() }).unwrap();
    writer.append(&snapshot(0, 7)).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for second in 1..3000 {
                writer.append(&snapshot(second, 7)).unwrap();
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        while !stop.load(std::sync::atomic::Ordering::Relaxed) {
            let reader = Recording::open(&path).unwrap();
            let last = reader.targets().unwrap()[0].last_ms;
            let seen = reader.snapshots(1, 0..=i64::MAX, 10_000).unwrap();
            assert_eq!(seen.last().unwrap().time_ms, last);
        }
    });
}

#[test]
fn two_writers_do_not_take_each_others_frames() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.offheap");
    let options = Options { limit_bytes: 200 << 10, ..Options::default() };
    let mut one = Recorder::create(&path, options.clone()).unwrap();
    let mut two = Recorder::create(&path, options).unwrap();
    two.append(&snapshot(-1000, 7)).unwrap();
    two.append(&snapshot(0, 7)).unwrap();
    // Its frame is gone, as when all the snapshots that needed it were thinned out.
    rusqlite::Connection::open(&path)
        .unwrap()
        .execute_batch("DELETE FROM snapshot; DELETE FROM frame;")
        .unwrap();
    // The other's new frame must not pass for it.
    let written: Vec<Snapshot> = (1..4).map(|second| snapshot(second, 7)).collect();
    one.append(&written[0]).unwrap();
    two.append(&written[1]).unwrap();
    one.append(&written[2]).unwrap();
    assert_eq!(Recording::open(&path).unwrap().snapshots(1, 0..=i64::MAX, 10).unwrap(), written);
}

#[test]
fn a_figure_over_time_is_read_without_its_snapshots() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.offheap");
    let mut writer = recorder(&path);
    for second in 0..5 {
        writer.append(&snapshot(second, 7)).unwrap();
    }
    writer.append(&snapshot(0, 8)).unwrap();
    let reader = Recording::open(&path).unwrap();
    let domains = reader.figures(1, FigureKind::Domain).unwrap();
    assert_eq!(domains.len(), Domain::ALL.len());
    let malloc = domains.iter().find(|figure| figure.name == "malloc").unwrap();
    let expected: Vec<_> = (0..5)
        .map(|second| (snapshot(second, 7).time_ms, snapshot(second, 7).rss_of(Domain::Malloc), None))
        .collect();
    assert_eq!(malloc.points, expected);
    assert_eq!(reader.figures(1, FigureKind::Arena).unwrap().len(), 8);
}

/// The other half of the next test: a file-size limit stands for a quota.
#[test]
#[ignore = "run by the test below"]
fn limited_process() {
    let path = std::env::var("OFFHEAP_STORE_TEST").expect("the test below sets it");
    // SAFETY: both only change settings of this process, with valid arguments.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        let limit = libc::rlimit { rlim_cur: 300 << 10, rlim_max: 300 << 10 };
        assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &limit), 0);
    }
    let mut writer = recorder(Path::new(&path));
    for second in 0.. {
        if let Err(error) = writer.append(&snapshot(second, 7)) {
            assert!(matches!(error, Error::Unwritable(_)), "{error:?}");
            assert!(second > 3);
            println!("wrote {second}");
            return;
        }
    }
}

#[test]
fn a_file_that_may_not_grow_is_said_and_stays_readable() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.offheap");
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "limited_process", "--ignored", "--nocapture"])
        .env("OFFHEAP_STORE_TEST", &path)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text} {}", String::from_utf8_lossy(&output.stderr));
    let written: u64 =
        text.split("wrote ").nth(1).and_then(|s| s.lines().next()?.parse().ok()).expect("a count");
    assert_eq!(Recording::open(&path).unwrap().targets().unwrap()[0].snapshots, written);
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

/// The other half of the next test: writes until it is killed, and prints a line after each
/// snapshot.
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
    // Killed before its first table was there: there is nothing in it, and it can be gone on with.
    let empty = folder.path().join("empty.offheap");
    std::fs::write(&empty, "").unwrap();
    assert!(matches!(Recording::open(&empty), Err(Error::NotARecording(_))));
    recorder(&empty).append(&snapshot(0, 7)).unwrap();
    assert_eq!(Recording::open(&empty).unwrap().targets().unwrap().len(), 1);
}

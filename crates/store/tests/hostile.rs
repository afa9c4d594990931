//! Recordings from a stranger: each kind of crafted file is refused, or is no more than rows, in
//! bounded time and memory; and what lies beside a recording, or under its name, does no harm.

mod support;

use offheap_model::FigureKind;
use offheap_store::{Error, Options, Recorder, Recording, is_recording};
use rusqlite::Connection;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use support::snapshot;
use tempfile::TempDir;

/// An honest recording of a few snapshots.
fn base(folder: &Path) -> PathBuf {
    let path = folder.join("base.offheap");
    let mut writer = Recorder::create(&path, Options::default()).unwrap();
    for second in 0..20 {
        writer.append(&snapshot(second, 7)).unwrap();
    }
    writer.mark(snapshot(5, 7).time_ms, "load").unwrap();
    writer.profile(&snapshot(0, 7), 1, &Default::default()).unwrap();
    writer.finish().unwrap();
    path
}

/// A copy of an honest recording after `sql`, as whoever means harm would have made it.
fn crafted(sql: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = base(folder.path());
    let connection = Connection::open(&path).unwrap();
    connection.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_DEFENSIVE, false).unwrap();
    connection.execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    drop(connection);
    (folder, path)
}

/// Reads all there is; the first error.
fn read_all(path: &Path) -> Result<(), Error> {
    let recording = Recording::open(path)?;
    for target in recording.targets()? {
        recording.snapshots(target.id, i64::MIN..=i64::MAX, 1000)?;
        recording.profiles(target.id)?;
        for kind in FigureKind::ALL {
            recording.figures(target.id, kind)?;
        }
    }
    recording.marks().map(drop)
}

/// The same, and writing: without a panic, and before long. The bound is far above what it takes:
/// this is no benchmark.
fn open_in_every_way(path: &Path) -> Result<(), Error> {
    let begun = Instant::now();
    let read = read_all(path);
    if let Ok(mut writer) = Recorder::create(path, Options::default()) {
        let _ = writer.mark(1, "mark");
        let _ = writer.append(&snapshot(100, 7));
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?} for {}", begun.elapsed(), path.display());
    read
}

const ENDLESS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)";

#[test]
fn what_no_recording_has_in_its_schema_is_refused() {
    let crafts = [
        format!("ALTER TABLE mark RENAME TO m; CREATE VIEW mark AS {ENDLESS} SELECT i AS id, i AS time_ms, 'x' AS text FROM n"),
        format!("ALTER TABLE mark RENAME TO m; CREATE VIEW mark AS {ENDLESS} SELECT i AS id, i AS time_ms, hex(zeroblob(90000000)) AS text FROM n"),
        "ALTER TABLE frame RENAME TO f; CREATE VIEW frame AS SELECT id, zeroblob(999999999) AS body FROM f".to_owned(),
        "CREATE TRIGGER t AFTER INSERT ON mark BEGIN DELETE FROM snapshot; END".to_owned(),
        "CREATE TRIGGER t INSTEAD OF INSERT ON rss BEGIN DELETE FROM snapshot; END".to_owned(),
        "CREATE VIEW another AS SELECT 1".to_owned(),
        "DROP VIEW rss; CREATE VIEW rss AS SELECT randomblob(9) AS time".to_owned(),
        "CREATE TABLE another (x)".to_owned(),
        "DROP TABLE mark".to_owned(),
        "DROP VIEW phases".to_owned(),
        "DROP INDEX snapshot_by_time".to_owned(),
        "CREATE INDEX another ON mark (text)".to_owned(),
        "CREATE INDEX another ON mark (abs(time_ms))".to_owned(),
        "CREATE INDEX another ON mark (text COLLATE NOCASE)".to_owned(),
        "CREATE INDEX another ON mark (text) WHERE length(text) > 3".to_owned(),
        "ALTER TABLE mark ADD COLUMN more AS (hex(zeroblob(1000000)))".to_owned(),
        "ALTER TABLE mark ADD COLUMN more DEFAULT 'x'".to_owned(),
        "DROP TABLE mark; CREATE TABLE mark (id INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, text TEXT NOT NULL COLLATE NOCASE)".to_owned(),
        "DROP TABLE mark; CREATE TABLE mark (id INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, text TEXT NOT NULL CHECK (length(text) < 9))".to_owned(),
        "DROP TABLE mark; CREATE TABLE mark (id INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, text TEXT NOT NULL) STRICT".to_owned(),
        "DROP TABLE mark; CREATE VIRTUAL TABLE mark USING fts5 (time_ms, text)".to_owned(),
        "CREATE VIRTUAL TABLE another USING rtree (id, a, b)".to_owned(),
        "ANALYZE".to_owned(),
        "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = 'CREATE TABLE mark (id, time_ms, text)' WHERE name = 'mark'".to_owned(),
        "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET type = 'view' WHERE name = 'mark'".to_owned(),
        "PRAGMA writable_schema = ON; INSERT INTO sqlite_schema SELECT 'table', 'm' || i, 'm' || i, 2, 'CREATE TABLE m' || i || ' (x)' FROM (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 20000) SELECT i FROM n)".to_owned(),
        format!("CREATE VIEW deep AS SELECT {}1{}", "(".repeat(90), ")".repeat(90)),
        format!("CREATE VIEW wide AS SELECT {}", ["1"; 500].join(", ")),
        format!("CREATE VIEW long AS SELECT '{}'", "x".repeat(600_000)),
    ];
    for sql in crafts {
        let (_folder, path) = crafted(&sql);
        assert!(is_recording(&path), "{sql}");
        let error = open_in_every_way(&path).expect_err(&sql);
        assert!(
            matches!(error, Error::Strange { .. } | Error::Sqlite { .. } | Error::Damaged { .. }),
            "{sql}: {error}"
        );
        assert!(Recorder::create(&path, Options::default()).is_err(), "{sql}");
        // Nothing ran, nothing was written.
        let count = |sql: &str| Connection::open(&path)?.query_row(sql, [], |row| row.get::<_, i64>(0));
        assert_eq!(count("SELECT count(*) FROM snapshot").unwrap_or(20), 20, "{sql}");
    }
}

#[test]
fn a_strange_recording_is_named_with_what_is_strange() {
    let (_folder, path) = crafted("CREATE TRIGGER evil AFTER INSERT ON mark BEGIN SELECT 1; END");
    let text = read_all(&path).unwrap_err().to_string();
    assert!(text.contains("trigger \"evil\"") && text.contains("sqlite3"), "{text}");
}

/// A value as the recorder packs it: a length, and zstd.
fn packed(claimed: u32, body: &[u8]) -> Vec<u8> {
    [&claimed.to_le_bytes()[..], &zstd::bulk::compress(body, 3).unwrap()].concat()
}

#[test]
fn values_that_unfold_are_bounded() {
    let deep = packed(10 << 20, &vec![b'['; 10 << 20]);
    let sites = format!("{{\"sites\":[{}", "{},".repeat(10 << 20));
    let crafts: [(&str, &str, Vec<u8>); 7] = [
        ("snapshot", "deep", deep.clone()),
        ("frame", "a frame of nothing but brackets", deep),
        ("profile", "many", packed(sites.len() as u32, sites.as_bytes())),
        ("profile", "longer than it says", packed(10, &vec![b' '; 1 << 20])),
        ("snapshot", "4 GB", packed(u32::MAX, b"{}")),
        ("snapshot", "nothing", Vec::new()),
        ("frame", "no zstd", vec![0xff; 100]),
    ];
    for (table, what, body) in crafts {
        let folder = tempfile::tempdir().unwrap();
        let path = base(folder.path());
        Connection::open(&path).unwrap().execute(&format!("UPDATE {table} SET body = ?1"), [&body]).unwrap();
        let error = open_in_every_way(&path).expect_err(what);
        assert!(matches!(error, Error::Damaged { .. }), "{what}: {error}");
    }
    // Many that are each believable.
    let (_folder, path) = crafted("SELECT 1");
    let connection = Connection::open(&path).unwrap();
    let blank = packed(15 << 20, &[vec![b' '; (15 << 20) - 2], b"{}".to_vec()].concat());
    let frame = packed(2, b"{}");
    connection.execute("UPDATE frame SET body = ?1", [&frame]).unwrap();
    connection.execute("UPDATE snapshot SET body = ?1", [&blank]).unwrap();
    drop(connection);
    open_in_every_way(&path).unwrap_err();
}

#[test]
fn values_of_other_types_and_sizes_are_refused_or_no_more_than_values() {
    for sql in [
        "UPDATE target SET pid = 'x', command = 7, host = x'ff'",
        "UPDATE snapshot SET time_ms = 9223372036854775807",
        "UPDATE snapshot SET time_ms = -9223372036854775808, rss_bytes = -1",
        "UPDATE snapshot SET time_ms = 1e300",
        "UPDATE snapshot SET target_id = 999",
        "PRAGMA foreign_keys = OFF; UPDATE snapshot SET frame_id = 999",
        "UPDATE series SET name = printf('%.*c', 3000000, 'x') || id",
        "UPDATE target SET command = printf('%.*c', 5000000, 'x')",
        "UPDATE target SET pid = 99999999999999",
        "INSERT INTO mark (time_ms, text) SELECT 1, 'x' FROM figure, figure AS b LIMIT 200000",
        "UPDATE sqlite_sequence SET seq = 9223372036854775807",
        "PRAGMA user_version = -1",
        "PRAGMA application_id = 1",
        "PRAGMA page_size = 65536; VACUUM",
        "PRAGMA page_size = 512; VACUUM",
        "PRAGMA auto_vacuum = NONE; VACUUM",
        "PRAGMA journal_mode = WAL; INSERT INTO mark (time_ms, text) VALUES (1, 'x')",
    ] {
        let (_folder, path) = crafted(&format!("PRAGMA foreign_keys = OFF; {sql}"));
        let _ = open_in_every_way(&path);
    }
}

/// Numbers that look random and are the same each time (xorshift64).
fn random(seed: &mut u64) -> usize {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed as usize
}

#[test]
fn bytes_that_were_flipped_do_no_more_than_fail() {
    let folder = tempfile::tempdir().unwrap();
    let good = std::fs::read(base(folder.path())).unwrap();
    let path = folder.path().join("flipped.offheap");
    let mut seed = 0x0ff_4ea9;
    for round in 0..120 {
        let mut bytes = good.clone();
        // A third each: anywhere, in the header, in the heads of pages, where the trees are.
        for _ in 0..60 {
            let at = match round % 3 {
                0 => random(&mut seed) % bytes.len(),
                1 => 16 + random(&mut seed) % 84,
                _ => (random(&mut seed) % (bytes.len() / 4096)) * 4096 + random(&mut seed) % 16,
            };
            bytes[at] = random(&mut seed) as u8;
        }
        std::fs::write(&path, bytes).unwrap();
        let _ = open_in_every_way(&path);
        let _ = std::fs::remove_file(folder.path().join("flipped.offheap-wal"));
        let _ = std::fs::remove_file(folder.path().join("flipped.offheap-shm"));
    }
    for length in [0, 1, 15, 16, 99, 100, 511, 4095, 4096, 5000, good.len() / 2, good.len() - 1] {
        std::fs::write(&path, &good[..length]).unwrap();
        let _ = open_in_every_way(&path);
    }
}

#[test]
fn a_tree_whose_branches_are_itself_ends() {
    // Interior pages that are full of links to each other: walked whole, there would be no end to
    // it.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cycle.offheap");
    Recorder::create(&path, Options::default()).unwrap().finish().unwrap();
    let connection = Connection::open(&path).unwrap();
    let root: i64 = connection
        .query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'mark'", [], |row| row.get(0))
        .unwrap();
    drop(connection);
    let mut bytes = std::fs::read(&path).unwrap();
    let page = 4096;
    let begin = (root as usize - 1) * page;
    // An interior page of a table: all its children are the page after the last, which leads to the
    // root's like.
    let pages = 6;
    let first = bytes.len() / page + 1;
    let make = |child: u32| {
        let mut body = vec![0u8; page];
        let cells = 300;
        body[0] = 5;
        body[3..5].copy_from_slice(&(cells as u16).to_be_bytes());
        let content = page - 5 * cells;
        body[5..7].copy_from_slice(&(content as u16).to_be_bytes());
        body[8..12].copy_from_slice(&child.to_be_bytes());
        for cell in 0..cells {
            let at = content + 5 * cell;
            body[12 + 2 * cell..14 + 2 * cell].copy_from_slice(&(at as u16).to_be_bytes());
            body[at..at + 4].copy_from_slice(&child.to_be_bytes());
            body[at + 4] = 1 + (cell % 100) as u8;
        }
        body
    };
    bytes[begin..begin + page].copy_from_slice(&make(first as u32));
    for level in 0..pages {
        bytes.extend(make((first + level + 1) as u32));
    }
    // At last a leaf with one row: it is met 300 to the power of 7 times.
    let mut leaf = vec![0u8; page];
    leaf[0] = 13;
    leaf[4] = 1;
    let row = [6u8, 1, 4, 0, 1, 15, 7, b'x'];
    let at = page - row.len();
    leaf[5..7].copy_from_slice(&(at as u16).to_be_bytes());
    leaf[8..10].copy_from_slice(&(at as u16).to_be_bytes());
    leaf[at..].copy_from_slice(&row);
    bytes.extend(leaf);
    let count = (bytes.len() / page) as u32;
    bytes[28..32].copy_from_slice(&count.to_be_bytes());
    std::fs::write(&path, &bytes).unwrap();
    let error = open_in_every_way(&path).expect_err("it never ends");
    assert!(matches!(error, Error::Damaged { .. } | Error::Sqlite { .. }), "{error}");
}

#[test]
fn what_lies_beside_a_recording_is_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let path = base(folder.path());
    let before = std::fs::read(&path).unwrap();
    let precious = folder.path().join("precious");
    std::fs::write(&precious, "precious").unwrap();
    let beside = |ending: &str| PathBuf::from(format!("{}{ending}", path.display()));
    // A journal that says to write 0xee over page 2.
    let mut journal = vec![0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
    for word in [1u32, 0, (before.len() / 4096) as u32, 512, 4096] {
        journal.extend(word.to_be_bytes());
    }
    journal.resize(512, 0);
    journal.extend(2u32.to_be_bytes());
    journal.extend([0xee; 4096]);
    // Its checksum: each 200th byte from the end.
    let sum: u32 = (1..).map(|step| 4096 - 200 * step).take_while(|at| *at > 0).map(|_| 0xee).sum();
    journal.extend(sum.to_be_bytes());
    std::fs::write(beside("-journal"), &journal).unwrap();
    assert!(matches!(Recording::open(&path), Err(Error::Unfinished { .. })));
    let mut writer = Recorder::create(&path, Options::default()).unwrap();
    writer.mark(1, "x").unwrap();
    writer.finish().unwrap();
    assert_eq!(std::fs::read(beside("-journal")).unwrap(), journal);
    std::fs::remove_file(beside("-journal")).unwrap();
    assert_eq!(Recording::open(&path).unwrap().marks().unwrap().len(), 2, "nothing was rolled back");
    // The journal is a real one: SQLite by itself does what it says.
    let copy = folder.path().join("copy.offheap");
    std::fs::write(&copy, &before).unwrap();
    std::fs::write(folder.path().join("copy.offheap-journal"), &journal).unwrap();
    let _ = Connection::open(&copy).unwrap().query_row("SELECT * FROM mark", [], |_| Ok(()));
    assert_eq!(std::fs::read(&copy).unwrap()[4096..8192], [0xee; 4096], "the journal of this test is none");

    // Links and pipes where the log would be.
    for ending in ["-wal", "-shm"] {
        symlink(&precious, beside(ending)).unwrap();
        assert!(Recorder::create(&path, Options::default()).is_err(), "{ending}");
        std::fs::remove_file(beside(ending)).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            beside(ending),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        assert!(Recorder::create(&path, Options::default()).is_err(), "{ending}");
        read_all(&path).unwrap();
        std::fs::remove_file(beside(ending)).unwrap();
    }
    assert_eq!(std::fs::read(&precious).unwrap(), b"precious");

    // A log of rubbish, and one that says what no log says, are no log.
    let mut seed = 99;
    for length in [10, 32, 4152, 100_000] {
        let rubbish: Vec<u8> = (0..length).map(|_| random(&mut seed) as u8).collect();
        std::fs::write(beside("-wal"), rubbish).unwrap();
        read_all(&path).unwrap();
    }
}

#[test]
fn what_is_still_in_the_log_is_read_and_judged_too() {
    let folder = tempfile::tempdir().unwrap();
    for (sql, is_fine) in [
        ("INSERT INTO mark (time_ms, text) SELECT 7, 'in the log' FROM figure LIMIT 1500", true),
        ("CREATE TRIGGER t AFTER INSERT ON mark BEGIN DELETE FROM snapshot; END", false),
    ] {
        let path = base(folder.path());
        let connection = Connection::open(&path).unwrap();
        let log = "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0";
        connection.execute_batch(&format!("{log}; {sql}")).unwrap();
        // What is not finished yet is no part of it.
        connection
            .execute_batch("PRAGMA cache_size = 1; BEGIN; DELETE FROM figure; DELETE FROM mark")
            .unwrap();
        let copy = folder.path().join("copy.offheap");
        std::fs::copy(&path, &copy).unwrap();
        std::fs::copy(folder.path().join("base.offheap-wal"), folder.path().join("copy.offheap-wal"))
            .unwrap();
        match (read_all(&copy), is_fine) {
            (Ok(()), true) => {
                let recording = Recording::open(&copy).unwrap();
                assert!(recording.marks().unwrap().len() > 1000);
                assert_eq!(recording.figures(1, FigureKind::Domain).unwrap()[0].points.len(), 20);
                Recorder::create(&copy, Options::default()).unwrap().finish().unwrap();
            }
            (Err(Error::Strange { .. }), false) => {
                assert!(matches!(Recorder::create(&copy, Options::default()), Err(Error::Strange { .. })));
            }
            (other, _) => panic!("{sql}: {other:?}"),
        }
        drop(connection);
        for ending in ["base.offheap", "copy.offheap", "copy.offheap-wal", "copy.offheap-shm"] {
            let _ = std::fs::remove_file(folder.path().join(ending));
        }
    }
}

#[test]
fn reading_writes_nothing_and_takes_no_lock() {
    let folder = tempfile::tempdir().unwrap();
    let path = base(folder.path());
    let before = std::fs::read(&path).unwrap();
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch("BEGIN EXCLUSIVE").unwrap();
    // A lock of somebody else's has nobody wait.
    read_all(&path).unwrap();
    connection.execute_batch("ROLLBACK").unwrap();
    drop(connection);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn names_that_are_no_files_are_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe.offheap");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0)
        .unwrap();
    for (path, what) in
        [(pipe.as_path(), "a pipe"), (folder.path(), "a directory"), (Path::new("/dev/zero"), "a device")]
    {
        assert!(!is_recording(path));
        for text in [
            Recording::open(path).unwrap_err().to_string(),
            Recorder::create(path, Options::default()).map(drop).unwrap_err().to_string(),
        ] {
            assert!(text.contains(what), "{text}");
        }
    }
    let missing = Recording::open(&folder.path().join("missing.offheap")).unwrap_err();
    assert!(missing.to_string().contains("cannot open"), "{missing}");
    assert!(std::error::Error::source(&missing).unwrap().to_string().contains("No such file"));
    // Through a link one can read, and never write.
    let (link, real) = (folder.path().join("link.offheap"), base(folder.path()));
    symlink(&real, &link).unwrap();
    read_all(&link).unwrap();
    assert!(matches!(Recorder::create(&link, Options::default()), Err(Error::NotAFile { .. })));
    let dangling = folder.path().join("dangling.offheap");
    symlink(folder.path().join("elsewhere"), &dangling).unwrap();
    assert!(Recorder::create(&dangling, Options::default()).is_err());
    assert!(!folder.path().join("elsewhere").exists());
}

#[test]
fn a_recording_is_for_its_owner_alone_while_it_is_written_and_after() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.offheap");
    let mut writer = Recorder::create(&path, Options::default()).unwrap();
    writer.append(&snapshot(0, 7)).unwrap();
    let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(Result::unwrap).collect();
    assert_eq!(files.len(), 3, "the file, its log and the log's index");
    for file in files {
        assert_eq!(file.metadata().unwrap().mode() & 0o7777, 0o600, "{:?}", file.path());
    }
    writer.finish().unwrap();
    // Who shares it afterwards, shares it.
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    Recorder::create(&path, Options::default()).unwrap().mark(1, "x").unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
}

#[test]
fn a_file_of_nothing_but_holes_takes_no_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hollow.offheap");
    std::fs::copy(base(folder.path()), &path).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    for length in [900 << 20, 3 << 30] {
        file.set_len(length).unwrap();
        assert!(matches!(Recording::open(&path), Err(Error::TooLarge { .. })));
    }
}

#[test]
fn another_users_recording_is_read_and_not_written_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = base(folder.path());
    let nobody = rustix::fs::Uid::from_raw(65534);
    rustix::fs::chown(&path, Some(nobody), None).expect("this test gives a file away and needs root");
    read_all(&path).unwrap();
    let error = Recorder::create(&path, Options::default()).map(drop).unwrap_err().to_string();
    assert!(error.contains("belongs to another user (uid 65534)"), "{error}");
}

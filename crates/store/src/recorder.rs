//! Writes a recording.

use crate::codec::{self, Packer};
use crate::guard::{self, Budget};
use crate::{End, Error, files, image, thin, vfs};
use offheap_model::{FigureKind, Profile, Snapshot};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, params};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Rows of one kind that are kept as figures; the whole snapshot has them all.
const FIGURES: usize = 24;

/// Snapshots between two rounds of thinning.
const THIN_EVERY: u64 = 120;

/// Profiles kept of one target; each tells all since its begin.
const PROFILES: i64 = 32;

/// Time that a step of writing may take.
const TIME: Duration = Duration::from_secs(60);

/// Seconds that keep every snapshot, to begin with; less when the file gets too large.
const FULL_S: i64 = 3600;

/// How to record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The file's size at most, bytes. Old snapshots are thinned out to stay below. More than 512
    /// MiB is taken for that: reading takes as much memory.
    pub limit_bytes: u64,
    /// Name of this host.
    pub host: String,
    /// The host's boot id: pids and start times repeat after a reboot.
    pub boot_id: String,
}

impl Default for Options {
    fn default() -> Self {
        Options { limit_bytes: 64 << 20, host: String::new(), boot_id: String::new() }
    }
}

/// Writes a recording.
pub struct Recorder {
    connection: Connection,
    path: PathBuf,
    options: Options,
    targets: HashMap<(i32, u64), Kept>,
    series: HashMap<(FigureKind, String), i64>,
    full_s: i64,
    appended: u64,
    budget: Budget,
}

/// What is kept for a target between two snapshots.
struct Kept {
    id: i64,
    frame: Option<(i64, Packer)>,
}

impl Recorder {
    /// Makes a recording at `path`, for its owner alone, or goes on with the one that is there.
    ///
    /// # Errors
    /// The file is something else, of a newer version, another user's, written by another process,
    /// or can't be made.
    pub fn create(path: &Path, options: Options) -> Result<Recorder, Error> {
        let fail = |source| Error::from_sqlite(path, source);
        let real = files::make(path)?;
        files::check_beside(&real)?;
        let budget = Budget::new(u64::MAX, TIME);
        let mut connection = connect(&real).map_err(fail)?;
        guard::prepare(&mut connection, &budget).map_err(fail)?;
        guard::check(&connection, path)?;
        // There are no journals on the disk (see `vfs`): one page is all that changes without the
        // log.
        let mode = |name| connection.pragma_update(None, "journal_mode", name).map_err(fail);
        if connection.pragma_query_value(None, "journal_mode", |row| row.get::<_, String>(0)).map_err(fail)?
            != "wal"
        {
            mode("MEMORY")?;
            mode("WAL")?;
        }
        // With WAL this loses nothing when the process is killed, and the last seconds when the
        // machine is.
        connection.pragma_update(None, "synchronous", "NORMAL").map_err(fail)?;
        connection.pragma_update(None, "journal_size_limit", 4 << 20).map_err(fail)?;
        // A first look has SQLite open the log.
        connection.query_row("SELECT EXISTS (SELECT 1 FROM target)", [], |_| Ok(())).map_err(fail)?;
        files::check_beside(&real)?;
        Ok(Recorder {
            connection,
            path: path.to_owned(),
            options,
            targets: HashMap::new(),
            series: HashMap::new(),
            full_s: FULL_S,
            appended: 0,
            budget,
        })
    }

    /// Writes `snapshot`; it is safe when this returns.
    ///
    /// # Errors
    /// [`Error::Full`] and others; what was written before stays readable.
    pub fn append(&mut self, snapshot: &Snapshot) -> Result<(), Error> {
        let mut written = self.write(snapshot);
        if written.as_ref().is_err_and(is_constraint) {
            // Another writer thinned out the frame this one goes on with.
            self.forget();
            written = self.write(snapshot);
        }
        written.map_err(|source| {
            // Rolled back: what was remembered of this transaction is not in the file.
            self.forget();
            Error::from_sqlite(&self.path, source)
        })?;
        self.appended += 1;
        if self.appended.is_multiple_of(THIN_EVERY) {
            self.thin(snapshot.time_ms).map_err(|source| Error::from_sqlite(&self.path, source))?;
        }
        Ok(())
    }

    fn forget(&mut self) {
        self.targets.clear();
        self.series.clear();
    }

    fn write(&mut self, snapshot: &Snapshot) -> rusqlite::Result<()> {
        self.budget.renew();
        let transaction = self.connection.transaction()?;
        let key = (snapshot.process.pid, snapshot.process.start_ticks);
        let kept = match self.targets.entry(key) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                let id = target(&transaction, snapshot, &self.options)?;
                entry.insert(Kept { id, frame: None })
            }
        };
        let json = codec::json(snapshot);
        let io = |error: std::io::Error| rusqlite::Error::ToSqlConversionFailure(Box::new(error));
        let mut packed = None;
        if let Some((frame_id, packer)) = &mut kept.frame {
            let bytes = packer.pack(&json).map_err(io)?;
            if !packer.is_worn(bytes.len()) {
                packed = Some((*frame_id, bytes));
            }
        }
        let (frame_id, body) = match packed {
            Some(packed) => packed,
            None => {
                transaction
                    .prepare_cached("INSERT INTO frame (body) VALUES (?1)")?
                    .execute([codec::pack(&json).map_err(io)?])?;
                let frame_id = transaction.last_insert_rowid();
                let mut packer = Packer::new(&json).map_err(io)?;
                let body = packer.pack(&json).map_err(io)?;
                kept.frame = Some((frame_id, packer));
                (frame_id, body)
            }
        };
        transaction
            .prepare_cached(
                "INSERT INTO snapshot (target_id, time_ms, rss_bytes, frame_id, body) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![kept.id, snapshot.time_ms, signed(snapshot.memory.rss_bytes), frame_id, body])?;
        let snapshot_id = transaction.last_insert_rowid();
        {
            let mut insert = transaction.prepare_cached(
                "INSERT OR REPLACE INTO figure (snapshot_id, series_id, bytes, count) VALUES (?1, ?2, ?3, ?4)",
            )?;
            for (kind, most) in KINDS {
                for figure in kind.of(snapshot).into_iter().take(most) {
                    let series_id = series(&transaction, &mut self.series, kind, figure.name)?;
                    let (bytes, count) = (signed(figure.bytes), figure.count.map(signed));
                    insert.execute(params![snapshot_id, series_id, bytes, count])?;
                }
            }
        }
        transaction.commit()
    }

    fn thin(&mut self, now_ms: i64) -> rusqlite::Result<()> {
        loop {
            self.budget.renew();
            let transaction = self.connection.transaction()?;
            let ids: Vec<i64> = transaction
                .prepare_cached("SELECT id FROM target")?
                .query_map([], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?;
            let mut gone = 0;
            for id in ids {
                gone += thin::thin(&transaction, id, now_ms, self.full_s)?;
            }
            transaction.commit()?;
            if gone > 0 {
                // Frames may be gone too; the next snapshot begins a new one.
                self.targets.values_mut().for_each(|kept| kept.frame = None);
            }
            // Each step frees one page.
            let mut vacuum = self.connection.prepare_cached("PRAGMA incremental_vacuum")?;
            let mut pages = vacuum.query([])?;
            while pages.next()?.is_some() {}
            drop(pages);
            drop(vacuum);
            let size: i64 = self.connection.query_row(
                "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
                [],
                |row| row.get(0),
            )?;
            if size.unsigned_abs() <= self.options.limit_bytes.min(image::LARGEST / 2) || self.full_s <= 60 {
                return Ok(());
            }
            self.full_s /= 2;
        }
    }

    /// Notes that the process `pid` that started at `start_ticks` has ended.
    ///
    /// # Errors
    /// As [`Recorder::append`].
    pub fn end(&mut self, pid: i32, start_ticks: u64, end: &End) -> Result<(), Error> {
        self.budget.renew();
        self.connection
            .execute(
                "UPDATE target SET ended_ms = ?1, ended_how = ?2
                 WHERE pid = ?3 AND start_ticks = ?4 AND boot_id = ?5",
                params![end.time_ms, end.how, pid, signed(start_ticks), self.options.boot_id],
            )
            .map(drop)
            .map_err(|source| Error::from_sqlite(&self.path, source))
    }

    /// Writes a mark.
    ///
    /// # Errors
    /// As [`Recorder::append`].
    pub fn mark(&mut self, time_ms: i64, text: &str) -> Result<(), Error> {
        self.budget.renew();
        self.connection
            .execute("INSERT INTO mark (time_ms, text) VALUES (?1, ?2)", params![time_ms, text])
            .map(drop)
            .map_err(|source| Error::from_sqlite(&self.path, source))
    }

    /// Writes a profile of the target of `snapshot`. Of many, some go: what stays is spread over
    /// the whole time.
    ///
    /// # Errors
    /// As [`Recorder::append`].
    pub fn profile(&mut self, snapshot: &Snapshot, time_ms: i64, profile: &Profile) -> Result<(), Error> {
        self.budget.renew();
        let write = |recorder: &mut Recorder| -> rusqlite::Result<()> {
            let transaction = recorder.connection.transaction()?;
            let id = target(&transaction, snapshot, &recorder.options)?;
            let body = codec::pack(&serde_json::to_vec(profile).unwrap_or_default())
                .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
            transaction.execute(
                "INSERT INTO profile (target_id, time_ms, body) VALUES (?1, ?2, ?3)",
                params![id, time_ms, body],
            )?;
            let count: i64 =
                transaction
                    .query_row("SELECT count(*) FROM profile WHERE target_id = ?1", [id], |row| row.get(0))?;
            if count > PROFILES {
                // The one that stands closest between its neighbours; the first and the last have
                // but one.
                transaction.execute(
                    "DELETE FROM profile WHERE id = (
                         SELECT id FROM (
                             SELECT id, lead(time_ms) OVER times - lag(time_ms) OVER times AS gap
                             FROM profile WHERE target_id = ?1 WINDOW times AS (ORDER BY time_ms, id)
                         ) WHERE gap IS NOT NULL ORDER BY gap, id LIMIT 1)",
                    [id],
                )?;
            }
            transaction.commit()
        };
        write(self).map_err(|source| Error::from_sqlite(&self.path, source))
    }

    /// Ends the recording: afterwards the one file is all there is, without a log beside it.
    ///
    /// # Errors
    /// As [`Recorder::append`].
    pub fn finish(self) -> Result<(), Error> {
        self.budget.renew();
        // It keeps no journal either way; to a file without a log this is the same as DELETE.
        self.connection
            .pragma_update(None, "journal_mode", "MEMORY")
            .map_err(|source| Error::from_sqlite(&self.path, source))
    }
}

/// Opens the file at `path`, which is there.
fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    if !vfs::register() {
        return Err(rusqlite::Error::InvalidPath(path.to_owned()));
    }
    let connection = Connection::open_with_flags_and_vfs(path, flags, vfs::NAME)?;
    connection.busy_timeout(Duration::from_secs(2))?;
    Ok(connection)
}

fn is_constraint(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation)
}

fn target(transaction: &Transaction<'_>, snapshot: &Snapshot, options: &Options) -> rusqlite::Result<i64> {
    let process = &snapshot.process;
    let command = match &snapshot.jvm {
        Some(jvm) if !jvm.main.is_empty() => &jvm.main,
        _ => &process.command,
    };
    transaction.execute(
        "INSERT OR IGNORE INTO target (pid, start_ticks, boot_id, host, command) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![process.pid, signed(process.start_ticks), options.boot_id, options.host, command],
    )?;
    transaction.query_row(
        "SELECT id FROM target WHERE pid = ?1 AND start_ticks = ?2 AND boot_id = ?3",
        params![process.pid, signed(process.start_ticks), options.boot_id],
        |row| row.get(0),
    )
}

fn series(
    transaction: &Transaction<'_>,
    known: &mut HashMap<(FigureKind, String), i64>,
    kind: FigureKind,
    name: String,
) -> rusqlite::Result<i64> {
    if let Some(id) = known.get(&(kind, name.clone())) {
        return Ok(*id);
    }
    let found = transaction
        .prepare_cached("SELECT id FROM series WHERE kind = ?1 AND name = ?2")?
        .query_row(params![kind.as_str(), name], |row| row.get(0))
        .optional()?;
    let id = match found {
        Some(id) => id,
        None => {
            transaction
                .prepare_cached("INSERT INTO series (kind, name) VALUES (?1, ?2)")?
                .execute(params![kind.as_str(), name])?;
            transaction.last_insert_rowid()
        }
    };
    // Pools with random names would let it grow for ever.
    if known.len() > 10_000 {
        known.clear();
    }
    known.insert((kind, name), id);
    Ok(id)
}

/// What people query most, and how many of each snapshot: there are only so many domains and
/// categories.
const KINDS: [(FigureKind, usize); 4] = [
    (FigureKind::Domain, usize::MAX),
    (FigureKind::Threads, FIGURES),
    (FigureKind::Arena, FIGURES),
    (FigureKind::Nmt, usize::MAX),
];

/// SQLite's integers are signed; no size or time comes near the limit.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

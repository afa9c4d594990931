//! Reads a recording, also while it is being written.

use crate::codec::{self, Unpacker};
use crate::guard::{self, Budget};
use crate::{APPLICATION_ID, Error, files, image};
use offheap_model::{FigureKind, Profile, Snapshot};
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use std::cell::Cell;
use std::io::Read;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A process in a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its number in the recording.
    pub id: i64,
    /// Its pid.
    pub pid: i32,
    /// Clock ticks after boot at which it started.
    pub start_ticks: u64,
    /// The host.
    pub host: String,
    /// Its main class or command line.
    pub command: String,
    /// First snapshot, milliseconds since the Unix epoch.
    pub first_ms: i64,
    /// Last snapshot.
    pub last_ms: i64,
    /// How many snapshots there are.
    pub snapshots: u64,
    /// How it ended, where that was seen.
    pub ended: Option<crate::End>,
}

/// A mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// When, milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// What.
    pub text: String,
}

/// A figure over time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figure {
    /// What it is of: a domain, a pool, an arena's address, an NMT category.
    pub name: String,
    /// Time (milliseconds since the Unix epoch), bytes, and how many (threads, chunks, blocks)
    /// where that makes sense.
    pub points: Vec<(i64, u64, Option<u64>)>,
}

/// Steps of SQLite's machine that a statement may take for each byte of the file: a row has at
/// least twenty, and takes fifty.
const STEPS_PER_BYTE: u64 = 20;
/// And this many beside.
const STEPS: u64 = 2_000_000;
/// Time that a statement may take.
const TIME: Duration = Duration::from_secs(30);
/// Bytes that all snapshots, or all profiles, that are read at once may unfold to.
const UNFOLDED: usize = 256 << 20;
/// And everything that is read of a recording while it is open.
const UNFOLDED_EVER: usize = 2 << 30;
/// Frames that are kept unfolded: several writers take turns.
const FRAMES: usize = 4;

/// A recording, read only, as it was when it was opened.
#[derive(Debug)]
pub struct Recording {
    connection: Connection,
    path: PathBuf,
    bytes: u64,
    budget: Budget,
    /// What may still be unfolded.
    left: Cell<usize>,
}

/// True where `path` is a file that starts like a recording, whatever its version.
pub fn is_recording(path: &Path) -> bool {
    let mut head = [0; 100];
    files::open(path).is_ok_and(|mut file| file.read_exact(&mut head).is_ok())
        && head.starts_with(b"SQLite format 3\0")
        && head[68..72] == APPLICATION_ID.to_be_bytes()
}

impl Recording {
    /// Opens the recording at `path`: it is read into memory.
    ///
    /// # Errors
    /// The file is no recording, of a newer version, has more in it than a recording has, or can't
    /// be read.
    pub fn open(path: &Path) -> Result<Recording, Error> {
        let (mut connection, bytes) = image::open(path)?;
        let budget = Budget::new(bytes.saturating_mul(STEPS_PER_BYTE).saturating_add(STEPS), TIME);
        guard::prepare(&mut connection, &budget).map_err(|source| Error::from_sqlite(path, source))?;
        guard::check(&connection, path)?;
        Ok(Recording { connection, path: path.to_owned(), bytes, budget, left: Cell::new(UNFOLDED_EVER) })
    }

    /// The processes in it, in the order they were first seen.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn targets(&self) -> Result<Vec<Target>, Error> {
        self.read(
            "SELECT target.id, pid, start_ticks, host, command, ended_ms, ended_how,
                    coalesce(min(time_ms), 0), coalesce(max(time_ms), 0), count(snapshot.id)
             FROM target LEFT JOIN snapshot ON target_id = target.id GROUP BY target.id ORDER BY target.id",
            [],
            |row| {
                let ended: Option<i64> = row.get(5)?;
                let how: Option<String> = row.get(6)?;
                Ok(Target {
                    id: row.get(0)?,
                    pid: row.get(1)?,
                    start_ticks: row.get::<_, i64>(2)?.unsigned_abs(),
                    host: row.get(3)?,
                    command: row.get(4)?,
                    ended: ended.map(|time_ms| crate::End { time_ms, how: how.unwrap_or_default() }),
                    first_ms: row.get(7)?,
                    last_ms: row.get(8)?,
                    snapshots: row.get::<_, i64>(9)?.unsigned_abs(),
                })
            },
        )
    }

    /// The snapshots of the target `id` taken in `times`, oldest first; of more than `limit` every
    /// n-th, the last one always.
    ///
    /// # Errors
    /// What SQLite says, or a snapshot that can't be read.
    pub fn snapshots(
        &self,
        id: i64,
        times: RangeInclusive<i64>,
        limit: usize,
    ) -> Result<Vec<Snapshot>, Error> {
        let rows: Vec<(i64, i64)> = self.read(
            "SELECT id, frame_id FROM snapshot WHERE target_id = ?1 AND time_ms BETWEEN ?2 AND ?3 ORDER BY time_ms",
            (id, *times.start(), *times.end()),
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        let step = rows.len().div_ceil(limit.max(1)).max(1);
        let last = rows.len().saturating_sub(1);
        let mut snapshots = Vec::with_capacity(rows.len() / step + 1);
        let mut frames: Vec<(i64, Unpacker)> = Vec::new();
        let mut left = UNFOLDED;
        // Counted from the last one backwards, so that the last one is always there.
        for (_, (row, frame_id)) in
            rows.iter().enumerate().filter(|(index, _)| (last - index).is_multiple_of(step))
        {
            let place = match frames.iter().position(|(known, _)| known == frame_id) {
                Some(place) => place,
                None => {
                    let body = self.blob("SELECT body FROM frame WHERE id = ?1", *frame_id)?;
                    let json = self.unfolded(&body, codec::unpack(&body, codec::SNAPSHOT), &mut left)?;
                    if frames.len() >= FRAMES {
                        frames.remove(0);
                    }
                    frames.push((*frame_id, Unpacker::new(&json).map_err(|error| self.damaged(error))?));
                    frames.len() - 1
                }
            };
            let body = self.blob("SELECT body FROM snapshot WHERE id = ?1", *row)?;
            if let Some((_, unpacker)) = frames.get_mut(place) {
                let json = self.unfolded(&body, unpacker.unpack(&body), &mut left)?;
                snapshots.push(serde_json::from_slice(&json).map_err(|error| self.damaged(error))?);
            }
        }
        Ok(snapshots)
    }

    /// The figures of one kind of the target `id`
    /// over time, by name. Much cheaper than whole snapshots.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn figures(&self, id: i64, kind: FigureKind) -> Result<Vec<Figure>, Error> {
        let series: Vec<(i64, String)> = self.read(
            "SELECT id, name FROM series WHERE kind = ?1 ORDER BY name, id",
            [kind.as_str()],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        let rows = self.read(
            "SELECT series_id, time_ms, bytes, count
             FROM snapshot JOIN figure ON snapshot_id = snapshot.id JOIN series ON series.id = series_id
             WHERE target_id = ?1 AND kind = ?2 ORDER BY series_id, time_ms",
            (id, kind.as_str()),
            |row| {
                let count = row.get::<_, Option<i64>>(3)?.map(i64::unsigned_abs);
                let point = (row.get(1)?, row.get::<_, i64>(2)?.unsigned_abs(), count);
                Ok((row.get::<_, i64>(0)?, point))
            },
        )?;
        let figures = series.into_iter().filter_map(|(id, name)| {
            let begin = rows.partition_point(|row| row.0 < id);
            let end = rows.partition_point(|row| row.0 <= id);
            let points: Vec<_> = rows.get(begin..end)?.iter().map(|row| row.1).collect();
            (!points.is_empty()).then_some(Figure { name, points })
        });
        Ok(figures.collect())
    }

    /// The marks, oldest first.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn marks(&self) -> Result<Vec<Mark>, Error> {
        self.read("SELECT time_ms, text FROM mark ORDER BY time_ms, id", [], |row| {
            Ok(Mark { time_ms: row.get(0)?, text: row.get(1)? })
        })
    }

    /// The profiles of the target `id`, oldest first, with their times; of more than can be held at
    /// once the last ones.
    ///
    /// # Errors
    /// What SQLite says, or a profile that can't be read.
    pub fn profiles(&self, id: i64) -> Result<Vec<(i64, Profile)>, Error> {
        let rows: Vec<(i64, Vec<u8>)> = self.read(
            "SELECT time_ms, body FROM profile WHERE target_id = ?1 ORDER BY time_ms DESC, id DESC",
            [id],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        let mut left = UNFOLDED;
        let mut profiles = Vec::new();
        for (time_ms, body) in rows {
            let json = codec::unpack(&body, codec::PROFILE).map_err(|error| self.damaged(error))?;
            let Some(rest) = left.checked_sub(json.len()) else { break };
            left = rest;
            self.count(json.len())?;
            profiles.push((time_ms, serde_json::from_slice(&json).map_err(|error| self.damaged(error))?));
        }
        profiles.reverse();
        Ok(profiles)
    }

    /// The rows that a statement gives. All together have no more bytes than the file: what claims
    /// more is damaged.
    fn read<T, P: rusqlite::Params>(
        &self,
        sql: &str,
        parameters: P,
        mut row: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, Error> {
        let fail = |source| Error::from_sqlite(&self.path, source);
        self.budget.renew();
        let mut statement = self.connection.prepare_cached(sql).map_err(fail)?;
        let columns = statement.column_count();
        let mut found = statement.query(parameters).map_err(fail)?;
        let (mut rows, mut left) = (Vec::new(), self.bytes);
        while let Some(next) = found.next().map_err(fail)? {
            // A row's own header, at the least.
            let mut bytes = 2;
            for column in 0..columns {
                if let ValueRef::Text(value) | ValueRef::Blob(value) = next.get_ref(column).map_err(fail)? {
                    bytes += value.len() as u64;
                }
            }
            left = left
                .checked_sub(bytes)
                .ok_or_else(|| self.damaged("it gives more rows than it has room for"))?;
            rows.push(row(next).map_err(fail)?);
        }
        Ok(rows)
    }

    fn blob(&self, sql: &str, id: i64) -> Result<Vec<u8>, Error> {
        let found = self.read(sql, [id], |row| row.get(0))?.pop();
        found.ok_or_else(|| self.damaged("a frame or a snapshot is missing"))
    }

    /// What `body` unfolded to, where there is room for both.
    fn unfolded(
        &self,
        body: &[u8],
        json: std::io::Result<Vec<u8>>,
        left: &mut usize,
    ) -> Result<Vec<u8>, Error> {
        let json = json.map_err(|error| self.damaged(error))?;
        let bytes = json.len() + body.len();
        *left = left.checked_sub(bytes).ok_or_else(|| self.damaged("its snapshots are too large"))?;
        self.count(bytes)?;
        Ok(json)
    }

    /// Counts what was unfolded: thousands of processes can each have a little that unfolds to a
    /// lot.
    fn count(&self, bytes: usize) -> Result<(), Error> {
        let left = self.left.get().checked_sub(bytes);
        self.left.set(left.ok_or_else(|| self.damaged("it unfolds to more than any recording"))?);
        Ok(())
    }

    fn damaged(&self, reason: impl std::fmt::Display) -> Error {
        Error::Damaged { path: self.path.clone(), reason: reason.to_string() }
    }
}

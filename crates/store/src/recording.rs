//! Reads a recording, also while it is being written.

use crate::codec::{self, Unpacker};
use crate::{APPLICATION_ID, Error, recorder};
use offheap_model::{Profile, Snapshot};
use rusqlite::{Connection, OpenFlags};
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
    /// Time (milliseconds since the Unix epoch), bytes, and how many (threads, chunks, blocks) where that makes sense.
    pub points: Vec<(i64, u64, Option<u64>)>,
}

/// A recording, read only.
#[derive(Debug)]
pub struct Recording {
    connection: Connection,
    path: PathBuf,
}

/// True where `path` is a file that starts like a recording, whatever its version.
pub fn is_recording(path: &Path) -> bool {
    let mut head = [0; 100];
    std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut head)).is_ok()
        && head.starts_with(b"SQLite format 3\0")
        && head[68..72] == APPLICATION_ID.to_be_bytes()
}

impl Recording {
    /// Opens the recording at `path`.
    ///
    /// # Errors
    /// The file is no recording, of a newer version, or can't be read.
    pub fn open(path: &Path) -> Result<Recording, Error> {
        let fail = |source| Error::from_sqlite(path, source);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(fail)?;
        connection.busy_timeout(Duration::from_secs(2)).map_err(fail)?;
        recorder::check(&connection, path)?;
        Ok(Recording { connection, path: path.to_owned() })
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

    /// The snapshots of the target `id` taken in `times`, oldest first; of more than `limit` every n-th, the last one always.
    ///
    /// # Errors
    /// What SQLite says, or a snapshot that can't be read.
    pub fn snapshots(
        &self,
        id: i64,
        times: RangeInclusive<i64>,
        limit: usize,
    ) -> Result<Vec<Snapshot>, Error> {
        // One transaction sees one state, whatever a writer thins out meanwhile.
        let _one = self
            .connection
            .unchecked_transaction()
            .map_err(|source| Error::from_sqlite(&self.path, source))?;
        let rows: Vec<(i64, i64)> = self.read(
            "SELECT id, frame_id FROM snapshot WHERE target_id = ?1 AND time_ms BETWEEN ?2 AND ?3 ORDER BY time_ms",
            (id, *times.start(), *times.end()),
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        let step = rows.len().div_ceil(limit.max(1)).max(1);
        let last = rows.len().saturating_sub(1);
        let mut snapshots = Vec::with_capacity(rows.len() / step + 1);
        let mut frame: Option<(i64, Unpacker)> = None;
        // Counted from the last one backwards, so that the last one is always there.
        for (_, (row, frame_id)) in
            rows.iter().enumerate().filter(|(index, _)| (last - index).is_multiple_of(step))
        {
            if frame.as_ref().is_none_or(|(known, _)| known != frame_id) {
                let body = self.blob("SELECT body FROM frame WHERE id = ?1", *frame_id)?;
                let json = codec::unpack(&body).map_err(|error| self.damaged(error))?;
                frame = Some((*frame_id, Unpacker::new(&json).map_err(|error| self.damaged(error))?));
            }
            let body = self.blob("SELECT body FROM snapshot WHERE id = ?1", *row)?;
            if let Some((_, unpacker)) = &mut frame {
                let json = unpacker.unpack(&body).map_err(|error| self.damaged(error))?;
                snapshots.push(serde_json::from_slice(&json).map_err(|error| self.damaged(error))?);
            }
        }
        Ok(snapshots)
    }

    /// The figures of one kind (`"domain"`, `"threads"`, `"arena"`, `"nmt"`) of the target `id` over time, by name. Much
    /// cheaper than whole snapshots.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn figures(&self, id: i64, kind: &str) -> Result<Vec<Figure>, Error> {
        let rows = self.read(
            "SELECT series.id, name, time_ms, bytes, count
             FROM snapshot JOIN figure ON snapshot_id = snapshot.id JOIN series ON series.id = series_id
             WHERE target_id = ?1 AND kind = ?2 ORDER BY name, series.id, time_ms",
            (id, kind),
            |row| {
                let count = row.get::<_, Option<i64>>(4)?.map(i64::unsigned_abs);
                let point = (row.get(2)?, row.get::<_, i64>(3)?.unsigned_abs(), count);
                Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, point))
            },
        )?;
        let figures = rows.chunk_by(|a, b| a.0 == b.0).filter_map(|rows| {
            let name = rows.first()?.1.clone();
            Some(Figure { name, points: rows.iter().map(|row| row.2).collect() })
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

    /// The profiles of the target `id`, oldest first, with their times.
    ///
    /// # Errors
    /// What SQLite says, or a profile that can't be read.
    pub fn profiles(&self, id: i64) -> Result<Vec<(i64, Profile)>, Error> {
        let rows: Vec<(i64, Vec<u8>)> = self.read(
            "SELECT time_ms, body FROM profile WHERE target_id = ?1 ORDER BY time_ms",
            [id],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        rows.into_iter()
            .map(|(time_ms, body)| {
                let json = codec::unpack(&body).map_err(|error| self.damaged(error))?;
                Ok((time_ms, serde_json::from_slice(&json).map_err(|error| self.damaged(error))?))
            })
            .collect()
    }

    fn read<T, P: rusqlite::Params>(
        &self,
        sql: &str,
        parameters: P,
        row: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, Error> {
        let rows = || -> rusqlite::Result<Vec<T>> {
            self.connection.prepare_cached(sql)?.query_map(parameters, row)?.collect()
        };
        rows().map_err(|source| Error::from_sqlite(&self.path, source))
    }

    fn blob(&self, sql: &str, id: i64) -> Result<Vec<u8>, Error> {
        self.connection
            .prepare_cached(sql)
            .and_then(|mut statement| statement.query_row([id], |row| row.get(0)))
            .map_err(|source| Error::from_sqlite(&self.path, source))
    }

    fn damaged(&self, reason: impl std::fmt::Display) -> Error {
        Error::Damaged { path: self.path.clone(), reason: reason.to_string() }
    }
}

//! Recordings: snapshots over time in one SQLite file.
//!
//! The file is for people too: `sqlite3 run.offheap 'select * from domain_rss'` works, also while
//! it is being written. The views (`domain_rss`, `thread_pools`, `arenas`, `nmt`, `rss`, `phases`)
//! are documented in `schema.sql` and stay as they are within a schema version; the whole of each
//! snapshot is kept beside them, compressed.
//!
//! A recording holds command lines: it is made for its owner alone (mode 0600), and so is what
//! SQLite keeps beside it. And it may come from a stranger: `guard` refuses what is more than rows,
//! `image` has it read without SQLite opening any file.
//!
//! [`Recorder`] writes, [`Recording`] reads. A kill -9 at any moment loses at most the snapshot
//! being written: each is one transaction in SQLite's write-ahead log.

mod codec;
mod error;
mod files;
mod guard;
mod image;
mod recorder;
mod recording;
mod thin;
mod vfs;

pub use error::Error;
pub use recorder::{Options, Recorder};
pub use recording::{Figure, Mark, Recording, Target, is_recording};

/// How a target's recording ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// When it was noticed, milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// In words: `"exited"`, `"killed for memory"`.
    pub how: String,
}

/// `offh` in ASCII: the application id in the file's header (SQLite's file format, offset 68).
const APPLICATION_ID: i32 = 0x6f66_6668;

/// The version of `schema.sql`, kept as SQLite's user_version.
const SCHEMA_VERSION: i32 = 1;

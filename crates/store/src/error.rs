//! What can go wrong with a recording.

use std::path::PathBuf;

/// Why a recording could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No room is left.
    #[error("no room is left for {}: what was recorded so far is readable; free some space, or record with a smaller --limit", .0.display())]
    Full(PathBuf),
    /// The file takes no more, though the disk may have room.
    #[error("{} can't be written any more (a quota, a file-size limit like ulimit -f, or the disk itself): what was recorded so far is readable", .0.display())]
    Unwritable(PathBuf),
    /// The file is something else.
    #[error("{} is no recording of offheap", .0.display())]
    NotARecording(PathBuf),
    /// A newer offheap wrote it.
    #[error("{} was written by a newer offheap (schema {found}, this one knows {known}); read it with that one", .path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema's version.
        found: i32,
        /// Ours.
        known: i32,
    },
    /// Another process writes to it.
    #[error("another offheap writes to {}; stop it, or choose another file", .0.display())]
    Busy(PathBuf),
    /// It can't be opened at all.
    #[error("cannot open {}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the kernel says.
        source: std::io::Error,
    },
    /// The name is of something that is no file.
    #[error("{} is {what}; a recording is a file", .path.display())]
    NotAFile {
        /// The name.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// Another user's file is not written to: who owns it could exchange it meanwhile.
    #[error(
        "{} belongs to another user (uid {uid}): write to a file in a folder of your own, or as that user", .path.display()
    )]
    NotOurs {
        /// The file.
        path: PathBuf,
        /// Its owner.
        uid: u32,
    },
    /// It holds what no recording of this version does: perhaps code that would run when it is
    /// read.
    #[error(
        "{} is not opened: {what}, unlike every recording that offheap makes. If that was added by hand, drop it again with \
         sqlite3; if the file came from elsewhere, don't trust it", .path.display()
    )]
    Strange {
        /// The file.
        path: PathBuf,
        /// What is strange in it.
        what: String,
    },
    /// A rollback journal lies beside it.
    #[error(
        "{} is not opened: {} lies beside it, which no offheap leaves behind. If you trust both, have SQLite finish what was \
         begun: sqlite3 {} 'PRAGMA integrity_check'; else delete the journal", .path.display(), .journal.display(), .path.display()
    )]
    Unfinished {
        /// The file.
        path: PathBuf,
        /// What lies beside it.
        journal: PathBuf,
    },
    /// More than a recording has.
    #[error("{} is refused: it has {bytes} bytes, and more than a recording has, or nothing but holes in them", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// No memory for it.
    #[error("there is no memory for a recording of {bytes} bytes")]
    NoMemory {
        /// How much it would take.
        bytes: u64,
    },
    /// Something in it can't be read.
    #[error("{} is damaged: {reason}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Anything else that SQLite says.
    #[error("cannot use {}", .path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
}

impl Error {
    pub(crate) fn from_sqlite(path: &std::path::Path, source: rusqlite::Error) -> Error {
        use rusqlite::{ErrorCode, ffi};
        let path = path.to_owned();
        if crate::guard::is_spent(&source) {
            let reason = "it is far more work than its size explains".to_owned();
            return Error::Damaged { path, reason };
        }
        // EDQUOT (a quota) and EFBIG (RLIMIT_FSIZE) are I/O errors to SQLite.
        if let Some(failure) = source.sqlite_error()
            && matches!(failure.extended_code, ffi::SQLITE_IOERR_WRITE | ffi::SQLITE_IOERR_SHMSIZE)
        {
            return Error::Unwritable(path);
        }
        match source.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Error::Full(path),
            Some(ErrorCode::DatabaseCorrupt) => Error::Damaged { path, reason: source.to_string() },
            Some(ErrorCode::NotADatabase) => Error::NotARecording(path),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Error::Busy(path),
            _ => Error::Sqlite { path, source },
        }
    }
}

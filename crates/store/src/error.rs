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
    /// A snapshot in it can't be read.
    #[error("a snapshot in {} can't be read: {reason}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Anything else that SQLite says.
    #[error("{}: {source}", .path.display())]
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
        // EDQUOT (a quota) and EFBIG (RLIMIT_FSIZE) are I/O errors to SQLite.
        if let Some(failure) = source.sqlite_error()
            && matches!(failure.extended_code, ffi::SQLITE_IOERR_WRITE | ffi::SQLITE_IOERR_SHMSIZE)
        {
            return Error::Unwritable(path);
        }
        match source.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Error::Full(path),
            Some(ErrorCode::NotADatabase) => Error::NotARecording(path),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Error::Busy(path),
            _ => Error::Sqlite { path, source },
        }
    }
}

//! The files of a recording, opened without trusting what their names lead to.

use crate::{Error, guard};
use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Flags of every opening: a pipe must not wait for its other end, a terminal not become ours.
const SAFE: OFlags = OFlags::NONBLOCK.union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// Opens the file at `path` to read it. A link leads on; what is no file is refused.
pub(crate) fn open(path: &Path) -> Result<File, Error> {
    let fail = |source| Error::Unreadable { path: path.to_owned(), source };
    // Looked at first as well: opening a device may do something.
    regular(path, &std::fs::metadata(path).map_err(fail)?)?;
    let file =
        OpenOptions::new().read(true).custom_flags(SAFE.bits().cast_signed()).open(path).map_err(fail)?;
    regular(path, &file.metadata().map_err(fail)?)?;
    Ok(file)
}

/// The file `name` beside a recording that SQLite calls so: `-wal`, `-shm`, `-journal`.
pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Makes an empty recording at `path` where there is none, or only an empty file: for its owner
/// alone. Returns the path that SQLite is to open.
pub(crate) fn make(path: &Path) -> Result<PathBuf, Error> {
    let fail = |source: std::io::Error| match source.kind() {
        ErrorKind::StorageFull => Error::Full(path.to_owned()),
        ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => Error::Unwritable(path.to_owned()),
        _ => Error::Unreadable { path: path.to_owned(), source },
    };
    if let Ok(metadata) = path.symlink_metadata() {
        regular(path, &metadata)?;
    }
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags((SAFE | OFlags::NOFOLLOW).bits().cast_signed())
        .open(path)
        .map_err(fail)?;
    let metadata = file.metadata().map_err(fail)?;
    regular(path, &metadata)?;
    owned(path, metadata.uid())?;
    if metadata.len() == 0 {
        // Of two that are first, one waits for the other. Where a file system has no such locks,
        // nobody waits.
        let _ = file.lock();
        if file.metadata().map_err(fail)?.len() == 0 {
            let bytes = guard::empty_file().map_err(|source| Error::from_sqlite(path, source))?;
            if let Err(error) = file.write_all(&bytes) {
                let _ = file.set_len(0);
                return Err(fail(error));
            }
        }
    }
    // An absolute one: `file:x?mode=…` is a name to us, and more to SQLite.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = folder.canonicalize().map_err(fail)?;
    Ok(path.file_name().map_or_else(|| path.to_owned(), |name| folder.join(name)))
}

/// That what SQLite keeps beside the recording at `path` while it is written is ours, where it is
/// there.
pub(crate) fn check_beside(path: &Path) -> Result<(), Error> {
    for ending in ["-wal", "-shm"] {
        let path = beside(path, ending);
        if let Ok(metadata) = path.symlink_metadata() {
            regular(&path, &metadata)?;
            owned(&path, metadata.uid())?;
        }
    }
    Ok(())
}

fn regular(path: &Path, metadata: &std::fs::Metadata) -> Result<(), Error> {
    use std::os::unix::fs::FileTypeExt;
    let kind = metadata.file_type();
    let what = match kind {
        _ if kind.is_file() => return Ok(()),
        _ if kind.is_dir() => "a directory",
        _ if kind.is_symlink() => "a link: name the file that it leads to",
        _ if kind.is_fifo() => "a pipe",
        _ if kind.is_socket() => "a socket",
        _ => "a device",
    };
    Err(Error::NotAFile { path: path.to_owned(), what })
}

/// Another user could exchange what we write, and read it.
fn owned(path: &Path, uid: u32) -> Result<(), Error> {
    if uid == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    Err(Error::NotOurs { path: path.to_owned(), uid })
}

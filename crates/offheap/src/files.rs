//! Files that a user names: read without being led elsewhere, and written for nobody else to read.
//!
//! What offheap writes holds command lines, and in those there are passwords: files are made with
//! mode 0600. A folder may be everybody's (`/tmp`): what somebody else has put there under the
//! name, a link above all, is replaced and never followed.

use anyhow::{Context, anyhow, bail};
use offheap_linux::foreign::{Refused, open_named, regular};
use rustix::fs::{Mode, OFlags};
use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A pipe must not wait for its other end, a terminal not become ours.
const SAFE: OFlags = OFlags::NONBLOCK.union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// What to do with something that is no file.
const INSTEAD: &str = "save what it gives to a file, and name that";

/// What a new file's owner may do with it, and nobody else anything.
const PRIVATE: u32 = 0o600;

/// Opens the file at `path` to read it; a link leads on. What is no file is refused, a pipe without
/// waiting for its writer.
///
/// # Errors
/// It is not there, may not be read, or is no file.
pub fn open(path: &Path) -> anyhow::Result<File> {
    open_named(path).map_err(|refused| in_words(path, "read", refused))
}

fn in_words(path: &Path, what: &str, refused: Refused) -> anyhow::Error {
    match refused {
        Refused::Kind(kind) => anyhow!("{} is {kind}, no file; {INSTEAD}", path.display()),
        refused => anyhow::Error::new(std::io::Error::from(refused))
            .context(format!("cannot {what} {}", path.display())),
    }
}

/// Writes `bytes` to `path`: into a new file beside it, which then takes the name. It is for its
/// owner alone; a file that was there before keeps what its mode forbids the owner. The system's
/// own names of streams (`/dev/stdout`) and the user's pipes are written to as they are.
///
/// # Errors
/// The folder or its file system says no.
pub fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let cannot = || format!("cannot write {}", path.display());
    let before = path.symlink_metadata().ok();
    if path.is_dir() {
        bail!("cannot write {}: it is a directory", path.display());
    }
    let is_own = before.as_ref().is_some_and(|before| before.uid() == user());
    let is_pipe = before.as_ref().is_some_and(|before| before.file_type().is_fifo());
    if is_stream(path) || is_pipe && is_own {
        return std::fs::write(path, bytes).with_context(cannot);
    }
    let is_file = before.as_ref().is_some_and(Metadata::is_file);
    let mode = before.filter(|_| is_file && is_own).map_or(PRIVATE, |before| before.mode() & PRIVATE);
    let replaced = replace(path, bytes, mode);
    let busy = replaced.as_ref().is_err_and(|error| error.kind() == ErrorKind::ResourceBusy);
    if replaced.is_err() && is_file && (is_own || busy) {
        // A folder that takes no new files, or a file that is mounted by itself, as into a
        // container.
        let flags = (SAFE | OFlags::NOFOLLOW).bits().cast_signed();
        let file = OpenOptions::new().write(true).truncate(true).custom_flags(flags).open(path);
        if let Ok(mut file) = file {
            return file.write_all(bytes).with_context(cannot);
        }
    }
    replaced.with_context(cannot)
}

/// Whether `path` is one of the system's names for what is open already, or for a device.
fn is_stream(path: &Path) -> bool {
    let folder = folder_of(path).canonicalize().unwrap_or_default();
    folder == Path::new("/dev") || folder.starts_with("/proc")
}

fn replace(path: &Path, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    let (temporary, mut file) = beside(path)?;
    let written = file
        .write_all(bytes)
        .and_then(|()| file.set_permissions(Permissions::from_mode(mode)))
        .and_then(|()| std::fs::rename(&temporary, path));
    written.inspect_err(|_| {
        let _ = std::fs::remove_file(&temporary);
    })
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Opens `path` to append to it: a new file is for its owner alone.
///
/// # Errors
/// It is a link or another user's, or the folder or its file system says no.
pub fn append(path: &Path) -> anyhow::Result<File> {
    let cannot = || format!("cannot write {}", path.display());
    if is_stream(path) {
        return OpenOptions::new().append(true).open(path).with_context(cannot);
    }
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(PRIVATE)
        .custom_flags((SAFE | OFlags::NOFOLLOW).bits().cast_signed())
        .open(path)
        .with_context(cannot)?;
    regular(&file).map_err(|refused| in_words(path, "write", refused))?;
    Ok(file)
}

/// A new file in the folder of `path`, under a name that nobody knows beforehand.
fn beside(path: &Path) -> std::io::Result<(PathBuf, File)> {
    let mut random = [0u8; 8];
    File::open("/dev/urandom")?.read_exact(&mut random)?;
    let temporary = folder_of(path).join(format!(".offheap-{:016x}", u64::from_ne_bytes(random)));
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::open(&temporary, flags, Mode::from_raw_mode(PRIVATE))?;
    Ok((temporary, File::from(file)))
}

fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        path.symlink_metadata().unwrap().mode() & 0o7777
    }

    #[test]
    fn what_is_written_is_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.html");
        write(&path, b"one").unwrap();
        assert_eq!(mode(&path), 0o600);
        for (before, after) in [(0o644, 0o600), (0o400, 0o400), (0o604, 0o600)] {
            std::fs::set_permissions(&path, Permissions::from_mode(before)).unwrap();
            write(&path, b"two").unwrap();
            assert_eq!((mode(&path), std::fs::read(&path).unwrap()), (after, b"two".to_vec()));
        }
        append(&folder.path().join("log")).unwrap();
        assert_eq!(mode(&folder.path().join("log")), 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left beside");
    }

    #[test]
    fn a_link_under_the_name_is_replaced_and_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (link, precious) = (folder.path().join("report"), folder.path().join("precious"));
        std::fs::write(&precious, "precious").unwrap();
        for target in [precious.as_path(), Path::new("nowhere")] {
            let _ = std::fs::remove_file(&link);
            std::os::unix::fs::symlink(target, &link).unwrap();
            assert!(append(&link).is_err());
            write(&link, b"ours").unwrap();
            assert!(link.symlink_metadata().unwrap().is_file());
            assert_eq!(mode(&link), 0o600);
        }
        assert_eq!(std::fs::read(&precious).unwrap(), b"precious");
        assert!(!folder.path().join("nowhere").exists());
    }

    #[test]
    fn a_pipe_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
            .unwrap();
        assert!(open(&pipe).unwrap_err().to_string().contains("is a pipe"));
        assert!(append(&pipe).is_err());
        assert!(open(folder.path()).unwrap_err().to_string().contains("is a directory"));
        assert!(open(Path::new("/dev/null")).unwrap_err().to_string().contains("is a device"));
        assert!(open(&folder.path().join("missing")).unwrap_err().to_string().contains("cannot read"));
        write(Path::new("/dev/null"), b"gone").unwrap();
    }

    #[test]
    fn the_systems_names_are_never_replaced() {
        for name in ["/dev/stdout", "/dev/null", "/dev/fd/1", "/proc/self/fd/1"] {
            assert!(is_stream(Path::new(name)), "{name}");
        }
        append(Path::new("/dev/fd/2")).unwrap();
        assert!(!is_stream(Path::new("/dev/shm/report.html")) && !is_stream(Path::new("report.html")));
    }

    #[test]
    fn a_file_that_cannot_be_written_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("taken")).unwrap();
        assert!(write(&folder.path().join("taken"), b"x").is_err());
        assert!(write(&folder.path().join("missing/x"), b"x").is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

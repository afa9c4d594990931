//! Files that are not ours: what lies in a target's file system, and what another user can have
//! written.
//!
//! They are opened here and nowhere else (`tests/one_door.rs` looks after that), by one rule. A
//! path is followed from a directory that is held, the target's root, and never leads out of it,
//! neither by `..` nor by a link nor by one of the kernel's magic links. What it leads to is first
//! held without being opened (`O_PATH`): only what `fstat` then calls a regular file, of the owner
//! and the size that are expected, is opened, and that very one. So a named pipe makes nobody wait,
//! a device is never opened, and an exchange at any moment ends in a refusal at worst.
//!
//! A file system that doesn't answer, of a dead network or FUSE server, is given up after three
//! seconds and not asked again (`patience.rs`). What that can't bound is a server that dies after a
//! file was opened and before it was read: the kernel then holds up the read.

use self::patience::patiently;
use crate::{Process, Vma};
use rustix::fs::{
    FileType, MemfdFlags, Mode, OFlags, ResolveFlags, Stat, fstat, memfd_create, openat, openat2, readlinkat,
};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Symbolic links followed in one path at most, as in the kernel (MAXSYMLINKS,
/// include/linux/namei.h).
const MAX_LINKS: u32 = 40;
/// Parts of a path at most, those of the links in it included: a path has 4,096 bytes (PATH_MAX).
const MAX_PARTS: usize = 4096;
/// How often a path is tried anew that a rename has disturbed.
const RACES: u32 = 8;

/// What a foreign file must be to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expect {
    /// The user whose file it must be; `None` where anybody's is as good: what is read is then
    /// believed by nobody.
    pub owner: Option<u32>,
    /// Whether symbolic links are followed, inside the root.
    pub links: Links,
    /// It must not be larger. A file that is read whole is cut off there, should it grow.
    pub most_bytes: u64,
}

/// What is done about symbolic links in a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// Followed, as the target itself would: they never lead out of the root.
    Followed,
    /// Refused: where nobody has reason to put one.
    Refused,
}

impl Expect {
    /// An executable, a library, or a file of debugging information: anybody's, since a service
    /// often runs what another user installed. The largest known, of browsers with DWARF, have 5
    /// GB.
    pub const LIBRARY: Expect = Expect { owner: None, links: Links::Followed, most_bytes: 16 << 30 };

    /// A file that the user `uid` writes for others to read, of `most_bytes` at most.
    pub const fn written_by(uid: u32, most_bytes: u64) -> Expect {
        Expect { owner: Some(uid), links: Links::Refused, most_bytes }
    }
}

/// Why a foreign file was not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// It, or something on the way to it, is a symbolic link, and none belongs there.
    #[error("a symbolic link is on the way")]
    Link,
    /// It is no regular file, or no directory where one is wanted.
    #[error("it is {0}")]
    Kind(&'static str),
    /// It belongs to somebody else.
    #[error("it belongs to user {found}, not to {expected}")]
    Owner {
        /// Whose it is.
        found: u32,
        /// Whose it should be.
        expected: u32,
    },
    /// It is too large.
    #[error("it has {bytes} bytes, and more than {most} are not read")]
    TooLarge {
        /// What it has.
        bytes: u64,
        /// What it may have.
        most: u64,
    },
    /// Its file system doesn't answer.
    #[error("its file system does not answer: a dead NFS or FUSE server")]
    NoAnswer,
    /// It is not the file that is mapped.
    #[error("another file is at its path by now")]
    Exchanged,
    /// What the kernel said.
    #[error(transparent)]
    System(#[from] io::Error),
}

impl From<Errno> for Refused {
    fn from(errno: Errno) -> Self {
        Refused::System(errno.into())
    }
}

impl From<Refused> for io::Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::System(error) => error,
            other => io::Error::new(io::ErrorKind::InvalidInput, other.to_string()),
        }
    }
}

impl Process {
    /// The process's root directory, held.
    ///
    /// # Errors
    /// As [`Process::file`].
    pub fn root(&self) -> Result<OwnedFd, crate::Error> {
        self.patiently(None, |process| Ok(root_of(process)?))
            .map_err(|refused| self.explain("root", refused.into()))
    }

    /// Opens the process's own file `path`, if it is what is expected.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn open_in_root(&self, path: &str, expect: &Expect) -> Result<File, Refused> {
        let root = self.root().map_err(io::Error::other)?;
        open(&root, path, expect)
    }

    /// Opens the regular file that is mapped at `vma`: the very one, also where it was replaced or
    /// deleted, for which it takes CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE; else the one at its
    /// path, if it is still the same.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn mapped_file(&self, vma: &Vma, expect: &Expect) -> Result<File, Refused> {
        if !vma.path.starts_with('/') {
            return Err(Refused::Kind("no file"));
        }
        let (vma, expect) = (vma.clone(), *expect);
        self.patiently(Some(vma.device), move |process| {
            // The process may have changed its mappings: then this is no file, or another one.
            if let Ok(held) = hold_mapped(process, &vma) {
                let file = reopen(held.as_fd(), &expect)?;
                if is_inode(&file, vma.inode) {
                    return Ok(file);
                }
            }
            let root = root_of(process)?;
            let file = reopen(resolve(root.as_fd(), Path::new(&vma.path), expect.links)?.as_fd(), &expect)?;
            if is_inode(&file, vma.inode) { Ok(file) } else { Err(Refused::Exchanged) }
        })
    }

    /// Whether the very files that are mapped can be opened, like the one at `vma`.
    pub fn holds_mapped_files(&self, vma: &Vma) -> bool {
        let vma = vma.clone();
        self.patiently(Some(vma.device), move |process| Ok(hold_mapped(process, &vma)?)).is_ok()
    }

    /// Opens what the process's descriptor `number` leads to, if it is what is expected.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn descriptor(&self, number: &str, expect: &Expect) -> Result<File, Refused> {
        let (number, expect) = (number.to_owned(), *expect);
        self.patiently(None, move |process| reopen(hold_descriptor(process, &number)?.as_fd(), &expect))
    }

    /// As [`Process::descriptor`], to be written to as well: a file in memory (memfd_create(2)),
    /// which the kernel keeps on a file system of its own. Any other file may have such a file's
    /// name where the process mounts what it likes, and need not be one that the process itself may
    /// write to.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn memory_file(&self, number: &str, expect: &Expect) -> Result<File, Refused> {
        let number = number.to_owned();
        let held = self.patiently(None, move |process| Ok(hold_descriptor(process, &number)?))?;
        let known = memfd_create("offheap", MemfdFlags::CLOEXEC)?;
        if fstat(&held)?.st_dev != fstat(&known)?.st_dev {
            return Err(Refused::Kind("no file in memory"));
        }
        reopen_as(held.as_fd(), expect, OFlags::RDWR)
    }

    /// Does `work` with the process's directory, as [`patience::patiently`] does.
    fn patiently<T: Send + 'static>(
        &self,
        device: Option<(u32, u32)>,
        work: impl FnOnce(BorrowedFd<'_>) -> Result<T, Refused> + Send + 'static,
    ) -> Result<T, Refused> {
        let directory = self.directory().try_clone_to_owned()?;
        patience::patiently(device, move || work(directory.as_fd()))
    }
}

// On NFS even a magic link is followed only once the server has answered (d_weak_revalidate,
// Documentation/filesystems/vfs.rst).

fn root_of(process: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    openat(process, "root", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

fn hold_descriptor(process: BorrowedFd<'_>, number: &str) -> Result<OwnedFd, Errno> {
    openat(process, format!("fd/{number}"), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}

fn hold_mapped(process: BorrowedFd<'_>, vma: &Vma) -> Result<OwnedFd, Errno> {
    let link = format!("map_files/{:x}-{:x}", vma.start, vma.end);
    openat(process, link, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}

/// The device is not compared: of a file on btrfs or overlayfs `stat` and `maps` tell different
/// ones.
fn is_inode(file: &File, inode: u64) -> bool {
    fstat(file).is_ok_and(|stat| stat.st_ino == inode)
}

/// Opens the file at `path` below the directory `root`, if it is what is expected. The path never
/// leads out of `root`.
///
/// # Errors
/// See [`Refused`].
pub fn open(root: impl AsFd, path: impl AsRef<Path>, expect: &Expect) -> Result<File, Refused> {
    let (root, path) = (root.as_fd().try_clone_to_owned()?, path.as_ref().to_owned());
    let expect = *expect;
    patiently(None, move || reopen(resolve(root.as_fd(), &path, expect.links)?.as_fd(), &expect))
}

/// As [`open`], from our own root: for paths that a foreign file names, or that others can have
/// written to.
///
/// # Errors
/// See [`Refused`].
pub fn open_here(path: impl AsRef<Path>, expect: &Expect) -> Result<File, Refused> {
    open(own_root()?, std::path::absolute(path)?, expect)
}

/// Opens the regular file that the user has named, wherever links lead; `/dev/stdin` may be one.
/// Whoever names it means it, but what lies there may be another's: it is held first, as
/// everywhere.
///
/// # Errors
/// See [`Refused`].
pub fn open_named(path: impl AsRef<Path>) -> Result<File, Refused> {
    let held = rustix::fs::open(path.as_ref(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    reopen(held.as_fd(), &Expect { owner: None, links: Links::Followed, most_bytes: u64::MAX })
}

/// That `file`, which is open, is a regular one.
///
/// # Errors
/// See [`Refused`].
pub fn regular(file: impl AsFd) -> Result<(), Refused> {
    check(&fstat(file)?, &Expect { owner: None, links: Links::Followed, most_bytes: u64::MAX })
}

/// The directory at `path` below the directory `root`, held without having been opened. The path
/// never leads out of `root`.
///
/// # Errors
/// See [`Refused`].
pub fn directory(root: impl AsFd, path: impl AsRef<Path>, links: Links) -> Result<OwnedFd, Refused> {
    let (root, path) = (root.as_fd().try_clone_to_owned()?, path.as_ref().to_owned());
    patiently(None, move || {
        let held = resolve(root.as_fd(), &path, links)?;
        match kind(&fstat(&held)?) {
            FileType::Directory => Ok(held),
            other => Err(Refused::Kind(called(other))),
        }
    })
}

/// The whole of `file`, but not more than `most_bytes`.
///
/// # Errors
/// What the kernel says.
pub fn read(file: File, most_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(most_bytes).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether the kernel has openat2 and lets us use it; without it paths are followed part by part.
pub fn has_openat2() -> bool {
    let opened = own_root().map_err(|_| Errno::NOENT).and_then(|root| {
        openat2(root, ".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::IN_ROOT)
    });
    opened.is_ok()
}

pub(crate) fn own_root() -> io::Result<OwnedFd> {
    Ok(rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Opens what is held, if it is what is expected. The file behind a descriptor stays the same one
/// and of its kind for ever, so nothing can come between the look and the opening. NONBLOCK is for
/// a file that somebody holds a lease on (fcntl(2)).
fn reopen(held: BorrowedFd<'_>, expect: &Expect) -> Result<File, Refused> {
    reopen_as(held, expect, OFlags::RDONLY)
}

/// As [`reopen`], to read, write, or both.
fn reopen_as(held: BorrowedFd<'_>, expect: &Expect, access: OFlags) -> Result<File, Refused> {
    check(&fstat(held)?, expect)?;
    let flags = access | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let path = format!("/proc/self/fd/{}", held.as_raw_fd());
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

fn check(stat: &Stat, expect: &Expect) -> Result<(), Refused> {
    match kind(stat) {
        FileType::RegularFile => {}
        FileType::Symlink => return Err(Refused::Link),
        other => return Err(Refused::Kind(called(other))),
    }
    if let Some(expected) = expect.owner
        && stat.st_uid != expected
    {
        return Err(Refused::Owner { found: stat.st_uid, expected });
    }
    let bytes = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
    if bytes > expect.most_bytes {
        return Err(Refused::TooLarge { bytes, most: expect.most_bytes });
    }
    Ok(())
}

fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

fn called(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "a file",
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::Unknown => "of an unknown kind",
    }
}

/// Holds what is at `path` below `root`, without opening it.
fn resolve(root: BorrowedFd<'_>, path: &Path, links: Links) -> Result<OwnedFd, Refused> {
    let mut how = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    if links == Links::Refused {
        how |= ResolveFlags::NO_SYMLINKS;
    }
    for _ in 0..RACES {
        match openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), how) {
            // A rename has come between, and it could not be told that the path stays inside.
            Err(Errno::AGAIN) => {}
            // Kernels before 5.6, and sandboxes that forbid it.
            Err(Errno::NOSYS | Errno::PERM | Errno::INVAL | Errno::TOOBIG) => break,
            Err(Errno::LOOP) if links == Links::Refused => return Err(Refused::Link),
            held => return Ok(held?),
        }
    }
    walk(root, path, links, &mut |_, _| Ok(()))
}

/// As [`resolve`], part by part, for kernels without openat2 and for who must see each directory
/// that the path leads through: `visit` is given each before a name is looked up in it, with its
/// place for a message.
///
/// `..` goes back to the directory that the path came by, which is held: nobody's rename leads it
/// elsewhere.
pub(crate) fn walk<E: From<Refused>>(
    root: BorrowedFd<'_>,
    path: &Path,
    links: Links,
    visit: &mut dyn FnMut(BorrowedFd<'_>, &str) -> Result<(), E>,
) -> Result<OwnedFd, E> {
    let refused = |errno: Errno| E::from(Refused::from(errno));
    let root = root.try_clone_to_owned().map_err(Refused::from)?;
    let mut way = vec![(String::from("/"), root)];
    let mut rest: Vec<Vec<u8>> = Vec::new();
    push_parts(&mut rest, path.as_os_str().as_bytes()).map_err(refused)?;
    let mut followed = 0;
    while let Some(part) = rest.pop() {
        let (place, at) = way.last().ok_or_else(|| refused(Errno::NOENT))?;
        match part.as_slice() {
            b"" | b"." => continue,
            b".." => {
                if way.len() > 1 {
                    way.pop();
                }
                continue;
            }
            _ => {}
        }
        visit(at.as_fd(), place)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let held = openat(at, part.as_slice(), flags, Mode::empty()).map_err(refused)?;
        if kind(&fstat(&held).map_err(refused)?) != FileType::Symlink {
            let place = format!("{}/{}", place.trim_end_matches('/'), String::from_utf8_lossy(&part));
            way.push((place, held));
            continue;
        }
        followed += 1;
        if links == Links::Refused {
            return Err(Refused::Link.into());
        } else if followed > MAX_LINKS {
            return Err(refused(Errno::LOOP));
        }
        let target = readlinkat(&held, "", Vec::new()).map_err(refused)?.into_bytes();
        if target.first() == Some(&b'/') {
            way.truncate(1);
        }
        push_parts(&mut rest, &target).map_err(refused)?;
    }
    way.pop().map(|(_, held)| held).ok_or_else(|| refused(Errno::NOENT))
}

/// Adds the parts of `path`, the first of them last.
fn push_parts(parts: &mut Vec<Vec<u8>>, path: &[u8]) -> Result<(), Errno> {
    parts.extend(path.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec));
    if parts.len() > MAX_PARTS { Err(Errno::NAMETOOLONG) } else { Ok(()) }
}

mod patience;
#[cfg(test)]
mod tests;

//! The live file of a process: where it can be read.

use super::lease::Word;
use offheap_linux::Process;
use offheap_linux::foreign::{Expect, Links, open_named};
use offheap_live::{Header, LEASE_NAME, LIVE_NAME, MAGIC, MAX_FILE_BYTES, MIN_FILE_BYTES};
use rustix::fs::{Mode, OFlags};
use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What is read as a live file: anybody's, since what it says is believed by nobody; links stay
/// inside the target's root.
const EXPECTED: Expect = Expect { owner: None, links: Links::Followed, most_bytes: MAX_FILE_BYTES };
/// Descriptors of a target that are looked at: more than a program may have open by default.
const MOST_DESCRIPTORS: usize = 1 << 20;
/// Where the word of the lease lies in a live file that has no file of its own for it.
const LEASE_AT: u64 = std::mem::offset_of!(Header, lease) as u64;

/// A live file that can be read again and again.
#[derive(Debug)]
pub enum LiveFile {
    /// By a descriptor: also after the process has ended.
    Opened(File),
    /// From the memory of the process that has it mapped: of a file without a name, which only root
    /// may open.
    Mapped {
        /// `/proc/PID/mem`.
        memory: File,
        /// Where it is mapped.
        start: u64,
        /// Bytes.
        length: u64,
    },
}

impl LiveFile {
    /// The live file in memory that an agent has just made in `process`, by the descriptor that it
    /// holds open for us, and the word of its lease.
    pub fn handed_over(process: &Process) -> Option<(LiveFile, Option<Word>)> {
        let folder = format!("/proc/{}/fd", process.pid());
        let links = std::fs::read_dir(&folder).ok()?.flatten().take(MOST_DESCRIPTORS);
        // The names may be of any file that the process has open: then of one that belongs to its
        // user.
        let expect = Expect { owner: Some(process.status().ok()?.euid), ..EXPECTED };
        let (mut live, mut lease) = (None, None);
        for link in links {
            let Ok(name) = std::fs::read_link(link.path()) else { continue };
            let (name, number) = (name.to_string_lossy(), link.file_name());
            let number = number.to_string_lossy();
            // The agent's own, or where it got no memfd a file in /dev/shm with that in its name.
            if name.contains(text(LIVE_NAME)) {
                live = process.descriptor(&number, &expect).ok().or(live);
            } else if is_lease(&name) {
                lease = process.memory_file(&number, &expect).ok().or(lease);
            }
        }
        // A pid that was taken by another process meanwhile has nothing of the target's.
        let live = live.filter(|_| process.is_alive())?;
        Some((LiveFile::Opened(live), lease.map(|file| Word::new(file, 0))))
    }

    /// The word of the lease of an agent that is at work in `process`, where this tool may write
    /// there.
    pub fn lease(process: &Process) -> Option<Word> {
        let vmas = process.maps().ok()?;
        let vma = vmas.iter().find(|vma| vma.shared && vma.write && is_lease(&vma.path))?;
        let memory =
            std::fs::OpenOptions::new().write(true).open(format!("/proc/{}/mem", process.pid())).ok()?;
        process.is_alive().then(|| Word::new(memory, vma.start))
    }

    /// The one that `process` has mapped, if it has; an agent is at work there, or has been.
    ///
    /// # Errors
    /// The process has ended, or its memory may not be read.
    pub fn find(process: &Process) -> anyhow::Result<Option<LiveFile>> {
        let vmas = process.maps()?;
        let mut candidates = vmas
            .iter()
            .filter(|vma| vma.shared && vma.write && vma.offset == 0 && vma.len() >= MIN_FILE_BYTES);
        let memory = process.file("mem")?;
        let begins = |start: u64| {
            let mut head = [0; 8];
            memory.read_exact_at(&mut head, start).is_ok() && u64::from_ne_bytes(head) == MAGIC
        };
        let Some(vma) = candidates.find(|vma| vma.len() <= MAX_FILE_BYTES && begins(vma.start)) else {
            return Ok(None);
        };
        if let Ok(file) = process.mapped_file(vma, &EXPECTED) {
            return Ok(Some(LiveFile::Opened(file)));
        }
        let (start, length) = (vma.start, vma.len());
        Ok(Some(LiveFile::Mapped { memory, start, length }))
    }

    /// The one that an agent in `process` was told to make at `path` in its file system.
    pub fn named(process: &Process, path: &str) -> Option<LiveFile> {
        process.open_in_root(path, &EXPECTED).ok().map(LiveFile::Opened)
    }

    /// A copy of it as it is now.
    ///
    /// # Errors
    /// What the kernel says; of one that is only mapped also that the process has ended.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        match self {
            LiveFile::Opened(file) => {
                let length = file.metadata()?.len().min(MAX_FILE_BYTES);
                read_at(file, 0, length)
            }
            // All its blocks were allocated when it was made: reading makes nothing resident that
            // was not.
            LiveFile::Mapped { memory, start, length } => read_at(memory, *start, *length),
        }
    }
}

fn text(name: &'static CStr) -> &'static str {
    name.to_str().unwrap_or_default()
}

/// Whether `/proc` calls the page of a lease so.
fn is_lease(name: &str) -> bool {
    name.strip_prefix("/memfd:").is_some_and(|name| name.starts_with(text(LEASE_NAME)))
}

/// The word of the lease in the live file at `path`.
///
/// # Errors
/// What the kernel says; it is no live file.
pub fn lease_in(path: &Path) -> io::Result<Word> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let mut head = [0; 8];
    file.read_exact_at(&mut head, 0)?;
    let ours = file.metadata()?.is_file() && u64::from_ne_bytes(head) == MAGIC;
    if ours { Ok(Word::new(file, LEASE_AT)) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

/// The file at `path`, which the user has named, read whole.
///
/// # Errors
/// What the kernel says; it is no regular file, or too large for a live file.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = open_named(path).map_err(io::Error::other)?;
    if file.metadata()?.len() > MAX_FILE_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is larger than any live file"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn read_at(file: &File, start: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    file.read_exact_at(&mut bytes, start)?;
    Ok(bytes)
}

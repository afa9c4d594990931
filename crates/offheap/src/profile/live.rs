//! The live file of a process: where it can be read.

use offheap_linux::Process;
use offheap_live::MAGIC;
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

/// No live file is larger.
const LIMIT: u64 = 4 << 30;
/// Nor smaller.
const LEAST: u64 = 4 << 20;

/// A live file that can be read again and again.
#[derive(Debug)]
pub enum LiveFile {
    /// By a descriptor: also after the process has ended.
    Opened(File),
    /// From the memory of the process that has it mapped: of a file without a name, which only root may open.
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
    /// The one that `process` has mapped, if it has; an agent is at work there, or has been.
    ///
    /// # Errors
    /// The process has ended, or its memory may not be read.
    pub fn find(process: &Process) -> anyhow::Result<Option<LiveFile>> {
        let vmas = process.maps()?;
        let mut candidates =
            vmas.iter().filter(|vma| vma.shared && vma.write && vma.offset == 0 && vma.len() >= LEAST);
        let memory = process.file("mem")?;
        let begins = |start: u64| {
            let mut head = [0; 8];
            memory.read_exact_at(&mut head, start).is_ok() && u64::from_ne_bytes(head) == MAGIC
        };
        let Some(vma) = candidates.find(|vma| vma.len() <= LIMIT && begins(vma.start)) else {
            return Ok(None);
        };
        if let Ok(file) = process.file(&format!("map_files/{:x}-{:x}", vma.start, vma.end)) {
            return Ok(Some(LiveFile::Opened(file)));
        }
        // What is at its path may be another file by now.
        if let Ok(file) = open(&process.path_in_root(&vma.path))
            && file.metadata().is_ok_and(|metadata| metadata.ino() == vma.inode)
        {
            return Ok(Some(LiveFile::Opened(file)));
        }
        let (start, length) = (vma.start, vma.len());
        Ok(Some(LiveFile::Mapped { memory, start, length }))
    }

    /// A copy of it as it is now.
    ///
    /// # Errors
    /// What the kernel says; of one that is only mapped also that the process has ended.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        match self {
            LiveFile::Opened(file) => {
                let length = file.metadata()?.len().min(LIMIT);
                read_at(file, 0, length)
            }
            // All its blocks were allocated when it was made: reading makes nothing resident that was not.
            LiveFile::Mapped { memory, start, length } => read_at(memory, *start, *length),
        }
    }
}

/// Opens a regular file; anything else of that name could hold us up.
///
/// # Errors
/// What the kernel says; it is no regular file.
pub fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

/// The file at `path`, read whole.
///
/// # Errors
/// What the kernel says; it is too large for a live file.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    if file.metadata()?.len() > LIMIT {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is larger than any live file"));
    }
    let mut bytes = Vec::new();
    file.take(LIMIT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn read_at(file: &File, start: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    file.read_exact_at(&mut bytes, start)?;
    Ok(bytes)
}

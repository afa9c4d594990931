//! A recording in memory, as it is at one instant, also while it is being written.
//!
//! SQLite is never given a stranger's file to open: it would lock it, write a `-shm` beside it,
//! wait for it, and follow what else lies there. It is given the bytes. What a writer has not yet
//! moved from the write-ahead log (`-wal`) into the file is put in its place here: the format is
//! that of <https://sqlite.org/fileformat2.html#the_write_ahead_log>.

use crate::{Error, files};
use rusqlite::Connection;
use rusqlite::serialize::OwnedData;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::ptr::NonNull;
use std::time::Duration;

/// A recording is no larger, bytes: reading takes as much memory.
pub(crate) const LARGEST: u64 = 1 << 30;
/// Nor is its log: a writer moves it into the file at 4 MiB, unless something keeps it from that.
const LARGEST_LOG: u64 = 256 << 20;
/// Files of this size may have holes; a larger one has to have one byte on the disk for so many of
/// its length.
const MAY_BE_SPARSE: u64 = 16 << 20;
const SPARSENESS: u64 = 16;
/// Bytes of the log's header, and of that of each page in it.
const LOG_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// How often a file that changed under our eyes is read again, and the pause before.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(10);

/// Reads the recording at `path` into a connection; returns its size too.
pub(crate) fn open(path: &Path) -> Result<(Connection, u64), Error> {
    for _ in 0..TRIES {
        if let Some((data, size)) = read(path)? {
            let fail = |source| Error::from_sqlite(path, source);
            let mut connection = Connection::open_in_memory().map_err(fail)?;
            connection.deserialize("main", data, true).map_err(fail)?;
            return Ok((connection, size));
        }
        std::thread::sleep(PAUSE);
    }
    let journal = files::beside(path, "-journal");
    Err(if has_bytes(&journal) {
        Error::Unfinished { path: path.to_owned(), journal }
    } else {
        Error::Busy(path.to_owned())
    })
}

/// One try; `None` where somebody wrote to it meanwhile.
fn read(path: &Path) -> Result<Option<(OwnedData, u64)>, Error> {
    let fail = |source| Error::Unreadable { path: path.to_owned(), source };
    if has_bytes(&files::beside(path, "-journal")) {
        return Ok(None);
    }
    let log_path = files::beside(path, "-wal");
    let file = files::open(path)?;
    let log = open_log(&log_path)?;
    let metadata = file.metadata().map_err(fail)?;
    let length = believable(path, &metadata, LARGEST)?;
    let begin = log.as_ref().map(head);
    // The log may have pages beyond the file's end.
    let log_length = match &log {
        Some(log) => believable(&log_path, &log.metadata().map_err(fail)?, LARGEST_LOG)?,
        None => 0,
    };
    let mut memory = Memory::new((length + log_length) as usize)?;
    let whole = memory.bytes();
    // The file first and the log then: what is moved between them meanwhile is in the log still,
    // and of what is only in the file by now nothing is missing in it. That fails only where the
    // log began anew.
    let count = read_at_most(&file, whole.get_mut(..length as usize).unwrap_or_default()).map_err(fail)?;
    let mut size = count;
    if let Some(log) = &log {
        let mut bytes = vec![0; log_length as usize];
        let count = read_at_most(log, &mut bytes).map_err(fail)?;
        bytes.truncate(count);
        size = apply(&bytes, whole, size);
    }
    let is_same = |end: &Option<File>| end.as_ref().map(head) == begin;
    if !is_same(&open_log(&log_path)?) {
        return Ok(None);
    }
    if let Some(versions) = whole.get_mut(18..20) {
        // Without a log beside it, in memory, it is a file without a log.
        versions.fill(1);
    }
    Ok(Some((memory.into_data(size), size as u64)))
}

/// The log, where there is one with anything in it.
fn open_log(path: &Path) -> Result<Option<File>, Error> {
    if !has_bytes(path) {
        return Ok(None);
    }
    match files::open(path) {
        Ok(log) => Ok(Some(log)),
        // Gone since.
        Err(Error::Unreadable { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn has_bytes(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|metadata| metadata.len() > 0)
}

/// The log's header, which has other salts when it begins anew.
fn head(log: &File) -> [u8; LOG_HEADER] {
    let mut head = [0; LOG_HEADER];
    let _ = log.read_at(&mut head, 0);
    head
}

/// The length of a file, where it is one that a recording can have.
fn believable(path: &Path, metadata: &std::fs::Metadata, most: u64) -> Result<u64, Error> {
    let length = metadata.len();
    let is_hollow = length > MAY_BE_SPARSE && metadata.blocks().saturating_mul(512 * SPARSENESS) < length;
    if length > most || is_hollow {
        return Err(Error::TooLarge { path: path.to_owned(), bytes: length });
    }
    Ok(length)
}

/// Fills `into` as far as the file goes.
fn read_at_most(file: &File, into: &mut [u8]) -> std::io::Result<usize> {
    let mut at = 0;
    while let Some(rest) = into.get_mut(at..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at as u64) {
            Ok(0) => break,
            Ok(count) => at += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(at)
}

/// Puts the pages of `log` into the file's bytes, those of finished transactions; returns the
/// file's size then, which was `size`. A log that is none changes nothing.
fn apply(log: &[u8], file: &mut [u8], size: usize) -> usize {
    let word = |bytes: &[u8], at: usize| {
        let four = bytes.get(at..at + 4).and_then(|four| four.try_into().ok());
        four.map_or(0, u32::from_be_bytes)
    };
    let Some((header, frames)) = log.split_at_checked(LOG_HEADER) else { return size };
    // The lowest bit of the magic number says in which order the checksums' words are.
    let is_big = match word(header, 0) {
        0x377f_0682 => false,
        0x377f_0683 => true,
        _ => return size,
    };
    let page = word(header, 8) as usize;
    if !(512..=65536).contains(&page) || !page.is_power_of_two() || word(header, 4) != 3_007_000 {
        return size;
    }
    let salts = (word(header, 16), word(header, 20));
    let mut sum = checksum((0, 0), header.get(..24).unwrap_or_default(), is_big);
    if sum != (word(header, 24), word(header, 28)) {
        return size;
    }
    let (mut waiting, mut pages) = (Vec::new(), None);
    for frame in frames.chunks_exact(FRAME_HEADER + page) {
        let Some((head, body)) = frame.split_at_checked(FRAME_HEADER) else { break };
        sum = checksum(checksum(sum, head.get(..8).unwrap_or_default(), is_big), body, is_big);
        if (word(head, 8), word(head, 12)) != salts || (word(head, 16), word(head, 20)) != sum {
            // What was in the log before it began anew.
            break;
        }
        waiting.push((word(head, 0) as usize, body));
        let after = word(head, 4) as usize;
        if after == 0 {
            continue;
        }
        // A transaction is whole.
        pages = Some(after);
        for (number, body) in waiting.drain(..) {
            let begin = number.checked_sub(1).and_then(|before| before.checked_mul(page));
            let place = begin.and_then(|begin| file.get_mut(begin..begin.checked_add(page)?));
            place.into_iter().for_each(|place| place.copy_from_slice(body));
        }
    }
    pages.map_or(size, |pages| pages.saturating_mul(page).min(file.len()))
}

/// SQLite's checksum of a log, carried on from `sum`.
fn checksum(sum: (u32, u32), bytes: &[u8], is_big: bool) -> (u32, u32) {
    let word = |four: &[u8; 4]| if is_big { u32::from_be_bytes(*four) } else { u32::from_le_bytes(*four) };
    let (words, _) = bytes.as_chunks::<4>();
    let (pairs, _) = words.as_chunks::<2>();
    pairs.iter().fold(sum, |(a, b), [first, second]| {
        let a = a.wrapping_add(word(first)).wrapping_add(b);
        (a, b.wrapping_add(word(second)).wrapping_add(a))
    })
}

/// Memory that SQLite can own, all zeros to begin with.
struct Memory {
    start: NonNull<u8>,
    length: usize,
}

impl Memory {
    fn new(length: usize) -> Result<Memory, Error> {
        // SAFETY: any size may be asked for; null is what SQLite says where there is no room.
        let start = unsafe { rusqlite::ffi::sqlite3_malloc64(length.max(1) as u64) };
        let start = NonNull::new(start.cast::<u8>()).ok_or(Error::NoMemory { bytes: length as u64 })?;
        // SAFETY: so many bytes were just given to us.
        unsafe { start.as_ptr().write_bytes(0, length) };
        Ok(Memory { start, length })
    }

    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: ours alone, so long, and all written to when it was made.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }

    /// The first `size` bytes, for SQLite.
    fn into_data(self, size: usize) -> OwnedData {
        let (start, size) = (self.start, size.min(self.length));
        std::mem::forget(self);
        // SAFETY: sqlite3_malloc64 gave it, and nobody else has it any more.
        unsafe { OwnedData::from_raw_nonnull(start, size) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: sqlite3_malloc64 gave it, and it was not given away.
        unsafe { rusqlite::ffi::sqlite3_free(self.start.as_ptr().cast()) };
    }
}

//! The notes of a core file: threads with their registers, what the process was, which files it had
//! mapped, the auxiliary vector (fs/binfmt_elf.c: `fill_note_info`, `fill_files_note`).

use crate::arch::{REGISTERS, STACK_POINTER};
use crate::elf;
use crate::headers::{Segment, word_of};
use offheap_target::arch::END_OF_ADDRESSES;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// What is read of one note at most: of the files of a process with a million mappings.
const MOST_NOTE: u64 = 128 << 20;
/// Notes read at most: each thread has about five.
const MOST_NOTES: usize = 1 << 20;
/// Threads kept at most; the kernel's own limit is 4 million, in use are thousands.
const MOST_THREADS: usize = 1 << 18;
/// Files kept at most.
const MOST_FILES: usize = 1 << 20;

/// Where `pr_cursig`, `pr_pid` and `pr_reg` are in an `elf_prstatus`.
const PRSTATUS_SIGNAL: usize = 12;
const PRSTATUS_PID: usize = 32;
const PRSTATUS_REGISTERS: usize = 112;
/// Where `pr_uid`, `pr_pid`, `pr_fname` and `pr_psargs` are in an `elf_prpsinfo`, and how long the
/// two texts are.
const PRPSINFO_UID: usize = 16;
const PRPSINFO_PID: usize = 24;
const PRPSINFO_NAME: std::ops::Range<usize> = 40..56;
const PRPSINFO_ARGUMENTS: std::ops::Range<usize> = 56..136;

/// The registers of a thread, in the kernel's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registers(pub [u64; REGISTERS]);

impl Registers {
    /// The stack pointer.
    pub fn stack_pointer(&self) -> u64 {
        self.0[STACK_POINTER]
    }
}

/// A thread as it was when the core was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thread {
    /// Its id inside the process's own pid namespace.
    pub tid: i32,
    /// The signal that it got; 0 where it got none.
    pub signal: i32,
    /// Its registers.
    pub registers: Registers,
}

/// What the process was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// Its id inside its own pid namespace.
    pub pid: i32,
    /// Its user.
    pub uid: u32,
    /// The short name the kernel keeps.
    pub name: String,
    /// The first 79 bytes of its command line.
    pub arguments: String,
}

/// A part of a file that was mapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mapped {
    pub start: u64,
    pub end: u64,
    /// Where in the file it starts.
    pub offset: u64,
    /// Index in [`Notes::paths`].
    pub path: usize,
}

/// All that is wanted of the notes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Notes {
    /// The one that caused the core first.
    pub threads: Vec<Thread>,
    pub identity: Option<Identity>,
    pub auxiliary: Vec<u8>,
    /// Ascending by address.
    pub mapped: Vec<Mapped>,
    pub paths: Vec<String>,
}

/// Reads the notes of `segments`.
pub(crate) fn read(file: &File, length: u64, segments: &[Segment]) -> Notes {
    let mut notes = Notes::default();
    let mut left = MOST_NOTES;
    // Note segments may overlap, so that a small file has much in its notes.
    let mut room = 2 * MOST_NOTE;
    for segment in segments.iter().filter(|segment| segment.kind == elf::NOTE) {
        let end = segment.offset.saturating_add(segment.file_bytes).min(length);
        let mut at = segment.offset;
        while let Some((kind, desc, desc_bytes, next)) = header(file, at, end) {
            if left == 0 {
                break;
            }
            left -= 1;
            if let Some(take) = taker(kind)
                && desc_bytes <= room.min(MOST_NOTE)
            {
                room -= desc_bytes;
                let mut bytes = vec![0; desc_bytes as usize];
                if file.read_exact_at(&mut bytes, desc).is_ok() {
                    // What is wrong with one note says nothing of the others.
                    let _ = take(&mut notes, &bytes);
                }
            }
            at = next;
        }
    }
    notes.mapped.sort_unstable_by_key(|mapped| mapped.start);
    notes
}

/// Type, place and size of what a note at `at` says, and where the next one starts; `None` where no
/// whole note is.
fn header(file: &File, at: u64, end: u64) -> Option<(u32, u64, u64, u64)> {
    const HEADER: u64 = 12;
    let mut header = [0; HEADER as usize];
    if at.checked_add(HEADER)? > end {
        return None;
    }
    file.read_exact_at(&mut header, at).ok()?;
    let (name, desc) = (u64::from(half(&header, 0)?), u64::from(half(&header, 4)?));
    let desc_at = at.checked_add(HEADER)?.checked_add(name.next_multiple_of(4))?;
    let next = desc_at.checked_add(desc.next_multiple_of(4))?;
    (desc_at.checked_add(desc)? <= end).then_some((half(&header, 8)?, desc_at, desc, next))
}

type Take = fn(&mut Notes, &[u8]) -> Option<()>;

fn taker(kind: u32) -> Option<Take> {
    match kind {
        elf::NT_PRSTATUS => Some(thread),
        elf::NT_PRPSINFO => Some(identity),
        elf::NT_AUXV => Some(auxiliary),
        elf::NT_FILE => Some(files),
        _ => None,
    }
}

fn half(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

fn thread(notes: &mut Notes, bytes: &[u8]) -> Option<()> {
    let mut registers = [0; REGISTERS];
    let words = bytes.get(PRSTATUS_REGISTERS..)?.chunks_exact(8);
    if words.len() < REGISTERS || notes.threads.len() >= MOST_THREADS {
        return None;
    }
    for (register, word) in registers.iter_mut().zip(words) {
        *register = word_of(word);
    }
    notes.threads.push(Thread {
        tid: half(bytes, PRSTATUS_PID)?.cast_signed(),
        signal: i32::from(half(bytes, PRSTATUS_SIGNAL)? as i16),
        registers: Registers(registers),
    });
    Some(())
}

fn identity(notes: &mut Notes, bytes: &[u8]) -> Option<()> {
    let text = |range| {
        let bytes: &[u8] = bytes.get::<std::ops::Range<usize>>(range)?;
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        Some(String::from_utf8_lossy(&bytes[..end]).trim_end().to_owned())
    };
    notes.identity = Some(Identity {
        pid: half(bytes, PRPSINFO_PID)?.cast_signed(),
        uid: half(bytes, PRPSINFO_UID)?,
        name: text(PRPSINFO_NAME)?,
        arguments: text(PRPSINFO_ARGUMENTS)?,
    });
    Some(())
}

fn auxiliary(notes: &mut Notes, bytes: &[u8]) -> Option<()> {
    /// The kernel's has about 40 words.
    const MOST_AUXILIARY: usize = 8 << 10;
    notes.auxiliary = bytes.get(..bytes.len().min(MOST_AUXILIARY))?.to_vec();
    Some(())
}

/// `count`, `page_size`, then `start`, `end` and place in the file (in pages) of each, then the
/// paths.
fn files(notes: &mut Notes, bytes: &[u8]) -> Option<()> {
    let word = |index: usize| bytes.get(index.checked_mul(8)?..)?.get(..8).map(word_of);
    let count = usize::try_from(word(0)?).ok()?;
    let page = word(1)?;
    let texts = bytes.get(16usize.checked_add(count.checked_mul(24)?)?..)?;
    let mut known = std::collections::HashMap::new();
    let room = MOST_FILES.saturating_sub(notes.mapped.len());
    for (index, text) in texts.split(|byte| *byte == 0).take(count.min(room)).enumerate() {
        let at = 2 + index * 3;
        let (start, end, offset) = (word(at)?, word(at + 1)?, word(at + 2)?);
        if start >= end || end > END_OF_ADDRESSES || text.is_empty() {
            continue;
        }
        let path = *known.entry(text).or_insert_with(|| {
            notes.paths.push(String::from_utf8_lossy(text).into_owned());
            notes.paths.len() - 1
        });
        notes.mapped.push(Mapped { start, end, offset: offset.saturating_mul(page), path });
    }
    Some(())
}

//! The ELF header and the program headers of a core file.

use crate::elf;
use offheap_target::arch::MACHINE;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Bytes of the header of a 64-bit ELF file.
const HEADER: usize = 64;
/// Bytes of a program header.
const PROGRAM_HEADER: usize = 56;
/// More program headers are not read: each is a mapping, of which the kernel allows 65,530 unless
/// told otherwise (`vm.max_map_count`).
const MOST_HEADERS: u64 = 1 << 20;

/// How a file packed by zstd (RFC 8878) or lz4 starts.
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const LZ4: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];

/// Why a file can't be read as a core file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It does not start as an ELF file does.
    #[error("it is no core file: it does not start with an ELF header")]
    NotElf,
    /// It is packed, as systemd-coredump packs them.
    #[error("it is compressed; unpack it first, with: zstd -d FILE   (or: coredumpctl dump PID -o core)")]
    Compressed,
    /// An executable, a library, an object file.
    #[error("it is an ELF file but no core file: it is an executable or a library")]
    NotCore,
    /// It is of another machine.
    #[error(
        "it is the core file of another kind of machine (ELF machine {machine}, {bits} bits); read it on one of its kind"
    )]
    Machine {
        /// `e_machine`.
        machine: u16,
        /// 32 or 64.
        bits: u8,
    },
    /// It was written where pages have another size.
    #[error("it is the core file of a machine with pages of {bytes} bytes; read it on one of its kind")]
    Pages {
        /// What its auxiliary vector says (`AT_PAGESZ`).
        bytes: u64,
    },
    /// It has no program headers that make sense.
    #[error("it is a core file without any memory in it: it was cut off at its start, or is damaged")]
    Empty,
    /// What the kernel said.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A part of the file: notes, or the memory of a mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    pub kind: u32,
    pub flags: u32,
    /// Where in the file.
    pub offset: u64,
    /// Where in memory.
    pub address: u64,
    /// Bytes in the file.
    pub file_bytes: u64,
    /// Bytes in memory.
    pub memory_bytes: u64,
}

/// True where `file` starts as an ELF file or as a packed one: where it is worth a try, and an
/// error is worth showing.
pub fn may_be_core(file: &File) -> bool {
    let mut magic = [0; 4];
    file.read_exact_at(&mut magic, 0).is_ok() && [elf::MAGIC, ZSTD, LZ4].contains(&magic)
}

/// Reads the headers of `file`, which has `length` bytes.
pub(crate) fn read(file: &File, length: u64) -> Result<Vec<Segment>, Error> {
    let mut header = [0; HEADER];
    file.read_exact_at(&mut header, 0).map_err(|_| Error::NotElf)?;
    let half = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    let word = |at: usize| header.get(at..at + 8).map_or(0, word_of);
    if header[..4] == ZSTD || header[..4] == LZ4 {
        return Err(Error::Compressed);
    }
    if header[..4] != elf::MAGIC {
        return Err(Error::NotElf);
    }
    let machine = half(18);
    if header[4] != elf::CLASS_64 || header[5] != elf::LITTLE_ENDIAN || machine != MACHINE {
        return Err(Error::Machine { machine, bits: if header[4] == elf::CLASS_64 { 64 } else { 32 } });
    }
    if half(16) != elf::CORE {
        return Err(Error::NotCore);
    }
    if usize::from(half(54)) != PROGRAM_HEADER {
        return Err(Error::Empty);
    }
    let table = word(32);
    let mut count = u64::from(half(56));
    if count == u64::from(elf::MANY_HEADERS) {
        // Too many mappings for the field: their number stands in the first section header
        // (`sh_info`, 44 bytes into it).
        let mut info = [0; 4];
        file.read_exact_at(&mut info, word(40).saturating_add(44)).map_err(|_| Error::Empty)?;
        count = u64::from(u32::from_le_bytes(info));
    }
    let room = length.saturating_sub(table) / PROGRAM_HEADER as u64;
    let count = count.min(room).min(MOST_HEADERS) as usize;
    let mut bytes = vec![0; count * PROGRAM_HEADER];
    file.read_exact_at(&mut bytes, table).map_err(|_| Error::Empty)?;
    let segments: Vec<Segment> = bytes.chunks_exact(PROGRAM_HEADER).filter_map(segment).collect();
    if segments.iter().any(|segment| segment.kind == elf::LOAD) { Ok(segments) } else { Err(Error::Empty) }
}

/// `Elf64_Phdr`.
fn segment(bytes: &[u8]) -> Option<Segment> {
    let half = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let word = |at: usize| bytes.get(at..at + 8).map(word_of);
    Some(Segment {
        kind: half(0)?,
        flags: half(4)?,
        offset: word(8)?,
        address: word(16)?,
        file_bytes: word(32)?,
        memory_bytes: word(40)?,
    })
}

/// The eight bytes as a word.
pub(crate) fn word_of(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_le_bytes)
}

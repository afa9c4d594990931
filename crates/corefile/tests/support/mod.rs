//! Core files made by hand.

use std::fs::File;
use std::io::Write;

/// A program header.
#[derive(Debug, Clone, Default)]
pub struct Segment {
    pub kind: u32,
    pub flags: u32,
    pub address: u64,
    pub memory_bytes: u64,
    pub bytes: Vec<u8>,
}

/// `PT_LOAD` of memory that can be written.
pub fn load(address: u64, bytes: Vec<u8>) -> Segment {
    Segment { kind: 1, flags: 6, address, memory_bytes: bytes.len() as u64, bytes }
}

/// One note.
pub fn note(kind: u32, desc: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [5, desc.len() as u32, kind] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(*b"CORE\0\0\0\0");
    bytes.extend(desc);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// `NT_PRSTATUS` of a thread.
pub fn thread(tid: i32, signal: u16, stack_pointer: u64) -> Vec<u8> {
    let mut bytes = vec![0; 336];
    bytes[12..14].copy_from_slice(&signal.to_le_bytes());
    bytes[32..36].copy_from_slice(&tid.to_le_bytes());
    bytes[112 + 19 * 8..112 + 20 * 8].copy_from_slice(&stack_pointer.to_le_bytes());
    note(1, &bytes)
}

/// `NT_PRPSINFO`.
pub fn identity(pid: i32, name: &str, arguments: &str) -> Vec<u8> {
    let mut bytes = vec![0; 136];
    bytes[24..28].copy_from_slice(&pid.to_le_bytes());
    bytes[40..40 + name.len()].copy_from_slice(name.as_bytes());
    bytes[56..56 + arguments.len()].copy_from_slice(arguments.as_bytes());
    note(3, &bytes)
}

/// `NT_FILE`.
pub fn files(list: &[(u64, u64, u64, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut word = |word: u64| bytes.extend(word.to_le_bytes());
    word(list.len() as u64);
    word(4096);
    for (start, end, page, _) in list {
        word(*start);
        word(*end);
        word(*page);
    }
    for (.., path) in list {
        bytes.extend(path.as_bytes());
        bytes.push(0);
    }
    note(0x4649_4c45, &bytes)
}

/// `NT_AUXV`.
pub fn auxiliary(pairs: &[(u64, u64)]) -> Vec<u8> {
    let bytes: Vec<u8> =
        pairs.iter().flat_map(|(kind, value)| [*kind, *value]).flat_map(u64::to_le_bytes).collect();
    note(6, &bytes)
}

/// The bytes of the file.
pub fn build(segments: &[Segment]) -> Vec<u8> {
    let mut out = vec![0u8; 64];
    out[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    out[16..18].copy_from_slice(&4u16.to_le_bytes());
    out[18..20].copy_from_slice(&62u16.to_le_bytes());
    out[32..40].copy_from_slice(&64u64.to_le_bytes());
    out[54..56].copy_from_slice(&56u16.to_le_bytes());
    out[56..58].copy_from_slice(&(segments.len() as u16).to_le_bytes());
    let mut offset = (64 + 56 * segments.len() as u64).next_multiple_of(4096);
    let mut contents = Vec::new();
    for segment in segments {
        out.extend(segment.kind.to_le_bytes());
        out.extend(segment.flags.to_le_bytes());
        let length = segment.bytes.len() as u64;
        for word in [offset, segment.address, 0, length, segment.memory_bytes.max(length), 4096] {
            out.extend(word.to_le_bytes());
        }
        contents.push((offset as usize, &segment.bytes));
        offset = (offset + length).next_multiple_of(4096);
    }
    for (at, bytes) in contents {
        out.resize(at, 0);
        out.extend(bytes);
    }
    out
}

/// A file of these bytes without a name.
pub fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

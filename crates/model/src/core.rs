//! What a core file can tell where a process would have an RSS.

/// How much of a process's memory its core file holds. A core has no page tables: which pages were
/// resident it doesn't tell.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CoreFile {
    /// The signal that ended the process; `None` where none did, as with gcore.
    pub signal: Option<i32>,
    /// Bytes of the pages that are not all zero: what is accounted for.
    pub held_bytes: u64,
    /// Bytes of the pages of zeros in it: never touched, or in use and zero.
    pub zero_bytes: u64,
    /// Bytes that its headers promise and the file doesn't have, because it was cut off.
    pub missing_bytes: u64,
}

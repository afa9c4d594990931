//! Which allocator serves `malloc` in a process.

use offheap_linux::{Memory, Vma};

/// An allocator.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Allocator {
    /// The GNU C library's.
    Glibc,
    /// jemalloc.
    Jemalloc,
    /// tcmalloc, gperftools' or Google's.
    Tcmalloc,
    /// mimalloc.
    Mimalloc,
    /// musl's mallocng or its forerunner.
    Musl,
    /// Not recognised.
    #[default]
    Unknown,
}

/// Which allocator it is and where it lives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// Which one serves `malloc`.
    pub allocator: Allocator,
    /// Its version where the library tells, else empty.
    pub version: String,
    /// The file its code is in: a library, or the executable it was linked into.
    pub path: String,
}

/// Finds out which allocator serves `malloc`.
pub fn identify(vmas: &[Vma], memory: &Memory) -> Identity {
    let _ = memory;
    let libc = vmas.iter().find(|vma| vma.path.ends_with("libc.so.6") || vma.path.contains("/libc-2."));
    libc.map(|vma| Identity { allocator: Allocator::Glibc, version: String::new(), path: vma.path.clone() })
        .unwrap_or_default()
}

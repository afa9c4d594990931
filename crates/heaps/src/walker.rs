//! The way in: find the allocator once, walk it as often as wanted.

use crate::allocator::HeapWalk;
use crate::{Heap, Identity, identify};
use offheap_target::Target;
use std::cell::RefCell;

/// How far a walk goes.
#[derive(Debug, Clone)]
pub struct Options<'a> {
    /// Count live chunks by size.
    pub size_classes: bool,
    /// Look into a few chunks of the largest classes for what they hold.
    pub hints: bool,
    /// Bytes of arenas that one walk may read. What it does not reach keeps the figures of an
    /// earlier walk and is re-read in one of the next: for a series of walks on a huge heap.
    /// `u64::MAX` reads all.
    pub budget_bytes: u64,
    /// Ranges that certainly belong to others (the Java heap, the code cache): large chunks are not
    /// looked for in there.
    pub exclude: &'a [(u64, u64)],
    /// Chunks that the caller knows of, ascending: [`Heap::chunks`] says which of them are in use.
    /// The address of a chunk lies [`CHUNK_TO_BLOCK`] bytes before that of its block.
    pub chunks: &'a [u64],
}

/// Bytes from a chunk's address to that of the block that malloc gave out of it (malloc/malloc.c,
/// `chunk2mem`).
pub const CHUNK_TO_BLOCK: u64 = 16;

impl Default for Options<'_> {
    fn default() -> Self {
        Options { size_classes: true, hints: false, budget_bytes: u64::MAX, exclude: &[], chunks: &[] }
    }
}

/// Knows one process's allocator: its layout and its places, found once.
#[derive(Debug)]
pub struct Walker {
    identity: Identity,
    heap: RefCell<Box<dyn HeapWalk>>,
}

impl Walker {
    /// Finds the allocator of `target`. `None` where none was recognised.
    pub fn open(target: &dyn Target) -> Option<Walker> {
        let identity = identify(target, target.exe().as_deref())?;
        let heap = (identity.allocator.open)(&identity.path);
        Some(Walker { identity, heap: RefCell::new(heap) })
    }

    /// Which allocator it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Walks the heap as it is now. `target` is fresh: opened, or told to forget, right before.
    pub fn walk(&self, target: &dyn Target, options: &Options<'_>) -> Heap {
        let mut heap = self.heap.borrow_mut().walk(target, options);
        heap.allocator = self.identity.allocator.name;
        heap.version.clone_from(&self.identity.version);
        heap
    }
}

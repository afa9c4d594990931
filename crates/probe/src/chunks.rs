//! Blocks of glibc's malloc, seen from outside: how large, and whether they are in use still.

use offheap_heaps::{CHUNK_TO_BLOCK, Heap, Options, Walker};
use offheap_linux::{Reads, Target};

/// In a chunk's size: the chunk before it is in use…
const PREV_INUSE: u64 = 1;
/// …it has a mapping of its own.
const IS_MMAPPED: u64 = 2;
/// The three flags in a chunk's size (malloc/malloc.c, `SIZE_BITS`).
const FLAGS: u64 = 7;
/// The size lies this far before the block.
const SIZE_OFFSET: u64 = 8;
/// No chunk is smaller, and no real one larger.
const SIZES: std::ops::Range<u64> = 32..1 << 46;

/// The bytes of the chunk that holds `block`, which was given out a moment ago, and whether it has
/// a mapping of its own; `None` where it can't be read any more.
pub fn size(memory: &dyn Target, block: u64) -> Option<(u64, bool)> {
    let size = memory.u64(block.checked_sub(SIZE_OFFSET)?).ok()?;
    let bytes = size & !FLAGS;
    (block.is_multiple_of(16) && SIZES.contains(&bytes)).then_some((bytes, size & IS_MMAPPED != 0))
}

/// Whether `block`, of a chunk of `bytes`, may still be in use: its size is the same, and the next
/// chunk says so. Both may be what is left of old chunks; only a walk is sure.
pub fn seems_in_use(memory: &dyn Target, block: u64, bytes: u64) -> bool {
    let word = |at: Option<u64>| memory.u64(at?.checked_sub(SIZE_OFFSET)?).ok();
    match word(Some(block)) {
        Some(size) if size & !FLAGS == bytes => {
            size & IS_MMAPPED != 0
                || word(block.checked_add(bytes)).is_some_and(|next| next & PREV_INUSE != 0)
        }
        _ => false,
    }
}

/// The heap of a process.
#[derive(Debug)]
pub struct Chunks(Walker);

impl Chunks {
    /// Of the process behind `memory`; `None` where its allocator is not glibc's.
    pub fn of(memory: &dyn Target) -> Option<Chunks> {
        let walker = Walker::open(memory)?;
        (walker.identity().allocator.name == "glibc").then_some(Chunks(walker))
    }

    /// Walks it. Listed in [`Heap::chunks`] are those of `blocks` that are in use, by where their
    /// chunks begin. What a chunk says of itself is not enough: the headers of old ones lie about
    /// in larger ones.
    pub fn walk(&self, memory: &dyn Target, blocks: impl Iterator<Item = u64>) -> Heap {
        let mut chunks: Vec<u64> = blocks.filter_map(|block| block.checked_sub(CHUNK_TO_BLOCK)).collect();
        chunks.sort_unstable();
        self.0.walk(memory, &Options { chunks: &chunks, ..Options::default() })
    }
}

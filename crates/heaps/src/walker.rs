//! The way in: find the allocator once, walk it as often as wanted.

use crate::glibc::{Glibc, Sizes};
use crate::hints::{self, Vtables};
use crate::unwalked;
use crate::{Allocator, Heap, Identity, SizeClass, identify};
use offheap_linux::{Memory, Process};
use std::cell::RefCell;

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
    /// Chunks that the caller knows of, ascending: which of them are in use is told in [`Heap::chunks`]. The address of a chunk
    /// lies [`CHUNK_HEADER`] bytes before that of its block.
    pub chunks: &'a [u64],
}

/// Bytes from a chunk's address to that of the block that malloc gave out of it (malloc/malloc.c, `chunk2mem`).
pub const CHUNK_HEADER: u64 = 16;

impl Default for Options<'_> {
    fn default() -> Self {
        Options { size_classes: true, hints: false, budget_bytes: u64::MAX, exclude: &[], chunks: &[] }
    }
}

/// Knows one process's allocator: its layout and its places, found once.
#[derive(Debug)]
pub struct Walker {
    identity: Identity,
    /// Found anew until it is settled: a process that has just started has not set its heap up yet.
    glibc: RefCell<Option<Glibc>>,
    vtables: RefCell<Vtables>,
}

impl Walker {
    /// Finds the allocator of the process behind `memory`. `None` where none was recognised.
    pub fn open(process: &Process, memory: &Memory) -> Option<Walker> {
        let identity = identify(memory, process.exe().ok().as_deref());
        (identity.allocator != Allocator::Unknown).then(|| Walker {
            identity,
            glibc: RefCell::default(),
            vtables: RefCell::default(),
        })
    }

    /// Which allocator it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Walks the heap as it is now. `memory` is fresh: opened, or told to forget, right before.
    pub fn walk(&self, memory: &Memory, options: &Options<'_>) -> Heap {
        let mut glibc = self.glibc.borrow_mut();
        if self.identity.allocator == Allocator::Glibc
            && !glibc.as_ref().is_some_and(|glibc| glibc.is_settled(memory))
        {
            *glibc = Glibc::find(memory, &self.identity.path);
        }
        let mut heap = match glibc.as_ref() {
            Some(glibc) => {
                let (mut heap, sizes) = glibc.walk(memory, options);
                heap.size_classes = size_classes(&sizes);
                if options.hints {
                    hints::fill(memory, &mut heap.size_classes, &sizes, &mut self.vtables.borrow_mut());
                }
                heap
            }
            None => unwalked::label(self.identity.allocator, memory, options),
        };
        heap.allocator = self.identity.allocator;
        heap.version.clone_from(&self.identity.version);
        heap
    }
}

/// At the most so many classes are listed…
const MOST_CLASSES: usize = 512;
/// …and always those up to this size, so that a small one that grows is seen from its beginning.
const SMALL_CLASS: u64 = 1040;

/// Every small class, the largest others by bytes, and the rest in one of size 0.
fn size_classes(sizes: &Sizes) -> Vec<SizeClass> {
    let mut classes: Vec<SizeClass> = sizes
        .iter()
        .map(|(chunk_bytes, class)| SizeClass {
            chunk_bytes,
            count: class.count,
            total_bytes: chunk_bytes.saturating_mul(class.count),
            hint: None,
        })
        .collect();
    let by_bytes = |class: &SizeClass| (std::cmp::Reverse(class.total_bytes), class.chunk_bytes);
    classes.sort_unstable_by_key(|class| (class.chunk_bytes > SMALL_CLASS, by_bytes(class)));
    if classes.len() > MOST_CLASSES {
        let rest = classes.split_off(MOST_CLASSES - 1);
        classes.push(SizeClass {
            chunk_bytes: 0,
            count: rest.iter().map(|class| class.count).sum(),
            total_bytes: rest.iter().map(|class| class.total_bytes).sum(),
            hint: None,
        });
    }
    classes.sort_unstable_by_key(by_bytes);
    classes
}

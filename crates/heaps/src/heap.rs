//! What a look at a heap finds, in words that fit every allocator: in use, cached per thread, free,
//! overhead, regions, size classes. What only one of them has says whose it is, and is 0 of the
//! others.

/// The C heap of a process at one instant, or close to it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Heap {
    /// Which allocator serves `malloc`: [`Allocator::name`](crate::Allocator).
    pub allocator: &'static str,
    /// Its version (`"2.36"`), else the library's file name; empty where neither is known.
    pub version: String,
    /// Who says where its memory is and what of it is in use.
    pub source: &'static str,
    /// False where it was only named: then just `labels` and `page_account` are filled.
    pub walked: bool,
    /// True when every self-check held and every byte was walked in this very walk.
    pub exact: bool,
    /// Which self-check failed, in words.
    pub doubts: Vec<String>,
    /// The parts that the allocator divides its heap into, the largest resident first.
    pub arenas: Vec<Arena>,
    /// Bytes obtained from the system for arenas, or for the whole heap where it is not walked.
    pub system: u64,
    /// Bytes in live chunks of arenas, headers included; without thread caches and without mmapped
    /// chunks.
    pub in_use: u64,
    /// How many those are.
    pub in_use_count: u64,
    /// Bytes freed by the program but parked in thread caches.
    pub cached: u64,
    /// Bytes free, without `top`.
    pub free: u64,
    /// Of glibc: bytes free at the top of the arenas.
    pub top: u64,
    /// Of `free` and `top`, resident.
    pub free_resident: u64,
    /// Resident bytes that the allocator would give back now if it were told to
    /// ([`Allocator::gives_back_by`](crate::Allocator)).
    pub returnable: u64,
    /// Bytes of large chunks in maps of their own, headers and padding included.
    pub large_bytes: u64,
    /// How many those are.
    pub large_count: u64,
    /// Of glibc: requests of this size and above get a map of their own; 0 where it was not found.
    pub mmap_threshold: u64,
    /// Live chunks by size, mmapped ones included, largest total first; all sizes not listed are in
    /// a class of size 0.
    pub size_classes: Vec<SizeClass>,
    /// Of [`Options::chunks`](crate::Options::chunks) those that are in use, with their bytes;
    /// ascending.
    pub chunks: Vec<(u64, u64)>,
    /// Where the allocator's memory is: ascending, never overlapping.
    pub labels: Vec<Label>,
    /// Every resident byte below `labels`, page by page.
    pub page_account: PageAccount,
    /// Resident bytes of arenas whose figures are from an earlier walk, because the budget did not
    /// reach.
    pub stale: u64,
}

/// One part that an allocator divides its heap into.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Arena {
    /// Where its own structure is: of glibc the `malloc_state`.
    pub address: u64,
    /// Of glibc: the main arena (brk).
    pub main: bool,
    /// Threads attached to it, where the allocator counts them (glibc from 2.23).
    pub threads: Option<u64>,
    /// Bytes obtained from the system (`system_mem`).
    pub system: u64,
    /// Resident bytes.
    pub resident: u64,
    /// Bytes in live chunks, headers included, without those in a thread cache.
    pub in_use: u64,
    /// How many those are.
    pub in_use_count: u64,
    /// Bytes parked in thread caches (of whatever thread).
    pub cached: u64,
    /// How many chunks those are.
    pub cached_count: u64,
    /// Bytes free in bins and fastbins.
    pub free: u64,
    /// How many chunks are free in bins.
    pub free_count: u64,
    /// Of glibc: bytes of `free` in fastbins.
    pub fast: u64,
    /// Of glibc: how many chunks are in fastbins.
    pub fast_count: u64,
    /// Of glibc: bytes free at the top.
    pub top: u64,
    /// The arena's own structures, alignment and fence posts.
    pub overhead: u64,
    /// What it would give back if it were told to.
    pub returnable: u64,
    /// The resident bytes, byte by byte.
    pub split: Resident,
    /// Its address ranges, ascending.
    pub ranges: Vec<(u64, u64)>,
}

/// Resident bytes by what they are, to the byte; their sum is the resident size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resident {
    /// In live chunks, and the allocator's own structures.
    pub in_use: u64,
    /// In chunks parked in thread caches.
    pub cached: u64,
    /// In free chunks.
    pub free: u64,
    /// At the top.
    pub top: u64,
}

/// Resident pages by what they are: a page counts as free only if all of it lies inside one free
/// chunk, behind the chunk's header, or inside top; any other page holds something that is needed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PageAccount {
    /// Pages with a live chunk (or a header) on them, mmapped chunks included, bytes.
    pub in_use_resident: u64,
    /// Pages wholly free, top included, bytes.
    pub free_resident: u64,
    /// Pages of an allocator that was only named, bytes.
    pub unwalked_resident: u64,
}

/// Live chunks of one size.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SizeClass {
    /// Chunk size, header included; 0 stands for all sizes not listed.
    pub chunk_bytes: u64,
    /// How many are live.
    pub count: u64,
    /// Their bytes.
    pub total_bytes: u64,
    /// What they hold, where a cheap look could tell.
    pub hint: Option<ContentHint>,
}

/// What a sample of chunks of one size seems to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContentHint {
    /// Objects with this vtable: a demangled type name.
    Vtable(String),
    /// Printable text; an excerpt.
    Text(String),
    /// All zero.
    Zero,
    /// The first word points into this library.
    PointerInto(String),
}

/// A range of addresses that belongs to the allocator. It may lie inside a mapping that holds other
/// things too: the kernel merges neighbours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// What it is.
    pub kind: LabelKind,
    /// Resident bytes.
    pub resident: u64,
    /// Of those, pages wholly free (see [`PageAccount`]).
    pub free_resident: u64,
}

/// What a labelled range is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LabelKind {
    /// Memory of the arena with this `malloc_state`, walked.
    Arena {
        /// Address of the `malloc_state`.
        address: u64,
    },
    /// Memory of an arena that was not walked (now, or ever): all of it counts as in use.
    UnwalkedArena {
        /// Address of the `malloc_state`.
        address: u64,
    },
    /// A large chunk in a map of its own.
    MmappedChunk,
    /// Memory of an allocator that is named but not walked.
    UnwalkedHeap,
}

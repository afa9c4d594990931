//! What a walk finds.

use crate::Allocator;

/// The C heap of a process at one instant, or close to it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Heap {
    /// Which allocator serves `malloc`.
    pub allocator: Allocator,
    /// Its version (`"2.36"`), else the library's file name; empty where neither is known.
    pub version: String,
    /// False where it was only named: then just `labels` and `page_account` are filled.
    pub walked: bool,
    /// True when every self-check held and every byte was walked in this very walk.
    pub exact: bool,
    /// Which self-check failed, in words.
    pub doubts: Vec<String>,
    /// Arena by arena, the largest resident first.
    pub arenas: Vec<Arena>,
    /// Bytes obtained from the system for arenas.
    pub system: u64,
    /// Bytes in live chunks of arenas, headers included; without thread caches and without mmapped chunks.
    pub in_use: u64,
    /// How many those are.
    pub in_use_count: u64,
    /// Bytes freed by the program but parked in thread caches.
    pub tcache: u64,
    /// Bytes free in bins and fastbins, without top.
    pub free: u64,
    /// Bytes free at the top of the arenas.
    pub top: u64,
    /// Of `free` and `top`, resident.
    pub free_resident: u64,
    /// Resident bytes that `malloc_trim(0)` would give back now.
    pub trimmable: u64,
    /// Bytes of large chunks in maps of their own, headers and padding included.
    pub mmapped_bytes: u64,
    /// How many those are.
    pub mmapped_count: u64,
    /// Requests of this size and above get a map of their own; 0 where it was not found.
    pub mmap_threshold: u64,
    /// Live chunks by size, mmapped ones included, largest total first; all sizes not listed are in a class of size 0.
    pub size_classes: Vec<SizeClass>,
    /// Of [`Options::chunks`](crate::Options::chunks) those that are in use, with their bytes; ascending.
    pub chunks: Vec<(u64, u64)>,
    /// Where the allocator's memory is: ascending, never overlapping.
    pub labels: Vec<Label>,
    /// Every resident byte below `labels`, page by page.
    pub page_account: PageAccount,
    /// Resident bytes of arenas whose figures are from an earlier walk, because the budget did not reach.
    pub stale: u64,
}

/// One arena of glibc.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Arena {
    /// Address of its `malloc_state`.
    pub address: u64,
    /// The main arena (brk).
    pub main: bool,
    /// Threads attached to it, where the C library counts them (from 2.23).
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
    pub tcache: u64,
    /// How many chunks those are.
    pub tcache_count: u64,
    /// Bytes free in bins and fastbins.
    pub free: u64,
    /// How many chunks are free in bins.
    pub free_count: u64,
    /// Of `free`, bytes in fastbins.
    pub fast: u64,
    /// How many chunks are in fastbins.
    pub fast_count: u64,
    /// Bytes free at the top.
    pub top: u64,
    /// The arena's own structures, alignment and fence posts.
    pub overhead: u64,
    /// What `malloc_trim(0)` would give back of it.
    pub trimmable: u64,
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
    pub tcache: u64,
    /// In free chunks.
    pub free: u64,
    /// At the top.
    pub top: u64,
}

/// Resident pages by what they are: a page counts as free only if all of it lies inside one free chunk, behind the
/// chunk's header, or inside top; any other page holds something that is needed.
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

/// A range of addresses that belongs to the allocator. It may lie inside a mapping that holds other things too: the
/// kernel merges neighbours.
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

//! Thread caches (`tcache_perthread_struct` in glibc's malloc/malloc.c), found by their shape: each
//! is a chunk of the heap, and chunks parked in it look in use by their boundary tags.

use super::arenas::FLAGS;
use offheap_target::arch::END_OF_ADDRESSES;
use offheap_target::{Reads, Target};

/// Bins for chunks of one size each: 32, 48, … 1040 bytes.
pub(super) const SMALL_BINS: usize = 64;

/// How a thread cache is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// 2.26 to 2.29: a byte counts each of 64 bins.
    Bytes,
    /// 2.30 to 2.41: two bytes count each of 64 bins.
    Halves,
    /// From 2.42: two bytes hold how many more fit into each of 76 bins.
    Slots,
}

/// What one thread cache holds.
#[derive(Debug, Clone)]
pub(super) struct Tcache {
    /// Address of the structure (not of its chunk).
    pub address: u64,
    pub format: Format,
    /// Counts; with [`Format::Slots`] what is free.
    numbers: Vec<u16>,
    /// First entry of each bin.
    entries: Vec<u64>,
}

impl Format {
    /// Size of the chunk that holds the structure.
    pub fn chunk(self) -> u64 {
        match self {
            Format::Bytes => 0x250,
            Format::Halves => 0x290,
            Format::Slots => 0x300,
        }
    }

    /// The format whose chunk has this size.
    pub fn of_chunk(size: u64) -> Option<Format> {
        [Format::Bytes, Format::Halves, Format::Slots].into_iter().find(|format| format.chunk() == size)
    }

    fn bins(self) -> usize {
        if self == Format::Slots { 76 } else { SMALL_BINS }
    }

    fn number_size(self) -> usize {
        if self == Format::Bytes { 1 } else { 2 }
    }

    /// Bytes of the structure.
    pub fn size(self) -> usize {
        self.bins() * (self.number_size() + 8)
    }
}

/// Size of the chunks in a small bin.
pub(super) fn chunk_of_bin(bin: usize) -> u64 {
    32 + 16 * bin as u64
}

/// Reads `bytes` as a thread cache at `address`. `None` where the shape says it is none: a bin has
/// a count if and only if it has an entry, and an entry is aligned. An empty one is not told from
/// other zeros, and makes no difference. One that is `known` to be a thread cache is taken as it
/// is: its thread may be about to change it.
pub(super) fn parse(address: u64, format: Format, bytes: &[u8], known: bool) -> Option<Tcache> {
    let numbers_size = format.bins() * format.number_size();
    let (numbers, entries) = bytes.get(..format.size())?.split_at(numbers_size);
    let numbers: Vec<u16> = match format {
        Format::Bytes => numbers.iter().map(|byte| u16::from(*byte)).collect(),
        _ => numbers.chunks_exact(2).map(|pair| pair.try_into().map_or(0, u16::from_le_bytes)).collect(),
    };
    let entries: Vec<u64> =
        entries.chunks_exact(8).map(|word| word.try_into().map_or(0, u64::from_le_bytes)).collect();
    let fits = numbers.iter().zip(&entries).all(|(number, entry)| {
        let counted = format == Format::Slots || (*number == 0) == (*entry == 0);
        counted && entry % 16 == 0 && *entry < END_OF_ADDRESSES && (*entry == 0 || *entry > 0x1_0000)
    });
    (known || fits && entries.iter().any(|entry| *entry != 0)).then_some(Tcache {
        address,
        format,
        numbers,
        entries,
    })
}

impl Tcache {
    /// True where the first entries lead to chunks of their bins' sizes.
    pub fn entries_fit(&self, memory: &dyn Target) -> bool {
        let mut small = self.entries.iter().take(SMALL_BINS).enumerate().filter(|(_, entry)| **entry != 0);
        small
            .by_ref()
            .take(4)
            .all(|(bin, entry)| memory.u64(entry - 8).is_ok_and(|size| size & !FLAGS == chunk_of_bin(bin)))
    }

    /// How many chunks a bin holds when `capacity` fit into it.
    fn count(&self, bin: usize, capacity: u16) -> u16 {
        match (self.format, self.numbers.get(bin), self.entries.get(bin)) {
            (_, _, Some(0)) => 0,
            (Format::Slots, Some(free), _) => capacity.saturating_sub(*free),
            (_, Some(count), _) => *count,
            _ => 0,
        }
    }

    /// True where chunks larger than 1040 bytes are cached (the tunable glibc.malloc.tcache_max
    /// from 2.42).
    pub fn holds_large(&self) -> bool {
        self.entries.iter().skip(SMALL_BINS).any(|entry| *entry != 0)
    }

    /// The key that marks chunks in a thread cache (from 2.29), read at the first entry.
    pub fn key(&self, memory: &dyn Target) -> Option<u64> {
        // Before 2.29 there is none; then it is the structure's own address, and from 2.34 a random
        // number for all.
        let entry = self
            .entries
            .iter()
            .take(SMALL_BINS)
            .find(|entry| **entry != 0 && self.format != Format::Bytes)?;
        memory.u64(entry.checked_add(8)?).ok().filter(|key| *key != 0 && *key != self.address)
    }

    /// Follows the lists: the chunks' addresses. The second value is false where a list did not end
    /// as counted, because its thread went on.
    pub fn listed(&self, memory: &dyn Target, capacity: u16, links: &Links) -> (Vec<(u64, usize)>, bool) {
        let mut chunks = Vec::new();
        let mut whole = true;
        for (bin, first) in self.entries.iter().enumerate().take(SMALL_BINS) {
            let count = self.count(bin, capacity);
            let mut entry = *first;
            for _ in 0..count {
                let Some(chunk) = entry.checked_sub(16).filter(|chunk| {
                    chunk % 16 == 0
                        && memory.u64(chunk + 8).is_ok_and(|size| size & !FLAGS == chunk_of_bin(bin))
                }) else {
                    whole = false;
                    break;
                };
                chunks.push((chunk, bin));
                entry = links.follow(memory, entry).unwrap_or(0);
            }
            whole &= entry == 0;
        }
        (chunks, whole)
    }
}

/// How many chunks all thread caches hold, bin by bin.
pub(super) fn totals(caches: &[Tcache], capacity: u16) -> [u64; SMALL_BINS] {
    std::array::from_fn(|bin| caches.iter().map(|cache| u64::from(cache.count(bin, capacity))).sum())
}

/// How many chunks fit into a bin: what an empty bin of some thread has free. With
/// [`Format::Slots`] only.
pub(super) fn capacity(caches: &[Tcache]) -> u16 {
    caches.iter().flat_map(|cache| cache.numbers.iter().copied()).max().unwrap_or(0)
}

/// How list pointers of thread caches and fastbins are stored: from 2.32 mangled with their own
/// address ("safe-linking").
#[derive(Debug, Default)]
pub(super) struct Links {
    /// What the pointers seen so far speak for: positive for mangled. A chunk that a thread takes
    /// from its list while it is read can speak for the wrong side, so one is not enough.
    votes: std::cell::Cell<i32>,
}

/// By how much glibc shifts the address of a pointer to mangle it (`PROTECT_PTR`, malloc.c).
const MANGLED_BY: u32 = 12;
/// With this many votes ahead, nothing more is asked.
const DECIDED: i32 = 32;

impl Links {
    /// The pointer stored at `at`, decoded; 0 ends a list.
    pub fn follow(&self, memory: &dyn Target, at: u64) -> Option<u64> {
        let raw = memory.u64(at).ok()?;
        let decoded = raw ^ at >> MANGLED_BY;
        if self.votes.get().abs() < DECIDED {
            // A plain end is 0, a mangled end its own address shifted; otherwise the one that is
            // mapped is right.
            let is_mapped =
                |pointer: u64| pointer.is_multiple_of(16) && memory.vma(pointer).is_some_and(|vma| vma.write);
            let vote = match (raw == 0, decoded == 0, is_mapped(raw), is_mapped(decoded)) {
                (true, _, _, _) | (_, false, true, false) => -1,
                (_, true, _, _) | (_, false, false, true) => 1,
                _ => 0,
            };
            self.votes.set(self.votes.get() + vote);
        }
        // Mangling is the rule since 2020.
        let mangled = self.votes.get() >= 0;
        Some(if mangled { decoded } else { raw })
    }
}

//! Large chunks in maps of their own, and memory that the main arena got where brk was blocked: both found by the shape
//! of their first words.
//!
//! The kernel merges neighbouring maps, so one may begin anywhere in a mapping, but always with a page. What is found is
//! checked against `mp_.n_mmaps` and `mp_.mmapped_mem`, or the arena's `system_mem`: as soon as they are reached, no more
//! pages are looked at.

use super::arenas::{FLAGS, IS_MMAPPED, MIN_CHUNK, PREV_INUSE, end_of_mapped};
use offheap_linux::{Memory, PAGE, PageKind, Vma};
use std::collections::{BTreeMap, HashSet};

/// What a page starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Head {
    /// A mmapped chunk: the bytes of its map.
    Chunk(u64),
    /// Memory of the main arena.
    Region,
}

/// How thoroughly to look; each way costs more than the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Depth {
    /// Where mappings start, and behind what was found.
    Starts,
    /// Where pages begin to be present.
    Runs,
    /// Every present page.
    Pages,
}

impl Depth {
    pub const ALL: [Depth; 3] = [Depth::Starts, Depth::Runs, Depth::Pages];
}

/// Where to look: anonymous memory that is nobody else's.
#[derive(Debug, Default)]
pub(super) struct Search {
    /// Ranges that are known to be something, by start.
    taken: BTreeMap<u64, u64>,
    /// Gaps in which nothing was found on an earlier walk.
    pub barren: HashSet<(u64, u64)>,
    /// Pages that may still be looked at.
    pub probes: u64,
}

impl Search {
    /// Begins anew with these ranges taken.
    pub fn begin(&mut self, taken: impl Iterator<Item = (u64, u64)>, probes: u64) {
        self.taken = taken.filter(|(start, end)| start < end).collect();
        self.probes = probes;
    }

    /// Marks a range as known.
    pub fn take(&mut self, start: u64, end: u64) {
        let known = self.taken.entry(start).or_insert(end);
        *known = end.max(*known);
    }

    /// Looks through every gap. `found` is told of each head and gives where to go on, or `None` where it was a mistake;
    /// `enough` ends the search. Returns true if it did.
    pub fn sweep(
        &mut self,
        memory: &Memory,
        depth: Depth,
        accepts: impl Fn(u64, u64) -> Option<Head>,
        mut found: impl FnMut(u64, Head) -> Option<u64>,
        mut enough: impl FnMut() -> bool,
    ) -> bool {
        for vma in memory.vmas().iter().filter(|vma| may_hold(vma)) {
            for (start, end) in self.gaps(vma) {
                if enough() {
                    return true;
                }
                if self.barren.contains(&(start, end)) {
                    continue;
                }
                let before = self.taken.len();
                self.sweep_gap(memory, depth, start, end, &accepts, &mut found);
                if depth == Depth::Pages && self.taken.len() == before && self.probes > 0 {
                    self.barren.insert((start, end));
                }
            }
        }
        enough()
    }

    fn sweep_gap(
        &mut self,
        memory: &Memory,
        depth: Depth,
        start: u64,
        end: u64,
        accepts: &impl Fn(u64, u64) -> Option<Head>,
        found: &mut impl FnMut(u64, Head) -> Option<u64>,
    ) {
        let mut look = |search: &mut Search, page: u64| -> Option<u64> {
            search.probes = search.probes.checked_sub(1)?;
            let next = accepts(page, end).and_then(|head| found(page, head)).filter(|next| *next > page)?;
            search.take(page, next);
            Some(next)
        };
        if depth == Depth::Starts {
            let mut at = start;
            while at < end && memory.pagemap().is_present(at) {
                let Some(next) = look(self, at) else { return };
                at = next;
            }
            return;
        }
        let mut behind = start;
        for run in memory.pagemap().runs(start, end) {
            let mut at = run.start.max(behind).next_multiple_of(PAGE);
            while at < run.end && run.kind == PageKind::Present && self.probes > 0 {
                match look(self, at) {
                    Some(next) => at = next,
                    None if depth == Depth::Pages => at += PAGE,
                    None => break,
                }
            }
            behind = behind.max(at);
        }
    }

    /// The parts of a mapping that are not taken.
    fn gaps(&self, vma: &Vma) -> Vec<(u64, u64)> {
        let mut gaps = Vec::new();
        let mut at = vma.start;
        let before = self.taken.range(..vma.start).next_back().map_or(0, |(_, end)| *end);
        at = at.max(before);
        for (start, end) in self.taken.range(vma.start..vma.end) {
            if *start > at {
                gaps.push((at, *start));
            }
            at = at.max(*end);
        }
        if at < vma.end {
            gaps.push((at.next_multiple_of(PAGE), vma.end));
        }
        gaps.retain(|(start, end)| start < end);
        gaps
    }
}

/// glibc maps private, anonymous, readable and writable memory; where the tunable glibc.mem.decorate_maps is on (from
/// 2.39) it gives it a name.
fn may_hold(vma: &Vma) -> bool {
    vma.read
        && vma.write
        && !vma.exec
        && !vma.shared
        && (vma.path.is_empty() || vma.path.starts_with("[anon: glibc: malloc"))
}

/// A mmapped chunk's header at the start of its map. Up to 2.42 the size is the map's, a multiple of pages; from 2.43 it
/// is 16 bytes less, and bit 0 of the first word marks huge pages. What `memalign` hands out of it has a second header
/// further up; the first stays.
pub(super) fn chunk_at(memory: &Memory, page: u64, end: u64) -> Option<u64> {
    let (before, word) = first_words(memory, page)?;
    let size = word & !FLAGS;
    let bytes = if size.is_multiple_of(PAGE) { size } else { size.checked_add(16)? };
    let fits = word & FLAGS == IS_MMAPPED
        && before <= u64::from(!size.is_multiple_of(PAGE))
        && bytes.is_multiple_of(PAGE)
        && bytes >= PAGE
        && bytes <= end - page;
    fits.then_some(bytes)
}

/// True where a range of the main arena starts at `page`: a chunk with nothing before it, then chunks that make sense up
/// to fence posts, to the top chunk, or for a good while.
pub(super) fn region_at(memory: &Memory, page: u64, top: u64) -> bool {
    let Some(limit) = end_of_mapped(memory, page) else { return false };
    let Some((0, _)) = first_words(memory, page) else { return false };
    let mut chunk = page;
    for step in 0..64 {
        if chunk == top {
            return true;
        }
        let Ok(word) = memory.u64(chunk + 8) else { return false };
        let size = word & !FLAGS;
        if size == 16 && step > 0 {
            let second = memory.u64(chunk + 24).map(|word| word & !FLAGS);
            return second == Ok(16) && (chunk + 32).is_multiple_of(PAGE);
        }
        let first_in_use = step > 0 || word & FLAGS == PREV_INUSE;
        if !first_in_use
            || word & !PREV_INUSE != size
            || size < MIN_CHUNK
            || !size.is_multiple_of(16)
            || size > limit - chunk
        {
            return false;
        }
        chunk += size;
    }
    true
}

fn first_words(memory: &Memory, page: u64) -> Option<(u64, u64)> {
    let mut bytes = [0; 16];
    if memory.read_bulk(page, &mut bytes) != bytes.len() {
        return None;
    }
    let (before, word) = bytes.split_at(8);
    Some((u64::from_le_bytes(before.try_into().ok()?), u64::from_le_bytes(word.try_into().ok()?)))
}

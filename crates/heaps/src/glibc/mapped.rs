//! Large chunks in maps of their own, and memory that the main arena got where brk was blocked:
//! both found by the shape of their first words.
//!
//! The kernel merges neighbouring maps, so one may start anywhere in a mapping, but always with a
//! page. What is found is checked against `mp_.n_mmaps` and `mp_.mmapped_mem`, or the arena's
//! `system_mem`: as soon as they are reached, no more pages are looked at.

use super::arenas::{FLAGS, IS_MMAPPED, MIN_CHUNK, PREV_INUSE, end_of_mapped};
use offheap_target::arch::PIECE;
use offheap_target::{PageKind, Reads, Target, Vma, page_bytes};
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
    /// Where pages start to be present.
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
    /// Gaps in which nothing was found on an earlier walk, looking at every page.
    barren: HashSet<(u64, u64)>,
    /// Pages that may still be looked at.
    probes: u64,
    /// Set to end a sweep: all that was looked for is found.
    pub done: bool,
}

impl Search {
    /// Starts anew with these ranges taken.
    pub fn begin(&mut self, taken: impl Iterator<Item = (u64, u64)>, probes: u64) {
        self.taken = taken.filter(|(start, end)| start < end).collect();
        self.probes = probes;
    }

    /// Marks a range as known.
    pub fn take(&mut self, start: u64, end: u64) {
        let known = self.taken.entry(start).or_insert(end);
        *known = end.max(*known);
    }

    /// Looks through every gap. `look` is given a present page and where its gap ends, and gives
    /// where to go on behind what starts there, or `None` where nothing does.
    pub fn sweep(
        &mut self,
        memory: &dyn Target,
        depth: Depth,
        mut look: impl FnMut(&mut Search, u64, u64) -> Option<u64>,
    ) {
        self.done = false;
        for vma in memory.vmas().iter().filter(|vma| may_hold(vma)) {
            for (start, end) in self.gaps(vma) {
                if self.probes == 0 || self.done {
                    return;
                }
                if self.barren.contains(&(start, end)) {
                    continue;
                }
                let known = self.taken.len();
                let mut found = |search: &mut Search, page: u64| -> Option<u64> {
                    search.probes = search.probes.checked_sub(1)?;
                    let next = look(search, page, end).filter(|next| *next > page)?;
                    search.take(page, next);
                    Some(next)
                };
                if depth == Depth::Starts {
                    let mut at = start;
                    while at < end && !self.done && memory.is_present(at) {
                        let Some(next) = found(self, at) else { break };
                        at = next;
                    }
                    continue;
                }
                let mut at = start;
                for run in memory.runs(start, end) {
                    at = at.max(run.start);
                    while at < run.end && run.kind == PageKind::Present && self.probes > 0 && !self.done {
                        match found(self, at) {
                            Some(next) => at = next,
                            None if depth == Depth::Pages => at += page_bytes(),
                            None => break,
                        }
                    }
                }
                if depth == Depth::Pages && self.probes > 0 && !self.done && self.taken.len() == known {
                    self.barren.insert((start, end));
                }
            }
        }
    }

    /// The parts of a mapping that are not taken.
    fn gaps(&self, vma: &Vma) -> Vec<(u64, u64)> {
        let mut gaps = Vec::new();
        let before = self.taken.range(..vma.start).next_back().map_or(0, |(_, end)| *end);
        let mut at = vma.start.max(before);
        for (start, end) in self.taken.range(vma.start..vma.end) {
            gaps.push((at, *start));
            at = at.max(*end);
        }
        gaps.push((at, vma.end));
        gaps.retain(|(start, end)| start < end);
        gaps
    }
}

/// glibc maps private, anonymous, readable and writable memory; where the tunable
/// glibc.mem.decorate_maps is on (from 2.39) it gives it a name.
fn may_hold(vma: &Vma) -> bool {
    vma.read
        && vma.write
        && !vma.exec
        && !vma.shared
        && (vma.path.is_empty() || vma.path.starts_with("[anon: glibc: malloc"))
}

/// What starts at `page`, in a gap that ends at `end`; `top` is the main arena's top chunk.
pub(super) fn head_at(memory: &dyn Target, page: u64, end: u64, top: u64) -> Option<Head> {
    match chunk_at(memory, page, end) {
        Some(bytes) => Some(Head::Chunk(bytes)),
        None => region_at(memory, page, top).then_some(Head::Region),
    }
}

/// The bytes of the map of the mmapped chunk whose map starts at `page`.
///
/// Up to 2.42 a chunk's size is the map's, a multiple of pages; from 2.43 it is 16 bytes less, and
/// bit 0 of the word before marks huge pages. What `memalign` hands out has its header further up,
/// with its distance from the map's start in the word before the size; the header at the start
/// stays there, right unless the chunk was resized since.
pub(super) fn chunk_at(memory: &dyn Target, page: u64, end: u64) -> Option<u64> {
    let mut bytes = [0; PIECE];
    // Most pages are no such thing: two words tell.
    let (head, rest) = bytes.split_at_mut(16);
    if memory.read_bulk(page, head) != head.len() {
        return None;
    }
    let room = end.checked_sub(page)?;
    let at_start = map_bytes(0, head)?;
    let rest_len = rest.len();
    if memory.read_bulk(page + 16, rest) != rest_len {
        return None;
    }
    let aligned = bytes
        .chunks_exact(16)
        .enumerate()
        .skip(1)
        .find_map(|(index, header)| map_bytes(index as u64 * 16, header));
    // A chunk that realloc grew since the mappings were listed reaches beyond its mapping's end as
    // it was then. It is as long as the mapping was; anything that claims twice that is no chunk.
    Some(aligned.unwrap_or(at_start)).filter(|bytes| *bytes / 2 <= room).map(|bytes| bytes.min(room))
}

/// The bytes of the map with a mmapped chunk's header `offset` bytes behind its start.
fn map_bytes(offset: u64, header: &[u8]) -> Option<u64> {
    let (before, word) = header.split_at_checked(8)?;
    let before = u64::from_le_bytes(before.try_into().ok()?);
    let word = u64::from_le_bytes(word.try_into().ok()?);
    let up_to_2_42 = (word & !FLAGS).checked_add(offset)?;
    let bytes =
        if up_to_2_42.is_multiple_of(page_bytes()) { up_to_2_42 } else { up_to_2_42.checked_add(16)? };
    let is_new = bytes != up_to_2_42;
    let fits = word & FLAGS == IS_MMAPPED
        && (before == offset || is_new && before == offset | 1)
        && bytes.is_multiple_of(page_bytes())
        && bytes > offset;
    fits.then_some(bytes)
}

/// True where a range of the main arena starts at `page`: a chunk with nothing before it, then
/// chunks that make sense up to fence posts, to the top chunk, or for a good while.
pub(super) fn region_at(memory: &dyn Target, page: u64, top: u64) -> bool {
    let Some(limit) = end_of_mapped(memory, page) else { return false };
    if memory.u64(page) != Ok(0) {
        return false;
    }
    let mut chunk = page;
    for step in 0..64 {
        if chunk == top {
            return true;
        }
        let Ok(word) = memory.u64(chunk + 8) else { return false };
        let size = word & !FLAGS;
        if size == 16 && step > 0 {
            let second = memory.u64(chunk + 24).map(|word| word & !FLAGS);
            return second == Ok(16) && (chunk + 32).is_multiple_of(page_bytes());
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

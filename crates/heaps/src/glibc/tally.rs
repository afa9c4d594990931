//! Chunk after chunk through one segment, by boundary tags alone: they hold while the process
//! allocates on, where the lists of free chunks do not.

use super::arenas::{FLAGS, IS_MMAPPED, MIN_CHUNK, NON_MAIN_ARENA, PREV_INUSE, Segment};
use super::sizes::Sizes;
use super::tcache::{self, Format, SMALL_BINS, Tcache};
use super::window::{Missing, Window};
use crate::Resident;
use offheap_target::{page_bytes, page_start};

/// `sizeof (struct malloc_chunk)`: malloc_trim leaves so much at the start of a free chunk alone.
const MALLOC_CHUNK: u64 = 48;
/// The largest chunk a fastbin takes (`MAX_FAST_SIZE`).
const MOST_FAST: u64 = 176;
/// Chunks in a row that must make sense where the walk finds its place again.
const PLAUSIBLE: u32 = 16;
/// The walk may look for its place this often in one segment, and over this many bytes in all.
const MOST_RESYNCS: u64 = 256;
const MOST_SEARCHED: u64 = 16 << 20;

/// What is known before the walk and steers it.
#[derive(Debug, Default)]
pub(super) struct Guide<'a> {
    /// Chunks in fastbins, ascending.
    pub fast: &'a [u64],
    /// The thread caches' key, where it is known.
    pub key: Option<u64>,
    /// The thread caches' format, where it is known.
    pub format: Option<Format>,
    /// Thread caches seen before, ascending: their contents need not look consistent while a thread
    /// changes them.
    pub caches: &'a [u64],
    /// Count chunks by size.
    pub sizes: bool,
    /// Chunks that somebody asks for, ascending.
    pub chunks: &'a [u64],
    /// What the main arena's top is trimmed by.
    pub trim_unit: u64,
}

/// What a segment holds.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    /// The segment's first address and the one after its last.
    pub start: u64,
    pub end: u64,
    pub resident: u64,
    pub in_use: u64,
    pub in_use_count: u64,
    pub free: u64,
    pub free_count: u64,
    pub fast: u64,
    pub fast_count: u64,
    pub top: u64,
    /// Chunks that bear the thread caches' key, bin by bin.
    pub keyed: Vec<u32>,
    /// Thread caches found.
    pub caches: Vec<Tcache>,
    pub split: Resident,
    /// Resident pages wholly inside free chunks or top.
    pub free_pages: u64,
    /// Resident pages that malloc_trim(0) would give back.
    pub returnable: u64,
    pub sizes: Sizes,
    /// Of the chunks asked for, those in use, with their bytes.
    pub chunks: Vec<(u64, u64)>,
    /// How often the walk lost its place.
    pub resyncs: u64,
    /// Bytes it could not tell.
    pub lost: u64,
    /// Bytes of those in pages that are swapped out.
    pub swapped: bool,
    /// Free chunks whose footer did not say their size.
    pub bad_footers: u64,
    /// True where the segment ended as it should: at top, at fence posts, or with its last chunk.
    pub ended_well: bool,
}

impl Tally {
    /// Fits an earlier tally to what is resident now: the difference counts as in use, which it
    /// nearly always is.
    pub fn refit(&mut self, resident: u64) {
        self.resident = resident;
        self.split.top = self.split.top.min(resident);
        self.split.free = self.split.free.min(resident - self.split.top);
        self.split.in_use = resident - self.split.top - self.split.free;
        self.free_pages = self.free_pages.min(resident);
        self.returnable = self.returnable.min(resident);
    }

    /// True where not even the first chunk made sense.
    pub fn tells_nothing(&self) -> bool {
        self.in_use + self.free + self.fast + self.top == 0 && self.lost > 0
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    InUse,
    Free,
    Fast,
    Cached(usize),
}

struct Walk<'w, 'm, 'g> {
    window: &'w mut Window<'m>,
    guide: &'g Guide<'g>,
    segment: Segment,
    /// Position in the guide's list of fast chunks.
    fast: usize,
    /// Free chunks that touch: malloc_trim joins them first.
    free_run: Option<(u64, u64)>,
    tally: Tally,
}

/// Walks a segment.
pub(super) fn walk(window: &mut Window<'_>, segment: Segment, guide: &Guide<'_>) -> Tally {
    let fast = guide.fast.partition_point(|chunk| *chunk < segment.first);
    let tally =
        Tally { start: segment.base, end: segment.end, keyed: vec![0; SMALL_BINS], ..Tally::default() };
    let mut walk = Walk { window, guide, segment, fast, free_run: None, tally };
    walk.run();
    let mut tally = walk.tally;
    tally.resident = window.resident(page_start(segment.base), tally.end.next_multiple_of(page_bytes()));
    // Structures, alignment, fence posts and what was lost: not known to be free, so in use.
    let told = tally.split.in_use + tally.split.free + tally.split.top;
    tally.split.in_use += tally.resident.saturating_sub(told);
    tally
}

impl Walk<'_, '_, '_> {
    fn run(&mut self) {
        let mut at = self.segment.first;
        // The chunk before `at`: whether it is in use stands in the header at `at`.
        let mut before: Option<(u64, u64, u64)> = None;
        loop {
            if at >= self.segment.end {
                // The last chunk of a segment that holds top: top moved down while it was walked.
                if let Some((chunk, size, _)) = before {
                    self.found_top(chunk, size);
                }
                self.tally.ended_well = at == self.segment.end;
                return;
            }
            let header = match self.window.header(at) {
                Ok(header) => header,
                Err(missing) => {
                    self.tally.swapped |= missing == Missing::Swapped;
                    self.flush_in_use(before.take());
                    match self.resync(at) {
                        Some(next) => at = next,
                        None => return self.give_up(at),
                    }
                    continue;
                }
            };
            if let Some((chunk, size, key)) = before.take() {
                let kind = self.kind(chunk, size, key, header.size & PREV_INUSE != 0);
                if kind == Kind::Free && header.prev_size != size {
                    self.tally.bad_footers += 1;
                }
                self.found(chunk, size, kind);
            }
            let size = header.size & !FLAGS;
            if at == self.segment.top {
                // The top chunk ends where the segment does, also when the walk comes a little
                // late.
                return self.finish_at_top(at);
            }
            if size < MIN_CHUNK && self.is_fence(at, size) {
                if self.segment.main && at < self.segment.top && self.segment.top < self.segment.end {
                    // Somebody else called sbrk in between; the arena goes on behind his memory,
                    // which malloc counts as its own.
                    let (resyncs, lost) = (self.tally.resyncs, self.tally.lost);
                    let Some(next) = self.resync(at + 2 * 16) else { return self.give_up(at) };
                    (self.tally.resyncs, self.tally.lost) = (resyncs, lost);
                    at = next;
                    continue;
                }
                self.end_free_run();
                self.tally.end = if self.segment.open_ended { at + 32 } else { self.segment.end };
                self.tally.ended_well = true;
                return;
            }
            if !self.makes_sense(at, header.size) {
                match self.resync(at) {
                    Some(next) => at = next,
                    None => return self.give_up(at),
                }
                continue;
            }
            if let Some(format) = Format::of_chunk(size) {
                self.look_for_cache(at, format);
            }
            before = Some((at, size, header.key));
            at += size;
        }
    }

    fn kind(&mut self, chunk: u64, size: u64, key: u64, in_use: bool) -> Kind {
        if !in_use {
            return Kind::Free;
        }
        if size <= MOST_FAST {
            while self.guide.fast.get(self.fast).is_some_and(|fast| *fast < chunk) {
                self.fast += 1;
            }
            if self.guide.fast.get(self.fast) == Some(&chunk) {
                return Kind::Fast;
            }
        }
        if self.guide.key == Some(key) && size <= tcache::chunk_of_bin(SMALL_BINS - 1) {
            return Kind::Cached(((size - MIN_CHUNK) / 16) as usize);
        }
        Kind::InUse
    }

    fn found(&mut self, chunk: u64, size: u64, kind: Kind) {
        let resident = self.window.resident(chunk, chunk + size);
        if matches!(kind, Kind::Free | Kind::Fast) {
            self.tally.split.free += resident;
            self.free_run = match self.free_run {
                Some((start, end)) if end == chunk => Some((start, chunk + size)),
                _ => {
                    self.end_free_run();
                    Some((chunk, chunk + size))
                }
            };
        } else {
            self.end_free_run();
            self.tally.split.in_use += resident;
        }
        match kind {
            Kind::InUse => {
                self.tally.in_use += size;
                self.tally.in_use_count += 1;
                if self.guide.sizes {
                    self.tally.sizes.add(size, chunk);
                }
                if self.guide.chunks.binary_search(&chunk).is_ok() {
                    self.tally.chunks.push((chunk, size));
                }
            }
            Kind::Cached(bin) => {
                if let Some(count) = self.tally.keyed.get_mut(bin) {
                    *count += 1;
                }
            }
            Kind::Free => {
                self.tally.free += size;
                self.tally.free_count += 1;
                self.tally.free_pages += self.pages(chunk + MALLOC_CHUNK, chunk + size);
            }
            Kind::Fast => {
                self.tally.fast += size;
                self.tally.fast_count += 1;
            }
        }
    }

    /// Resident bytes of the pages wholly inside `[start, end)`.
    fn pages(&mut self, start: u64, end: u64) -> u64 {
        let (start, end) = (start.next_multiple_of(page_bytes()), page_start(end));
        if start < end { self.window.resident(start, end) } else { 0 }
    }

    /// malloc_trim gives back the whole pages of every free chunk behind its header (`mtrim`).
    fn end_free_run(&mut self) {
        if let Some((start, end)) = self.free_run.take() {
            self.tally.returnable += self.pages(start + MALLOC_CHUNK, end);
        }
    }

    fn finish_at_top(&mut self, at: u64) {
        self.found_top(at, self.segment.end.saturating_sub(at));
        self.tally.ended_well = true;
    }

    fn found_top(&mut self, at: u64, size: u64) {
        // malloc_trim first empties the fastbins; what then touches top becomes part of it.
        let top = match self.free_run {
            Some((start, end)) if end == at => {
                self.free_run = None;
                start
            }
            _ => at,
        };
        self.end_free_run();
        self.tally.top = size;
        self.tally.split.top += self.window.resident(at, at + size);
        self.tally.free_pages += self.pages(at + 16, at + size);
        if self.segment.main {
            // systrim: whole pages (or huge pages) from the end down, but MINSIZE and one byte
            // stay. Only the main arena's top is given back.
            let unit = self.guide.trim_unit.max(page_bytes());
            let most = (at + size - top).saturating_sub(MIN_CHUNK + 1);
            let give = most - most % unit;
            self.tally.returnable += self.window.resident(at + size - give, at + size);
        }
    }

    /// Fence posts close a range that is no longer the arena's last: chunks of 16 and of 16 or 0
    /// bytes.
    fn is_fence(&mut self, at: u64, size: u64) -> bool {
        let second = self.window.header(at + 16).map_or(u64::MAX, |header| header.size & !FLAGS);
        match size {
            16 if self.segment.main => second == 16,
            16 => second == 0 && self.segment.end - at <= 64,
            0 => !self.segment.main && self.segment.end - at <= 64,
            _ => false,
        }
    }

    fn makes_sense(&self, at: u64, word: u64) -> bool {
        let size = word & !FLAGS;
        size >= MIN_CHUNK
            && size.is_multiple_of(16)
            && size <= self.segment.end - at
            && word & IS_MMAPPED == 0
            && (!self.segment.main || word & NON_MAIN_ARENA == 0)
    }

    fn look_for_cache(&mut self, chunk: u64, format: Format) {
        if self.guide.format.is_some_and(|known| known != format) {
            return;
        }
        let address = chunk + 16;
        let bytes = self.window.bytes(address, format.size());
        // A window may end inside the structure.
        let copy;
        let bytes = if bytes.len() < format.size() {
            let head = bytes.to_vec();
            let tail = self.window.bytes(address + head.len() as u64, format.size() - head.len());
            copy = [head.as_slice(), tail].concat();
            copy.as_slice()
        } else {
            bytes
        };
        let known = self.guide.caches.binary_search(&address).is_ok();
        if let Some(cache) = tcache::parse(address, format, bytes, known) {
            self.tally.caches.push(cache);
        }
    }

    /// A chunk about which the next header can't be asked.
    fn flush_in_use(&mut self, chunk: Option<(u64, u64, u64)>) {
        if let Some((chunk, size, _)) = chunk {
            self.found(chunk, size, Kind::InUse);
        }
    }

    /// Finds a place at or behind `from` from which a number of chunks make sense.
    fn resync(&mut self, from: u64) -> Option<u64> {
        self.end_free_run();
        self.tally.resyncs += 1;
        let mut at = from;
        while self.tally.resyncs <= MOST_RESYNCS && self.tally.lost <= MOST_SEARCHED && at < self.segment.end
        {
            match self.window.header(at) {
                Err(_) => {
                    let next = self.window.next_present(page_start(at) + page_bytes(), self.segment.end)?;
                    self.tally.lost += next - at;
                    at = next;
                }
                Ok(_) if at > from && self.is_plausible(at) => return Some(at),
                Ok(_) => {
                    at += 16;
                    self.tally.lost += 16;
                }
            }
        }
        None
    }

    fn is_plausible(&mut self, at: u64) -> bool {
        let mut chunk = at;
        for step in 0..PLAUSIBLE {
            if chunk == self.segment.top || chunk == self.segment.end {
                return step > 0 || chunk == self.segment.top;
            }
            let Ok(header) = self.window.header(chunk) else { return false };
            if !self.makes_sense(chunk, header.size) {
                return false;
            }
            chunk += header.size & !FLAGS;
        }
        true
    }

    fn give_up(&mut self, at: u64) {
        self.end_free_run();
        self.tally.lost += self.segment.end - at.min(self.segment.end);
    }
}

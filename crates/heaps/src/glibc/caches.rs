//! Tells chunks parked in thread caches from those in use.
//!
//! Each cache counts its chunks, bin by bin: that makes the totals. Which arena they are of, the
//! key says that they bear (from 2.34), else by following the lists. If neither agrees with the
//! counts, threads went on meanwhile.

use super::arenas;
use super::tcache::{self, Format, SMALL_BINS, Tcache};
use super::walk::Pass;
use crate::Arena;
use offheap_target::Target;

/// First chunks of each arena that may be its thread's cache.
const CHUNKS_BEFORE_CACHE: usize = 64;
/// Caches that must agree on the key, if there are as many.
const KEYS_COMPARED: usize = 8;

impl Pass<'_> {
    /// Looks at the first chunks of each arena for a thread cache, so that the key is known before
    /// all is walked.
    pub fn learn_caches(&mut self) {
        if self.memo.format.is_some() {
            return;
        }
        let mut caches = Vec::new();
        for segment in self.states.iter().filter_map(|state| state.segments.first()) {
            let mut chunk = segment.first;
            for _ in 0..CHUNKS_BEFORE_CACHE {
                let Ok(header) = self.window.header(chunk) else { break };
                let size = header.size & !arenas::FLAGS;
                if size < arenas::MIN_CHUNK || size > segment.end.saturating_sub(chunk) {
                    break;
                }
                if let Some(format) = Format::of_chunk(size) {
                    let bytes = self.window.bytes(chunk + 16, format.size());
                    let cache = tcache::parse(chunk + 16, format, bytes, false);
                    caches.extend(cache.filter(|cache| cache.entries_fit(self.memory)));
                }
                chunk += size;
            }
        }
        self.memo.format = caches.first().map(|cache| cache.format);
        caches.retain(|cache| Some(cache.format) == self.memo.format);
        self.memo.key = common_key(self.memory, &caches);
    }

    /// Fills in what the arenas hold in thread caches, and corrects what was taken for in use.
    pub fn settle_caches(&mut self, arenas: &mut [Arena]) {
        let mut caches: Vec<Tcache> =
            self.walked.iter().flat_map(|walked| walked.tally.caches.iter().cloned()).collect();
        let memory = self.memory;
        if self.memo.format.is_none() {
            self.memo.format =
                caches.iter().find(|cache| cache.entries_fit(memory)).map(|cache| cache.format);
        }
        let Some(format) = self.memo.format else { return };
        let known = &self.memo.caches;
        caches.retain(|cache| {
            cache.format == format
                && (known.binary_search(&cache.address).is_ok() || cache.entries_fit(memory))
        });
        self.memo.caches = caches.iter().map(|cache| cache.address).collect();
        self.memo.caches.sort_unstable();
        if caches.iter().any(Tcache::holds_large) {
            self.doubt("chunks above 1040 bytes in thread caches are counted as in use".to_owned());
        }
        for walked in &self.walked {
            for (sum, count) in self.cached[walked.arena].iter_mut().zip(&walked.tally.keyed) {
                *sum += u64::from(*count);
            }
        }
        let capacity = tcache::capacity(&caches);
        let counted = tcache::totals(&caches, capacity);
        let keyed: [u64; SMALL_BINS] =
            std::array::from_fn(|bin| self.cached.iter().map(|counts| counts[bin]).sum());
        if keyed != counted {
            // Lists are scattered reads: a walk on a budget does without where there are keys.
            let lists_pay = !self.on_budget() || self.memo.key.is_none();
            match lists_pay.then(|| self.list(&mut caches, capacity)).flatten() {
                Some(listed) => self.correct(arenas, &listed),
                None => self.doubt("thread caches changed while they were read".to_owned()),
            }
        }
        for (arena, counts) in arenas.iter_mut().zip(&self.cached) {
            arena.cached_count = counts.iter().sum();
            arena.cached =
                counts.iter().enumerate().map(|(bin, count)| count * tcache::chunk_of_bin(bin)).sum();
            arena.split.cached = arena.cached.min(arena.split.in_use);
            arena.split.in_use -= arena.split.cached;
        }
        if self.memo.key.is_none() {
            self.memo.key = common_key(memory, &caches);
        }
    }

    /// Follows every list, a second time from fresh memory where a thread interfered. `None` where
    /// one did again.
    fn list(&self, caches: &mut [Tcache], capacity: u16) -> Option<Vec<(u64, usize)>> {
        for attempt in 0..2 {
            if attempt > 0 {
                self.memory.forget();
                for cache in caches.iter_mut() {
                    let mut bytes = vec![0; cache.format.size()];
                    self.memory.read(cache.address, &mut bytes).ok()?;
                    *cache = tcache::parse(cache.address, cache.format, &bytes, true)?;
                }
            }
            let mut listed = Vec::new();
            let whole = caches.iter().all(|cache| {
                let (chunks, whole) = cache.listed(self.memory, capacity, self.links);
                listed.extend(chunks);
                whole
            });
            let count = listed.len();
            listed.sort_unstable();
            listed.dedup();
            if whole && listed.len() == count {
                return Some(listed);
            }
        }
        None
    }

    /// Replaces what the keys told by what the lists told.
    fn correct(&mut self, arenas: &mut [Arena], listed: &[(u64, usize)]) {
        let mut ranges: Vec<(u64, u64, usize)> =
            self.walked.iter().map(|walked| (walked.tally.start, walked.tally.end, walked.arena)).collect();
        ranges.sort_unstable();
        let keyed = std::mem::replace(&mut self.cached, vec![[0; SMALL_BINS]; arenas.len()]);
        for (chunk, bin) in listed {
            let after = ranges.partition_point(|(start, _, _)| start <= chunk);
            let range = after.checked_sub(1).and_then(|at| ranges.get(at));
            if let Some((_, _, arena)) = range.filter(|(_, end, _)| chunk < end) {
                self.cached[*arena][*bin] += 1;
            }
        }
        for ((arena, listed), keyed) in arenas.iter_mut().zip(&self.cached).zip(&keyed) {
            for (bin, (listed, keyed)) in listed.iter().zip(keyed).enumerate() {
                let size = tcache::chunk_of_bin(bin);
                let in_use_after_all = keyed.saturating_sub(*listed);
                let cached_after_all = listed.saturating_sub(*keyed);
                arena.in_use =
                    (arena.in_use + in_use_after_all * size).saturating_sub(cached_after_all * size);
                arena.in_use_count = (arena.in_use_count + in_use_after_all).saturating_sub(cached_after_all);
                if self.options.size_classes {
                    self.sizes.add_counted(size, in_use_after_all);
                    self.sizes.take_away(size, cached_after_all);
                }
            }
        }
    }
}

/// The key, if the first entries of all caches bear the same.
fn common_key(memory: &dyn Target, caches: &[Tcache]) -> Option<u64> {
    let mut keys = caches.iter().take(KEYS_COMPARED).filter_map(|cache| cache.key(memory));
    let key = keys.next()?;
    keys.all(|other| other == key).then_some(key)
}

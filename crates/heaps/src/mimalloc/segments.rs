//! mimalloc 1 and 2: memory comes in segments that lie at multiples of their size.
//!
//! Each segment holds a cookie: its own address xor a number that is the same in the whole process
//! (`_mi_ptr_cookie` in include/mimalloc/internal.h). The place of the cookie differs between
//! versions, so it is found as the word of which that holds for several segments.

use crate::Options;
use crate::named::aligned_starts;
use crate::ranges::Ranges;
use offheap_target::Target;
use std::collections::HashMap;

/// Segments lie at multiples of 4 MiB (1.x), 32 MiB (2.x) or 64 MiB (2.0).
const SEGMENT: u64 = 4 << 20;
const MOST_STARTS: usize = 1 << 16;
/// Words of a segment's head in which the cookie is.
const WORDS: usize = 64;
/// Slices (2.x) are 64 KiB.
const SLICE: u64 = 64 << 10;
/// What a segment of 2.x takes where its head does not tell.
const USUAL: u64 = 32 << 20;

pub(super) fn ranges(memory: &dyn Target, options: &Options<'_>) -> Ranges {
    let mut heads = Vec::new();
    let mut votes: HashMap<(usize, u64), u32> = HashMap::new();
    for (start, end) in aligned_starts(memory, options, SEGMENT, MOST_STARTS) {
        let mut bytes = [0; WORDS * 8];
        if memory.read_bulk(start, &mut bytes) != bytes.len() {
            continue;
        }
        let words: Vec<u64> =
            bytes.chunks_exact(8).map(|word| word.try_into().map_or(0, u64::from_le_bytes)).collect();
        for (at, word) in words.iter().enumerate() {
            // A word of nothing, or a pointer into the segment itself, is no cookie.
            if *word != 0 && word ^ start >= 1 << 48 {
                *votes.entry((at, word ^ start)).or_default() += 1;
            }
        }
        heads.push((start, end, words));
    }
    let mut ranges = Ranges::default();
    let best = votes.into_iter().max_by_key(|((at, _), count)| (*count, std::cmp::Reverse(*at)));
    let Some(((at, key), _)) = best.filter(|(_, count)| *count >= 2) else { return ranges };
    for (start, end, words) in &heads {
        if words.get(at).is_some_and(|word| word ^ start == key) {
            // The number of slices follows the cookie.
            let slices = words.get(at + 1).copied().unwrap_or(0);
            let told = slices.saturating_mul(SLICE);
            let size = if (1..=1 << 24).contains(&slices) { told } else { USUAL };
            ranges.add(*start, start.saturating_add(size).min(*end));
        }
    }
    ranges
}

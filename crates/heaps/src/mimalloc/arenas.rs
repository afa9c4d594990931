//! mimalloc 3: memory comes in arenas of slices of 64 KiB (`mi_arena_s` in
//! include/mimalloc/types.h).
//!
//! An arena starts with a description of itself: among its first words are the number of its
//! slices, right behind that the number of slices that the description takes, and then pointers to
//! its bitmaps, which lie in these. Which words they are differs from release to release, so they
//! are found by that.

use crate::Options;
use crate::named::may_hold;
use crate::ranges::Ranges;
use offheap_target::{PageKind, Target};

/// Bytes of a slice (`MI_ARENA_SLICE_SIZE`); an arena lies at a multiple of it.
const SLICE: u64 = 64 << 10;
/// An arena has a multiple of that many slices (`MI_BCHUNK_BITS`): 32 MiB.
const SLICES_STEP: u64 = 512;
/// Slices of the largest arena (`MI_BITMAP_MAX_BIT_COUNT`): 16 GiB.
const MOST_SLICES: u64 = 1 << 18;
/// Words of an arena's head that are looked at; the bitmaps' pointers are among the first 20.
const WORDS: usize = 64;
/// The number of slices is one of the first words, behind where the memory is from.
const FIRST_WORDS: usize = 10;
/// Bitmaps of slices (free, committed, dirty, to be purged) and of pages, at least.
const BITMAPS: usize = 5;
/// Places looked at at most.
const MOST_STARTS: usize = 1 << 18;

pub(super) fn ranges(target: &dyn Target, options: &Options<'_>) -> Ranges {
    let mut ranges = Ranges::default();
    let mut left = MOST_STARTS;
    let mut known_to = 0;
    for vma in target.vmas().iter().filter(|vma| may_hold(vma)) {
        if vma.end <= known_to {
            continue;
        }
        for run in target.runs(vma.start.max(known_to), vma.end) {
            let mut at = run.start.max(known_to).next_multiple_of(SLICE);
            while run.kind == PageKind::Present && at < run.end && left > 0 {
                left -= 1;
                let excluded = options.exclude.iter().find(|(start, end)| (*start..*end).contains(&at));
                let arena = if excluded.is_some() { None } else { arena_at(target, at) };
                if let Some(bytes) = arena {
                    known_to = at + bytes;
                    ranges.add(at, end_of_mapped(target, at, known_to));
                }
                let next = arena.map_or(at + SLICE, |bytes| at + bytes);
                at = excluded.map_or(next, |(_, end)| next.max(end.next_multiple_of(SLICE)));
            }
        }
    }
    ranges
}

/// The bytes of the arena that starts at `at`.
fn arena_at(target: &dyn Target, at: u64) -> Option<u64> {
    let mut head = [0; WORDS * 8];
    if target.read_bulk(at, &mut head) != head.len() {
        return None;
    }
    let words: Vec<u64> =
        head.chunks_exact(8).map(|word| word.try_into().map_or(0, u64::from_le_bytes)).collect();
    words.windows(2).take(FIRST_WORDS).find_map(|pair| {
        let [slices, own] = *pair else { return None };
        let is_count = slices > 0 && slices <= MOST_SLICES && slices.is_multiple_of(SLICES_STEP);
        if !is_count || own == 0 || own >= slices {
            return None;
        }
        let inside = at + 1..at + own * SLICE;
        let pointers = words.iter().filter(|word| inside.contains(word)).count();
        (pointers >= BITMAPS).then_some(slices * SLICE)
    })
}

/// Where memory without a gap ends that starts at `at`, at most at `end`: what of an arena is not
/// in use yet may be a mapping of its own, that nobody may read.
fn end_of_mapped(target: &dyn Target, at: u64, end: u64) -> u64 {
    let vmas = target.vmas();
    let first = vmas.partition_point(|vma| vma.end <= at);
    let mut reached = at;
    for vma in vmas.iter().skip(first) {
        if vma.start > reached && reached > at || vma.start >= end || !vma.is_anonymous() {
            break;
        }
        reached = vma.end.min(end);
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;
    use offheap_target::Synthetic;

    const ARENA: u64 = 0x2_0000_0000;

    /// An arena of 32 MiB as 3.3 lays it out, of which one MiB is mapped.
    fn arena(words: impl FnOnce(&mut Vec<u64>)) -> Synthetic {
        let own = 6;
        let mut head = vec![ARENA, 32 << 20, 4, 0x7000_0000, 0, SLICES_STEP, own, 0, 0, 0, 0, 32 << 20, 0];
        head.extend((1..8).map(|map| ARENA + map * 4096));
        words(&mut head);
        let mut bytes: Vec<u8> = head.into_iter().flat_map(u64::to_le_bytes).collect();
        bytes.resize(1 << 20, 0);
        let mut target = Synthetic::default();
        target.anonymous(ARENA - 0x3000, vec![1; 0x3000]);
        target.anonymous(ARENA, bytes);
        target
    }

    fn found(target: &Synthetic) -> Vec<(u64, u64)> {
        ranges(target, &Options::default()).iter().collect()
    }

    #[test]
    fn an_arena_is_known_by_its_head() {
        assert_eq!(found(&arena(|_| {})), [(ARENA, ARENA + (1 << 20))]);
        assert_eq!(found(&arena(|words| words[5] = SLICES_STEP + 1)), []);
        assert_eq!(found(&arena(|words| words[6] = 0)), []);
        assert_eq!(found(&arena(|words| words.truncate(16))), []);
    }
}

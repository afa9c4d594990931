//! Parts of a dump, and which objects the records of each may be or refer to: so that whoever looks
//! for few objects reads few parts.
//!
//! A part knows the lowest and the highest id of its objects, and has a Bloom filter of what they
//! refer to. References to somewhere near are not in it: they are most of all, and follow from the
//! ids, which are addresses where HotSpot has written them. Where ids mean nothing, or the filters
//! have taken all the memory they may, more parts are read than need be, and none is left out.

use super::stream::Span;

/// Bytes of the file that a part has at the least, if it doesn't refer to much.
const PART: u64 = 256 << 10;
/// References of a part's filter.
const REFERENCES: usize = 2048;
/// Bits of a filter for each reference.
const BITS: usize = 16;
/// Words of a filter while its part is read, as a rule; a long array makes it longer.
const WORDS: usize = REFERENCES * BITS / 64;
/// Words of the longest filter: 4 million references.
const MAX_FILTER: usize = 1 << 20;
/// Words of all filters together: 256 MiB.
const MAX_WORDS: usize = 32 << 20;
/// Parts that are told apart; the last takes all the rest.
const MAX_PARTS: usize = 1 << 20;
/// References over less than this are near.
const NEAR: u64 = 32 << 10;
/// Objects beyond which looking into every filter takes longer than it saves.
const MAX_SOUGHT: usize = 512;

/// A part.
struct Part {
    span: Span,
    lowest: u64,
    highest: u64,
    /// Where its filter starts among the words, and how many it has, a power of two, or 0: it
    /// refers to nothing far. `None` where there was no room, or it would be too full to tell.
    filter: Option<(u32, u32)>,
}

impl Part {
    fn has(&self, sorted: &[u64], margin: u64) -> bool {
        let first = sorted.partition_point(|id| *id < self.lowest.saturating_sub(margin));
        sorted.get(first).is_some_and(|id| *id <= self.highest.saturating_add(margin))
    }
}

/// The parts of a dump.
pub(super) struct Chunks {
    parts: Vec<Part>,
    words: Vec<u64>,
    /// Of the part that is being read, the lowest and the highest id.
    lowest: u64,
    highest: u64,
    /// Its filter.
    filter: Vec<u64>,
    references: usize,
    /// Where a part ends that doesn't refer to much.
    enough: u64,
}

/// The place in the longest filter, and the bits of that word; shorter ones have it at the place's
/// low bits.
fn hashed(id: u64) -> (usize, u64) {
    let hash = id.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (
        (hash >> 26) as usize & (MAX_FILTER - 1),
        1 << (hash >> 58) | 1 << (hash >> 52 & 63) | 1 << (hash >> 46 & 63),
    )
}

impl Chunks {
    pub(super) fn new() -> Chunks {
        Chunks {
            parts: Vec::new(),
            words: Vec::new(),
            lowest: u64::MAX,
            highest: 0,
            filter: vec![0; WORDS],
            references: 0,
            enough: 0,
        }
    }

    /// A record of the heap starts at `at`, in what ends at `end`.
    #[inline(always)]
    pub(super) fn place(&mut self, at: u64, end: u64) {
        if at >= self.enough || self.references >= REFERENCES {
            self.next(at, end);
        }
    }

    #[inline(never)]
    fn next(&mut self, at: u64, end: u64) {
        self.close(at);
        if self.parts.len() < MAX_PARTS {
            let span = Span { start: at, end, stop: u64::MAX };
            self.parts.push(Part { span, lowest: u64::MAX, highest: 0, filter: None });
        }
        self.enough = at.saturating_add(PART);
    }

    /// The part that was read ends at `at`.
    fn close(&mut self, at: u64) {
        let is_rest = self.parts.len() == MAX_PARTS;
        let Some(part) = self.parts.last_mut() else { return };
        // The rest has more to come.
        (part.lowest, part.highest) = (part.lowest.min(self.lowest), part.highest.max(self.highest));
        if is_rest {
            self.references = 0;
            return;
        }
        (self.lowest, self.highest) = (u64::MAX, 0);
        part.span.stop = at;
        // Folded until it is as full as it may be.
        let mut length = if self.references == 0 { 0 } else { self.filter.len() };
        let is_full = self.references * BITS > 2 * 64 * length;
        while length > 1 && self.references * BITS <= length / 2 * 64 {
            length /= 2;
            let (low, high) = self.filter.split_at_mut(length);
            low.iter_mut().zip(high).for_each(|(low, high)| *low |= std::mem::take(high));
        }
        if self.words.len() + length <= MAX_WORDS && !is_full {
            part.filter = Some((self.words.len() as u32, length as u32));
            self.words.extend_from_slice(self.filter.get(..length).unwrap_or_default());
        }
        self.filter.truncate(WORDS);
        self.filter.fill(0);
        self.references = 0;
    }

    /// The dump ends at `at`, or makes no sense from there on.
    pub(super) fn finish(&mut self, at: u64) {
        self.close(at);
        if let Some(part) = self.parts.last_mut() {
            part.span.stop = at;
        }
    }

    /// An array of `count` references starts in the part that is being read.
    pub(super) fn array(&mut self, count: u64) {
        let needed = (self.references as u64 + count).saturating_mul(BITS as u64) / 64;
        // What is at a place is at all those that have its low bits, then.
        while needed > self.filter.len() as u64 && self.filter.len() < MAX_FILTER {
            self.filter.extend_from_within(..);
        }
    }

    /// An object is in the part that is being read.
    #[inline(always)]
    pub(super) fn object(&mut self, id: u64) {
        self.lowest = self.lowest.min(id);
        self.highest = self.highest.max(id);
    }

    /// The object `from` of the part that is being read refers to `to`.
    #[inline(always)]
    pub(super) fn refers(&mut self, from: u64, to: u64) {
        if to != 0 && from.abs_diff(to) >= NEAR {
            self.refers_far(to);
        }
    }

    /// Something in the part that is being read refers to `to`.
    #[inline(always)]
    pub(super) fn refers_far(&mut self, to: u64) {
        let (word, bits) = hashed(to);
        let word = word & (self.filter.len() - 1);
        if let Some(word) = self.filter.get_mut(word) {
            *word |= bits;
        }
        self.references += 1;
    }

    /// Where one of `sought` may be.
    pub(super) fn with(&self, mut sought: Vec<u64>) -> Vec<Span> {
        sought.sort_unstable();
        self.spans(|part| part.has(&sought, 0))
    }

    /// Where something may refer to one of `sought`.
    pub(super) fn referring(&self, mut sought: Vec<u64>) -> Vec<Span> {
        if sought.len() > MAX_SOUGHT {
            return self.spans(|_| true);
        }
        sought.sort_unstable();
        let hashes: Vec<(usize, u64)> = sought.iter().map(|id| hashed(*id)).collect();
        self.spans(|part| {
            let Some((start, length)) = part.filter else { return true };
            let (start, length) = (start as usize, length as usize);
            let words = self.words.get(start..start + length).unwrap_or_default();
            part.has(&sought, NEAR)
                || hashes.iter().any(|(word, bits)| {
                    let word = words.get(word & length.wrapping_sub(1));
                    word.is_some_and(|word| word & bits == *bits)
                })
        })
    }

    /// The parts that `wanted` says, neighbours as one.
    fn spans(&self, wanted: impl Fn(&Part) -> bool) -> Vec<Span> {
        let mut spans: Vec<Span> = Vec::new();
        for part in self.parts.iter().filter(|part| wanted(part)) {
            match spans.last_mut() {
                Some(before) if before.stop == part.span.start => before.stop = part.span.stop,
                _ => spans.push(part.span),
            }
        }
        spans
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Objects of 16 bytes of heap and 40 of file, each of which refers to what `to` says.
    fn filled(count: u64, to: impl Fn(u64) -> u64) -> Chunks {
        let mut chunks = Chunks::new();
        for n in 0..count {
            chunks.place(n * 40, count * 40);
            chunks.object(1 + n * 16);
            chunks.refers(1 + n * 16, to(n));
        }
        chunks.finish(count * 40);
        chunks
    }

    fn holds(spans: &[Span], at: u64) -> bool {
        spans.iter().any(|span| (span.start..span.stop).contains(&at))
    }

    #[test]
    fn no_reference_is_missed_and_few_parts_are_read_for_it() {
        let count = 1_000_000;
        // Far ones, near ones, and ids that mean nothing.
        for to in [
            |n: u64| 1 + (n * 7919 % 1_000_000) * 16,
            |n: u64| 1 + n.saturating_sub(3) * 16,
            |n: u64| n.wrapping_mul(0x2545_f491_4f6c_dd1d),
        ] {
            let chunks = filled(count, to);
            let mut read = 0;
            for n in (0..count).step_by(10_007) {
                let spans = chunks.referring(vec![to(n)]);
                assert!(holds(&spans, n * 40), "{n}");
                read += spans.iter().map(|span| span.stop - span.start).sum::<u64>();
                assert!(holds(&chunks.with(vec![1 + n * 16]), n * 40));
            }
            assert!(read < 100 * count * 40 / 20, "{read} bytes for 100 objects");
        }
    }

    #[test]
    fn a_long_array_is_a_part_with_a_filter_of_its_own() {
        let mut chunks = filled(1000, |n| n);
        let (count, far) = (300_000, |n: u64| (1 << 40) | (n * 8));
        for array in 0..4u64 {
            chunks.place((1 + array) << 32, u64::MAX);
            chunks.object(1 << 50);
            chunks.array(count);
            (0..count).for_each(|n| chunks.refers(1 << 50, far(array * count + n)));
        }
        chunks.finish(5 << 32);
        let mut read = 0;
        for array in 0..4 {
            for n in (0..count).step_by(1009) {
                let spans = chunks.referring(vec![far(array * count + n)]);
                assert!(holds(&spans, (1 + array) << 32));
                read += spans.iter().map(|span| (span.stop - span.start) >> 32).sum::<u64>();
            }
        }
        let asked = 4 * (count / 1009 + 1);
        assert!(read < asked + asked / 10, "{read} arrays for {asked} objects");
    }

    #[test]
    fn parts_join_without_gaps() {
        let chunks = filled(300_000, |n| n * 1_000_003);
        let all = chunks.referring((0..1000).collect());
        assert_eq!(all, [Span { start: 0, end: 300_000 * 40, stop: 300_000 * 40 }]);
    }
}

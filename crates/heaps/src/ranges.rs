//! Sets of addresses.

use std::collections::BTreeMap;

/// Ranges, ascending, joined where they touch or overlap.
#[derive(Debug, Default)]
pub(crate) struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    /// Adds `[start, end)`.
    pub fn add(&mut self, start: u64, end: u64) {
        if start >= end {
            return;
        }
        let (mut from, mut to) = (start, end);
        while let Some((other_start, other_end)) =
            self.0.range(..=to).next_back().map(|(s, e)| (*s, *e)).filter(|(_, other_end)| *other_end >= from)
        {
            from = from.min(other_start);
            to = to.max(other_end);
            self.0.remove(&other_start);
        }
        self.0.insert(from, to);
    }

    /// Removes other ranges, in whatever order they are.
    pub fn take_away(&mut self, others: &[(u64, u64)]) {
        for (start, end) in others.iter().copied().filter(|(start, end)| start < end) {
            while let Some((from, to)) =
                self.0.range(..end).next_back().map(|(s, e)| (*s, *e)).filter(|(_, to)| *to > start)
            {
                self.0.remove(&from);
                if from < start {
                    self.0.insert(from, start);
                }
                if end < to {
                    self.0.insert(end, to);
                }
            }
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.0.iter().map(|(start, end)| (*start, *end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_join_and_are_cut() {
        let mut ranges = Ranges::default();
        for (start, end) in [(10, 20), (30, 40), (20, 25), (5, 8), (24, 31), (50, 60), (7, 7)] {
            ranges.add(start, end);
        }
        assert_eq!(ranges.iter().collect::<Vec<_>>(), [(5, 8), (10, 40), (50, 60)]);
        ranges.take_away(&[(55, 70), (15, 20), (0, 6), (39, 51)]);
        assert_eq!(ranges.iter().collect::<Vec<_>>(), [(6, 8), (10, 15), (20, 39), (51, 55)]);
    }
}

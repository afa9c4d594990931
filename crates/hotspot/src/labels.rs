//! Address ranges and what they are used for, kept free of overlaps.

use crate::{Label, What};
use std::collections::BTreeMap;

/// Labels under construction. What was said first stands: a later label only gets what is left of
/// its range.
#[derive(Debug, Default)]
pub(crate) struct Labels {
    by_start: BTreeMap<u64, Label>,
}

impl Labels {
    /// Labels `[start, end)`, as far as it has no label yet.
    pub(crate) fn add(&mut self, start: u64, end: u64, what: What, name: &str, source: &'static str) {
        let mut at = start;
        while at < end {
            if let Some(holder) = self.at(at) {
                at = holder.end;
                continue;
            }
            let free_until = self.by_start.range(at..end).next().map_or(end, |(start, _)| *start);
            self.by_start
                .insert(at, Label { start: at, end: free_until, what, name: name.to_owned(), source });
            at = free_until;
        }
    }

    /// The label that holds `address`.
    pub(crate) fn at(&self, address: u64) -> Option<&Label> {
        self.by_start
            .range(..=address)
            .next_back()
            .map(|(_, label)| label)
            .filter(|label| address < label.end)
    }

    /// The labels, ascending.
    pub(crate) fn finish(self) -> Vec<Label> {
        self.by_start.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_first_stands() {
        let mut labels = Labels::default();
        labels.add(20, 30, What::Gc, "b", "");
        labels.add(40, 50, What::Gc, "d", "");
        labels.add(10, 60, What::Metaspace, "m", "");
        labels.add(0, 5, What::Gc, "z", "");
        labels.add(7, 7, What::Gc, "empty", "");
        let found: Vec<(u64, u64, &str)> =
            labels.by_start.values().map(|label| (label.start, label.end, label.name.as_str())).collect();
        let expected =
            [(0, 5, "z"), (10, 20, "m"), (20, 30, "b"), (30, 40, "m"), (40, 50, "d"), (50, 60, "m")];
        assert_eq!(found, expected);
        assert_eq!(labels.at(45).map(|label| label.name.as_str()), Some("d"));
        assert_eq!(labels.at(5), None);
    }
}

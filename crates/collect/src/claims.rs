//! Claims: address ranges that something said it knows, and how overlapping ones are settled.
//!
//! A mapping is not an allocation: the kernel merges neighbouring anonymous maps, so a card table
//! and a direct buffer may share one. Memory is therefore labelled by address range, and pages by
//! the range they lie in.

use offheap_model::Domain;
use std::rc::Rc;

/// An address range that belongs to a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// What it is, shared by all ranges of the same thing.
    pub label: Rc<Label>,
}

/// What a range is: the line of the account its pages are counted in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label {
    /// The domain.
    pub domain: Domain,
    /// The line inside the domain.
    pub name: String,
    /// Who said so.
    pub source: &'static str,
}

impl Label {
    /// A label to be shared by claims.
    pub fn new(domain: Domain, name: impl Into<String>, source: &'static str) -> Rc<Label> {
        Rc::new(Label { domain, name: name.into(), source })
    }
}

/// Claims without overlaps, ascending by address.
#[derive(Debug, Default)]
pub struct Claims {
    settled: Vec<Claim>,
}

impl Claims {
    /// Settles overlaps: an earlier claim in `claims` keeps what a later one claims too.
    pub fn settle(claims: Vec<Claim>) -> Claims {
        // A sweep over the starts and ends; of the claims open at an address the earliest counts.
        // With a heap of open claims this is O(n log n), also for a thousand nested ones.
        let mut edges: Vec<(u64, usize)> = Vec::with_capacity(claims.len() * 2);
        for (index, claim) in claims.iter().enumerate().filter(|(_, claim)| claim.start < claim.end) {
            edges.push((claim.start, index));
            edges.push((claim.end, index));
        }
        edges.sort_unstable();
        let mut open = std::collections::BTreeSet::new();
        let mut settled: Vec<Claim> = Vec::with_capacity(claims.len());
        let mut at = 0;
        for (address, index) in edges {
            if address > at
                && let Some(winner) = open.first().and_then(|first: &usize| claims.get(*first))
            {
                match settled.last_mut() {
                    Some(last) if last.end == at && Rc::ptr_eq(&last.label, &winner.label) => {
                        last.end = address
                    }
                    _ => settled.push(Claim { start: at, end: address, label: Rc::clone(&winner.label) }),
                }
            }
            at = address;
            if claims[index].start == address {
                open.insert(index);
            } else {
                open.remove(&index);
            }
        }
        Claims { settled }
    }

    /// The claims that touch `[start, end)`, ascending and not clipped.
    pub fn within(&self, start: u64, end: u64) -> &[Claim] {
        let from = self.settled.partition_point(|claim| claim.end <= start);
        let to = self.settled.partition_point(|claim| claim.start < end);
        &self.settled[from..to.max(from)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(ranges: &[(u64, u64, &str)]) -> Vec<(u64, u64, String)> {
        let claims = ranges
            .iter()
            .map(|(start, end, name)| Claim {
                start: *start,
                end: *end,
                label: Label::new(Domain::Gc, *name, "test"),
            })
            .collect();
        let settled = Claims::settle(claims);
        settled.within(0, u64::MAX).iter().map(|c| (c.start, c.end, c.label.name.clone())).collect()
    }

    #[test]
    fn the_earlier_claim_keeps_what_both_claim() {
        assert_eq!(claims(&[(10, 20, "a"), (15, 30, "b")]), [(10, 20, "a".into()), (20, 30, "b".into())]);
        assert_eq!(
            claims(&[(15, 20, "inner"), (10, 30, "outer")]),
            [(10, 15, "outer".into()), (15, 20, "inner".into()), (20, 30, "outer".into())]
        );
        assert_eq!(claims(&[(10, 30, "outer"), (15, 20, "inner")]), [(10, 30, "outer".into())]);
        assert_eq!(claims(&[(5, 5, "empty"), (9, 7, "backwards")]), []);
        assert_eq!(
            claims(&[(1, 3, "a"), (3, 5, "b"), (1, 3, "c")]),
            [(1, 3, "a".into()), (3, 5, "b".into())]
        );
    }

    proptest::proptest! {
        #[test]
        fn every_address_belongs_to_the_earliest_claim_on_it(
            ranges in proptest::collection::vec((0u64..60, 0u64..60), 0..12),
        ) {
            let list: Vec<Claim> = ranges
                .iter()
                .enumerate()
                .map(|(i, (start, end))| Claim { start: *start, end: *end, label: Label::new(Domain::Gc, i.to_string(), "test") })
                .collect();
            let settled = Claims::settle(list.clone());
            for address in 0..60 {
                let expected = list.iter().find(|c| (c.start..c.end).contains(&address)).map(|c| c.label.name.clone());
                let found = settled.within(address, address + 1);
                proptest::prop_assert!(found.len() <= 1);
                proptest::prop_assert_eq!(found.first().map(|c| c.label.name.clone()), expected);
            }
        }
    }
}

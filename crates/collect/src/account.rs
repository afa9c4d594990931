//! The account: the resident bytes of every mapping, shared out over the claims on it.
//!
//! How many bytes of a mapping are resident is known before. Where one claim (or none) covers the
//! whole mapping, that alone decides; otherwise the page map is read again and each present page
//! goes to the claim it lies in. In a busy mapping the two readings may differ by a few pages; the
//! first is of one time for all mappings, so the difference is settled in the mapping where it
//! arose and the sum stays the RSS.

use crate::claims::{Claims, Label};
use offheap_target::{PageKind, Target, Vma};
use std::collections::HashMap;
use std::rc::Rc;

/// What one label holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// Resident bytes.
    pub rss: u64,
    /// Address space.
    pub virtual_bytes: u64,
    /// Swapped bytes.
    pub swap: u64,
    /// Bytes in anonymous huge pages; shared out by resident bytes where a mapping has several
    /// labels.
    pub huge: u64,
}

impl Amount {
    pub(crate) fn add(&mut self, other: Amount) {
        self.rss += other.rss;
        self.virtual_bytes += other.virtual_bytes;
        self.swap += other.swap;
        self.huge += other.huge;
    }
}

/// Amounts by label. Ordered by insertion nowhere: the caller sorts.
pub type Account = HashMap<Rc<Label>, Amount>;

/// Shares out `vmas` over `claims`; what no claim covers goes to the label that `default` gives the
/// mapping.
pub fn account(
    vmas: &[Vma],
    target: &dyn Target,
    claims: &Claims,
    mut default: impl FnMut(&Vma) -> Rc<Label>,
) -> Account {
    let mut account = Account::new();
    for vma in vmas {
        let unclaimed = default(vma);
        let mut parts = Parts::new(vma, claims, unclaimed);
        if parts.0.len() > 1 && vma.rss + vma.swap > 0 {
            for run in target.runs(vma.start, vma.end) {
                parts.count(run.start, run.end, run.kind);
            }
        }
        parts.settle(vma);
        for part in parts.0 {
            account.entry(part.label).or_default().add(part.amount);
        }
    }
    account
}

/// A stretch of a mapping with one label.
struct Part {
    start: u64,
    end: u64,
    label: Rc<Label>,
    amount: Amount,
    claimed: bool,
}

struct Parts(Vec<Part>);

impl Parts {
    fn new(vma: &Vma, claims: &Claims, unclaimed: Rc<Label>) -> Parts {
        let mut parts = Vec::new();
        let mut push = |start: u64, end: u64, label: &Rc<Label>, claimed| {
            if start < end {
                let amount = Amount { virtual_bytes: end - start, ..Amount::default() };
                parts.push(Part { start, end, label: Rc::clone(label), amount, claimed });
            }
        };
        let mut at = vma.start;
        for claim in claims.within(vma.start, vma.end) {
            push(at, claim.start.max(vma.start), &unclaimed, false);
            push(claim.start.max(at), claim.end.min(vma.end), &claim.label, true);
            at = at.max(claim.end.min(vma.end));
        }
        push(at, vma.end, &unclaimed, false);
        Parts(parts)
    }

    /// Counts a run of pages to the parts it lies in. Claims that end inside a page share it; its
    /// bytes are split.
    fn count(&mut self, start: u64, end: u64, kind: PageKind) {
        let first = self.0.partition_point(|part| part.end <= start);
        for part in self.0.iter_mut().skip(first) {
            if part.start >= end {
                break;
            }
            let bytes = part.end.min(end) - part.start.max(start);
            match kind {
                PageKind::Present => part.amount.rss += bytes,
                PageKind::Swapped => part.amount.swap += bytes,
            }
        }
    }

    /// Makes the parts' sum what is known of the mapping.
    fn settle(&mut self, vma: &Vma) {
        settle(&mut self.0, vma.rss, |amount| &mut amount.rss);
        settle(&mut self.0, vma.swap, |amount| &mut amount.swap);
        // Huge pages are known by mapping only.
        let total: u64 = vma.rss;
        let mut left = vma.anon_huge.min(total);
        for part in &mut self.0 {
            let share =
                (u128::from(vma.anon_huge) * u128::from(part.amount.rss)).div_ceil(u128::from(total.max(1)));
            part.amount.huge = (share as u64).min(left).min(part.amount.rss);
            left -= part.amount.huge;
        }
    }
}

/// Adds what is missing to the part nobody claimed, or else the largest; takes what is too much
/// first from the unclaimed parts (the zero page counts as present on older kernels, and lies where
/// nobody has written), then from the largest.
fn settle(parts: &mut [Part], wanted: u64, field: impl Fn(&mut Amount) -> &mut u64) {
    let sum: u64 = parts.iter_mut().map(|part| *field(&mut part.amount)).sum();
    if sum < wanted {
        let missing = wanted - sum;
        let receiver = parts.iter_mut().max_by_key(|part| (!part.claimed, part.end - part.start));
        if let Some(part) = receiver {
            *field(&mut part.amount) += missing;
        }
        return;
    }
    let mut surplus = sum - wanted;
    parts.sort_by_key(|part| (part.claimed, std::cmp::Reverse(part.amount.rss)));
    for part in parts.iter_mut() {
        let figure = field(&mut part.amount);
        let taken = surplus.min(*figure);
        *figure -= taken;
        surplus -= taken;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::Claim;
    use offheap_linux::Process;
    use offheap_model::Domain;

    fn vma(start: u64, end: u64, rss: u64) -> Vma {
        Vma { start, end, rss, ..Vma::default() }
    }

    fn parts(vma: &Vma, ranges: &[(u64, u64)]) -> Parts {
        let label = Label::new(Domain::Gc, "claimed", "test");
        let claims = ranges
            .iter()
            .map(|(start, end)| Claim { start: *start, end: *end, label: Rc::clone(&label) })
            .collect();
        Parts::new(vma, &Claims::settle(claims), Label::new(Domain::Unattributed, "rest", "test"))
    }

    #[test]
    fn pages_go_to_the_part_they_lie_in_and_the_sum_is_the_rss() {
        let vma = vma(0x1000, 0x9000, 0x4000);
        let mut parts = parts(&vma, &[(0x3000, 0x5000), (0x8000, 0xf000)]);
        assert_eq!(parts.0.len(), 4);
        parts.count(0x2000, 0x4000, PageKind::Present);
        parts.count(0x8000, 0x9000, PageKind::Present);
        parts.settle(&vma);
        let rss = |start: u64| parts.0.iter().find(|part| part.start == start).unwrap().amount.rss;
        // One page was seen only before: it goes to the largest part that nobody claims.
        assert_eq!([rss(0x1000), rss(0x3000), rss(0x5000), rss(0x8000)], [0x1000, 0x1000, 0x1000, 0x1000]);
        assert_eq!(parts.0.iter().map(|part| part.amount.virtual_bytes).sum::<u64>(), vma.len());
    }

    #[test]
    fn zero_pages_are_taken_from_where_nobody_claims() {
        let vma = vma(0x1000, 0x5000, 0x1000);
        let mut parts = parts(&vma, &[(0x1000, 0x2000)]);
        parts.count(0x1000, 0x5000, PageKind::Present);
        parts.settle(&vma);
        let claimed = parts.0.iter().find(|part| part.claimed).unwrap();
        assert_eq!(claimed.amount.rss, 0x1000);
        assert_eq!(parts.0.iter().map(|part| part.amount.rss).sum::<u64>(), 0x1000);
    }

    #[test]
    fn the_account_of_this_process_sums_to_its_rss() {
        let process = Process::open(std::process::id() as i32).unwrap();
        let vmas = process.residency().unwrap().vmas;
        let half = vmas
            .iter()
            .map(|vma| Claim {
                start: vma.start,
                end: vma.start + vma.len() / 2,
                label: Label::new(Domain::Gc, "half", "test"),
            })
            .collect();
        let rest = Label::new(Domain::Unattributed, "rest", "test");
        let live = process.memory(&vmas).unwrap();
        let account = account(&vmas, &live, &Claims::settle(half), |_| Rc::clone(&rest));
        let sum: u64 = account.values().map(|amount| amount.rss).sum();
        assert_eq!(sum, vmas.iter().map(|vma| vma.rss).sum::<u64>());
        assert_eq!(account.values().filter(|amount| amount.rss > 0).count(), 2);
    }
}

//! The C heap split by owner: free but held, direct buffers, the JVM's own, everybody else's.
//!
//! The walk says what is live and what is free; `java.nio.Bits` says how much of the live part is
//! direct buffers; only NMT's counters say how much of it is the JVM's. What can't be split stays
//! `malloc`, never guessed.

use crate::account::{Account, Amount};
use crate::claims::Label;
use offheap_heaps::Heap;
use offheap_model::{Domain, Jvm, NmtCounters};
use std::rc::Rc;

/// Bytes that a live block costs above what NMT counts: NMT's header (16 bytes, mallocHeader.hpp)
/// and glibc's (8 bytes).
const BYTES_PER_JVM_BLOCK: u64 = 24;

/// Labels under which the account holds the C heap until it is split.
pub struct HeapLabels {
    /// Arenas.
    pub arenas: Rc<Label>,
    /// Large chunks in maps of their own.
    pub mapped: Rc<Label>,
    /// An allocator that was only named.
    pub unwalked: Rc<Label>,
}

impl HeapLabels {
    /// The labels for what `heap` found.
    pub fn new(heap: &Heap) -> Self {
        let source = heap.source;
        let unwalked = format!("{} heap, not walked", heap.allocator);
        HeapLabels {
            arenas: Label::new(Domain::Malloc, "chunks in arenas", source),
            mapped: Label::new(Domain::Malloc, "large chunks in maps of their own", source),
            unwalked: Label::new(Domain::Malloc, unwalked, source),
        }
    }
}

/// Who the live part of the C heap belongs to.
#[derive(Debug, Clone, Copy)]
pub enum Owner<'a> {
    /// There is no JVM: all of it is the program's.
    Program,
    /// A JVM without NMT.
    Unknown(&'a Jvm),
    /// A JVM with NMT.
    Counted(&'a Jvm, &'a NmtCounters),
}

/// Splits the C heap in `account`. `extra_direct` are direct buffers that Bits does not count.
pub fn split(account: &mut Account, heap: &Heap, labels: &HeapLabels, owner: Owner<'_>, extra_direct: u64) {
    let mut arenas = account.remove(&labels.arenas).unwrap_or_default();
    let mut mapped = account.remove(&labels.mapped).unwrap_or_default();
    let mut unwalked = account.remove(&labels.unwalked).unwrap_or_default();
    let walk = labels.arenas.source;

    // Free bytes on resident pages are held by the allocator; the walk counted them arena by arena.
    let sum = |part: fn(&offheap_heaps::Resident) -> u64| {
        heap.arenas.iter().map(|arena| part(&arena.split)).sum::<u64>()
    };
    for (name, bytes) in [
        ("free chunks in arenas", sum(|split| split.free)),
        ("free at the top of arenas", sum(|split| split.top)),
        ("freed, parked in thread caches", sum(|split| split.cached)),
    ] {
        let taken = take(&mut arenas, bytes);
        add(account, Label::new(Domain::AllocatorRetention, name, walk), taken);
    }

    let live = [mapped, arenas, unwalked];
    let (rest, shares) = match owner {
        Owner::Program => (Domain::NativeMalloc, Vec::new()),
        Owner::Unknown(jvm) => {
            let direct = jvm.direct.as_ref().map_or(0, |direct| direct.reserved_bytes);
            let shares = vec![
                (Label::new(Domain::DirectMemory, "direct buffers", "java.nio.Bits"), direct),
                (
                    Label::new(Domain::DirectMemory, "direct buffers not in Bits", "Java heap scan"),
                    extra_direct,
                ),
            ];
            (Domain::Malloc, shares)
        }
        Owner::Counted(jvm, nmt) => (Domain::NativeMalloc, nmt_shares(jvm, nmt, untouched(heap, &live))),
    };
    for (label, bytes) in shares {
        // Buffers and tables are large, so the large chunks give first.
        let mut left = bytes;
        for part in [&mut mapped, &mut arenas, &mut unwalked] {
            let taken = take(part, left);
            left -= taken.rss;
            add(account, Rc::clone(&label), taken);
        }
    }
    for (label, amount) in [(&labels.arenas, arenas), (&labels.mapped, mapped), (&labels.unwalked, unwalked)]
    {
        let label = Rc::new(Label { domain: rest, ..Label::clone(label) });
        add(account, label, amount);
    }
}

/// Bytes that live chunks have reserved but never touched.
fn untouched(heap: &Heap, parts: &[Amount; 3]) -> u64 {
    let resident: u64 = parts.iter().map(|part| part.rss).sum();
    if heap.walked { (heap.in_use + heap.large_bytes).saturating_sub(resident) } else { 0 }
}

/// The JVM's malloc by domain. NMT counts what was asked for, not what is resident: what is
/// `untouched` is taken off the collector's share first, whose queues are the JVM's only large
/// blocks that are mostly never written.
fn nmt_shares(jvm: &Jvm, nmt: &NmtCounters, untouched: u64) -> Vec<(Rc<Label>, u64)> {
    let (mut gc, mut direct, mut internal) = (0u64, 0u64, 0u64);
    for category in &nmt.categories {
        let bytes = category.malloc_bytes + category.malloc_count * BYTES_PER_JVM_BLOCK;
        match category.name.as_str() {
            "GC" | "GCCardSet" | "Card Set" => gc += bytes,
            "Other" => direct += bytes,
            _ => internal += bytes,
        }
    }
    // JDK 8 counts direct buffers as Internal.
    if jvm.feature == 8 {
        let reserved = jvm.direct.as_ref().map_or(0, |direct| direct.reserved_bytes).min(internal);
        internal -= reserved;
        direct += reserved;
    }
    let source = "NMT counters in memory";
    vec![
        (Label::new(Domain::DirectMemory, "direct buffers and Unsafe", source), direct),
        (Label::new(Domain::Gc, "the collector's malloc", source), gc.saturating_sub(untouched)),
        (Label::new(Domain::JvmInternal, "the JVM's malloc", source), internal),
    ]
}

/// Takes up to `bytes` resident bytes off `from`, with the same share of its other figures.
fn take(from: &mut Amount, bytes: u64) -> Amount {
    let rss = bytes.min(from.rss);
    if rss == 0 {
        return Amount::default();
    }
    let share = |figure: u64| (u128::from(figure) * u128::from(rss) / u128::from(from.rss)) as u64;
    let taken = Amount {
        rss,
        virtual_bytes: share(from.virtual_bytes),
        swap: share(from.swap),
        huge: share(from.huge),
    };
    from.rss -= taken.rss;
    from.virtual_bytes -= taken.virtual_bytes;
    from.swap -= taken.swap;
    from.huge -= taken.huge;
    taken
}

fn add(account: &mut Account, label: Rc<Label>, amount: Amount) {
    if amount != Amount::default() {
        account.entry(label).or_default().add(amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use offheap_heaps::{Arena, Resident};
    use offheap_model::{DirectBuffers, NmtCategory};

    const MB: u64 = 1 << 20;

    fn heap() -> Heap {
        Heap {
            walked: true,
            in_use: 40 * MB,
            large_bytes: 60 * MB,
            arenas: vec![Arena {
                resident: 50 * MB,
                split: Resident { in_use: 40 * MB, cached: MB, free: 7 * MB, top: 2 * MB },
                ..Arena::default()
            }],
            ..Heap::default()
        }
    }

    fn splitted(owner: Owner<'_>, extra: u64) -> Vec<(Domain, u64)> {
        let heap = heap();
        let labels = HeapLabels::new(&heap);
        let mut account = Account::new();
        let amount = |rss| Amount { rss, virtual_bytes: rss, ..Amount::default() };
        account.insert(Rc::clone(&labels.arenas), amount(50 * MB));
        account.insert(Rc::clone(&labels.mapped), amount(60 * MB));
        split(&mut account, &heap, &labels, owner, extra);
        assert_eq!(account.values().map(|amount| amount.rss).sum::<u64>(), 110 * MB);
        let mut sums = std::collections::BTreeMap::new();
        for (label, amount) in account {
            *sums.entry(label.domain).or_default() += amount.rss;
        }
        sums.into_iter().collect()
    }

    #[test]
    fn without_a_jvm_all_that_is_live_is_the_programs() {
        let sums = splitted(Owner::Program, 0);
        assert_eq!(sums, [(Domain::NativeMalloc, 100 * MB), (Domain::AllocatorRetention, 10 * MB)]);
    }

    #[test]
    fn without_nmt_only_direct_buffers_leave_malloc() {
        let direct = DirectBuffers { reserved_bytes: 30 * MB, ..DirectBuffers::default() };
        let jvm = Jvm { direct: Some(direct), feature: 17, ..Jvm::default() };
        let sums = splitted(Owner::Unknown(&jvm), 5 * MB);
        assert_eq!(
            sums,
            [
                (Domain::DirectMemory, 35 * MB),
                (Domain::Malloc, 65 * MB),
                (Domain::AllocatorRetention, 10 * MB)
            ]
        );
    }

    #[test]
    fn more_direct_memory_than_there_is_malloc_takes_it_all_and_no_more() {
        let direct = DirectBuffers { reserved_bytes: 900 * MB, ..DirectBuffers::default() };
        let jvm = Jvm { direct: Some(direct), feature: 17, ..Jvm::default() };
        let sums = splitted(Owner::Unknown(&jvm), 0);
        assert_eq!(sums, [(Domain::DirectMemory, 100 * MB), (Domain::AllocatorRetention, 10 * MB)]);
    }

    #[test]
    fn with_nmt_everybody_gets_their_share() {
        let category = |name: &str, malloc_bytes| NmtCategory {
            name: name.to_owned(),
            malloc_bytes,
            ..NmtCategory::default()
        };
        let nmt = NmtCounters {
            categories: vec![category("GC", 8 * MB), category("Other", 20 * MB), category("Symbol", 5 * MB)],
            source: "memory".to_owned(),
        };
        let jvm = Jvm { feature: 17, ..Jvm::default() };
        let sums = splitted(Owner::Counted(&jvm, &nmt), 0);
        assert_eq!(
            sums,
            [
                (Domain::Gc, 8 * MB),
                (Domain::JvmInternal, 5 * MB),
                (Domain::DirectMemory, 20 * MB),
                (Domain::NativeMalloc, 67 * MB),
                (Domain::AllocatorRetention, 10 * MB)
            ]
        );
    }
}

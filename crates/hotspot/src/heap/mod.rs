//! The Java heap and the collector's own structures, collector by collector.

mod g1;
mod generations;
mod parallel;
mod pools;
mod shape;
mod shenandoah;
pub(crate) mod z;

use crate::counters;
use crate::flags::Flags;
use crate::hsperf::Hsperf;
use crate::labels::Labels;
use crate::oops::Oops;
use crate::scan;
use crate::target::Peek;
use crate::threads;
use crate::vm::Vm;
use crate::{Heap, What};
use offheap_target::{page_bytes, page_start};
use std::ops::Range;

/// What a collector's reader found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) committed: Option<u64>,
    pub(crate) used: Option<u64>,
    pub(crate) old_used: Option<u64>,
    /// Where objects lie, if the collector says so and has its heap mapped once.
    pub(crate) filled: Option<Vec<Range<u64>>>,
    /// True where every structure of the collector that has its own mapping was found.
    pub(crate) gc_complete: bool,
}

impl Found {
    /// Of a collector with a young generation of several spaces and an old one of one, by where
    /// objects lie in each.
    fn of_spaces(young: Option<Vec<Range<u64>>>, old: Option<Range<u64>>) -> Found {
        let bytes = |spaces: &[Range<u64>]| {
            spaces.iter().try_fold(0u64, |sum, space| sum.checked_add(space.end - space.start))
        };
        let old_used = old.as_ref().map(|old| old.end - old.start);
        let filled: Option<Vec<Range<u64>>> = young.zip(old).map(|(mut spaces, old)| {
            spaces.push(old);
            spaces
        });
        Found { used: filled.as_deref().and_then(bytes), old_used, filled, ..Found::default() }
    }
}

/// The heap as read, and what is sure of it.
pub(crate) struct Read {
    pub(crate) heap: Heap,
    /// Where the heap lies.
    pub(crate) parts: Vec<Part>,
    filled: Option<Vec<Range<u64>>>,
    pub(crate) gc_complete: bool,
}

/// A range of addresses of the heap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) range: Range<u64>,
    /// Where in the heap's memory it starts: what is mapped several times starts at the same place
    /// each time.
    pub(crate) offset: u64,
}

impl Read {
    /// Where in the heap objects lie: what a collection has emptied, and what a thread has set
    /// aside for new objects, keeps the bytes of objects that have moved or are gone. All of it
    /// where that is not known.
    pub(crate) fn filled(&self, vm: &Vm<'_>, oops: &Oops) -> Vec<Part> {
        let of_collector = match (&oops.z, &self.filled, self.parts.as_slice()) {
            (Some(tables), ..) => z::filled(vm, tables, &self.parts),
            (None, Some(filled), [part]) => Some(part.only(filled)),
            _ => None,
        };
        let place = |address: u64| self.parts.iter().find_map(|part| part.place(address));
        let mut unused: Vec<Range<u64>> = threads::unused_buffers(vm)
            .into_iter()
            .filter_map(|range| place(range.start).map(|at| at..at.saturating_add(range.end - range.start)))
            .collect();
        unused.sort_unstable_by_key(|range| range.start);
        let parts = of_collector.unwrap_or_else(|| self.parts.clone());
        parts.iter().flat_map(|part| part.without(&unused)).collect()
    }
}

impl Part {
    /// Where in the heap's memory an address is.
    pub(crate) fn place(&self, address: u64) -> Option<u64> {
        self.range.contains(&address).then(|| address - self.range.start + self.offset)
    }

    /// What of it is in `ranges`; those that touch make one part.
    fn only(&self, ranges: &[Range<u64>]) -> Vec<Part> {
        let mut parts: Vec<Part> = Vec::new();
        for range in ranges {
            let (start, end) = (range.start.max(self.range.start), range.end.min(self.range.end));
            match parts.last_mut() {
                _ if start >= end => {}
                Some(last) if last.range.end == start => last.range.end = end,
                _ => parts.push(Part { range: start..end, offset: start - self.range.start + self.offset }),
            }
        }
        parts
    }

    /// What is left of it without `places`, which are ascending.
    fn without(&self, places: &[Range<u64>]) -> Vec<Part> {
        let all = self.offset..self.offset.saturating_add(self.range.end - self.range.start);
        let address = |place: u64| place - self.offset + self.range.start;
        scan::without(all, places)
            .into_iter()
            .map(|left| Part { range: address(left.start)..address(left.end), offset: left.start })
            .collect()
    }
}

/// Reads the heap and labels it and the collector's structures.
pub(crate) fn read(
    vm: &Vm<'_>,
    flags: &Flags,
    gc: &str,
    hsperf: Option<&Hsperf>,
    labels: &mut Labels,
) -> Option<Read> {
    let object = vm.static_pointer("Universe", "_collectedHeap")?;
    let reserved = vm.region(vm.place(object, "CollectedHeap", "_reserved")?)?;
    // Z keeps its heap in a file without a name and maps that.
    let views = if gc == "Z" { z::views(vm.target) } else { Vec::new() };
    if views.is_empty() && !vm.target.is_mapped(reserved.start, reserved.end) {
        return None;
    }
    let mapped_times = z::mapped_times(&views);
    let in_file = !views.is_empty();
    let parts = if in_file { views } else { vec![Part { range: reserved.clone(), offset: 0 }] };
    for Part { range, .. } in &parts {
        let source = if in_file { "maps" } else { "vmStructs" };
        labels.add(range.start, range.end, What::JavaHeap, "Java heap", source);
    }
    let max = flags.number(vm.target, "MaxHeapSize").unwrap_or(reserved.end - reserved.start);
    let mut found = match gc {
        "G1" => g1::read(vm, flags, object, &reserved, labels),
        "Parallel" => parallel::read(vm, &reserved, labels),
        "Serial" | "ConcMarkSweep" => generations::read(vm, object, gc, labels),
        "Epsilon" => generations::read_epsilon(vm, object),
        "Z" => z::read(vm, flags, object, labels),
        "Shenandoah" => shenandoah::read(vm, object, &reserved, labels),
        _ => None,
    }
    .unwrap_or_default();
    card_table(vm, max, labels);
    let mut source = "vmStructs";
    if found.used.is_none() || found.committed.is_none() {
        let (committed, used, old_used) = hsperf.map_or((None, None, None), from_hsperf);
        source = "hsperfdata";
        found.committed = found.committed.or(committed);
        found.used = found.used.or(used);
        found.old_used = found.old_used.or(old_used);
    }
    let heap = Heap {
        // What Z sets aside is many times what it may use, for address space only.
        reserved: if in_file { max } else { reserved.end - reserved.start },
        max,
        min: flags
            .number(vm.target, "MinHeapSize")
            .or_else(|| flags.number(vm.target, "InitialHeapSize"))
            .unwrap_or(0),
        committed: found.committed,
        used: found.used,
        old_used: found.old_used,
        old_after_gc: pools::old_after_gc(vm, max),
        old_max: hsperf.and_then(counters::old_max).filter(|bytes| (1..=max).contains(bytes)),
        mapped_times,
        source,
    };
    Some(Read { heap, parts, filled: found.filled, gc_complete: found.gc_complete })
}

/// The card table of the collectors that have one (gc/shared/cardTable.hpp).
fn card_table(vm: &Vm<'_>, heap: u64, labels: &mut Labels) -> Option<()> {
    let barrier_set = vm.static_pointer("BarrierSet", "_barrier_set")?;
    let table = vm.pointer(barrier_set, "CardTableBarrierSet", "_card_table")?;
    let start = vm.pointer(table, "CardTable", "_byte_map")?;
    let size = vm.u64(table, "CardTable", "_byte_map_size")?;
    // A collector whose barrier set has no card table has something else in that place.
    let end = start.checked_add(size)?;
    if size == 0 || size > heap / 256 + (1 << 20) || !vm.target.is_mapped(start, end) {
        return None;
    }
    labels.add(page_start(start), end.next_multiple_of(page_bytes()), What::Gc, "card table", "vmStructs");
    Some(())
}

/// Committed, used, and used in the old generation, as the collector last published them.
pub(crate) fn from_hsperf(hsperf: &Hsperf) -> (Option<u64>, Option<u64>, Option<u64>) {
    let number = |name: String| hsperf.number(&name);
    let generation = |index: u32, what: &str| {
        let spaces: Vec<u64> = (0..3)
            .map_while(|space| number(format!("sun.gc.generation.{index}.space.{space}.{what}")))
            .collect();
        (!spaces.is_empty()).then(|| spaces.iter().sum::<u64>())
    };
    let sum = |young: Option<u64>, old: Option<u64>| match (young, old) {
        (None, None) => None,
        (young, old) => Some(young.unwrap_or(0).saturating_add(old.unwrap_or(0))),
    };
    let capacity = |index: u32| number(format!("sun.gc.generation.{index}.capacity"));
    let old_used = generation(1, "used");
    (sum(capacity(0), capacity(1)), sum(generation(0, "used"), old_used), old_used)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(parts: &[Part]) -> Vec<(u64, u64, u64)> {
        parts.iter().map(|part| (part.range.start, part.range.end, part.offset)).collect()
    }

    #[test]
    fn objects_lie_where_the_collector_says_and_no_thread_has_set_memory_aside() {
        let heap = Part { range: 1000..2000, offset: 0 };
        let filled = heap.only(&[900..1100, 1100..1200, 1500..1500, 1600..2100]);
        assert_eq!(places(&filled), [(1000, 1200, 0), (1600, 2000, 600)]);
        let left: Vec<Part> = filled.iter().flat_map(|part| part.without(&[150..180, 590..700])).collect();
        assert_eq!(places(&left), [(1000, 1150, 0), (1180, 1200, 180), (1700, 2000, 700)]);
    }
}

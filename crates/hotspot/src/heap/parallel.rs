//! The Parallel collector (gc/parallel): two generations, each with a virtual space, and beside
//! them start arrays, a mark bitmap and the summary data of the compaction.

use super::{Found, shape};
use crate::What;
use crate::labels::Labels;
use crate::libjvm::{PARALLEL_MARK_BITMAP, PARALLEL_SUMMARY};
use crate::target::Peek;
use crate::vm::{VirtualSpace, Vm};
use offheap_target::page_bytes;
use std::ops::Range;

/// Words of an object of unknown size that are searched.
const OBJECT_WORDS: usize = 32;

pub(super) fn read(vm: &Vm<'_>, reserved: &Range<u64>, labels: &mut Labels) -> Option<Found> {
    let young = vm.static_pointer("ParallelScavengeHeap", "_young_gen")?;
    let old = vm.static_pointer("ParallelScavengeHeap", "_old_gen")?;
    let young_space = vm.ps_virtual_space(vm.pointer(young, "PSYoungGen", "_virtual_space")?)?;
    let old_space = vm.ps_virtual_space(vm.pointer(old, "PSOldGen", "_virtual_space")?)?;
    let old_filled = filled(vm, vm.pointer(old, "PSOldGen", "_object_space")?);
    let young_filled: Option<Vec<Range<u64>>> = ["_eden_space", "_from_space", "_to_space"]
        .into_iter()
        .map(|space| filled(vm, vm.pointer(young, "PSYoungGen", space)?))
        .collect();
    start_array(vm, old, reserved, labels);
    let bitmap = virtual_spaces(vm, PARALLEL_MARK_BITMAP, reserved);
    let summary = virtual_spaces(vm, PARALLEL_SUMMARY, reserved);
    let gc_complete = !bitmap.is_empty() && !summary.is_empty();
    for (spaces, name) in [(bitmap, "mark bitmap"), (summary, "compaction summary")] {
        for space in spaces {
            labels.add(space.reserved.start, space.reserved.end, What::Gc, name, "symbols");
        }
    }
    Some(Found {
        committed: Some(young_space.committed_len().saturating_add(old_space.committed_len())),
        gc_complete,
        ..Found::of_spaces(young_filled, old_filled)
    })
}

/// Where objects lie in a `MutableSpace`.
fn filled(vm: &Vm<'_>, space: u64) -> Option<Range<u64>> {
    let bottom =
        ["MutableSpace", "ImmutableSpace"].into_iter().find_map(|class| vm.u64(space, class, "_bottom"))?;
    Some(bottom..vm.u64(space, "MutableSpace", "_top")?).filter(|filled| filled.start <= filled.end)
}

/// The object start array of the old generation: a byte for each card, inside or behind the
/// generation object.
fn start_array(vm: &Vm<'_>, old: u64, reserved: &Range<u64>, labels: &mut Labels) {
    let size = vm.tables.size_of("PSOldGen").unwrap_or(256).min(1024);
    let words = vm.target.words_while_readable(old, (size / 8) as usize);
    let heap = reserved.end - reserved.start;
    let fits = |bytes: u64| bytes <= heap / 256 + (4 << 20);
    let inside = words.iter().filter(|word| **word % 8 == 0 && **word != 0 && !reserved.contains(*word));
    let behind: Vec<u64> = inside.copied().filter(|word| vm.target.vma(*word).is_some()).collect();
    let mut found = shape::ranges_in(vm, &words, reserved, fits);
    for object in behind {
        let words = vm.target.words_while_readable(object, OBJECT_WORDS);
        found.extend(shape::ranges_in(vm, &words, reserved, fits));
    }
    for range in found {
        labels.add(range.start, range.end, What::Gc, "object start array", "shape");
    }
}

/// The virtual spaces that the pointers in one of the collector's static objects lead to.
fn virtual_spaces(vm: &Vm<'_>, symbol: &str, reserved: &Range<u64>) -> Vec<VirtualSpace> {
    let Some(object) = vm.libjvm.variable(symbol) else { return Vec::new() };
    vm.target
        .words_while_readable(object.address, (object.size / 8).min(64) as usize)
        .into_iter()
        .filter(|pointer| *pointer != 0 && *pointer % 8 == 0 && !reserved.contains(pointer))
        .filter_map(|pointer| vm.ps_virtual_space(pointer))
        .filter(|space| {
            space.reserved.start != 0
                && space.reserved.start % page_bytes() == 0
                && space.reserved_len() < 1 << 44
                && vm.target.is_mapped(space.reserved.start, space.reserved.end)
        })
        .collect()
}

//! The collectors with two generations side by side (gc/serial, up to JDK 13 gc/cms) and Epsilon,
//! which has one space.

use super::{Found, shape};
use crate::What;
use crate::labels::Labels;
use crate::libjvm::CMS_COLLECTOR;
use crate::target::Peek;
use crate::vm::Vm;
use std::ops::Range;

/// Words of the CMS collector object that are searched.
const CMS_WORDS: usize = 256;

pub(super) fn read(vm: &Vm<'_>, heap: u64, gc: &str, labels: &mut Labels) -> Option<Found> {
    let class = if vm.tables.offset("SerialHeap", "_young_gen").is_some() {
        "SerialHeap"
    } else {
        "GenCollectedHeap"
    };
    let young = vm.pointer(heap, class, "_young_gen")?;
    let old = vm.pointer(heap, class, "_old_gen")?;
    let young_space = vm.virtual_space_of(young, "Generation", "_virtual_space")?;
    let old_space = vm.virtual_space_of(old, "Generation", "_virtual_space")?;
    let young_filled: Option<Vec<Range<u64>>> = ["_eden_space", "_from_space", "_to_space"]
        .into_iter()
        .map(|space| filled(vm, vm.pointer(young, "DefNewGeneration", space)?))
        .collect();
    let old_filled = if gc == "ConcMarkSweep" {
        None
    } else {
        vm.pointer(old, "TenuredGeneration", "_the_space").and_then(|space| filled(vm, space))
    };
    let offsets = block_offsets(vm, old, labels).is_some();
    let gc_complete = offsets && (gc != "ConcMarkSweep" || cms_tables(vm, labels));
    Some(Found {
        committed: Some(young_space.committed_len().saturating_add(old_space.committed_len())),
        gc_complete,
        ..Found::of_spaces(young_filled, old_filled)
    })
}

/// Where objects lie in a `ContiguousSpace`.
fn filled(vm: &Vm<'_>, space: u64) -> Option<Range<u64>> {
    let word = |field| vm.u64(space, "ContiguousSpace", field);
    Some(word("_bottom")?..word("_top")?).filter(|filled| filled.start <= filled.end)
}

/// The block offset table of the old generation.
fn block_offsets(vm: &Vm<'_>, old: u64, labels: &mut Labels) -> Option<()> {
    let table = ["TenuredGeneration", "CardGeneration"]
        .into_iter()
        .find_map(|class| vm.pointer(old, class, "_bts"))?;
    let space = ["SerialBlockOffsetTable", "BlockOffsetSharedArray"]
        .into_iter()
        .find_map(|class| vm.virtual_space_of(table, class, "_vs"))?;
    labels.add(space.reserved.start, space.reserved.end, What::Gc, "block offset table", "vmStructs");
    Some(())
}

/// The mark bitmap and the mod union table of CMS, both a `CMSBitMap` inside the collector object,
/// and its mark stack.
fn cms_tables(vm: &Vm<'_>, labels: &mut Labels) -> bool {
    let Some(collector) = vm.variable(CMS_COLLECTOR).filter(|collector| *collector != 0) else {
        return false;
    };
    let words = vm.target.words_while_readable(collector, CMS_WORDS);
    let heap = labels_heap(vm);
    let fits = |bytes: u64| (1 << 12..1 << 40).contains(&bytes);
    let found = shape::ranges_in(vm, &words, &heap, fits);
    for range in &found {
        labels.add(range.start, range.end, What::Gc, "mark bitmap, mod union table, mark stack", "shape");
    }
    !found.is_empty()
}

fn labels_heap(vm: &Vm<'_>) -> Range<u64> {
    vm.static_pointer("Universe", "_collectedHeap")
        .and_then(|heap| vm.region(vm.place(heap, "CollectedHeap", "_reserved")?))
        .unwrap_or_default()
}

pub(super) fn read_epsilon(vm: &Vm<'_>, heap: u64) -> Option<Found> {
    let space = vm.virtual_space_of(heap, "EpsilonHeap", "_virtual_space")?;
    let filled = vm.pointer(heap, "EpsilonHeap", "_space").and_then(|space| filled(vm, space));
    Some(Found {
        committed: Some(space.committed_len()),
        used: filled.as_ref().map(|filled| filled.end - filled.start),
        filled: filled.map(|filled| vec![filled]),
        gc_complete: true,
        ..Found::default()
    })
}

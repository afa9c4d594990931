//! Shenandoah (gc/shenandoah): regions, two mark bitmaps, the table of region objects and the
//! collection set's map.

use super::{Found, shape};
use crate::What;
use crate::labels::Labels;
use crate::target::Peek;
use crate::vm::Vm;
use offheap_target::{page_bytes, page_start};
use std::ops::Range;

/// More regions than a heap has: about 2,048 are aimed at.
const MAX_REGIONS: u64 = 1 << 24;
/// Words of an object that the heap object points to.
const OBJECT_WORDS: usize = 32;
/// Objects followed.
const MAX_OBJECTS: usize = 600;

pub(super) fn read(vm: &Vm<'_>, heap: u64, reserved: &Range<u64>, labels: &mut Labels) -> Option<Found> {
    let committed = vm.u64(heap, "ShenandoahHeap", "_committed");
    // From 24 the generations count.
    let used = vm.u64(heap, "ShenandoahHeap", "_used").or_else(|| {
        vm.u64(vm.pointer(heap, "ShenandoahHeap", "_global_generation")?, "ShenandoahGeneration", "_used")
    });
    let gc_complete = tables(vm, heap, reserved, labels);
    Some(Found { committed, used, gc_complete, ..Found::default() })
}

/// Labels the tables; true where all were found.
fn tables(vm: &Vm<'_>, heap: u64, reserved: &Range<u64>, labels: &mut Labels) -> bool {
    let size = vm.tables.size_of("ShenandoahHeap").unwrap_or(2048).min(8192);
    let words = vm.target.words_while_readable(heap, (size / 8) as usize);
    // One bit for each word, from 13 on two; and the same again for verification and heap dumps.
    let heap_bytes = reserved.end - reserved.start;
    let is_bitmap = |bytes: u64| {
        [heap_bytes / 64, heap_bytes / 32]
            .into_iter()
            .any(|exact| bytes == exact.next_multiple_of(page_bytes()))
    };
    let bitmaps = shape::ranges_in(vm, &words, reserved, is_bitmap);
    for range in &bitmaps {
        labels.add(range.start, range.end, What::Gc, "mark bitmap", "shape");
    }
    let regions = region_table(vm, heap, &words);
    if let Some(range) = &regions {
        labels.add(range.start, range.end, What::Gc, "region table", "vmStructs");
    }
    let set = collection_set(vm, heap, &words, reserved);
    if let Some(range) = &set {
        labels.add(range.start, range.end, What::Gc, "collection set", "shape");
    }
    !bitmaps.is_empty() && regions.is_some() && set.is_some()
}

fn region_count(vm: &Vm<'_>, heap: u64) -> Option<u64> {
    vm.u64(heap, "ShenandoahHeap", "_num_regions").filter(|count| (2..MAX_REGIONS).contains(count))
}

/// The region objects, one behind the other in a mapping of their own, reached through an array of
/// pointers to them.
fn region_table(vm: &Vm<'_>, heap: u64, words: &[u64]) -> Option<Range<u64>> {
    let count = region_count(vm, heap)?;
    let size = vm.tables.size_of("ShenandoahHeapRegion")?;
    let table = |array: u64| {
        let [first, second] = *vm.target.words(array, 2)?.first_chunk::<2>()?;
        let stride =
            second.checked_sub(first).filter(|stride| (size..=size.saturating_add(256)).contains(stride))?;
        let end = first.checked_add(count.checked_mul(stride)?)?.checked_next_multiple_of(page_bytes())?;
        let start = page_start(first);
        shape::is_own_mapping(vm, &(start..end)).then_some(start..end)
    };
    // In 11 the array is not in vmStructs, so it is known by what it points to.
    match vm.pointer(heap, "ShenandoahHeap", "_regions") {
        Some(array) => table(array),
        None => words.iter().filter(|word| **word != 0 && **word % 8 == 0).find_map(|word| table(*word)),
    }
}

/// The collection set's map: a byte for each region, biased so that an address shifted by the
/// region's size is the index: its reservation covers everything from address 0. The object that
/// holds it is one of those the heap object points to.
fn collection_set(vm: &Vm<'_>, heap: u64, words: &[u64], reserved: &Range<u64>) -> Option<Range<u64>> {
    let region =
        vm.static_u64("ShenandoahHeapRegion", "RegionSizeBytes").filter(|bytes| bytes.is_power_of_two())?;
    let map = region_count(vm, heap)?.checked_add(reserved.start / region)?;
    let is_map = |bytes: u64| Some(bytes) == map.checked_next_multiple_of(page_bytes());
    let objects = words.iter().filter(|word| **word != 0 && **word % 8 == 0 && !reserved.contains(*word));
    objects.take(MAX_OBJECTS).find_map(|object| {
        let words = vm.target.words_while_readable(*object, OBJECT_WORDS);
        shape::ranges_in(vm, &words, reserved, is_map).into_iter().next()
    })
}

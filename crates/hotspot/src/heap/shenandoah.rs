//! Shenandoah (gc/shenandoah): regions, two mark bitmaps, the table of region objects and the collection set's map.

use super::{Found, shape};
use crate::What;
use crate::labels::Labels;
use crate::vm::Vm;
use std::ops::Range;

/// Words of an object that the heap object points to.
const OBJECT_WORDS: usize = 64;
/// Objects followed.
const MAX_OBJECTS: usize = 600;

pub(super) fn read(vm: &Vm<'_>, heap: u64, reserved: &Range<u64>, labels: &mut Labels) -> Option<Found> {
    let committed = vm.u64(heap, "ShenandoahHeap", "_committed");
    // From 24 the generations count.
    let used = vm.u64(heap, "ShenandoahHeap", "_used").or_else(|| {
        vm.u64(vm.pointer(heap, "ShenandoahHeap", "_global_generation")?, "ShenandoahGeneration", "_used")
    });
    let gc_complete = tables(vm, heap, reserved, labels);
    Some(Found { committed, used, old_used: None, gc_complete })
}

fn tables(vm: &Vm<'_>, heap: u64, reserved: &Range<u64>, labels: &mut Labels) -> bool {
    let size = vm.tables.size_of("ShenandoahHeap").unwrap_or(2048).min(8192);
    let words = vm.target.words_while_readable(heap, (size / 8) as usize);
    let bytes = reserved.end - reserved.start;
    let fits = |range: u64| (4096..=bytes / 32).contains(&range) || range == bytes / 64;
    let mut found = shape::ranges_in(vm, &words, reserved, fits);
    for object in words
        .iter()
        .filter(|word| **word != 0 && **word % 8 == 0 && !reserved.contains(*word))
        .take(MAX_OBJECTS)
    {
        let words = vm.target.words_while_readable(*object, OBJECT_WORDS);
        found.extend(shape::ranges_in(vm, &words, reserved, fits));
    }
    let bitmap = found.iter().any(|range| range.end - range.start >= bytes / 64);
    for range in found {
        let name = if range.end - range.start >= bytes / 64 {
            "mark bitmap"
        } else {
            "region table, collection set"
        };
        labels.add(range.start, range.end, What::Gc, name, "shape");
    }
    bitmap
}

//! G1 (gc/g1): a table of regions, and beside the heap a card table, a block offset table, card
//! counts and mark bitmaps, each committed region by region through a `G1RegionToSpaceMapper`.

use super::{Found, shape};
use crate::What;
use crate::flags::Flags;
use crate::labels::Labels;
use crate::target::Peek;
use crate::vm::Vm;
use offheap_target::page_bytes;
use std::ops::Range;

/// More regions than a heap has: 2,048 are aimed at, and a region is 32 MB (512 MB from 18) at
/// most.
const MAX_REGIONS: u64 = 1 << 20;
/// Words of a mapper that are searched for its range.
const MAPPER_WORDS: usize = 16;
/// Words of an object that are searched for the mark stack.
const MARK_WORDS: usize = 64;
/// Bytes of a chunk of the mark stack.
const CHUNK: u64 = 8192;

pub(super) fn read(
    vm: &Vm<'_>,
    flags: &Flags,
    heap: u64,
    reserved: &Range<u64>,
    labels: &mut Labels,
) -> Option<Found> {
    let manager = vm.place(heap, "G1CollectedHeap", "_hrm")?;
    let mut found = regions(vm, manager).unwrap_or_default();
    found.committed = committed(vm, heap);
    let stack = mark_stack(vm, flags, heap, reserved).unwrap_or_default();
    for range in &stack {
        labels.add(range.start, range.end, What::Gc, "mark stack", "shape");
    }
    found.gc_complete = tables(vm, manager, reserved, labels) && !stack.is_empty();
    Some(found)
}

/// The classes' names: they were given the prefix G1 in 23.
fn class<'a>(vm: &Vm<'_>, new: &'a str, old: &'a str) -> &'a str {
    if vm.tables.size_of(new).is_some() { new } else { old }
}

fn regions(vm: &Vm<'_>, manager: u64) -> Option<Found> {
    let manager_class = class(vm, "G1HeapRegionManager", "HeapRegionManager");
    let region_class = class(vm, "G1HeapRegion", "HeapRegion");
    let type_class = class(vm, "G1HeapRegionType", "HeapRegionType");
    let table = vm.place(manager, manager_class, "_regions")?;
    let count = vm.u64(table, "G1HeapRegionTable", "_length")?.min(MAX_REGIONS);
    let base = vm.pointer(table, "G1HeapRegionTable", "_base")?;
    let young = vm.tables.constant(&format!("{type_class}::YoungMask"))? as u32;
    let free = vm.tables.constant(&format!("{type_class}::FreeTag"))? as u32;
    let tag_at = vm
        .tables
        .offset(region_class, "_type")?
        .checked_add(vm.tables.offset(type_class, "_tag").unwrap_or(0))?;
    let bottom_class =
        if vm.tables.offset(region_class, "_bottom").is_some() { region_class } else { "Space" };
    let (mut used, mut old_used, mut filled) = (0u64, 0u64, Vec::new());
    // The pointer of a region that was never committed is null.
    for region in vm.target.words(base, count as usize)?.into_iter().filter(|region| *region != 0) {
        let bottom = vm.u64(region, bottom_class, "_bottom");
        let top = vm.u64(region, region_class, "_top");
        let tag = region.checked_add(tag_at).and_then(|at| vm.target.u32(at));
        let Some(((bottom, top), tag)) = bottom.zip(top).zip(tag) else { continue };
        let bytes = top.saturating_sub(bottom);
        used = used.saturating_add(bytes);
        filled.push(bottom..bottom.saturating_add(bytes));
        if tag != free && tag & young == 0 {
            old_used = old_used.saturating_add(bytes);
        }
    }
    Some(Found { used: Some(used), old_used: Some(old_used), filled: Some(filled), ..Found::default() })
}

/// Committed bytes, as G1 tells its own counters after each collection and expansion.
fn committed(vm: &Vm<'_>, heap: u64) -> Option<u64> {
    let support = ["_monitoring_support", "_g1mm"]
        .into_iter()
        .find_map(|field| vm.pointer(heap, "G1CollectedHeap", field))?;
    [
        ("_eden_space_committed", "_eden_committed"),
        ("_survivor_space_committed", "_survivor_committed"),
        ("_old_gen_committed", "_old_committed"),
    ]
    .into_iter()
    .map(|(new, old)| {
        vm.u64(support, "G1MonitoringSupport", new).or_else(|| vm.u64(support, "G1MonitoringSupport", old))
    })
    .try_fold(0u64, |sum, committed| sum.checked_add(committed?))
}

/// Labels the tables beside the heap; true where they were all found. The region manager holds a
/// pointer to the mapper of the heap itself, which proves that the shape is right, and to those of
/// the tables.
fn tables(vm: &Vm<'_>, manager: u64, reserved: &Range<u64>, labels: &mut Labels) -> bool {
    let manager_class = class(vm, "G1HeapRegionManager", "HeapRegionManager");
    let size = vm.tables.size_of(manager_class).unwrap_or(256).min(1024);
    let mappers: Vec<Vec<u64>> = vm
        .target
        .words_while_readable(manager, (size / 8) as usize)
        .into_iter()
        .filter(|mapper| *mapper != 0 && mapper % 8 == 0 && vm.has_vtable(*mapper))
        .map(|mapper| vm.target.words_while_readable(mapper, MAPPER_WORDS))
        .collect();
    // All are of one class: where the heap's has its range, the others have theirs, and whatever
    // else lies in or behind them is none.
    let place = mappers.iter().find_map(|words| {
        words.windows(2).position(|pair| pair[0] == reserved.start && pair[1] == reserved.end)
    });
    let heap_bytes = reserved.end - reserved.start;
    let fits = |bytes: u64| kind(bytes, heap_bytes).is_some();
    let mut tables = 0;
    for words in &mappers {
        let words = match place {
            Some(place) => words.get(place..place + 2).unwrap_or_default(),
            None => words,
        };
        for range in shape::ranges_in(vm, words, reserved, fits) {
            let name = kind(range.end - range.start, heap_bytes).unwrap_or_default();
            labels.add(range.start, range.end, What::Gc, name, "shape");
            tables += 1;
        }
    }
    // Card table, block offset table and a bitmap at the least.
    place.is_some() && tables >= 3
}

/// The global mark stack (gc/g1/g1ConcurrentMark.hpp), chunks of 8 KB in mappings of their own. One
/// of the objects that the heap object points to holds it: in 11 to 23 as the most chunks it may
/// have, its start and the chunks it has; later as the least, the most and the present number of
/// chunks, the number of buckets, a flag, and an array of the buckets' starts. The flags that set
/// the least and the most prove that it is the one.
fn mark_stack(vm: &Vm<'_>, flags: &Flags, heap: u64, reserved: &Range<u64>) -> Option<Vec<Range<u64>>> {
    let chunks =
        |flag: &str| Some(flags.number(vm.target, flag)?.div_ceil(CHUNK / 8)).filter(|chunks| *chunks > 0);
    let (least, most) = (chunks("MarkStackSize")?, chunks("MarkStackSizeMax")?);
    let size = vm.tables.size_of("G1CollectedHeap").unwrap_or(2048).min(8192);
    let pointers = vm.target.words_while_readable(heap, (size / 8) as usize);
    let mapping = |start: u64, chunks: u64| {
        let range = start..start.checked_add(chunks.checked_mul(CHUNK)?)?;
        (start != 0 && start.is_multiple_of(page_bytes()) && shape::is_own_mapping(vm, &range))
            .then_some(range)
    };
    let objects = pointers.iter().filter(|word| **word != 0 && **word % 8 == 0 && !reserved.contains(*word));
    objects.copied().find_map(|object| {
        vm.target.words_while_readable(object, MARK_WORDS).windows(6).find_map(|window| {
            let [first, second, third, buckets, _, array] = *window.first_chunk::<6>()?;
            if first == most && (least..=most).contains(&third) {
                return mapping(second, third).map(|range| vec![range]);
            }
            if first != least
                || second != most
                || !(least..=most).contains(&third)
                || !(1..32).contains(&buckets)
            {
                return None;
            }
            // The first two buckets have the least number of chunks, each further one twice as many
            // as the one before.
            let starts = vm.target.words(array, buckets as usize)?;
            let found: Vec<_> = starts
                .into_iter()
                .enumerate()
                .filter_map(|(index, start)| {
                    mapping(start, least.checked_shl(index.saturating_sub(1) as u32)?)
                })
                .collect();
            (!found.is_empty()).then_some(found)
        })
    })
}

/// What a table of that size is for: one byte for each card of 512 bytes (256 or 1024 by flag from
/// 17), or one bit for each word, or two.
fn kind(bytes: u64, heap: u64) -> Option<&'static str> {
    let about = |expected: u64| bytes >= expected && bytes <= expected.next_multiple_of(1 << 21) + 8192;
    if about(heap / 64) {
        return Some("mark bitmap");
    }
    [512, 1024, 256]
        .into_iter()
        .any(|card| about(heap / card))
        .then_some("card table, block offsets, card counts")
}

//! NMT's counters in libjvm's memory (nmt/mallocTracker.hpp, nmt/virtualMemoryTracker.hpp,
//! nmt/nmtCommon.hpp), found by the symbols of their static snapshots.

use crate::NmtCategory;
use crate::libjvm::{NMT_LEVEL, NMT_MALLOC, NMT_NAMES, NMT_STRINGS, NMT_VIRTUAL};
use crate::target::{Peek, word};
use crate::vm::Vm;

/// More categories than there are: 16 (8) to 29 (26).
const MAX_CATEGORIES: u64 = 64;

/// `"off"`, `"summary"`, `"detail"`; `None` where libjvm has no symbols.
pub(crate) fn level(vm: &Vm<'_>) -> Option<&'static str> {
    // enum NMT_TrackingLevel: up to 17 unknown = 0xff, off = 0, minimal = 1; later unknown = 0, off
    // = 1; 2 and 3 never changed.
    match vm.target.u32(vm.libjvm.variable(NMT_LEVEL)?.address)? {
        2 => Some("summary"),
        3 => Some("detail"),
        _ => Some("off"),
    }
}

/// The counters, where NMT is on and libjvm has its symbols.
pub(crate) fn categories(vm: &Vm<'_>) -> Option<Vec<NmtCategory>> {
    if level(vm)? == "off" {
        return None;
    }
    let names = names(vm)?;
    let count = names.len() as u64;
    let malloc = vm.libjvm.variable(NMT_MALLOC)?;
    let virtual_memory = vm.libjvm.variable(NMT_VIRTUAL)?;
    // MallocMemory is two MemoryCounters (malloc, arena) of a count and a size; from 17.0.10 each
    // also keeps both peaks.
    let malloc_record = if malloc.size >= count * 64 { 64 } else { 32 };
    // VirtualMemory is reserved and committed; from 21 also the peak.
    let virtual_record = virtual_memory.size / count;
    if malloc.size < count * malloc_record || !(16..=64).contains(&virtual_record) {
        return None;
    }
    let malloc_bytes = vm.target.bytes(malloc.address, (count * malloc_record) as usize)?;
    let virtual_bytes = vm.target.bytes(virtual_memory.address, (count * virtual_record) as usize)?;
    let malloc_records = malloc_bytes.chunks_exact(malloc_record as usize);
    let virtual_records = virtual_bytes.chunks_exact(virtual_record as usize);
    let at = |record: &[u8], offset: usize| record.get(offset..offset + 8).map_or(0, word);
    let mut categories: Vec<NmtCategory> = names
        .into_iter()
        .zip(malloc_records.zip(virtual_records))
        .map(|(name, (malloc, mapped))| NmtCategory {
            name,
            malloc_count: at(malloc, 0),
            malloc_bytes: at(malloc, 8),
            arena_bytes: at(malloc, malloc.len() / 2 + 8),
            reserved_bytes: at(mapped, 0),
            committed_bytes: at(mapped, 8),
        })
        .collect();
    // As the JVM's own report does (MallocMemorySnapshot::make_adjustment): chunks that arenas hold
    // count for the arenas, so that what is left under Arena Chunk is free.
    let in_arenas = categories.iter().fold(0u64, |sum, category| sum.saturating_add(category.arena_bytes));
    if let Some(chunks) = categories.iter_mut().find(|category| category.name == "Arena Chunk") {
        chunks.malloc_bytes = chunks.malloc_bytes.saturating_sub(in_arenas);
    }
    Some(categories)
}

/// The categories' names: an array of pointers up to 17, later of pairs of which the second is for
/// people.
fn names(vm: &Vm<'_>) -> Option<Vec<String>> {
    let (array, stride) = match vm.libjvm.variable(NMT_STRINGS) {
        Some(array) => (array, 2),
        None => (vm.libjvm.variable(NMT_NAMES)?, 1),
    };
    let words = (array.size / 8).min(MAX_CATEGORIES * 2) as usize;
    let names: Option<Vec<String>> = vm
        .target
        .words(array.address, words)?
        .chunks_exact(stride)
        .map(|pair| vm.target.c_string(*pair.last()?, 64))
        .collect();
    names.filter(|names| names.first().is_some_and(|first| first == "Java Heap"))
}

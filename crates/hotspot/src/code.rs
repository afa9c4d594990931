//! The code cache (memory/heap.hpp, code/codeCache.hpp): one or three code heaps, each with a map
//! of its segments.

use crate::labels::Labels;
use crate::target::Peek;
use crate::vm::Vm;
use crate::{Space, What};

/// More code heaps than there are.
const MAX_HEAPS: u32 = 16;
/// Words of a `CodeHeap` object that are searched for its name.
const OBJECT_WORDS: usize = 64;

/// Reads every code heap and labels it; `None` where none was found.
pub(crate) fn read(vm: &Vm<'_>, labels: &mut Labels) -> Option<Space> {
    let mut total = Space { committed: Some(0), used: Some(0), ..Space::default() };
    for heap in heaps(vm)? {
        let Some(memory) = vm.virtual_space_of(heap, "CodeHeap", "_memory") else { continue };
        let name = name(vm, heap).unwrap_or_else(|| "code heap".to_owned());
        labels.add(memory.reserved.start, memory.reserved.end, What::CodeCache, &name, "vmStructs");
        if let Some(map) = vm.virtual_space_of(heap, "CodeHeap", "_segmap") {
            let name = format!("{name} segment map");
            labels.add(map.reserved.start, map.reserved.end, What::CodeCache, &name, "vmStructs");
        }
        total.reserved = total.reserved.saturating_add(memory.reserved_len());
        total.committed = total.committed.map(|sum| sum.saturating_add(memory.committed_len()));
        total.used = total
            .used
            .zip(used(vm, heap, memory.committed_len()))
            .map(|(sum, used)| sum.saturating_add(used));
    }
    total.max = Some(total.reserved);
    (total.reserved > 0).then_some(total)
}

/// Addresses of the `CodeHeap` objects.
fn heaps(vm: &Vm<'_>) -> Option<Vec<u64>> {
    // JDK 8 has one heap.
    let Some(array) = vm.static_pointer("CodeCache", "_heaps") else {
        return Some(vec![vm.static_pointer("CodeCache", "_heap")?]);
    };
    // Up to JDK 16 the length is in GenericGrowableArray.
    let count = vm
        .u32(array, "GrowableArrayBase", "_len")
        .or_else(|| vm.u32(array, "GenericGrowableArray", "_len"))?
        .min(MAX_HEAPS);
    vm.target.words(vm.pointer(array, "GrowableArray<int>", "_data")?, count as usize)
}

/// `"CodeHeap 'profiled nmethods'"` or `"CodeCache"`: the pointer to it is not in vmStructs, so it
/// is known by what it points to.
fn name(vm: &Vm<'_>, heap: u64) -> Option<String> {
    vm.target
        .words_while_readable(heap, OBJECT_WORDS)
        .into_iter()
        .filter(|word| vm.libjvm.range.contains(word))
        .filter_map(|word| vm.target.c_string(word, 64))
        .find(|text| text.starts_with("CodeHeap '") || text == "CodeCache")
}

/// Bytes in use: segments up to the highest one ever used, without those on the free list. The
/// fields stand around the exported `_log2_segment_size` (memory/heap.hpp: number of committed
/// segments, of reserved segments, segment size, its logarithm, next segment, free list, last
/// insert point, free segments) and are believed only where they agree.
fn used(vm: &Vm<'_>, heap: u64, committed: u64) -> Option<u64> {
    let log2 = vm.place(heap, "CodeHeap", "_log2_segment_size")?;
    let fields = vm.target.words(log2.checked_sub(24)?, 8)?;
    let [committed_segments, _, segment_size, shift, next, _, _, free] = *fields.first_chunk::<8>()?;
    let shift = shift as u32;
    let agree = shift < 20
        && segment_size == 1 << shift
        && committed_segments == committed >> shift
        && next <= committed_segments
        && free <= next;
    agree.then(|| (next - free) << shift)
}

//! The memory pools behind `java.lang.management` (services/memoryService.hpp, memoryPool.hpp):
//! each remembers its usage after the last collection that collected it, which is what tells live
//! data from garbage.

use crate::libjvm::MEMORY_POOLS;
use crate::target::Peek;
use crate::vm::Vm;

/// More pools than there are.
const MAX_POOLS: u32 = 32;
/// Words of a `MemoryPool`: vtable, name, type, initial and maximal size, availability, five
/// managers, their number (word 11), peak usage (12 to 15) and usage after collection (16 to 19); a
/// usage is initial, used, committed, maximum.
const POOL_WORDS: usize = 20;

/// Bytes the old generation (or a heap without generations) had in use after its last collection;
/// `None` before the first or where libjvm has no symbols.
pub(super) fn old_after_gc(vm: &Vm<'_>, max: u64) -> Option<u64> {
    let list = vm.variable(MEMORY_POOLS).filter(|list| *list != 0)?;
    let count = vm
        .u32(list, "GrowableArrayBase", "_len")
        .or_else(|| vm.u32(list, "GenericGrowableArray", "_len"))?
        .min(MAX_POOLS);
    let data = vm.pointer(list, "GrowableArray<int>", "_data")?;
    let pool = vm.target.words(data, count as usize)?.into_iter().find(|pool| {
        let name = pool
            .checked_add(8)
            .and_then(|at| vm.target.pointer(at))
            .and_then(|at| vm.target.c_string(at, 64));
        name.is_some_and(|name| is_old(&name)) && vm.has_vtable(*pool)
    })?;
    let words = vm.target.words(pool, POOL_WORDS)?;
    let (managers, peak_max) = (*words.get(11)? as u32, *words.get(15)?);
    let [_, used, committed, after_max] = *words.get(16..)?.first_chunk::<4>()?;
    let believable =
        (1..=5).contains(&managers) && peak_max == after_max && used <= committed && committed <= max;
    (believable && committed != 0).then_some(used)
}

fn is_old(pool: &str) -> bool {
    [
        "Tenured Gen",
        "PS Old Gen",
        "G1 Old Gen",
        "CMS Old Gen",
        "ZGC Old Generation",
        "ZHeap",
        "Shenandoah",
        "Shenandoah Old Gen",
    ]
    .contains(&pool)
}

//! Where ZGC keeps its pages and what it knows of moved objects.

use super::{Names, prefix};
use crate::flags::Flags;
use crate::target::Peek;
use crate::vm::Vm;
use offheap_target::page_bytes;
use std::ops::Range;

/// Bytes of the heap object that are searched for tables.
const MOST_HEAP_BYTES: u64 = 1 << 15;

/// The tables; they stay where they are while the JVM lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tables {
    pub(super) names: Names,
    pub(super) entries: Entries,
    /// One word for each granule of the address space: its page.
    pub(super) pages: u64,
    /// How many words that are.
    pub(super) granules: u64,
    /// Such a table of what was moved out of the page that was there: the old generation's, or the
    /// only one.
    pub(super) moved: u64,
    /// The young generation's, where there are two.
    pub(super) moved_young: Option<u64>,
    /// How many words each of these has.
    pub(super) moved_granules: u64,
    /// log2 of the bytes of a granule.
    pub(super) shift: u32,
    /// The bits of an address that say where in the heap it is.
    pub(super) offset_mask: u64,
    /// log2 of what objects on small pages are aligned to.
    pub(super) alignment: u32,
    /// Where the JVM keeps the colour that is good now, where vmStructs says so.
    pub(crate) good: Option<u64>,
}

/// How the tables say what was moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entries {
    /// In 11: with the page, whose lowest bit in the page table says that it is being emptied.
    InPages,
    /// From 13: in a table of their own.
    OfTheirOwn,
}

impl Tables {
    /// `None` where they are not found.
    pub(crate) fn find(vm: &Vm<'_>, flags: &Flags) -> Option<Tables> {
        let names = Names(prefix(vm, flags));
        let heap =
            vm.place(vm.static_pointer("Universe", "_collectedHeap")?, &names.of("CollectedHeap"), "_heap")?;
        let constant =
            |name: &str| vm.tables.constant(&names.of(name)).and_then(|value| u64::try_from(value).ok());
        // Where one of its globals is (`ZGlobalsForVMStructs`), by its name without the prefix.
        let globals = names.of("GlobalsForVMStructs");
        let global = |field: &str| {
            vm.pointer(
                vm.static_pointer(&globals, "_instance_p")?,
                &globals,
                &format!("_{}", names.of(field)),
            )
        };
        let alignment = global("ObjectAlignmentSmallShift").and_then(|at| vm.target.u32(at));
        let alignment = alignment.filter(|shift| (3..12).contains(shift)).unwrap_or(3);
        let good = global("AddressGoodMask").or_else(|| global("PointerLoadGoodMask"));
        if vm.tables.offset("ZPage", "_forwarding").is_some() {
            let pages = vm.target.pointer(vm.place(heap, "ZHeap", "_pagetable")?)?;
            let (offset_mask, shift) = (constant("AddressOffsetMask")?, constant("PageSizeMinShift")?);
            let shift = u32::try_from(shift).ok().filter(|shift| *shift < 64)?;
            let granules = (offset_mask >> shift).checked_add(1).filter(|granules| *granules < 1 << 32)?;
            return Some(Tables {
                names,
                entries: Entries::InPages,
                pages,
                granules,
                moved: pages,
                moved_young: None,
                moved_granules: granules,
                shift,
                offset_mask,
                alignment,
                good,
            });
        }
        let class = names.of("Heap");
        // ZGranuleMap (gc/z/zGranuleMap.hpp): how many entries, and where.
        let map = |at: u64| Some((vm.target.u64(at)?, vm.target.pointer(at.checked_add(8)?)?));
        let (granules, pages) = map(vm.place(heap, &class, "_page_table")?)?;
        let shift = u32::try_from(constant("GranuleSizeShift")?).ok().filter(|shift| *shift < 64)?;
        let from_granules = granules
            .checked_next_power_of_two()
            .and_then(|granules| granules.checked_mul(1 << shift))
            .filter(|_| (1..1 << 32).contains(&granules))?
            .checked_sub(1)?;
        let offset_mask = global("AddressOffsetMask")
            .and_then(|at| vm.target.u64(at))
            .filter(|mask| *mask >= from_granules / 2 && mask & mask.wrapping_add(1) == 0)
            .unwrap_or(from_granules);
        let ((moved_granules, moved), young) = match vm.place(heap, &class, "_forwarding_table") {
            Some(at) => (map(at)?, None),
            None => {
                let (old, young) = of_generations(vm, heap, &class)?;
                (map(old)?, Some(map(young)?))
            }
        };
        if young.is_some_and(|(granules, _)| granules != moved_granules) || moved_granules > granules {
            return None;
        }
        Some(Tables {
            names,
            entries: Entries::OfTheirOwn,
            pages,
            granules,
            moved,
            moved_young: young.map(|(_, map)| map),
            moved_granules,
            shift,
            offset_mask,
            alignment,
            good,
        })
    }

    /// Where in the heap an address is.
    pub(super) fn offset(&self, address: u64) -> u64 {
        address & self.offset_mask
    }
}

/// Where the tables of the old and the young generation are, which stand in this order in a ZHeap
/// (gc/z/zHeap.hpp). A ZGeneration has its table behind pointers to the page allocator and the page
/// table (gc/z/zGeneration.hpp).
fn of_generations(vm: &Vm<'_>, heap: u64, class: &str) -> Option<(u64, u64)> {
    let allocator = vm.place(heap, class, "_page_allocator")?;
    let pages = vm.place(heap, class, "_page_table")?;
    let size = vm.tables.size_of(class)?.min(MOST_HEAP_BYTES);
    let words = words_of(vm, heap..heap.checked_add(size)?);
    let mut found = words.windows(2).zip(1..).filter(|(pair, _)| *pair == [allocator, pages]);
    let mut next = || found.next().and_then(|(_, index)| heap.checked_add(8 * (index + 1)));
    let (old, young) = (next()?, next()?);
    next().is_none().then_some((old, young))
}

/// The words in a range, 0 for those in pages that were never used.
pub(super) fn words_of(vm: &Vm<'_>, range: Range<u64>) -> Vec<u64> {
    let mut words = Vec::new();
    let mut at = range.start;
    while at < range.end {
        let count = ((page_bytes() - at % page_bytes()).min(range.end - at) / 8).max(1);
        words.extend(vm.target.words(at, count as usize).unwrap_or_else(|| vec![0; count as usize]));
        at = at.saturating_add(count * 8);
    }
    words
}

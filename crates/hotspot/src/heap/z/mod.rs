//! ZGC (gc/z): the heap is a file without a name, mapped where pages are needed: up to JDK 20, and
//! without generations up to 23, three times, once for each colour of pointer.

mod moved;
mod pages;
mod tables;

pub(crate) use moved::Moved;
pub(crate) use pages::{filled, live};
pub(crate) use tables::Tables;

use super::{Found, Part, shape};
use crate::What;
use crate::flags::Flags;
use crate::labels::Labels;
use crate::target::{Peek, Target};
use crate::vm::Vm;
use offheap_target::page_bytes;

/// NUMA nodes read.
const MAX_NUMA: u64 = 256;

/// The mappings of the heap: `/memfd:java_heap`, or a file of that name on tmpfs or hugetlbfs.
pub(super) fn views(target: &dyn Target) -> Vec<Part> {
    target
        .vmas()
        .iter()
        .filter(|vma| {
            let name = vma.path.rsplit('/').next().unwrap_or_default();
            vma.shared && (name == "memfd:java_heap" || name.starts_with("java_heap"))
        })
        .map(|vma| Part { range: vma.start..vma.end, offset: vma.offset })
        .collect()
}

/// How often the most mapped byte of the file is mapped.
pub(super) fn mapped_times(views: &[Part]) -> u32 {
    let mut edges: Vec<(u64, i32)> = views
        .iter()
        .flat_map(|view| {
            let end = view.offset.saturating_add(view.range.end - view.range.start);
            [(view.offset, 1), (end, -1)]
        })
        .collect();
    // Where one mapping ends and another starts, the end comes first.
    edges.sort_unstable();
    let mut depth = 0i32;
    edges.iter().fold(1, |most, (_, step)| {
        depth += step;
        most.max(depth)
    }) as u32
}

/// The letter that the classes' names start with: in 21 to 23 the collector without generations is
/// kept beside the new one, its classes renamed.
pub(crate) fn prefix(vm: &Vm<'_>, flags: &Flags) -> char {
    let single = vm.tables.size_of("XCollectedHeap").is_some() && !flags.is_set(vm.target, "ZGenerational");
    if single { 'X' } else { 'Z' }
}

pub(super) fn read(vm: &Vm<'_>, flags: &Flags, heap_object: u64, labels: &mut Labels) -> Option<Found> {
    let names = Names(prefix(vm, flags));
    let heap = vm.place(heap_object, &names.of("CollectedHeap"), "_heap")?;
    let (committed, used) = capacity(vm, names, heap).unzip();
    let gc_complete = label_tables(vm, names, heap, labels);
    Some(Found { committed, used, gc_complete, ..Found::default() })
}

/// The classes' names in this VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Names(char);

impl Names {
    fn of(self, rest: &str) -> String {
        format!("{}{rest}", self.0)
    }
}

/// Capacity and used bytes of the page allocator; from 25 it has a partition for each NUMA node.
fn capacity(vm: &Vm<'_>, names: Names, heap: u64) -> Option<(u64, u64)> {
    let class = names.of("PageAllocator");
    let allocator = vm.place(heap, &names.of("Heap"), "_page_allocator")?;
    if let Some(used) = vm.u64(allocator, &class, "_used") {
        // In 11 the capacity is the physical memory manager's.
        let capacity = vm.u64(allocator, &class, "_capacity").or_else(|| {
            vm.u64(vm.place(allocator, &class, "_physical")?, "ZPhysicalMemoryManager", "_capacity")
        })?;
        return Some((capacity, used));
    }
    let partitions = vm.place(allocator, &class, "_partitions")?;
    let first = vm.pointer(partitions, "ZPerNUMAZPartition", "_addr")?;
    let count = vm.target.u32(vm.tables.address("ZNUMA", "_count")?)?;
    let size = vm.tables.size_of("ZPartition")?;
    (0..u64::from(count).min(MAX_NUMA)).try_fold((0u64, 0u64), |(capacity, used), index| {
        let partition = first.checked_add(index.checked_mul(size)?)?;
        Some((
            capacity.checked_add(vm.u64(partition, "ZPartition", "_capacity")?)?,
            used.checked_add(vm.u64(partition, "ZPartition", "_used")?)?,
        ))
    })
}

/// Bytes of the heap object where vmStructs doesn't tell.
const HEAP_BYTES: u64 = 4096;

/// Labels the granule maps and the mark stacks; true where the page table, the one that vmStructs
/// names, was found.
fn label_tables(vm: &Vm<'_>, names: Names, heap: u64, labels: &mut Labels) -> bool {
    let size = vm.tables.size_of(&names.of("Heap")).unwrap_or(HEAP_BYTES).min(1 << 15);
    let words = heap.checked_add(size).map_or_else(Vec::new, |end| tables::words_of(vm, heap..end));
    mark_stacks(vm, &words, labels);
    let heap_class = names.of("Heap");
    let Some(page_table) =
        ["_page_table", "_pagetable"].into_iter().find_map(|field| vm.place(heap, &heap_class, field))
    else {
        return false;
    };
    if vm.tables.size_of("ZGranuleMapForPageTable").is_none() {
        return page_table_11(vm, page_table, labels).is_some();
    }
    // ZGranuleMap: the number of entries, then the entries, one pointer for each granule of the
    // address space. The heap object holds several: of pages and, for relocation, of forwardings.
    let Some(count) = vm.target.u64(page_table).filter(|count| (1..1 << 32).contains(count)) else {
        return false;
    };
    let mut found = false;
    for pair in words.windows(2).filter(|pair| pair[0] == count && pair[1] != 0) {
        let (start, bytes) = (pair[1], count * 8);
        let Some(end) = start.checked_add(bytes).filter(|end| vm.target.is_mapped(start, *end)) else {
            continue;
        };
        // A small map is a malloc block.
        if start % page_bytes() == 0 {
            labels.add(
                start,
                end.next_multiple_of(page_bytes()),
                What::Gc,
                "page and forwarding tables",
                "vmStructs",
            );
        }
        found = true;
    }
    found
}

/// The page table of 11 (ZAddressRangeMap): an array of one word for each smallest page of the
/// address space. The kernel may have made one mapping of it and its neighbours, malloc's large
/// chunks among them.
fn page_table_11(vm: &Vm<'_>, page_table: u64, labels: &mut Labels) -> Option<()> {
    let start = vm.target.pointer(page_table).filter(|start| start.is_multiple_of(page_bytes()))?;
    let addresses = u64::try_from(vm.tables.constant("ZAddressOffsetMask")?).ok()?.checked_add(1)?;
    let shift = u32::try_from(vm.tables.constant("ZPageSizeMinShift")?).ok()?;
    let end = start.checked_add(addresses.checked_shr(shift)?.checked_mul(8)?)?;
    if !shape::is_own_mapping(vm, &(start..end)) {
        return None;
    }
    labels.add(start, end, What::Gc, "page table", "vmStructs");
    Some(())
}

/// The space the mark stacks are cut from (ZMarkStackSpace, up to 24): start, top and end,
/// committed up to the end. In 11 it lies at a fixed address (`ZMarkStackSpaceStart`).
fn mark_stacks(vm: &Vm<'_>, words: &[u64], labels: &mut Labels) {
    const START_11: u64 = 0x1500_0000_0000;
    const LEAST: u64 = 1 << 20;
    if let Some(vma) = vm.target.vma(START_11).filter(|vma| vma.start == START_11 && vma.path.is_empty()) {
        labels.add(vma.start, vma.end, What::Gc, "mark stacks", "maps");
    }
    for triple in words.windows(3) {
        let [start, top, end] = [triple[0], triple[1], triple[2]];
        let is_space = start != 0
            && start.is_multiple_of(page_bytes())
            && end.is_multiple_of(page_bytes())
            && (start..=end).contains(&top)
            && (LEAST..1 << 36).contains(&(end - start))
            && shape::is_own_mapping(vm, &(start..end));
        if is_space {
            labels.add(start, end, What::Gc, "mark stacks", "shape");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_is_mapped_three_times_is_counted_so() {
        let view = |start: u64, offset| Part { range: start..start + 100, offset };
        assert_eq!(mapped_times(&[]), 1);
        assert_eq!(mapped_times(&[view(1000, 0), view(2000, 100), view(3000, 200)]), 1);
        assert_eq!(mapped_times(&[view(1000, 0), view(2000, 0), view(3000, 0), view(4000, 100)]), 3);
    }
}

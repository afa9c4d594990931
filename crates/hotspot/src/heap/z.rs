//! ZGC (gc/z): the heap is a file without a name, mapped where pages are needed: up to JDK 20, and without generations up to
//! 23, three times, once for each colour of pointer.

use super::{Found, shape};
use crate::What;
use crate::labels::Labels;
use crate::libjvm::Z_HEAP;
use crate::target::Target;
use crate::vm::Vm;
use std::ops::Range;

/// NUMA nodes read.
const MAX_NUMA: u64 = 256;

/// One mapping of the heap's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct View {
    pub(super) range: Range<u64>,
    offset: u64,
}

/// The mappings of the heap: `/memfd:java_heap`, or a file of that name on tmpfs or hugetlbfs.
pub(super) fn views(target: &dyn Target) -> Vec<View> {
    target
        .vmas()
        .iter()
        .filter(|vma| {
            let name = vma.path.rsplit('/').next().unwrap_or_default();
            vma.shared && (name == "memfd:java_heap" || name.starts_with("java_heap"))
        })
        .map(|vma| View { range: vma.start..vma.end, offset: vma.offset })
        .collect()
}

/// How often the most mapped byte of the file is mapped.
pub(super) fn mapped_times(views: &[View]) -> u32 {
    let mut edges: Vec<(u64, i32)> = views
        .iter()
        .flat_map(|view| {
            let end = view.offset.saturating_add(view.range.end - view.range.start);
            [(view.offset, 1), (end, -1)]
        })
        .collect();
    // Where one mapping ends and another begins, the end comes first.
    edges.sort_unstable();
    let mut depth = 0i32;
    edges.iter().fold(1, |most, (_, step)| {
        depth += step;
        most.max(depth)
    }) as u32
}

pub(super) fn read(vm: &Vm<'_>, heap_object: u64, labels: &mut Labels) -> Option<Found> {
    let heap = vm
        .variable(Z_HEAP)
        .filter(|heap| *heap != 0)
        .or_else(|| vm.place(heap_object, "ZCollectedHeap", "_heap"))?;
    let (committed, used) = pages(vm, heap).unzip();
    let gc_complete = tables(vm, heap, labels);
    Some(Found { committed, used, old_used: None, gc_complete })
}

/// Capacity and used bytes of the page allocator; from 25 it has a partition for each NUMA node.
fn pages(vm: &Vm<'_>, heap: u64) -> Option<(u64, u64)> {
    let allocator = vm.place(heap, "ZHeap", "_page_allocator")?;
    if let Some(used) = vm.u64(allocator, "ZPageAllocator", "_used") {
        // In 11 the capacity is the physical memory manager's.
        let capacity = vm.u64(allocator, "ZPageAllocator", "_capacity").or_else(|| {
            vm.u64(vm.place(allocator, "ZPageAllocator", "_physical")?, "ZPhysicalMemoryManager", "_capacity")
        })?;
        return Some((capacity, used));
    }
    let partitions = vm.place(allocator, "ZPageAllocator", "_partitions")?;
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

/// Labels the tables indexed by granules of the address space, and what else the heap object speaks of: the space of the mark
/// stacks and the maps of the relocation.
fn tables(vm: &Vm<'_>, heap: u64, labels: &mut Labels) -> bool {
    let size = vm.tables.size_of("ZHeap").unwrap_or(4096).min(1 << 15);
    let words = vm.target.words_while_readable(heap, (size / 8) as usize);
    let views = views(vm.target);
    let is_heap = |address: u64| views.iter().any(|view| view.range.contains(&address));
    // A granule table is one pointer for each 2 MB of address space: the mapping that starts where it does.
    let mut found = false;
    for word in words.iter().filter(|word| **word != 0 && **word % 4096 == 0 && !is_heap(**word)) {
        if let Some(vma) = vm.target.vma(*word).filter(|vma| vma.path.is_empty() && !vma.shared && vma.write)
            && labels.at(*word).is_none()
        {
            let _ = vma;
            found = true;
        }
    }
    let fits = |bytes: u64| (1 << 16..1 << 44).contains(&bytes);
    for range in shape::ranges_in(vm, &words, &(0..0), fits) {
        if !is_heap(range.start) {
            labels.add(range.start, range.end, What::Gc, "mark stacks", "shape");
        }
    }
    found
}

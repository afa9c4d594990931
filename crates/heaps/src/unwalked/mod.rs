//! Allocators that are named but not walked: still their memory is told from other anonymous memory, by marks that each
//! leaves in it. Ranges only; what in them is free is not known.

mod jemalloc;
mod mimalloc;
mod musl;
mod ranges;

use crate::{Allocator, Heap, Label, LabelKind, Options};
use offheap_linux::{Memory, PageKind, Vma};
use ranges::Ranges;

/// Labels the memory of an allocator that is not walked.
pub(crate) fn label(allocator: Allocator, memory: &Memory, options: &Options<'_>) -> Heap {
    let mut found = match allocator {
        Allocator::Jemalloc => jemalloc::ranges(memory, options),
        Allocator::Mimalloc => mimalloc::ranges(memory, options),
        Allocator::Musl => musl::ranges(memory, options),
        _ => Ranges::default(),
    };
    for vma in memory.vmas().iter().filter(|vma| belongs(allocator, vma)) {
        found.add(vma.start, vma.end);
    }
    found.take_away(options.exclude);
    let mut heap = Heap {
        doubts: vec![format!("{} is not walked: what is free in it is not known", allocator.name())],
        ..Heap::default()
    };
    for (start, end) in found.iter() {
        let present =
            memory.pagemap().runs(start, end).into_iter().filter(|run| run.kind == PageKind::Present);
        let resident = present.map(|run| run.end - run.start).sum();
        heap.system += end - start;
        heap.page_account.unwalked_resident += resident;
        heap.labels.push(Label { start, end, kind: LabelKind::UnwalkedHeap, resident, free_resident: 0 });
    }
    heap
}

/// What can be told by the name the kernel shows. tcmalloc takes memory by `sbrk` first and keeps its own structures there
/// too (`DefaultSysAllocator` in gperftools' system-alloc.cc); Google's names its maps. The others leave brk alone, or
/// share it with nobody.
fn belongs(allocator: Allocator, vma: &Vma) -> bool {
    match vma.path.as_str() {
        "[heap]" => matches!(allocator, Allocator::Tcmalloc | Allocator::Jemalloc | Allocator::Musl),
        name => allocator == Allocator::Tcmalloc && name.starts_with("[anon:tcmalloc"),
    }
}

/// Memory an allocator may have mapped: private, writable, without a file or another's name.
fn may_hold(vma: &Vma) -> bool {
    vma.read
        && vma.write
        && !vma.exec
        && !vma.shared
        && (vma.path.is_empty() || vma.path.starts_with("[anon:"))
}

/// The multiples of `alignment` in memory that may be the allocator's and whose page is present, at the most `most`.
fn aligned_starts(memory: &Memory, options: &Options<'_>, alignment: u64, most: usize) -> Vec<(u64, u64)> {
    let mut starts = Vec::new();
    for vma in memory.vmas().iter().filter(|vma| may_hold(vma)) {
        let mut at = vma.start.next_multiple_of(alignment);
        while at < vma.end && starts.len() < most {
            let excluded = options.exclude.iter().any(|(start, end)| (*start..*end).contains(&at));
            if !excluded && memory.pagemap().is_present(at) {
                starts.push((at, vma.end));
            }
            at += alignment;
        }
    }
    starts
}

//! Allocators that are named but not walked: still their memory is known from other anonymous
//! memory, by marks that each leaves in it. Ranges only; what in them is free is not known.

use crate::allocator::HeapWalk;
use crate::ranges::Ranges;
use crate::{Heap, Label, LabelKind, Options};
use offheap_target::{PageKind, Target, Vma};

/// Looks at the memory of an allocator that is not walked.
#[derive(Debug)]
pub(crate) struct Named {
    /// Its name.
    pub allocator: &'static str,
    /// Its memory as its marks show it.
    pub ranges: fn(&dyn Target, &Options<'_>) -> Ranges,
    /// Whether a mapping is its own by the name that the kernel shows.
    pub belongs: fn(&Vma) -> bool,
}

impl HeapWalk for Named {
    fn walk(&mut self, target: &dyn Target, options: &Options<'_>) -> Heap {
        let mut found = (self.ranges)(target, options);
        for vma in target.vmas().iter().filter(|vma| (self.belongs)(vma)) {
            found.add(vma.start, vma.end);
        }
        found.take_away(options.exclude);
        let mut heap = Heap {
            source: "shape of the maps",
            doubts: vec![format!("{} is not walked: what is free in it is not known", self.allocator)],
            ..Heap::default()
        };
        for (start, end) in found.iter() {
            let present = target.runs(start, end).into_iter().filter(|run| run.kind == PageKind::Present);
            let resident = present.map(|run| run.end - run.start).sum();
            heap.system += end - start;
            heap.page_account.unwalked_resident += resident;
            heap.labels.push(Label { start, end, kind: LabelKind::UnwalkedHeap, resident, free_resident: 0 });
        }
        heap
    }
}

/// Memory that an allocator may have mapped: private, writable, without a file or another's name.
pub(crate) fn may_hold(vma: &Vma) -> bool {
    vma.read
        && vma.write
        && !vma.exec
        && !vma.shared
        && (vma.path.is_empty() || vma.path.starts_with("[anon:"))
}

/// The multiples of `alignment` in memory that may be the allocator's and whose page is present, at
/// most `most`.
pub(crate) fn aligned_starts(
    target: &dyn Target,
    options: &Options<'_>,
    alignment: u64,
    most: usize,
) -> Vec<(u64, u64)> {
    /// Places that are looked at: every 2 MiB of 8 TiB. A core file may claim any amount of memory.
    const MOST_PLACES: u32 = 1 << 22;
    let mut starts = Vec::new();
    let mut left = MOST_PLACES;
    for vma in target.vmas().iter().filter(|vma| may_hold(vma)) {
        let mut at = vma.start.next_multiple_of(alignment);
        while at < vma.end && starts.len() < most && left > 0 {
            left -= 1;
            let excluded = options.exclude.iter().any(|(start, end)| (*start..*end).contains(&at));
            if !excluded && target.is_present(at) {
                starts.push((at, vma.end));
            }
            at += alignment;
        }
    }
    starts
}

//! Whether a collection ran between two instants: one that moves objects spoils what is read of
//! them meanwhile.

use crate::counters;
use crate::heap::z;
use crate::oops::Oops;
use crate::target::Peek;
use crate::vm::Vm;
use std::collections::HashSet;

/// What any moving collection changes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Still {
    /// How often each collector ran, as hsperf counts it when a pause starts or ends.
    invocations: Vec<u64>,
    /// How often any ran, as the heap counts it (`CollectedHeap::_total_collections`).
    total: Option<u32>,
    /// One has the program stopped now.
    is_stopped: bool,
    /// The colour of good references of ZGC, which changes at the start of marking and of moving.
    good: Option<u64>,
    /// ZGC's pages, each with the number of the cycle in which it was filled last.
    pages: HashSet<(u64, Option<u32>)>,
}

/// What `look` finds, and whether no object moved while it looked. It is given what was so before.
pub(crate) fn during<T>(vm: &Vm<'_>, oops: &Oops, look: impl FnOnce(&Still) -> T) -> (T, bool) {
    let before = Still::read(vm, oops);
    let found = look(&before);
    let is_still = Still::read(vm, oops).is_as(&before);
    (found, is_still)
}

impl Still {
    /// Reads it anew, past what `vm`'s memory has kept.
    fn read(vm: &Vm<'_>, oops: &Oops) -> Still {
        vm.target.forget();
        // Before the rest: a collection that starts in between is seen by what follows.
        let invocations = counters::from_memory(vm).map(|hsperf| counters::invocations(&hsperf));
        let heap = vm.static_pointer("Universe", "_collectedHeap");
        let total = heap.and_then(|heap| vm.u32(heap, "CollectedHeap", "_total_collections"));
        let active = ["_is_stw_gc_active", "_is_gc_active"]
            .into_iter()
            .find_map(|field| vm.target.u8(vm.place(heap?, "CollectedHeap", field)?));
        Still {
            invocations: invocations.unwrap_or_default(),
            total,
            is_stopped: active.is_some_and(|active| active != 0),
            good: oops.z.and_then(|tables| vm.target.u64(tables.good?)),
            pages: z::live(vm, oops),
        }
    }

    /// True where no object has moved since, and none was on the move: pages may have been added,
    /// but none is gone.
    fn is_as(&self, before: &Still) -> bool {
        !before.is_stopped
            && !self.is_stopped
            && self.invocations == before.invocations
            && self.total == before.total
            && self.good == before.good
            && before.pages.is_subset(&self.pages)
    }

    /// True where ZGC's pages are known, or there are none.
    pub(crate) fn knows_pages(&self, gc: &str) -> bool {
        gc != "Z" || !self.pages.is_empty()
    }
}

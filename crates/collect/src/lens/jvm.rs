//! HotSpot: the Java heap, metaspace, the code cache, direct buffers, and what else is the JVM's.

use super::{Lens, Look, Sight};
use crate::account::Account;
use crate::claims::Claim;
use crate::collector::Effort;
use crate::jvm;
use crate::pace::Pace;
use offheap_heaps::Heap;
use offheap_hotspot::{HotSpot, View, ViewOptions};
use offheap_model::{Domain, Holder, Jvm, Reach, Snapshot};
use offheap_target::{Target, Task};

/// Bytes of the Java heap that are scanned for hidden direct buffers at most; half a second's work.
const HEAP_SCAN_BUDGET: u64 = 2 << 30;

/// Bytes of the Java heap that are read for references at most: to count them takes about half a
/// second then, to follow them a few.
const HEAP_READ_BUDGET: u64 = 512 << 20;

/// Looks at a HotSpot JVM.
#[derive(Debug, Default)]
pub(crate) struct JvmLens {
    hotspot: Option<HotSpot>,
    /// Why there is a JVM but no view of it.
    blind: Option<String>,
    /// Whether the view of the JVM was ever known to miss nothing.
    was_complete: bool,
    references: Pace,
    handles: Pace,
}

impl JvmLens {
    /// The JVM, if there is one that can be looked into.
    pub fn hotspot(&self) -> Option<&HotSpot> {
        self.hotspot.as_ref()
    }

    /// Where the Java heap lies.
    pub fn heap_ranges(&self, target: &dyn Target) -> Vec<(u64, u64)> {
        let (Some(hotspot), Some(tasks)) = (&self.hotspot, target.tasks()) else { return Vec::new() };
        let view = hotspot.view(target, &tasks, ViewOptions::default());
        let labels = view.labels.iter().filter(|label| jvm::is_java_heap(label));
        labels.map(|label| (label.start, label.end)).collect()
    }

    /// Follows the references on the Java heap, once.
    pub fn reach(&self, target: &dyn Target, tasks: &[Task]) -> Option<Reach> {
        let found = self.hotspot.as_ref()?.reach(target, tasks, HEAP_READ_BUDGET)?;
        Some(Reach {
            owners: found.owners,
            owners_in_use: found.owners_in_use,
            owners_holder: found.owners_holder.map(holder),
            direct_bytes: found.direct_bytes,
            direct_in_use_bytes: found.direct_in_use_bytes,
            direct_holder: found.direct_holder.map(holder),
            heap_in_use_bytes: found.bytes,
            jni_references: found.jni_references,
            virtual_threads: found.virtual_threads,
            complete: found.complete,
        })
    }
}

fn holder(found: offheap_hotspot::Holder) -> Holder {
    Holder { what: found.what, amount: found.amount }
}

impl Lens for JvmLens {
    fn rank(&self) -> u8 {
        1
    }

    fn open(&mut self, target: &dyn Target) {
        if self.hotspot.is_some() {
            return;
        }
        match HotSpot::open(target) {
            Ok(hotspot) => {
                self.hotspot = Some(hotspot);
                self.blind = None;
            }
            Err(offheap_hotspot::Error::NotJvm { .. }) => {}
            Err(error) => self.blind = Some(error.to_string()),
        }
    }

    fn look(&mut self, look: &Look<'_>, sight: &mut Sight) {
        sight.blind.clone_from(&self.blind);
        sight.knows_jvm = self.blind.is_none();
        let Some(hotspot) = &self.hotspot else { return };
        let mut view = hotspot.view(look.target, &sight.tasks, ViewOptions::default());
        if !view.coverage.is_complete() {
            // A thread that starts, a table that is being swapped: a second look tells that from
            // what can't be read.
            look.target.forget();
            if let Some(tasks) = look.target.tasks() {
                sight.tasks = tasks;
            }
            view = hotspot.view(look.target, &sight.tasks, ViewOptions::default());
        }
        self.was_complete |= view.coverage.is_complete();
        // What was once known to be all stays all: a single look that misses something must not
        // move memory from one domain to another in the midst of a series.
        sight.knows_jvm = self.was_complete;
        sight.view = Some(view);
    }

    /// Stacks are claimed by the lens for threads, which wants each on its own.
    fn claims(&mut self, _: &Look<'_>, sight: &Sight) -> Vec<Claim> {
        sight.view.as_ref().map(jvm::claims).unwrap_or_default()
    }

    fn split(&mut self, look: &Look<'_>, sight: &mut Sight, _: &mut Account, _: &mut Snapshot) {
        let (Some(hotspot), Some(view)) = (&self.hotspot, &sight.view) else { return };
        let mut jvm = jvm::jvm(view);
        if !look.effort.deep {
            jvm.references =
                self.references.when_due(|| hotspot.references(look.target, HEAP_READ_BUDGET)).flatten();
            jvm.handles =
                self.handles.when_due(|| crate::handles::largest(hotspot.handles(look.target, &sight.tasks)));
        }
        if is_scan_worth_it(view, look.effort) {
            let heap = sight.heap.as_ref().map(|(heap, _)| heap);
            sight.uncounted = uncounted_direct(hotspot, look.target, &jvm, heap);
        }
        sight.jvm = Some(jvm);
    }

    fn fill(&self, sight: &Sight, snapshot: &mut Snapshot) {
        let heap_rss = snapshot.rss_of(Domain::JavaHeap);
        snapshot.jvm = sight.jvm.clone().map(|mut jvm| {
            jvm.heap.resident_bytes = heap_rss / u64::from(jvm.heap.mapped_times.max(1));
            if let Some(direct) = &mut jvm.direct {
                direct.hidden_bytes = sight.uncounted;
            }
            jvm
        });
    }
}

/// Whether to look for direct buffers in the Java heap: where the JDK keeps some out of Bits, and
/// under ZGC where Bits can't be read because its class mirror was moved and is not found.
fn is_scan_worth_it(view: &View, effort: Effort) -> bool {
    match view.direct {
        Some(direct) => effort.deep && direct.hides_temporary,
        None => view.gc == "Z",
    }
}

/// Direct buffers that Bits doesn't count or that couldn't be read there: those the Java heap
/// refers to, as far as their memory is a live chunk, less what Bits counts.
fn uncounted_direct(hotspot: &HotSpot, memory: &dyn Target, jvm: &Jvm, heap: Option<&Heap>) -> Option<u64> {
    let found = hotspot.direct_buffers(memory, HEAP_SCAN_BUDGET);
    if found.incomplete.is_some() {
        return None;
    }
    // Garbage in the heap still names memory that was freed; only an address inside the C heap's
    // live maps counts.
    let labels = &heap?.labels;
    let is_malloc = |address: u64| {
        let after = labels.partition_point(|label| label.end <= address);
        labels.get(after).is_some_and(|label| label.start <= address)
    };
    let all: u64 =
        found.buffers.iter().filter(|buffer| is_malloc(buffer.address)).map(|buffer| buffer.capacity).sum();
    Some(all.saturating_sub(jvm.direct.as_ref().map_or(0, |direct| direct.reserved_bytes)))
}

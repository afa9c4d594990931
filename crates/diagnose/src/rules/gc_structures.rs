//! # The collector's own structures grow
//!
//! ## Signature
//! The domain `gc` (card tables, mark bitmaps, remembered sets, task queues) grows by more than
//! comes with the heap's own growth.
//!
//! ## Why
//! G1's remembered sets grow with references between regions: large heaps, many old-to-old
//! pointers, huge caches. Up to JDK 17 they could take a fifth of the heap; JDK 18 and later keep
//! them much smaller. They follow the heap and are bounded with it, so offheap calls lasting growth
//! `inconclusive`, not a leak.
//!
//! ## Confirm
//! - `jcmd PID VM.native_memory summary`: GC, and GCCardSet on newer JDKs.
//! - `-Xlog:gc+remset*=trace` at the next restart.
//!
//! ## Fix
//! - JDK 18 or later; larger regions (`-XX:G1HeapRegionSize=16m`); `-XX:+UseParallelGC` where pauses allow.
//!
//! ## Example
//! *In process 4711, the collector's own structures grew over 10 min (601 snapshots)…*

use super::Rule;
use super::native_mmap_growth::beside_the_heap;
use crate::draft::{Draft, Subject};
use crate::evidence::Evidence;
use crate::growth::Freed;
use crate::next_step::NextStep;
use offheap_model::{Domain, Finding};

/// See the page.
pub struct GcStructures;

impl Rule for GcStructures {
    fn id(&self) -> &'static str {
        "gc-structures"
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Option<Finding> {
        let jvm = evidence.last()?.jvm.as_ref()?;
        let series = beside_the_heap(evidence, Domain::Gc)?;
        let mut growth = evidence.growth_of(&series, Freed::ByProgram, evidence.material());
        if growth.why.is_empty() {
            growth.why = "these structures follow the heap and are bounded with it".to_owned();
            growth.next = Some(NextStep::WatchTheHeap);
        }
        if growth.kind == crate::Kind::Lasting {
            growth.kind = crate::Kind::Unclear;
            growth.certainty = 0.5;
        }
        let source = evidence.source(Domain::Gc);
        let what = format!("structures of the {} collector, beyond what comes with the heap,", jvm.gc);
        let subject = Subject { what: &what, meaning: "", source: &source };
        let draft = Draft::of_growth(self.id(), evidence, Domain::Gc, &growth, &subject)?
            .fix(["JDK 18 or later, whose remembered sets are much smaller; -XX:G1HeapRegionSize=16m on large heaps"])
            .confirm([format!("jcmd {} VM.native_memory summary: GC and GCCardSet", evidence.pid())]);
        Some(draft.finish())
    }
}

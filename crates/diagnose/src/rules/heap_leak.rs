//! # Live data grows on the Java heap
//!
//! What survives old collections grows: a leak of Java objects. offheap finds that it is so; which objects they are is the
//! work of heap tools.
//!
//! ## Signature
//! The old generation in use right after old or full collections is higher each time, at a rate that lasts to the end of
//! the window. Growth between old collections says nothing, since garbage gathers there too; then offheap says
//! `inconclusive` if the old generation gains a tenth of the heap in the window, and `healthy` below that.
//!
//! ## Why
//! Something reachable holds the objects: a static map, a listener list, a session store without expiry, a `ThreadLocal`
//! of a pooled thread, a JNI global reference.
//!
//! ## Confirm
//! - `jcmd PID GC.class_histogram` twice, some minutes apart: the classes whose count grows. It runs a full collection.
//! - `jcmd PID GC.heap_dump /path/file.hprof`, opened in Eclipse MAT: "dominator tree" and "path to GC roots".
//! - For JNI: `jcmd PID Thread.print` ends with the number of global references.
//!
//! ## Fix
//! - Bound or expire what holds the objects; remove listeners; `ThreadLocal.remove()`.
//! - Until then: `-XX:+HeapDumpOnOutOfMemoryError`, so that the dump is there when it ends.
//!
//! ## Example
//! *In process 4711, live data on the Java heap (old generation after collections) grew steadily over 5 min
//! (301 snapshots): 61.0 MiB → 652 MiB, +1.97 MiB/s…*

use super::Rule;
use crate::draft::{Draft, Subject};
use crate::evidence::Evidence;
use crate::growth::{Freed, Kind};
use crate::series::Key;
use offheap_model::{Domain, Finding, Status, units};

/// See the page.
pub struct HeapLeak;

/// Without an old collection, growth of the old generation below this share of the heap is what a healthy program promotes.
const SUSPECT_SHARE: f64 = 0.10;

impl Rule for HeapLeak {
    fn id(&self) -> &'static str {
        "heap-leak"
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Option<Finding> {
        let jvm = evidence.last()?.jvm.as_ref()?;
        let collections = evidence.collections();
        // A collector without generations is judged by all that is in use, after any of its collections.
        let (key, freed, what) = if evidence.series(&Key::OldUsed).is_some() {
            (Key::OldUsed, Freed::ByOldCollection, "live data in the old generation of the Java heap")
        } else {
            (Key::HeapUsed, Freed::ByCollector, "live data on the Java heap")
        };
        let mut growth = evidence.growth(&key, freed, evidence.material())?;
        if growth.kind == Kind::Uncollected {
            let share = (growth.to - growth.from) / (jvm.heap.max_bytes.max(1) as f64);
            if share < SUSPECT_SHARE || collections.any.len() < 3 {
                return None;
            }
        } else if growth.kind != Kind::Lasting {
            // Whatever else the heap does is bounded by -Xmx.
            return None;
        }
        growth.per_s = growth.per_s.max(0.0);
        let max = jvm.heap.max_bytes as f64;
        let meaning = "It survives collections, so something reachable holds it.";
        let subject = Subject { what, meaning, source: &jvm.heap.source };
        let mut draft = Draft::of_growth(self.id(), evidence, Domain::JavaHeap, &growth, &subject)?;
        if draft.status() == Status::Leak && growth.per_s > 0.0 && max > growth.to {
            draft = draft.also(&format!(
                "At this rate -Xmx ({}) is reached in {}. Which objects they are is told by a class histogram or a \
                 heap dump.",
                units::bytes(jvm.heap.max_bytes),
                units::duration((max - growth.to) / growth.per_s)
            ));
        }
        let draft = draft
            .saw(
                format!(
                    "{} collections in the window, {} of them old or full",
                    collections.any.len(),
                    collections.old.len()
                ),
                "the JVM's counters",
            )
            .fix([
                "bound or expire the collection that holds the objects; remove listeners and ThreadLocals of pooled \
                 threads",
                "until then -XX:+HeapDumpOnOutOfMemoryError, so that there is a dump at the end",
            ])
            .confirm([
                format!("jcmd {} GC.class_histogram, twice some minutes apart (a full collection each)", evidence.pid()),
                format!("jcmd {} GC.heap_dump /tmp/heap.hprof, then Eclipse MAT: dominator tree", evidence.pid()),
                format!("jcmd {} Thread.print | tail: the number of JNI global references", evidence.pid()),
            ]);
        Some(draft.finish())
    }
}

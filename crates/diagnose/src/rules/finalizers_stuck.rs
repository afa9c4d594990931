//! # Finalizers or Cleaners do not run
//!
//! ## Signature
//! Native memory grows, and the Java objects that own it are garbage: they became unreachable,
//! collections found that out, and still ever more of them wait to be finalized or cleaned. offheap
//! sees them on the heap from outside.
//!
//! ## Why
//! All `finalize()` methods of a JVM run on one thread, `Finalizer`, and all actions of a `Cleaner`
//! on its one thread (`Common-Cleaner` for the JDK's own). One that blocks (on a lock that somebody
//! holds, on a socket, on a queue) stops all others: nothing is ever given back any more, whoever
//! owns it.
//!
//! ## Confirm
//! - `jcmd PID Thread.print`: what the threads `Finalizer`, `Reference Handler` and `Common-Cleaner` are waiting for.
//! - `jcmd PID GC.finalizer_info`: what waits, by class.
//!
//! ## Fix
//! - Take the lock, the I/O or the wait out of the `finalize()` or cleaning action that the thread stands in.
//! - `close()` the objects (try-with-resources): then no finalizer is needed.
//! - Replace `finalize()` by a `Cleaner` of the library's own: it has a thread of its own.
//!
//! ## Example
//! *In process 4711, native memory of objects that wait to be finalized grew steadily over 1 min
//! (61 snapshots)… 4,100 objects that own native memory are garbage, 3,600 more than at the first
//! look, across 4 collections.*

use super::Rule;
use super::native_malloc_growth::{domain, rest_growth};
use crate::draft::{Draft, Subject};
use crate::evidence::Evidence;
use crate::growth::{Kind, plural};
use crate::series::Key;
use offheap_model::{Finding, Status};

/// See the page.
pub struct FinalizersStuck;

/// This many more objects must wait than at the first look.
/// Unit: objects.
const LEAST_WAITING: f64 = 100.0;

impl Rule for FinalizersStuck {
    fn id(&self) -> &'static str {
        "finalizers-stuck"
    }

    fn asks_what_is_in_use(&self) -> &'static [Status] {
        &[Status::Leak]
    }

    fn explains(&self) -> &'static [(&'static str, f64)] {
        &[
            ("native-malloc-growth", f64::INFINITY),
            ("unclosed-native-peer", f64::INFINITY),
            ("jni-library-leak", f64::INFINITY),
            ("heap-leak", f64::INFINITY),
            ("heap-full", f64::INFINITY),
        ]
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Option<Finding> {
        let looks = evidence.series(&Key::OwnersGarbage)?;
        let (first, last) = (looks.points().first()?, looks.points().last()?);
        let more = last.v - first.v;
        // Between the looks collections must have found them dead: what waits after that waits for
        // its finalizer.
        let found_dead =
            evidence.collections().cleaned.iter().filter(|t| **t > first.t && **t < last.t).count();
        if more < LEAST_WAITING || found_dead == 0 || 2.0 * more < last.v {
            return None;
        }
        let growth = rest_growth(evidence).filter(|growth| growth.kind == Kind::Lasting)?;
        let subject = Subject {
            what: "native memory of objects that wait to be finalized",
            meaning: "The Finalizer thread (or a Cleaner's) does not run them: it is blocked, or slower than they come.",
            source: "walk of the C heap, and the Java heap seen from outside",
        };
        let waits = format!(
            "{:.0} objects that own native memory are garbage, {more:.0} more than at the first look, across {found_dead} \
             collection{} that found what is dead",
            last.v,
            plural(found_dead)
        );
        let draft = Draft::of_growth(self.id(), evidence, domain(evidence.last()?), &growth, &subject)?
            .also(&format!("{waits}."))
            .saw(waits, "the Java heap seen from outside")
            .fix([
                "take the lock, the I/O or the wait out of the finalize() that the Finalizer thread is blocked in",
                "close() the objects (try-with-resources): then no finalizer thread is needed",
            ])
            .confirm([
                format!("jcmd {} Thread.print: what the thread \"Finalizer\" (and \"Common-Cleaner\") waits for", evidence.pid()),
                format!("jcmd {} GC.finalizer_info: what waits, by class", evidence.pid()),
            ]);
        Some(draft.finish())
    }
}

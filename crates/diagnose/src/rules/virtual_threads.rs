//! # Virtual threads are started and do not end
//!
//! ## Signature
//! References followed from outside show ever more virtual threads (JDK 21 and later) that wait, by
//! hundreds and as fast at the end of the window as at the start, and what is in use on the Java
//! heap rises with them.
//!
//! ## Why
//! A virtual thread costs no stack of the kernel's, so nothing stops a program from having a
//! million: a time-out that sleeps on after the call has ended, a loop that waits for a message
//! that never comes, `CompletableFuture.get()` without a limit. Each keeps its stack, as an object
//! on the Java heap, and all that its frames refer to: the request, the connection, its
//! `ThreadLocal`s. No dump of threads (`jcmd Thread.print`) shows them.
//!
//! ## Confirm
//! - `jcmd PID Thread.dump_to_file -format=json /tmp/threads.json`: what the virtual threads wait for, by stack.
//! - `jcmd PID GC.class_histogram | grep VirtualThread`, twice.
//!
//! ## Fix
//! - End them: cancel the time-out when the call ends (`Future.cancel(true)`, `Thread.interrupt`), or a structured scope
//!   (`StructuredTaskScope`, `ExecutorService.close()`) that no thread outlives.
//! - Waits with a limit; one scheduled task that looks after all time-outs instead of a thread each.
//!
//! ## Example
//! *In process 4711, what virtual threads keep on the Java heap grew steadily over 1 min (61
//! snapshots): 12.0 MiB → 98.2 MiB, +1.70 MiB/s… 2,100 → 11,800 virtual threads wait, and none
//! ends.*

use super::Rule;
use crate::draft::{Draft, Subject};
use crate::evidence::Evidence;
use crate::growth::Growth;
use crate::series::Key;
use crate::sites;
use crate::stats::theil_sen;
use offheap_model::{Domain, Finding, Frame};

/// See the page.
pub struct VirtualThreads;

/// This many more virtual threads must wait: servers have as many as they have requests under way.
/// Unit: threads.
const LEAST_THREADS: f64 = 500.0;
/// Those that came must be this share of all at the end, or they came by chance.
const NEW_SHARE: f64 = 0.3;
/// For how long virtual threads must have become more.
/// Chosen: nominal 30 s, less the slack of the snapshots at both ends.
const LEAST_S: f64 = 27.0;
/// How sure it is: each look is of one instant.
const CERTAINTY: f64 = 0.8;

impl Rule for VirtualThreads {
    fn id(&self) -> &'static str {
        "virtual-threads"
    }

    fn explains(&self) -> &'static [(&'static str, f64)] {
        &[("heap-leak", f64::INFINITY), ("heap-full", f64::INFINITY), ("gc-structures", f64::INFINITY)]
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Option<Finding> {
        let (threads, in_use) = (evidence.series(&Key::VirtualThreads)?, evidence.series(&Key::HeapInUse)?);
        let more = threads.last() - threads.first();
        let long = threads.points().last()?.t - threads.points().first()?.t >= LEAST_S;
        let rise = evidence.rises(threads) && evidence.rises(in_use);
        if !long || !rise || more < LEAST_THREADS.max(NEW_SHARE * threads.last()) {
            return None;
        }
        let slope = theil_sen(in_use.points(), 1.0);
        let growth = Growth::lasting(slope, in_use.first(), in_use.last(), CERTAINTY, String::new());
        let words = format!("{:.0} → {:.0} virtual threads wait", threads.first(), threads.last());
        let meaning = format!("With it virtual threads become more and none ends: {words}.");
        let source = &evidence.last()?.jvm.as_ref()?.heap.source;
        let subject = Subject { what: "what is in use on the Java heap", meaning: &meaning, source };
        let draft = Draft::of_growth(self.id(), evidence, Domain::JavaHeap, &growth, &subject)?
            .saw(words, "references followed from outside")
            .fix([
                "end virtual threads with what they are for: cancel a time-out when its call ends (Future.cancel(true), \
                 Thread.interrupt), or a scope that none outlives (ExecutorService.close())",
                "waits with a limit; one scheduled task for all time-outs instead of a virtual thread each",
            ])
            .confirm([format!(
                "jcmd {} Thread.dump_to_file -format=json /tmp/threads.json: what the virtual threads wait for",
                evidence.pid()
            )]);
        let mut finding = draft.finish();
        finding.site = sites::maker_of(evidence, starts_one).map(sites::site);
        Some(finding)
    }
}

/// Whether ever more virtual threads wait, so that it is worth to know who starts them.
pub fn virtual_threads_grow(evidence: &Evidence<'_>) -> bool {
    let looks = evidence.series(&Key::VirtualThreads);
    looks.is_some_and(|looks| looks.last() - looks.first() >= LEAST_THREADS.max(NEW_SHARE * looks.last()))
}

/// Whether a stack makes a virtual thread or what belongs to one.
fn starts_one(frames: &[Frame]) -> bool {
    let parts = ["VirtualThread", "jdk.internal.vm.Continuation"];
    frames.iter().any(|frame| parts.iter().any(|part| frame.name.contains(part)))
}

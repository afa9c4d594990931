//! # The Java heap is full of live objects
//!
//! Collections no longer make room: what survives them fills the heap. The program stands still for
//! ever more of the time, and ends with an `OutOfMemoryError`. The heap can't grow any more, so RSS
//! alone shows nothing.
//!
//! ## Signature
//! The old generation, or a heap without generations, has 95 % of what it may become in use right
//! after its last collection; or in each of many snapshots across collections nine tenths of the
//! heap are in use; or full collections take a fifth of the time and leave half of the heap in use.
//! A heap that is full is never called healthy, whether it is under load or idle. Whether what
//! fills it would stop by itself in a larger heap can't be seen in one that is full: so the status
//! is `does-not-fit`, and `leak` where live data was seen to grow.
//!
//! ## Why
//! Something reachable holds more than `-Xmx` has room for: sessions that live for long, a cache
//! that is bounded by number and not by bytes, a queue whose consumer is slower than its producer,
//! a leak that has reached its end. Or the live data is what the program needs, and `-Xmx` is too
//! small for it.
//!
//! ## Confirm
//! - `jcmd PID GC.class_histogram`: what is live, by class (a full collection).
//! - `jcmd PID GC.heap_dump /path/file.hprof`, opened in Eclipse MAT: the dominator tree says who holds it.
//! - The log (`-Xlog:gc`): `Pause Full` again and again, or `Allocation Stall` with ZGC.
//!
//! ## Fix
//! - Bound what holds the objects by bytes, or have it expire sooner.
//! - If all of it is needed: an `-Xmx` that the live data is two thirds of at most, and a limit that has room for that.
//! - `-XX:+HeapDumpOnOutOfMemoryError` and `-XX:+ExitOnOutOfMemoryError`: a dump and a restart are better than standing still.
//!
//! ## Example
//! *The Java heap of process 4711 is full of live objects: 510 MiB of at most 512 MiB were in use
//! right after a collection; 72 full collections took 51 s of 60 s…*

use super::Rule;
use crate::collections::Collections;
use crate::draft::Draft;
use crate::evidence::Evidence;
use crate::series::Key;
use offheap_model::{Domain, Finding, Jvm, Status, units};

/// See the page.
pub struct HeapFull;

/// Of what the old generation may become this share, in use right after a collection, leaves no
/// room.
const FULL: f64 = 0.95;
/// Where no figure right after a collection is known, this share of `-Xmx` in use in each of the
/// snapshots leaves no room.
const ALWAYS: f64 = 0.90;
/// Use in each of the snapshots counts if this many collections ran meanwhile.
const COLLECTIONS: usize = 3;
/// Full collections that take this share of the time are no way to live.
const TIME: f64 = 0.20;
/// Full collections count that leave this share of `-Xmx`: else somebody calls `System.gc()`.
const LEFT: f64 = 0.50;
/// Live data should be at most this share of `-Xmx`, for collections to be rare.
const COMFORT: f64 = 0.65;

/// How full the heap is, and what collecting costs.
pub(super) struct Pressure {
    /// In use right after a collection, or in each snapshot.
    left: f64,
    /// Of at most.
    room: f64,
    /// How `left` is known.
    when: &'static str,
    /// Full or old collections in the window.
    full: u64,
    /// Seconds that they took, where the JVM counts them.
    full_s: Option<f64>,
}

impl Rule for HeapFull {
    fn id(&self) -> &'static str {
        "heap-full"
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Option<Finding> {
        let jvm = evidence.last()?.jvm.as_ref()?;
        let pressure = pressure(evidence, jvm)?;
        let left = format!(
            "{} of at most {} ({:.1} %) were in use {}",
            units::bytes(pressure.left as u64),
            units::bytes(pressure.room as u64),
            100.0 * pressure.left / pressure.room,
            pressure.when
        );
        let idle = pressure.full == 0 && evidence.collections().any.is_empty();
        let cost = match pressure.full_s {
            _ if idle => "no collection ran in the window: the program is idle".to_owned(),
            _ if pressure.full == 0 => "collections ran in the window".to_owned(),
            Some(seconds) => format!(
                "{} full or old collections stopped it for {} of {}",
                pressure.full,
                units::duration(seconds),
                units::duration(evidence.seconds())
            ),
            None => format!("{} full or old collections ran in the window", pressure.full),
        };
        let room = if idle { "The" } else { "Collections make no room any more, the" };
        let needed = wanted(evidence, pressure.left, jvm);
        let draft = Draft::new(self.id(), Status::DoesNotFit, Domain::JavaHeap, certainty(&pressure))
            .summary(format!(
                "The Java heap of {} is full of live objects: {left}; {cost}. {room} heap can't grow any more, and the \
                 program ends with an OutOfMemoryError as soon as it needs more. {}. Source: {}.",
                evidence.who(),
                evidence.rss_words(),
                jvm.heap.source
            ))
            .saw(left, "the JVM's memory pools and heap counters")
            .saw(cost, "the JVM's counters")
            .fix([
                "bound by bytes, or expire sooner, what holds the objects".to_owned(),
                format!("if all of it is needed: -Xmx{}m, of which the live data is two thirds", needed >> 20),
                "until then -XX:+HeapDumpOnOutOfMemoryError -XX:+ExitOnOutOfMemoryError: a dump and a restart instead of \
                 standing still"
                    .to_owned(),
            ])
            .confirm([
                format!("jcmd {} GC.class_histogram: what is live, by class (a full collection)", evidence.pid()),
                format!(
                    "jcmd {} GC.heap_dump /tmp/heap.hprof, then Eclipse MAT: the dominator tree says who holds it",
                    evidence.pid()
                ),
            ]);
        Some(draft.finish())
    }
}

/// What the JVM's counters say of a heap that has no room; `None` where there is some.
pub(super) fn pressure(evidence: &Evidence<'_>, jvm: &Jvm) -> Option<Pressure> {
    let max = jvm.heap.max_bytes as f64;
    if max <= 0.0 {
        return None;
    }
    let (full, full_s) = collected(evidence);
    let old_max = jvm.heap.old_max_bytes.map_or(max, |bytes| (bytes as f64).min(max));
    let after = evidence.series(&Key::OldAfterGc).map_or(0.0, |series| series.last());
    // A G1 that has just emptied the old generation by mixed collections may show what it was
    // before them.
    let still = evidence.series(&Key::OldUsed).is_none_or(|old| old.last() >= 0.9 * after);
    let found = |left, room, when| Some(Pressure { left, room, when, full, full_s });
    if after >= FULL * old_max && still {
        return found(after, old_max, "right after a collection");
    }
    let least = least_used(evidence)?;
    if least >= ALWAYS * max && across(evidence) {
        return found(least, max, "at every moment of the window, across collections");
    }
    let long = full >= COLLECTIONS as u64 && full_s.is_some_and(|s| s >= TIME * evidence.seconds());
    if long && least >= LEFT * max {
        return found(least, max, "at every moment of the window, full collections included");
    }
    None
}

/// Full or old collections of the window, and the seconds they took.
fn collected(evidence: &Evidence<'_>) -> (u64, Option<f64>) {
    let jvms = || evidence.snapshots().iter().filter_map(|s| s.jvm.as_ref());
    let more = |pick: fn(&Jvm) -> Option<u64>| {
        let first = jvms().find_map(pick)?;
        Some(jvms().rev().find_map(pick)?.saturating_sub(first))
    };
    // One that is under way as the window begins or ends counts whole.
    let seconds = more(|jvm| jvm.gc_old_us).map(|us| (us as f64 / 1e6).min(evidence.seconds()));
    (more(|jvm| jvm.gc_old_count).unwrap_or(0), seconds)
}

/// The least that was in use, the odd reading in the midst of a collection left out.
fn least_used(evidence: &Evidence<'_>) -> Option<f64> {
    let mut used: Vec<f64> = evidence.series(&Key::HeapUsed)?.points().iter().map(|p| p.v).collect();
    used.sort_by(f64::total_cmp);
    used.get(used.len() / 20).copied()
}

/// Whether collections ran over a third of the window or more.
fn across(evidence: &Evidence<'_>) -> bool {
    let Some(used) = evidence.series(&Key::HeapUsed) else { return false };
    let outlived = Collections::outlived(used.points(), &evidence.collections().any);
    outlived.collections >= COLLECTIONS && outlived.span_s >= evidence.seconds() / 3.0
}

/// The `-Xmx` that what is live would be at ease in, whole MiB.
fn wanted(evidence: &Evidence<'_>, left: f64, jvm: &Jvm) -> u64 {
    let in_use = evidence.last_reach().map(|(_, reach)| reach.heap_in_use_bytes as f64);
    let live = in_use.unwrap_or(left).max(left.min(jvm.heap.max_bytes as f64));
    ((live / COMFORT) as u64 >> 20).saturating_add(1) << 20
}

/// How sure it is: surest where the time that collections take is known.
fn certainty(pressure: &Pressure) -> f64 {
    match pressure.full_s {
        Some(seconds) if seconds > 0.0 && pressure.full > 0 => 0.95,
        _ if pressure.full > 0 => 0.90,
        _ => 0.85,
    }
}

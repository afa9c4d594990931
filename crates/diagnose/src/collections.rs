//! When the garbage collector ran, and what that says about memory it frees.
//!
//! Direct buffers, the native peers of Java objects and mapped files are freed by a Cleaner once a
//! collection has found their owner dead. Between two collections such memory only grows, leaking
//! or not. So its growth is evidence only as far as it outlived collections.

use crate::stats::Point;
use offheap_model::{Jvm, Snapshot};

/// The collections of the window.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Collections {
    /// Whether the JVM says when it collects: by its counters, or by its heap use falling.
    pub known: bool,
    /// Seconds at which a snapshot first showed another collection of any kind.
    pub any: Vec<f64>,
    /// Of these, the ones that cleaned up in the old generation, G1's mixed collections among them.
    pub mixed: Vec<f64>,
    /// Of these, the ones that found what is dead in the whole heap: full ones, the end of a
    /// concurrent marking, every one of a collector without generations.
    pub old: Vec<f64>,
    /// Those, and the instants at which most direct buffers that had gathered went. The JDK and
    /// most programs make some and drop them, so they are the canary: what a Cleaner frees goes
    /// when they go.
    pub cleaned: Vec<f64>,
}

/// What collections did to a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outlived {
    /// How many there were.
    pub collections: usize,
    /// What had been gained before them, since the collection before or the window's begin.
    pub gained: f64,
    /// What they took away of it.
    pub freed: f64,
    /// Seconds between the first and the last, or 0.
    pub span_s: f64,
}

/// Cleaners run on a thread of their own: what a collection frees may go this much later.
const CLEANER_LAG_S: f64 = 4.0;
/// Fewer direct bytes that go tell nothing.
pub(crate) const LEAST_CANARY: u64 = 48 << 10;
/// Smaller falls of heap use are races of reading.
const LEAST_FALL: u64 = 1 << 20;

impl Collections {
    /// Reads them off the snapshots.
    pub fn of(snapshots: &[&Snapshot], times: &[f64]) -> Collections {
        let mut found = Collections::default();
        let direct =
            |s: &Snapshot| s.jvm.as_ref().and_then(|jvm| jvm.direct.as_ref()).map(|d| d.reserved_bytes);
        let fewest = snapshots.iter().filter_map(|s| direct(s)).min().unwrap_or(0);
        let mut before: Option<&Snapshot> = None;
        for (snapshot, &t) in snapshots.iter().zip(times) {
            if let Some((a, b)) = before.and_then(|s| s.jvm.as_ref()).zip(snapshot.jvm.as_ref()) {
                found.compare(a, b, t, fewest);
            }
            before = Some(*snapshot);
        }
        found
    }

    /// Notes what `b`, seen at `t`, tells of collections since `a`; `fewest` direct bytes were seen
    /// in the window.
    fn compare(&mut self, a: &Jvm, b: &Jvm, t: f64, fewest: u64) {
        let more = |a: Option<u64>, b: Option<u64>| a.zip(b).is_some_and(|(a, b)| b > a);
        // Only collections make the use of the heap fall; a tenth is more than any race of reading.
        let fell = |a: Option<u64>, b: Option<u64>| {
            a.zip(b).is_some_and(|(a, b)| b < a - a / 10 && a - b > LEAST_FALL)
        };
        let counted = b.gc_young_count.is_some() || b.gc_old_count.is_some();
        self.known |= counted || b.heap.used_bytes.is_some();
        // G1 counts the marking's pauses nowhere: what it shows is the old generation falling when
        // marking ends. A mixed collection, which counts as young, shows in the old pool's usage
        // after collection.
        let canary = a.direct.as_ref().zip(b.direct.as_ref()).is_some_and(|(a, b)| {
            let gone = a.reserved_bytes.saturating_sub(b.reserved_bytes);
            gone >= LEAST_CANARY && gone >= a.reserved_bytes.saturating_sub(fewest) / 2
        });
        let old_fell = |least: u64| {
            let gone = a.heap.old_used_bytes.zip(b.heap.old_used_bytes).map(|(a, b)| a.saturating_sub(b));
            gone.is_some_and(|gone| gone > least)
        };
        // Where buffers went as well, a small fall will do: only what knows what is dead in the old
        // generation frees both.
        let mut old = more(a.gc_old_count, b.gc_old_count)
            || fell(a.heap.old_used_bytes, b.heap.old_used_bytes)
            || canary && old_fell(LEAST_FALL);
        let after = (a.heap.old_after_gc_bytes, b.heap.old_after_gc_bytes);
        let mut any = old || more(a.gc_young_count, b.gc_young_count);
        if !counted {
            any |= fell(a.heap.used_bytes, b.heap.used_bytes);
        }
        if b.heap.old_used_bytes.is_none() && b.gc_old_count.is_none_or(|count| count == 0) {
            old = any;
        }
        let mixed = old || any && after.1.is_some() && after.0 != after.1;
        for (seen, list) in [
            (any, &mut self.any),
            (mixed, &mut self.mixed),
            (old, &mut self.old),
            (old || canary, &mut self.cleaned),
        ] {
            if seen {
                list.push(t);
            }
        }
    }

    /// What the collections at `events` (one of the lists) did to a series.
    pub fn outlived(points: &[Point], events: &[f64]) -> Outlived {
        let mut result = Outlived { collections: 0, gained: 0.0, freed: 0.0, span_s: 0.0 };
        let mut floor = points.first().map(|p| p.v);
        for (i, &event) in events.iter().enumerate() {
            let next = events.get(i + 1).copied().unwrap_or(f64::INFINITY);
            let split = points.partition_point(|p| p.t < event);
            let before =
                points.get(..split).unwrap_or_default().iter().rev().take(2).map(|p| p.v).reduce(f64::max);
            let after = points
                .get(split..)
                .unwrap_or_default()
                .iter()
                .enumerate()
                .take_while(|(n, p)| *n == 0 || p.t < next && p.t <= event + CLEANER_LAG_S)
                .map(|(_, p)| p.v)
                .reduce(f64::min);
            let (Some(before), Some(after), Some(last_floor)) = (before, after, floor) else { continue };
            result.collections += 1;
            result.gained += (before - last_floor).max(0.0);
            result.freed += (before - after).max(0.0);
            floor = Some(after);
        }
        if let (Some(first), Some(last)) = (events.first(), events.last()) {
            result.span_s = last - first;
        }
        result
    }
}

//! When the garbage collector ran, and what that says about memory it frees.
//!
//! Direct buffers, the native peers of Java objects and mapped files are freed by a Cleaner once a collection has found
//! their owner dead. Between two collections such memory only grows, leaking or not. So its growth is evidence only as far
//! as it outlived collections.

use crate::stats::Point;
use offheap_model::Snapshot;

/// The collections of the window.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Collections {
    /// Whether the JVM says when it collects: by its counters, or by its heap use falling.
    pub known: bool,
    /// Seconds at which a snapshot first showed another collection of any kind.
    pub any: Vec<f64>,
    /// Of these, old or full ones.
    pub old: Vec<f64>,
}

/// What collections did to a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outlived {
    /// How many there were.
    pub collections: usize,
    /// How many of them were old or full.
    pub old: usize,
    /// What had been gained before them, since the collection before or the window's begin.
    pub gained: f64,
    /// What they took away of it.
    pub freed: f64,
    /// Seconds between the first and the last, or 0.
    pub span_s: f64,
}

/// Cleaners run on a thread of their own: what a collection frees may go some seconds later.
const CLEANER_LAG_S: f64 = 4.0;

impl Collections {
    /// Reads them off the snapshots.
    pub fn of(snapshots: &[&Snapshot], times: &[f64]) -> Collections {
        let mut found = Collections::default();
        let mut before: Option<&Snapshot> = None;
        for (snapshot, &t) in snapshots.iter().zip(times) {
            if let Some((a, b)) = before.and_then(|s| s.jvm.as_ref()).zip(snapshot.jvm.as_ref()) {
                let more = |a: Option<u64>, b: Option<u64>| a.zip(b).is_some_and(|(a, b)| b > a);
                // G1's mixed collections, which clean up after marking, count as young; the old pool's own figure tells.
                let old = more(a.gc_old_count, b.gc_old_count)
                    || a.heap.old_after_gc_bytes != b.heap.old_after_gc_bytes
                        && b.heap.old_after_gc_bytes.is_some();
                let mut any = old || more(a.gc_young_count, b.gc_young_count);
                if b.gc_young_count.is_some() || b.gc_old_count.is_some() {
                    found.known = true;
                } else if let Some((a, b)) = a.heap.used_bytes.zip(b.heap.used_bytes) {
                    // Only collections make the use fall; a tenth is more than any race of reading.
                    found.known = true;
                    any = b < a - a / 10;
                }
                if any {
                    found.any.push(t);
                }
                if old {
                    found.old.push(t);
                }
            }
            before = Some(*snapshot);
        }
        found
    }

    /// What the collections did to a series; `only_old` looks at old and full ones alone.
    pub fn outlived(&self, points: &[Point], only_old: bool) -> Outlived {
        let events = if only_old { &self.old } else { &self.any };
        let mut result =
            Outlived { collections: 0, old: self.old.len(), gained: 0.0, freed: 0.0, span_s: 0.0 };
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

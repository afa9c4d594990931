//! The difference of two snapshots. Always later less earlier: a positive figure is growth.

use crate::{FigureKind, Snapshot, SnapshotFigure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A figure at two instants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Change {
    /// What it is a figure of.
    pub name: String,
    /// Bytes in the earlier snapshot; 0 where it was not there.
    pub before_bytes: u64,
    /// Bytes in the later snapshot; 0 where it is gone.
    pub after_bytes: u64,
    /// Later less earlier.
    pub delta_bytes: i64,
    /// How many in the earlier snapshot, where that makes sense (threads, chunks, mappings).
    pub before_count: Option<u64>,
    /// How many in the later snapshot.
    pub after_count: Option<u64>,
}

impl Change {
    fn new(name: String, before: Option<Amount>, after: Option<Amount>) -> Change {
        let (before_bytes, before_count) =
            before.unwrap_or((0, after.and_then(|(_, count)| count.map(|_| 0))));
        let (after_bytes, after_count) = after.unwrap_or((0, before_count.map(|_| 0)));
        Change {
            name,
            before_bytes,
            after_bytes,
            delta_bytes: after_bytes.wrapping_sub(before_bytes) as i64,
            before_count,
            after_count,
        }
    }

    /// True where nothing changed.
    pub fn is_nothing(&self) -> bool {
        self.delta_bytes == 0 && self.before_count == self.after_count
    }
}

/// The difference of two snapshots; each list holds what changed, the largest change first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct SnapshotDiff {
    /// When the earlier one was taken.
    pub before_ms: i64,
    /// When the later one was taken.
    pub after_ms: i64,
    /// Whether both are of one process (same pid and start).
    pub same_process: bool,
    /// The RSS.
    pub rss: Change,
    /// Domain by domain.
    pub domains: Vec<Change>,
    /// Arena by arena: resident bytes, live chunks.
    pub arenas: Vec<Change>,
    /// Thread pools: resident bytes, threads.
    pub threads: Vec<Change>,
    /// Files: resident bytes, mappings.
    pub files: Vec<Change>,
    /// Live malloc chunks by size.
    pub size_classes: Vec<Change>,
    /// NMT categories: malloc, arenas and committed memory together.
    pub nmt: Vec<Change>,
}

/// Bytes, and how many where that makes sense.
type Amount = (u64, Option<u64>);

/// Compares `before` with `after`. Snapshots given in the wrong order are compared as given: the
/// direction is the caller's.
pub fn diff(before: &Snapshot, after: &Snapshot) -> SnapshotDiff {
    let compare = |kind: FigureKind| changes(kind.of(before), kind.of(after));
    SnapshotDiff {
        before_ms: before.time_ms,
        after_ms: after.time_ms,
        same_process: (before.process.pid, before.process.start_ticks)
            == (after.process.pid, after.process.start_ticks),
        rss: Change::new(
            "RSS".to_owned(),
            Some((before.memory.rss_bytes, None)),
            Some((after.memory.rss_bytes, None)),
        ),
        domains: compare(FigureKind::Domain),
        arenas: compare(FigureKind::Arena),
        threads: compare(FigureKind::Threads),
        files: compare(FigureKind::File),
        size_classes: compare(FigureKind::SizeClass),
        nmt: compare(FigureKind::Nmt),
    }
}

fn changes(before: Vec<SnapshotFigure>, after: Vec<SnapshotFigure>) -> Vec<Change> {
    let mut joined: BTreeMap<String, (Option<Amount>, Option<Amount>)> = BTreeMap::new();
    for SnapshotFigure { name, bytes, count } in before {
        joined.entry(name).or_default().0 = Some((bytes, count));
    }
    for SnapshotFigure { name, bytes, count } in after {
        joined.entry(name).or_default().1 = Some((bytes, count));
    }
    let mut changes: Vec<Change> = joined
        .into_iter()
        .map(|(name, (before, after))| Change::new(name, before, after))
        .filter(|change| !change.is_nothing())
        .collect();
    changes.sort_by(|a, b| {
        b.delta_bytes.unsigned_abs().cmp(&a.delta_bytes.unsigned_abs()).then_with(|| a.name.cmp(&b.name))
    });
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Domain, DomainFigure, ThreadKind, ThreadPool};

    fn snapshot(malloc: u64, workers: u64) -> Snapshot {
        let mut snapshot = Snapshot::default();
        snapshot.memory.rss_bytes = malloc + 100;
        snapshot.domains.push(DomainFigure::resident(Domain::Malloc, malloc));
        if workers > 0 {
            snapshot.threads.push(ThreadPool {
                pool: "worker-*".to_owned(),
                kind: ThreadKind::Java,
                count: workers,
                reserved_bytes: 0,
                resident_bytes: workers * 10,
                huge_bytes: 0,
            });
        }
        snapshot
    }

    #[test]
    fn growth_is_positive_and_what_is_new_or_gone_counts_from_zero() {
        let difference = diff(&snapshot(1000, 0), &snapshot(5000, 3));
        assert_eq!(difference.rss.delta_bytes, 4000);
        assert_eq!(difference.domains[0].delta_bytes, 4000);
        let pool = &difference.threads[0];
        assert_eq!((pool.before_count, pool.after_count, pool.delta_bytes), (Some(0), Some(3), 30));
        let back = diff(&snapshot(5000, 3), &snapshot(1000, 0));
        assert_eq!((back.rss.delta_bytes, back.threads[0].after_count), (-4000, Some(0)));
        assert!(diff(&snapshot(1, 1), &snapshot(1, 1)).domains.is_empty());
    }
}

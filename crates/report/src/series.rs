//! Snapshots as series: one list of numbers a figure, all over the same instants.

use offheap_model::{Domain, FigureKind, Snapshot, ThreadKind};
use serde::Serialize;
use std::collections::HashMap;

/// More instants than this no screen can show.
const INSTANTS: usize = 900;
/// Pools that get a series of their own.
const POOLS: usize = 40;

/// Figures over time.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub(crate) struct Series {
    /// The first instant, milliseconds since the Unix epoch.
    begin_ms: i64,
    /// Each instant, milliseconds after the first.
    at: Vec<i64>,
    rss: Vec<u64>,
    /// The control group's limit; absent where it never had one.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<Vec<Option<u64>>>,
    /// Every domain that ever had anything, in the order of the contract.
    domains: Vec<Line>,
    /// Thread pools, those with most threads first.
    pools: Vec<Pool>,
    /// NMT's categories: malloc, arenas and committed memory together; empty where NMT is off.
    nmt: Vec<Line>,
}

#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
struct Line {
    name: String,
    bytes: Vec<u64>,
}

#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
struct Pool {
    name: String,
    kind: ThreadKind,
    count: Vec<u64>,
    bytes: Vec<u64>,
}

/// Of `snapshots` every n-th, so that no more than [`INSTANTS`] are left; the first and the last
/// always.
pub(crate) fn thin(snapshots: &[Snapshot]) -> Vec<&Snapshot> {
    let step = snapshots.len().div_ceil(INSTANTS).max(1);
    let last = snapshots.len().saturating_sub(1);
    let kept = |index: usize| index == 0 || (last - index).is_multiple_of(step);
    snapshots.iter().enumerate().filter(|(index, _)| kept(*index)).map(|(_, snapshot)| snapshot).collect()
}

impl Series {
    /// The series of `snapshots`, which are thin already.
    pub(crate) fn of(snapshots: &[&Snapshot]) -> Series {
        let begin_ms = snapshots.first().map_or(0, |snapshot| snapshot.time_ms);
        let limits: Vec<Option<u64>> = snapshots
            .iter()
            .map(|snapshot| snapshot.cgroup.as_ref().and_then(|cgroup| cgroup.limit_bytes))
            .collect();
        Series {
            begin_ms,
            at: snapshots.iter().map(|snapshot| snapshot.time_ms.saturating_sub(begin_ms)).collect(),
            rss: snapshots.iter().map(|snapshot| snapshot.memory.rss_bytes).collect(),
            limit: limits.iter().any(Option::is_some).then_some(limits),
            domains: Domain::ALL
                .into_iter()
                .map(|domain| Line {
                    name: domain.as_str().to_owned(),
                    bytes: snapshots.iter().map(|snapshot| snapshot.rss_of(domain)).collect(),
                })
                .filter(|line| line.bytes.iter().any(|bytes| *bytes > 0))
                .collect(),
            pools: pools(snapshots),
            nmt: nmt(snapshots),
        }
    }
}

fn pools(snapshots: &[&Snapshot]) -> Vec<Pool> {
    let mut by_name: HashMap<(&str, ThreadKind), Pool> = HashMap::new();
    for (index, snapshot) in snapshots.iter().enumerate() {
        for pool in &snapshot.threads {
            let line = by_name.entry((&pool.pool, pool.kind)).or_insert_with(|| Pool {
                name: pool.pool.clone(),
                kind: pool.kind,
                count: vec![0; snapshots.len()],
                bytes: vec![0; snapshots.len()],
            });
            add(&mut line.count, index, pool.count);
            add(&mut line.bytes, index, pool.resident_bytes);
        }
    }
    let most = |pool: &Pool| pool.count.iter().max().copied().unwrap_or(0);
    let mut pools: Vec<Pool> = by_name.into_values().collect();
    pools.sort_by(|a, b| most(b).cmp(&most(a)).then_with(|| a.name.cmp(&b.name)).then(a.kind.cmp(&b.kind)));
    pools.truncate(POOLS);
    pools
}

fn nmt(snapshots: &[&Snapshot]) -> Vec<Line> {
    let mut names: Vec<String> = Vec::new();
    let mut lines: HashMap<String, Vec<u64>> = HashMap::new();
    for (index, snapshot) in snapshots.iter().enumerate() {
        for category in FigureKind::Nmt.of(snapshot) {
            let line = lines.entry(category.name.clone()).or_insert_with(|| {
                names.push(category.name);
                vec![0; snapshots.len()]
            });
            add(line, index, category.bytes);
        }
    }
    let mut line = |name: String| lines.remove(&name).map(|bytes| Line { name, bytes });
    names.into_iter().filter_map(&mut line).collect()
}

fn add(line: &mut [u64], index: usize, more: u64) {
    if let Some(sum) = line.get_mut(index) {
        *sum = sum.saturating_add(more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use offheap_model::ThreadPool;

    #[test]
    fn the_first_and_the_last_stay_when_a_day_is_thinned() {
        let day: Vec<Snapshot> =
            (0..17_280).map(|i| Snapshot { time_ms: i * 5000, ..Snapshot::default() }).collect();
        let thin = thin(&day);
        assert!(thin.len() <= INSTANTS + 1 && thin.len() > INSTANTS / 2);
        assert_eq!((thin[0].time_ms, thin[thin.len() - 1].time_ms), (0, 17_279 * 5000));
        assert!(super::thin(&[]).is_empty());
    }

    #[test]
    fn a_pool_that_comes_later_is_zero_before() {
        let mut later = Snapshot { time_ms: 1000, ..Snapshot::default() };
        later.threads.push(ThreadPool {
            pool: "worker-*".to_owned(),
            kind: ThreadKind::Java,
            count: 3,
            reserved_bytes: 0,
            resident_bytes: 30,
            huge_bytes: 0,
        });
        let series = Series::of(&[&Snapshot::default(), &later]);
        assert_eq!((series.pools[0].count.as_slice(), series.at.as_slice()), (&[0, 3][..], &[0, 1000][..]));
        assert!(series.limit.is_none() && series.nmt.is_empty() && series.domains.is_empty());
    }
}

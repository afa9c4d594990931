//! The evidence: the snapshots of one process as named series, with what the rules ask of them.

use crate::collections::Collections;
use crate::series::{Key, Series, collect};
use crate::stats::{Point, Trend};
use offheap_model::{Domain, Handles, Profile, Reach, Snapshot, units};
use std::collections::BTreeMap;

/// A stretch of the window that the user named: "load test", "idle".
#[derive(Debug, Clone, PartialEq)]
pub struct Phase {
    /// The mark that began it.
    pub name: String,
    /// Seconds into the window.
    pub start: f64,
    /// Seconds into the window.
    pub end: f64,
}

/// Everything a rule may look at.
#[derive(Debug)]
pub struct Evidence<'a> {
    snapshots: Vec<&'a Snapshot>,
    times: Vec<f64>,
    profile: Option<&'a Profile>,
    phases: Vec<Phase>,
    series: BTreeMap<Key, Series>,
    collections: Collections,
}

/// Characters of a command line that a sentence can bear.
const MOST_COMMAND: usize = 120;
/// More snapshots than this are thinned: evenly, so that slopes stay.
const MAX_SNAPSHOTS: usize = 2_400;

impl<'a> Evidence<'a> {
    /// The evidence in `snapshots`, in any order. Where they show more than one process (a restart,
    /// several targets), only the one seen last counts.
    pub fn of(snapshots: &'a [Snapshot]) -> Evidence<'a> {
        let newest = snapshots.iter().max_by_key(|s| s.time_ms);
        let identity = newest.map(|s| (s.process.pid, s.process.start_ticks));
        let mut same: Vec<&Snapshot> =
            snapshots.iter().filter(|s| Some((s.process.pid, s.process.start_ticks)) == identity).collect();
        same.sort_by_key(|s| s.time_ms);
        same.dedup_by_key(|s| s.time_ms);
        let stride = same.len().div_ceil(MAX_SNAPSHOTS).max(1);
        // Counted from the end, so that the last one is always there.
        let offset = same.len().saturating_sub(1) % stride;
        let snapshots: Vec<&Snapshot> = same.into_iter().skip(offset).step_by(stride).collect();
        let begin = snapshots.first().map_or(0, |s| s.time_ms);
        let times: Vec<f64> =
            snapshots.iter().map(|s| s.time_ms.saturating_sub(begin) as f64 / 1000.0).collect();
        Evidence {
            series: collect(&snapshots, &times),
            collections: Collections::of(&snapshots, &times),
            snapshots,
            times,
            profile: None,
            phases: Vec::new(),
        }
    }

    /// Adds the sites of a profile taken in the window.
    #[must_use]
    pub fn with_profile(mut self, profile: &'a Profile) -> Self {
        self.profile = Some(profile);
        self
    }

    /// Adds marks, each a time in milliseconds since the Unix epoch and a text; each begins a phase
    /// that ends at the next.
    #[must_use]
    pub fn with_marks(mut self, marks: &[(i64, String)]) -> Self {
        let begin = self.snapshots.first().map_or(0, |s| s.time_ms);
        let mut marks: Vec<(f64, &String)> =
            marks.iter().map(|(ms, text)| (ms.saturating_sub(begin) as f64 / 1000.0, text)).collect();
        marks.sort_by(|a, b| a.0.total_cmp(&b.0));
        let ends = marks.iter().skip(1).map(|(t, _)| *t).chain([self.seconds()]);
        self.phases = marks
            .iter()
            .zip(ends)
            .map(|((t, text), end)| Phase {
                name: (*text).clone(),
                start: t.clamp(0.0, self.seconds()),
                end: end.clamp(0.0, self.seconds()),
            })
            .filter(|phase| phase.end > phase.start)
            .collect();
        self
    }

    /// The first snapshot of the window.
    pub fn first(&self) -> Option<&'a Snapshot> {
        self.snapshots.first().copied()
    }

    /// The last.
    pub fn last(&self) -> Option<&'a Snapshot> {
        self.snapshots.last().copied()
    }

    /// What was in use when that was looked at last, and how many seconds into the window that was.
    pub(crate) fn last_reach(&self) -> Option<(f64, &'a Reach)> {
        let looks = self.times.iter().zip(&self.snapshots).rev();
        looks.filter_map(|(&t, snapshot)| Some((t, snapshot.jvm.as_ref()?.reach.as_ref()?))).next()
    }

    /// What JNI code held when that was looked at last.
    pub(crate) fn last_handles(&self) -> Option<&'a Handles> {
        self.snapshots.iter().rev().find_map(|snapshot| snapshot.jvm.as_ref()?.handles.as_ref())
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.snapshots.len()
    }

    /// The snapshots, oldest first.
    pub fn snapshots(&self) -> &[&'a Snapshot] {
        &self.snapshots
    }

    /// The length of the window.
    pub fn seconds(&self) -> f64 {
        self.times.last().copied().unwrap_or(0.0)
    }

    /// The profile, where there is one.
    pub fn profile(&self) -> Option<&'a Profile> {
        self.profile
    }

    /// The phases that marks made.
    pub fn phases(&self) -> &[Phase] {
        &self.phases
    }

    /// The collections of the window.
    pub fn collections(&self) -> &Collections {
        &self.collections
    }

    /// A series by name.
    pub fn series(&self, key: &Key) -> Option<&Series> {
        self.series.get(key)
    }

    /// Every series.
    pub fn all_series(&self) -> impl Iterator<Item = (&Key, &Series)> {
        self.series.iter()
    }

    /// The trend of a series by name.
    pub fn trend(&self, key: &Key) -> Option<&Trend> {
        Some(self.series(key)?.trend())
    }

    /// Whether the process is a JVM.
    pub fn is_jvm(&self) -> bool {
        self.last().is_some_and(|s| s.jvm.is_some())
    }

    /// Its pid as the tool sees it.
    pub fn pid(&self) -> i32 {
        self.last().map_or(0, |s| s.process.pid)
    }

    /// Growth over the window that is worth a word: 3 MiB, or a four-hundredth of the RSS where
    /// that is more. What a JIT, a few late classes and the C library's own structures come to in a
    /// minute is less.
    pub fn material(&self) -> f64 {
        let rss = self.last().map_or(0, |s| s.memory.rss_bytes) as f64;
        (rss / 400.0).max(3.0 * 1024.0 * 1024.0)
    }

    /// Bytes per second that Java code allocates at least: the rises of the heap's use. `None`
    /// where use is unknown.
    pub fn allocation_rate(&self) -> Option<f64> {
        rise_rate(self.series(&Key::HeapUsed)?.points())
    }

    /// As [`Evidence::allocation_rate`], in the second half of the window: what the program does
    /// now.
    pub fn recent_allocation_rate(&self) -> Option<f64> {
        let points = self.series(&Key::HeapUsed)?.points();
        rise_rate(points.get(points.len() / 2..)?)
    }

    /// The share of what Java code allocates that ends in the old generation; `None` without
    /// generations or figures.
    pub fn promoted_share(&self) -> Option<f64> {
        let allocated = self.allocation_rate()? * self.seconds();
        let promoted = rises(self.series(&Key::OldUsed)?.points());
        (allocated > 0.0).then(|| promoted / allocated)
    }

    /// When the load stopped, seconds into the window: Java code allocates at less than a twentieth
    /// of its rate before, for at least a fifth of the window and ten seconds.
    pub fn idle_since(&self) -> Option<f64> {
        let points = self.series(&Key::HeapUsed)?.points();
        let end = points.last()?.t;
        let start = points.first()?.t;
        let mut rises_after = 0.0;
        let mut rises_before = rises(points);
        let mut since = None;
        for (a, b) in points.iter().zip(points.iter().skip(1)).rev() {
            let rise = (b.v - a.v).max(0.0);
            rises_after += rise;
            rises_before -= rise;
            let (before, after) = (a.t - start, end - a.t);
            if before <= 0.0 || after < 10f64.max(0.2 * (end - start)) {
                continue;
            }
            let rate_before = rises_before / before;
            if rate_before > 1e6 && rises_after / after < rate_before / 20.0 {
                since = Some(a.t);
            }
        }
        since
    }

    /// The process in words: ``process 4711 (`app.Main`, OpenJDK 17.0.15+6)``.
    pub fn who(&self) -> String {
        let Some(last) = self.last() else { return "the process".to_owned() };
        let process = &last.process;
        let main = last.jvm.as_ref().map(|jvm| jvm.main.as_str()).filter(|main| !main.is_empty());
        let command = match main {
            Some(main) => main,
            None if process.command.is_empty() => &process.name,
            None => &process.command,
        };
        let command: String = command.chars().take(MOST_COMMAND).collect();
        let runtime = match (&last.jvm, &last.python) {
            (Some(jvm), _) => {
                format!(", {} {}", if jvm.vendor.is_empty() { "JVM" } else { &jvm.vendor }, jvm.version)
            }
            (None, Some(python)) => format!(", Python {}", python.version),
            (None, None) => String::new(),
        };
        format!("process {} (`{}`{runtime})", process.pid, command.replace('`', "'").trim())
    }

    /// The window in words: `1 min (61 snapshots)`.
    pub fn window(&self) -> String {
        format!("{} ({} snapshots)", units::duration(self.seconds()), self.count())
    }

    /// The RSS in words: `RSS 412 MiB, +1.02 MiB/s`.
    pub fn rss_words(&self) -> String {
        let rss = self.last().map_or(0, |s| s.memory.rss_bytes);
        let slope = self.trend(&Key::Rss).map_or(0.0, |t| t.slope.per_s);
        format!("RSS {}, {}", units::bytes(rss), units::rate(slope))
    }

    /// Where the account says a domain's figure comes from.
    pub fn source(&self, domain: Domain) -> String {
        self.last()
            .and_then(|s| s.domains.iter().find(|f| f.domain == domain))
            .map_or_else(|| "the account".to_owned(), |f| f.source.clone())
    }
}

/// All rises, a second; `None` of less than two instants.
fn rise_rate(points: &[Point]) -> Option<f64> {
    let seconds = points.last()?.t - points.first()?.t;
    (seconds > 0.0).then(|| rises(points) / seconds)
}

/// The sum of all rises from point to point.
fn rises(points: &[Point]) -> f64 {
    points.iter().zip(points.iter().skip(1)).map(|(a, b)| (b.v - a.v).max(0.0)).sum()
}

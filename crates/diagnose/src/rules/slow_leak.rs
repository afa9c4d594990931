//! # A slow leak, certain by its own measure
//!
//! ## Signature
//! One allocation site grows in so straight a line that its 95 % interval is within a seventh of
//! its slope; nothing of what it allocated in the window was freed, in many blocks; in a JVM a
//! collection that finds what is dead came in between. What it comes to in the window may be far
//! too little to show in an RSS that moves by megabytes: it is judged by itself.
//!
//! Without a JVM the walk of the C heap shows the same of blocks of one size: a hundred and more
//! came in a window of nearly a minute, all along and as fast at the end as at the start, none ever
//! went, and they are most of what the C heap gained.
//!
//! ## Why
//! A leak of a few KiB a second is hundreds of MiB in a week. Whatever else the process does hides
//! it from RSS, from NMT and from the sum of the C heap, but not from the record of its own blocks.
//!
//! ## Confirm
//! - `offheap profile PID --for 10m`: the same site, ten times as large.
//!
//! ## Fix
//! - The site's: free what it allocates, or bound what keeps it.
//!
//! ## Example
//! *In process 4711, what parse_header allocates grew steadily over 3 min (181 snapshots): 10 KiB →
//! 1.35 MiB, +7.70 KiB/s (95 % between +7.66 KiB/s and +7.82 KiB/s)…*

use super::Rule;
use super::native_malloc_growth::rest_growth;
use crate::draft::{Draft, Subject};
use crate::evidence::Evidence;
use crate::growth::{Freed, Growth, Kind};
use crate::series::{Key, Series};
use crate::sites::{self, Origin};
use crate::stats::Slope;
use offheap_model::{Domain, Finding};

/// See the page.
pub struct SlowLeak;

/// Half the 95 % interval must be within this share of the slope.
const TIGHT: f64 = 1.0 / 7.0;
/// Less than this in the window is an accident.
const LEAST_BYTES: f64 = 192.0 * 1024.0;
/// Fewer blocks than these in the window are an accident.
const LEAST_BLOCKS: u64 = 100;
/// A shorter record than this tells nothing of a site.
const LEAST_S: f64 = 40.0;
/// Of what was allocated this share must be live.
const KEPT: f64 = 0.95;
/// Of what is live this share must be older than the window's tail.
const OLD: f64 = 0.3;
/// How sure it is of a site.
const CERTAINTY: f64 = 0.75;
/// How sure it is of blocks of one size.
const CERTAINTY_OF_SIZE: f64 = 0.65;
/// How many blocks of one size must have come.
/// Unit: blocks.
const LEAST_OF_SIZE: f64 = 100.0;
/// For how long blocks of one size must have come.
/// Unit: s.
const LEAST_S_OF_SIZE: f64 = 50.0;
/// How many times as much as blocks of one size the C heap may have gained: else they only take the
/// place of others.
const OF_THE_HEAP: std::ops::RangeInclusive<f64> = 0.5..=1.5;
/// Of blocks that are just in use, this many may be gone between two walks.
/// Unit: blocks.
const JUST_IN_USE: f64 = 2.0;
/// The parts of the window, each of which must have its share of the blocks that came.
const PARTS: usize = 6;
/// How many times its even share each part may have.
const SAME_SHARE: std::ops::RangeInclusive<f64> = 0.6..=1.4;

impl Rule for SlowLeak {
    fn id(&self) -> &'static str {
        "slow-leak"
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Option<Finding> {
        by_site(self.id(), evidence).or_else(|| by_size(self.id(), evidence))
    }
}

/// Blocks of one size, in a process without a JVM, that come one after the other and never go: the
/// size, and how they grow.
pub(crate) fn growing_size<'a>(evidence: &'a Evidence<'_>, least: f64) -> Option<(u64, &'a Series)> {
    let is_walked = evidence.last()?.malloc.as_ref().is_some_and(|malloc| malloc.walked && malloc.exact);
    if evidence.is_jvm() || !is_walked {
        return None;
    }
    let sizes = evidence.all_series().filter_map(|(key, series)| match key {
        Key::SizeClass(size) => Some((*size, series)),
        _ => None,
    });
    let heap = evidence.series(&Key::MallocLive)?;
    sizes
        .filter(|(size, series)| {
            let grown = series.last() - series.first();
            let of_heap = (heap.last() - heap.first()) / grown.max(1.0);
            grown >= least * *size as f64
                && OF_THE_HEAP.contains(&of_heap)
                && only_comes(series, *size as f64)
        })
        .max_by(|a, b| (a.1.last() - a.1.first()).total_cmp(&(b.1.last() - b.1.first())))
}

/// Whether blocks of `size` come all along the series, as many in each part of it, and none goes.
fn only_comes(series: &Series, size: f64) -> bool {
    let points = series.points();
    let falls = points.iter().zip(points.iter().skip(1)).map(|(a, b)| (a.v - b.v).max(0.0));
    if falls.fold(0.0, f64::max) > JUST_IN_USE * size {
        return false;
    }
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return false };
    let part = (last.t - first.t) / PARTS as f64;
    let mean = (last.v - first.v) / PARTS as f64;
    let at = |t: f64| series.at(t).unwrap_or(last.v);
    part > 0.0
        && (0..PARTS).all(|number| {
            let begin = first.t + number as f64 * part;
            let end = if number + 1 == PARTS { last.v } else { at(begin + part) };
            SAME_SHARE.contains(&((end - at(begin)) / mean))
        })
}

fn by_size(id: &str, evidence: &Evidence<'_>) -> Option<Finding> {
    // What is large enough to be seen in the sum is judged there.
    let seen = rest_growth(evidence).is_some_and(|growth| growth.kind != Kind::None);
    if seen || evidence.seconds() < LEAST_S_OF_SIZE {
        return None;
    }
    let (size, series) = growing_size(evidence, LEAST_OF_SIZE)?;
    let slope = series.trend().slope;
    let [low, high] = slope.ci95;
    if low <= 0.0 || high - low > 2.0 * TIGHT * slope.per_s {
        return None;
    }
    let why = "none of them was freed, and they come as fast at the end as at the start".to_owned();
    let growth = Growth::lasting(slope, series.first(), series.last(), CERTAINTY_OF_SIZE, why);
    let count = |bytes: f64| bytes / size as f64;
    let what = format!("the C heap's blocks of {size} bytes");
    let subject = Subject {
        what: &what,
        meaning: "They are too few to show in the RSS; a cache that fills as slowly would look the same, so watch for ten \
                  minutes where one is known.",
        source: "walk of the glibc heap",
    };
    let draft = Draft::of_growth(id, evidence, Domain::NativeMalloc, &growth, &subject)?
        .saw(
            format!(
                "blocks of {size} bytes: {:.0} → {:.0} (requests of {}–{} bytes)",
                count(growth.from),
                count(growth.to),
                size.saturating_sub(23),
                size.saturating_sub(8)
            ),
            "walk of the glibc heap",
        )
        .fix(["free what it allocates on every path, or bound what keeps it"])
        .confirm([format!(
            "offheap diagnose {} --for 10m: the same size, ten times as many",
            evidence.pid()
        )]);
    Some(draft.finish())
}

fn by_site(id: &str, evidence: &Evidence<'_>) -> Option<Finding> {
    let profile = evidence.profile().filter(|profile| profile.seconds >= LEAST_S)?;
    // What is large enough to be seen in the sum is judged there.
    if profile.sampling.is_probed()
        || rest_growth(evidence).is_some_and(|growth| growth.kind == Kind::Lasting)
    {
        return None;
    }
    if evidence.is_jvm() && !collected_since(evidence, evidence.seconds() - profile.seconds) {
        return None;
    }
    let origin = sites::owners(profile)
        .into_iter()
        .filter(|origin| {
            // What java.nio.Bits counts is judged by that.
            origin.domain == Domain::NativeMalloc
                || origin.domain == Domain::DirectMemory && !is_counted(evidence)
        })
        .filter(|origin| is_certain(origin, profile.seconds))
        .max_by(|a, b| a.sum.slope_bytes_per_s.total_cmp(&b.sum.slope_bytes_per_s))?;
    let sum = &origin.sum;
    let grown = sum.slope_bytes_per_s * profile.seconds;
    let slope = Slope { per_s: sum.slope_bytes_per_s, ci95: sum.slope_ci95 };
    let to = sum.live_bytes as f64;
    let why =
        "nothing of what it allocated in the window was freed, and it grows in a straight line".to_owned();
    let growth = Growth::lasting(slope, (to - grown).max(0.0), to, CERTAINTY, why);
    let what = format!("what {} allocates", origin.words());
    let subject = Subject {
        what: &what,
        meaning: "It is too slow to show in the RSS, and certain by its own blocks.",
        source: sites::LIVE_TABLE,
    };
    let draft = Draft::of_growth(id, evidence, origin.domain, &growth, &subject)?
        .saw(sites::age_words(&origin, false), sites::LIVE_TABLE)
        .fix(["free what it allocates on every path, or bound what keeps it"])
        .confirm([format!(
            "offheap profile {} --for 10m: the same site, ten times as large",
            evidence.pid()
        )]);
    let mut finding = draft.finish();
    finding.site = Some(sites::site(origin));
    Some(finding)
}

/// Whether growth of direct buffers is seen in their own count.
fn is_counted(evidence: &Evidence<'_>) -> bool {
    [Key::DirectReserved, Key::DirectHidden].iter().any(|key| {
        let growth = evidence.growth(key, Freed::ByCollector, evidence.material());
        growth.is_some_and(|growth| growth.kind != Kind::None)
    })
}

/// Whether a collection that finds what is dead came while sites were recorded, not just at their
/// begin.
fn collected_since(evidence: &Evidence<'_>, begin: f64) -> bool {
    let late = begin + (evidence.seconds() - begin) / 4.0;
    evidence.collections().cleaned.iter().any(|t| *t >= late)
}

fn is_certain(origin: &Origin<'_>, seconds: f64) -> bool {
    let sum = &origin.sum;
    let [low, high] = sum.slope_ci95;
    let slope = sum.slope_bytes_per_s;
    slope * seconds >= LEAST_BYTES
        && high - low <= 2.0 * TIGHT * slope
        && low > 0.0
        && sum.live_count >= LEAST_BLOCKS
        && sum.allocated_bytes > 0
        && sum.live_bytes as f64 >= KEPT * sum.allocated_bytes as f64
        && sum.leak_bytes as f64 >= OLD * sum.live_bytes as f64
}

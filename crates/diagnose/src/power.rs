//! What a healthy verdict is worth: the smallest leak that would have been seen, domain by domain,
//! and what was not looked at.

use crate::compare::figure;
use crate::evidence::Evidence;
use crate::rules::suspect_bytes;
use crate::series::Key;
use crate::stats::Shape;
use offheap_model::{Domain, Snapshot};
use serde::{Deserialize, Serialize};

/// The smallest leak of a domain that would have been seen in the window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Power {
    /// Which domain.
    pub domain: Domain,
    /// A leak as fast as this, or faster, would not have been called healthy in 95 of 100 windows
    /// like this one.
    pub smallest_leak_bytes_per_s: f64,
}

/// Growth must be this many standard errors above nothing to be told from noise (`Z_REAL` in
/// `stats`), and 1.64 more to be so in 95 of 100 windows.
/// Unit: standard errors.
const ERRORS: f64 = 4.0 + 1.64;
/// What grows must be worth a word (`Evidence::material`) in the part of the window that blocks and
/// tails leave.
const SEEN: f64 = 0.8;

/// The power of the window for each domain that has resident bytes; of nothing where it was too
/// short to judge.
pub fn power(evidence: &Evidence<'_>) -> Vec<Power> {
    let seconds = evidence.seconds();
    if evidence.trend(&Key::Rss).is_none_or(|trend| trend.shape == Shape::TooShort) || seconds <= 0.0 {
        return Vec::new();
    }
    let leaks = |domain: &Domain| {
        !matches!(domain, Domain::Libraries | Domain::Cds | Domain::Kernel | Domain::AllocatorRetention)
    };
    let mut all: Vec<Power> = Domain::ALL
        .into_iter()
        .filter(leaks)
        .filter(|domain| evidence.series(&Key::Domain(*domain)).is_some_and(|series| series.max() > 0.0))
        .filter_map(|domain| {
            let trend = evidence.trend(&judged_by(evidence, domain))?;
            // Of what grew and stopped the still end is what a leak would have shown in.
            let (slope, seen) = match trend.shape {
                Shape::Ended => (trend.lasting, (seconds - trend.tail_start).max(f64::MIN_POSITIVE)),
                _ => (trend.slope, seconds),
            };
            let mut least = (evidence.material() / (SEEN * seen))
                .max(ERRORS * slope.error())
                // Teeth hide what is lower than they are.
                .max(trend.drawdown / seconds);
            if domain == Domain::JavaHeap {
                let max = evidence.last()?.jvm.as_ref().map_or(0, |jvm| jvm.heap.max_bytes);
                least = least.max(suspect_bytes(evidence, max as f64) / seconds);
            }
            least.is_finite().then_some(Power { domain, smallest_leak_bytes_per_s: least })
        })
        .collect();
    all.sort_by(|a, b| b.smallest_leak_bytes_per_s.total_cmp(&a.smallest_leak_bytes_per_s));
    all
}

/// The series that a domain's rules judge by.
fn judged_by(evidence: &Evidence<'_>, domain: Domain) -> Key {
    match domain {
        Domain::JavaHeap if evidence.series(&Key::OldUsed).is_some() => Key::OldUsed,
        _ => figure(evidence, domain),
    }
}

/// What the window did not show, in words; each could hide a leak or explain a level.
pub fn not_looked_at(evidence: &Evidence<'_>) -> Vec<String> {
    let Some(last) = evidence.last() else { return Vec::new() };
    let mut missing = Vec::new();
    if !last.malloc.as_ref().is_some_and(|malloc| malloc.walked) {
        missing.push(
            "the inside of the C heap: its allocator can't be walked, so only resident bytes were judged"
                .to_owned(),
        );
    }
    missing.extend(java(evidence, last));
    if evidence.profile().is_none() {
        missing.push("which code allocates: no allocation sites were recorded".to_owned());
    }
    if last.cgroup.as_ref().is_some_and(|group| group.processes > 1) {
        missing.push("the other processes of the control group".to_owned());
    }
    if last.cgroup.is_none() {
        missing.push("the container: no control group was readable".to_owned());
    }
    missing.push("pages that are lazily freed (MADV_FREE): they count as resident".to_owned());
    missing
}

/// Of a JVM.
fn java(evidence: &Evidence<'_>, last: &Snapshot) -> Vec<String> {
    let mut missing = Vec::new();
    if last.jvm.is_none() {
        return missing;
    }
    if evidence.collections().old.is_empty() && evidence.last_reach().is_none() {
        missing.push(
            "which Java objects are in use: no collection of the whole heap ran and references were not followed".to_owned(),
        );
    }
    if evidence.series(&Key::HeapUsed).is_none() {
        missing.push("how much of the Java heap is in use: the JVM's counters were not readable".to_owned());
    }
    if evidence.allocation_rate().is_some_and(|rate| rate < IDLE) {
        missing.push(
            "the program under load: it hardly allocated, and what leaks per request does not leak at rest"
                .to_owned(),
        );
    }
    missing
}

/// A JVM that allocates less than this does no work to speak of.
/// Unit: bytes/s.
const IDLE: f64 = 16.0 * 1024.0;

//! # A slow leak, certain by its own measure
//!
//! ## Signature
//! One allocation site grows in so straight a line that its 95 % interval is within a seventh of
//! its slope; nothing of what it allocated in the window was freed, in many blocks; in a JVM a
//! collection that finds what is dead came in between. What it comes to in the window may be far
//! too little to show in an RSS that moves by megabytes: it is judged by itself.
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
use crate::growth::{Growth, Kind};
use crate::sites::{self, Origin};
use offheap_model::{Domain, Finding};

/// See the page.
pub struct SlowLeak;

/// Half the 95 % interval is within this share of the slope.
const TIGHT: f64 = 1.0 / 7.0;
/// Less than this in the window is an accident…
const LEAST_BYTES: f64 = 192.0 * 1024.0;
/// …and so are fewer blocks…
const LEAST_BLOCKS: u64 = 100;
/// …and a shorter record.
const LEAST_S: f64 = 40.0;
/// Of what was allocated this share is live.
const KEPT: f64 = 0.95;
/// Of what is live this share is older than the window's tail.
const OLD: f64 = 0.3;
/// How sure it is.
const CERTAINTY: f64 = 0.75;

impl Rule for SlowLeak {
    fn id(&self) -> &'static str {
        "slow-leak"
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Option<Finding> {
        let profile = evidence.profile().filter(|profile| profile.seconds >= LEAST_S)?;
        // What is large enough to be seen in the sum is judged there.
        if profile.sampling.interval_bytes == 0
            || rest_growth(evidence).is_some_and(|growth| growth.kind == Kind::Lasting)
        {
            return None;
        }
        if evidence.is_jvm() && !collected_since(evidence, evidence.seconds() - profile.seconds) {
            return None;
        }
        let origin = sites::owners(profile)
            .into_iter()
            .filter(|origin| matches!(origin.domain, Domain::NativeMalloc | Domain::DirectMemory))
            .filter(|origin| is_certain(origin, profile.seconds))
            .max_by(|a, b| a.sum.slope_bytes_per_s.total_cmp(&b.sum.slope_bytes_per_s))?;
        let sum = &origin.sum;
        let grown = sum.slope_bytes_per_s * profile.seconds;
        let growth = Growth {
            kind: Kind::Lasting,
            per_s: sum.slope_bytes_per_s,
            ci95: sum.slope_ci95,
            from: (sum.live_bytes as f64 - grown).max(0.0),
            to: sum.live_bytes as f64,
            certainty: CERTAINTY,
            why: "nothing of what it allocated in the window was freed, and it grows in a straight line"
                .to_owned(),
            next: String::new(),
        };
        let what = format!("what {} allocates", origin.words());
        let subject = Subject {
            what: &what,
            meaning: "It is too slow to show in the RSS, and certain by its own blocks.",
            source: sites::LIVE_TABLE,
        };
        let draft = Draft::of_growth(self.id(), evidence, origin.domain, &growth, &subject)?
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

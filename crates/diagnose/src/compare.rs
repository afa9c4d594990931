//! "Is it fixed?": a leak found before, looked for in a later window.

use crate::check::{Outcome, judge};
use crate::evidence::Evidence;
use crate::series::{Key, Series};
use crate::stats::normal_tail;
use crate::verdict::diagnose;
use offheap_model::{Domain, Finding, Status, units};
use serde::{Deserialize, Serialize};

/// The schema of [`Comparison`] in JSON.
pub const COMPARE_SCHEMA: &str = "offheap/compare/v1";

/// It is gone if less than this part of its rate is left: what remains under another load is not
/// the same finding.
const LEFT_AT_MOST: f64 = 0.1;

/// Whether a finding is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Fixed {
    /// Less than a tenth of the growth is left, with 95 % confidence.
    Gone,
    /// More than a tenth of it is left, with 95 % confidence, and lasts to the end of the window.
    Still,
    /// The window does not tell.
    Inconclusive,
    /// There was no leak before.
    NothingBefore,
}

/// A leak before and after.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Comparison {
    /// [`COMPARE_SCHEMA`].
    pub schema: String,
    /// Whether it is gone.
    pub fixed: Fixed,
    /// How sure that is.
    pub confidence: f64,
    /// The rule that found it before.
    pub cause: String,
    /// Where it grew; `None` where there was no leak.
    pub domain: Option<Domain>,
    /// Its growth before.
    pub before_bytes_per_s: f64,
    /// The growth of the same figure now.
    pub after_bytes_per_s: f64,
    /// Its 95 % interval.
    pub after_ci95: [f64; 2],
    /// One paragraph.
    pub summary: String,
}

impl Comparison {
    /// 0 gone, 1 still there, 3 inconclusive (also where there was nothing to compare with).
    pub fn exit_code(&self) -> u8 {
        match self.fixed {
            Fixed::Gone => 0,
            Fixed::Still => 1,
            Fixed::Inconclusive | Fixed::NothingBefore => 3,
        }
    }
}

/// Whether the leak that `before` shows is gone in `after`. Both must have had the same load: a
/// process that does nothing leaks nothing.
pub fn compare(before: &Evidence<'_>, after: &Evidence<'_>) -> Comparison {
    let finding = diagnose(before).verdict;
    let Some(domain) = finding.domain.filter(|_| finding.status == Status::Leak) else {
        return nothing(&finding);
    };
    let empty = Series::default();
    let key = figure(before, domain);
    let now = after.series(&key).or_else(|| after.series(&Key::Domain(domain)));
    // A domain that is not there at all has no growth.
    let absent = now.is_none() && after.count() > 0;
    let now = now.unwrap_or(&empty);
    let rate = finding.slope_bytes_per_s;
    let limit = LEFT_AT_MOST * rate;
    // Growth that would have come to less than is worth a word is none, however exactly it is
    // known.
    let line = judge(domain.as_str(), now, limit, (limit * after.seconds()).min(after.material() / 3.0));
    let fixed = match line.outcome {
        Outcome::Pass => Fixed::Gone,
        Outcome::Fail => Fixed::Still,
        Outcome::Inconclusive if absent => Fixed::Gone,
        Outcome::Inconclusive => Fixed::Inconclusive,
    };
    let [low, high] = line.slope_ci95;
    let error = (high - low) / 3.92;
    let confidence = match fixed {
        Fixed::Gone | Fixed::Still if error > 0.0 => {
            (1.0 - normal_tail((limit - line.slope_bytes_per_s).abs() / error)).min(0.98)
        }
        Fixed::Gone | Fixed::Still => 0.98,
        Fixed::Inconclusive | Fixed::NothingBefore => 0.5,
    };
    let was = format!(
        "Before, {domain} grew by {} (`{}`, {:.0} % sure)",
        units::rate(rate),
        finding.cause,
        finding.confidence * 100.0
    );
    let is = format!(
        "over {} of {} it grows by {} (95 % between {} and {})",
        after.window(),
        after.who(),
        units::rate(line.slope_bytes_per_s),
        units::rate(low),
        units::rate(high)
    );
    let words = match fixed {
        Fixed::Gone => format!("{was}; {is}. The finding is gone, if the load was the same."),
        Fixed::Still => format!("{was}; {is}. The finding is still there."),
        Fixed::Inconclusive | Fixed::NothingBefore => {
            format!("{was}; {is}. That does not tell yet whether it is gone: {}.", line.text)
        }
    };
    Comparison {
        schema: COMPARE_SCHEMA.to_owned(),
        fixed,
        confidence,
        cause: finding.cause,
        domain: Some(domain),
        before_bytes_per_s: rate,
        after_bytes_per_s: line.slope_bytes_per_s,
        after_ci95: line.slope_ci95,
        summary: words,
    }
}

fn nothing(finding: &Finding) -> Comparison {
    Comparison {
        schema: COMPARE_SCHEMA.to_owned(),
        fixed: Fixed::NothingBefore,
        confidence: 0.5,
        cause: finding.cause.clone(),
        domain: None,
        before_bytes_per_s: 0.0,
        after_bytes_per_s: 0.0,
        after_ci95: [0.0; 2],
        summary: format!(
            "What was recorded before shows no leak ({}: `{}`), so there is nothing that could be gone.",
            finding.status, finding.cause
        ),
    }
}

/// The figure that shows growth of a domain best: what is in use, not what is resident.
pub(crate) fn figure(evidence: &Evidence<'_>, domain: Domain) -> Key {
    let counted = match domain {
        Domain::DirectMemory => Key::DirectReserved,
        Domain::Malloc | Domain::NativeMalloc => Key::MallocRest,
        Domain::Metaspace => Key::Metaspace,
        Domain::Tmpfs => Key::CgroupTmpfs,
        _ => Key::Domain(domain),
    };
    if evidence.series(&counted).is_some() { counted } else { Key::Domain(domain) }
}

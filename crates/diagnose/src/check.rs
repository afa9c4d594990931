//! The gate for CI: judges the slope with its confidence, not one difference.

use crate::evidence::Evidence;
use crate::series::{Key, Series};
use crate::sites::{self, Origin};
use crate::stats::{Shape, Slope};
use offheap_model::{Domain, Profile, units};
use serde::{Deserialize, Serialize};

/// The schema of [`CheckResult`] in JSON.
pub const CHECK_SCHEMA: &str = "offheap/check/v1";

/// How a check ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Growth is below the limit, with 95 % confidence.
    Pass,
    /// Growth is above the limit, with 95 % confidence.
    Fail,
    /// The limit lies within the interval, or the window is too short.
    Inconclusive,
}

impl Outcome {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Pass => "pass",
            Outcome::Fail => "fail",
            Outcome::Inconclusive => "inconclusive",
        }
    }
}

/// One thing that was judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct CheckLine {
    /// A domain's word, `"rss-without-java-heap"`, or code: `"frame_new in libcodec.so, called by
    /// app.Codec.encode"`.
    pub subject: String,
    /// Resident bytes at the end; of code its live bytes.
    pub rss_bytes: u64,
    /// The slope that was judged: at the end of the window, a warm-up before it left out.
    pub slope_bytes_per_s: f64,
    /// Its 95 % interval.
    pub slope_ci95: [f64; 2],
    /// How it ends.
    pub outcome: Outcome,
    /// Why, in a sentence.
    pub text: String,
}

/// The result of `offheap check`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct CheckResult {
    /// [`CHECK_SCHEMA`].
    pub schema: String,
    /// The limit.
    pub max_growth_bytes_per_s: f64,
    /// The length of the window.
    pub seconds: f64,
    /// How many snapshots.
    pub snapshots: usize,
    /// The worst of the lines: any fail fails, else any inconclusive is.
    pub outcome: Outcome,
    /// What was judged.
    pub lines: Vec<CheckLine>,
}

impl CheckResult {
    /// The exit code of `offheap check`: 0 pass, 1 fail, 3 inconclusive.
    pub fn exit_code(&self) -> u8 {
        match self.outcome {
            Outcome::Pass => 0,
            Outcome::Fail => 1,
            Outcome::Inconclusive => 3,
        }
    }
}

/// Judges growth against `max_growth_bytes_per_s`: of each of `domains`, or, with none named, of
/// everything beside the Java heap (which is bounded by `-Xmx`).
///
/// Where the window begins with a warm-up that ends, what follows is judged. The interval is that
/// of the slope, widened for correlated snapshots: its lower end above the limit fails if growth
/// also lasts to the end of the window and is a third of [`Evidence::material`] or more, its upper
/// end at or below it passes.
pub fn check(evidence: &Evidence<'_>, max_growth_bytes_per_s: f64, domains: &[Domain]) -> CheckResult {
    // Less than this comes and goes in any process; it must have come together within the window.
    let least = evidence.material() / 3.0;
    let lines: Vec<CheckLine> = if domains.is_empty() {
        vec![judge("rss-without-java-heap", &beside_the_heap(evidence), max_growth_bytes_per_s, least)]
    } else {
        let empty = Series::default();
        let series = |domain: Domain| evidence.series(&Key::Domain(domain)).unwrap_or(&empty);
        domains
            .iter()
            .map(|&domain| judge(domain.as_str(), series(domain), max_growth_bytes_per_s, least))
            .collect()
    };
    CheckResult {
        schema: CHECK_SCHEMA.to_owned(),
        max_growth_bytes_per_s,
        seconds: evidence.seconds(),
        snapshots: evidence.count(),
        outcome: worst(&lines),
        lines,
    }
}

impl CheckResult {
    /// Judges the profile's code as well: each method or function that keeps memory against `limit`
    /// bytes per second, save those with a frame whose name contains one of `allowed`. Code that
    /// holds still makes no line.
    #[must_use]
    pub fn with_sites(mut self, profile: &Profile, limit: f64, allowed: &[String]) -> CheckResult {
        let is_allowed = |origin: &Origin<'_>| {
            allowed.iter().any(|part| origin.frames.iter().any(|frame| frame.name.contains(part.as_str())))
        };
        let mut origins = sites::owners(profile);
        origins.retain(|origin| origin.sum.slope_bytes_per_s > limit && !is_allowed(origin));
        origins.sort_by(|a, b| b.sum.slope_bytes_per_s.total_cmp(&a.sum.slope_bytes_per_s));
        self.lines.extend(origins.iter().take(MOST_SITES).map(|origin| site_line(origin, limit)));
        self.outcome = worst(&self.lines);
        self
    }
}

/// More lines of code than these help nobody.
const MOST_SITES: usize = 50;

fn site_line(origin: &Origin<'_>, limit: f64) -> CheckLine {
    let sum = &origin.sum;
    let [low, high] = sum.slope_ci95;
    let surely = low > limit;
    let interval = format!(
        "{} (95 % between {} and {})",
        units::rate(sum.slope_bytes_per_s),
        units::rate(low),
        units::rate(high)
    );
    CheckLine {
        subject: origin.words(),
        rss_bytes: sum.live_bytes,
        slope_bytes_per_s: sum.slope_bytes_per_s,
        slope_ci95: sum.slope_ci95,
        outcome: if surely { Outcome::Fail } else { Outcome::Inconclusive },
        text: if surely {
            format!(
                "what is allocated by {} grows by {interval}: more than {}",
                origin.words(),
                units::rate(limit)
            )
        } else {
            format!(
                "what is allocated by {} grows by {interval}: whether that is more than {} needs a longer window",
                origin.words(),
                units::rate(limit)
            )
        },
    }
}

/// Any fail fails, else any inconclusive is.
fn worst(lines: &[CheckLine]) -> Outcome {
    let any = |outcome: Outcome| lines.iter().any(|line| line.outcome == outcome);
    if any(Outcome::Fail) {
        Outcome::Fail
    } else if any(Outcome::Inconclusive) {
        Outcome::Inconclusive
    } else {
        Outcome::Pass
    }
}

fn beside_the_heap(evidence: &Evidence<'_>) -> Series {
    let (Some(rss), Some(heap)) =
        (evidence.series(&Key::Rss), evidence.series(&Key::Domain(Domain::JavaHeap)))
    else {
        return Series::default();
    };
    // `without` keeps the other's first value in; only slopes are judged.
    rss.without(heap, 1.0)
}

/// Judges one series against `limit` bytes per second; growth of less than `least` bytes over the
/// window never fails.
pub(crate) fn judge(subject: &str, series: &Series, limit: f64, least: f64) -> CheckLine {
    let trend = series.trend();
    let slope: Slope = match trend.shape {
        Shape::Steady | Shape::RisingFloor | Shape::Ended => trend.lasting,
        _ => trend.slope,
    };
    let [low, high] = slope.ci95;
    let judged = if !(low.is_finite() && high.is_finite()) || trend.shape == Shape::TooShort {
        None
    } else if low > limit && trend.lasts() && trend.growth() >= least {
        Some(Outcome::Fail)
    } else if high <= limit {
        Some(Outcome::Pass)
    } else {
        None
    };
    let interval =
        format!("{} (95 % between {} and {})", units::rate(slope.per_s), units::rate(low), units::rate(high));
    let limit_words = units::rate(limit);
    let text = match judged {
        Some(Outcome::Fail) => format!("{subject} grows by {interval}: more than {limit_words}"),
        Some(_) => format!("{subject} grows by {interval}: not more than {limit_words}"),
        None if trend.shape == Shape::TooShort => format!(
            "{subject} was watched for {} only: watch for at least a minute",
            units::duration(trend.seconds)
        ),
        None => format!(
            "{subject} grows by {interval}: whether that is more than {limit_words} needs a longer window, about {}",
            units::duration(time_to_decide(trend.seconds, slope, limit))
        ),
    };
    CheckLine {
        subject: subject.to_owned(),
        rss_bytes: series.last().max(0.0) as u64,
        slope_bytes_per_s: if slope.per_s.is_finite() { slope.per_s } else { 0.0 },
        slope_ci95: [low, high].map(|v| if v.is_finite() { v } else { 0.0 }),
        outcome: judged.unwrap_or(Outcome::Inconclusive),
        text,
    }
}

/// An interval shrinks with the window to the power of 3/2: how long until it is half as wide as
/// the slope's distance from the limit. At least twice, at most a hundred times the present window.
fn time_to_decide(seconds: f64, slope: Slope, limit: f64) -> f64 {
    let half_width = (slope.ci95[1] - slope.ci95[0]) / 2.0;
    let distance = (slope.per_s - limit).abs().max(1e-9);
    let factor = (2.0 * half_width / distance).powf(2.0 / 3.0);
    seconds.max(15.0) * factor.clamp(2.0, 100.0)
}

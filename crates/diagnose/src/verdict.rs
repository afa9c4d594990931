//! The verdict: the finding that explains the growth best.

use crate::bounded;
use crate::causes;
use crate::draft::{Draft, sentence};
use crate::evidence::Evidence;
use crate::headline;
use crate::holder;
use crate::level::Level;
use crate::local_references;
use crate::outlook::Outlook;
use crate::power::{Power, not_looked_at, power};
use crate::python_types;
use crate::rules;
use crate::series::Key;
use crate::sites;
use crate::stats::{Shape, Trend};
use offheap_model::{Domain, Evidence as Observation, Finding, Next, Status, units};
use serde::{Deserialize, Serialize};

/// The schema of [`Diagnosis`] in JSON.
pub const SCHEMA: &str = "offheap/diagnose/v1";

/// What `offheap diagnose` says; serialised, it is the verb's JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Diagnosis {
    /// [`SCHEMA`].
    pub schema: String,
    /// Whose memory it is.
    pub target: Target,
    /// What was watched.
    pub window: Window,
    /// The process as a whole.
    pub rss: RssTrend,
    /// Each domain that has resident bytes, fastest growing first.
    pub domains: Vec<DomainTrend>,
    /// The finding that explains the growth best, or that nothing is wrong, or that more is needed.
    pub verdict: Finding,
    /// Everything that was found, best first.
    pub findings: Vec<Finding>,
    /// What would make an inconclusive verdict certain.
    #[serde(default)]
    pub next: Option<Next>,
    /// Why the process is as large as it is: what could be given back.
    #[serde(default)]
    pub level: Level,
    /// Whether it will fit: what may still grow, against the limit.
    #[serde(default)]
    pub outlook: Outlook,
    /// The smallest leak of each domain that would have been seen.
    #[serde(default)]
    pub power: Vec<Power>,
    /// What the window did not show.
    #[serde(default)]
    pub not_looked_at: Vec<String>,
}

/// Whose memory it is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Target {
    /// Process id.
    pub pid: i32,
    /// Command line.
    pub command: String,
    /// The JVM in it.
    pub jvm: Option<Runtime>,
    /// The CPython interpreter in it.
    pub python: Option<Runtime>,
}

/// A runtime's name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Runtime {
    /// Its maker.
    pub vendor: String,
    /// Its version.
    pub version: String,
}

/// What was watched.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Window {
    /// Its begin, milliseconds since the Unix epoch.
    pub start: i64,
    /// Its length.
    pub seconds: f64,
    /// How many snapshots.
    pub snapshots: usize,
}

/// The growth of the process as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct RssTrend {
    /// At the first snapshot.
    pub start_bytes: u64,
    /// At the last.
    pub end_bytes: u64,
    /// Theil–Sen slope over the window.
    pub slope_bytes_per_s: f64,
    /// Its 95 % interval.
    pub slope_ci95: [f64; 2],
}

/// The growth of one domain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct DomainTrend {
    /// Which.
    pub domain: Domain,
    /// At the last snapshot.
    pub rss_bytes: u64,
    /// Theil–Sen slope over the window.
    pub slope_bytes_per_s: f64,
    /// Its 95 % interval.
    pub slope_ci95: [f64; 2],
    /// Where the figure comes from.
    pub source: String,
}

impl Diagnosis {
    /// The exit code of `offheap diagnose`: 0 no leak, 1 leak, 3 inconclusive, 4 does not fit.
    pub fn exit_code(&self) -> u8 {
        match self.verdict.status {
            Status::Leak => 1,
            Status::Inconclusive => 3,
            Status::DoesNotFit => 4,
            Status::Retention | Status::Healthy => 0,
        }
    }
}

/// The rule that speaks of a heap without room: it harms now, whatever else is open.
const HEAP_FULL: &str = "heap-full";
/// The rule that speaks of a group that is full of page cache.
const PAGE_CACHE: &str = "cgroup-page-cache";
/// The verdict of a window that is too short to judge.
const TOO_SHORT: &str = "window-too-short";
/// Domains with a bound, of which rules of their own speak.
const BOUNDED: [Domain; 3] = [Domain::JavaHeap, Domain::AllocatorRetention, Domain::CodeCache];
/// Domains of files: what of them is resident is the kernel's choice.
const OF_FILES: [Domain; 4] = [Domain::Libraries, Domain::Cds, Domain::MappedFiles, Domain::Kernel];
/// A slope this many standard errors above nothing is certain (`Z_REAL` in `stats`).
/// Unit: standard errors.
const Z_CERTAIN: f64 = 4.0;
/// A fall of this share of all that a domain moved by is worth a word.
const COMES_AND_GOES: f64 = 0.5;
/// What has gained at most this share of its growth in the last third of the window has stopped.
const STILL: f64 = 0.1;
/// A leak below this confidence is only suspected.
const SURE_ENOUGH: f64 = 0.6;

/// Whether the code and the classes behind a finding matter: what does not fit by its configuration
/// needs neither, nor does a window in which nothing could show yet.
pub fn needs_code(finding: &Finding) -> bool {
    let is_open = matches!(finding.status, Status::Leak | Status::Inconclusive);
    is_open && finding.cause != TOO_SHORT || finding.cause == HEAP_FULL
}

/// Judges the evidence.
pub fn diagnose(evidence: &Evidence<'_>) -> Diagnosis {
    let mut findings: Vec<Finding> = rules::judge(evidence);
    for finding in &mut findings {
        sites::attach(finding, evidence);
        holder::attach(finding, evidence);
        local_references::attach(finding, evidence);
        python_types::attach(finding, evidence);
        bounded::take_back(finding);
        if finding.status == Status::Leak && finding.confidence < SURE_ENOUGH {
            finding.status = Status::Inconclusive;
        }
    }
    let heap_weight = heap_weight(&findings);
    let explained = |finding: &Finding| explained(finding, heap_weight);
    // A stable sort: among equals the order of the rules decides.
    findings.sort_by(|a, b| rank(a).cmp(&rank(b)).then(explained(b).total_cmp(&explained(a))));
    causes::link(&mut findings);
    if findings.first().is_some_and(|finding| finding.status == Status::Leak) {
        // The root first, then what follows from it, as it was sorted.
        let root = causes::root(&findings, 0);
        if let Some(upto) = findings.get_mut(..=root) {
            upto.rotate_right(1);
        }
    }
    let mut verdict = verdict(evidence, &findings);
    let outlook = Outlook::of(evidence, None).with_kill(evidence, &verdict);
    headline::put(&mut verdict, evidence, &outlook);
    phases(evidence, &mut verdict);
    let last = evidence.last();
    let runtime =
        |vendor: &str, version: &str| Runtime { vendor: vendor.to_owned(), version: version.to_owned() };
    let rss = evidence.trend(&Key::Rss).map(|trend| trend.slope.finite()).unwrap_or_default();
    Diagnosis {
        schema: SCHEMA.to_owned(),
        target: last.map_or_else(Target::default, |s| Target {
            pid: s.process.pid,
            command: s.process.command.clone(),
            jvm: s.jvm.as_ref().map(|jvm| runtime(&jvm.vendor, &jvm.version)),
            python: s.python.as_ref().map(|python| runtime("CPython", &python.version)),
        }),
        window: Window {
            start: evidence.first().map_or(0, |s| s.time_ms),
            seconds: evidence.seconds(),
            snapshots: evidence.count(),
        },
        rss: RssTrend {
            start_bytes: evidence.first().map_or(0, |s| s.memory.rss_bytes),
            end_bytes: last.map_or(0, |s| s.memory.rss_bytes),
            slope_bytes_per_s: rss.per_s,
            slope_ci95: rss.ci95,
        },
        domains: domains(evidence),
        next: next(evidence, &verdict),
        level: Level::of(evidence),
        outlook,
        power: power(evidence),
        not_looked_at: not_looked_at(evidence),
        verdict,
        findings,
    }
}

fn next(evidence: &Evidence<'_>, verdict: &Finding) -> Option<Next> {
    if verdict.status != Status::Inconclusive {
        return None;
    }
    let longer = Next::Watch { seconds: (3.0 * evidence.seconds()).max(60.0) };
    Some(verdict.next.unwrap_or(longer))
}

/// The order of findings: what harms now, what is open, what may come to harm, what could be given
/// back.
fn rank(finding: &Finding) -> u8 {
    match finding.status {
        Status::Leak => 0,
        Status::DoesNotFit if finding.cause == HEAP_FULL => 1,
        Status::Inconclusive => 2,
        Status::DoesNotFit => 3,
        Status::Retention => 4,
        Status::Healthy => 5,
    }
}

/// How much growth a finding explains, for the order.
fn explained(finding: &Finding, heap_weight: f64) -> f64 {
    let weight = if finding.domain == Some(Domain::JavaHeap) { heap_weight } else { 1.0 };
    weight * finding.slope_bytes_per_s
}

/// What a byte on the Java heap weighs against one beside it. Objects hold what leaks beside the
/// heap (buffers, peers, classes), so a heap leak often comes with another: the heap is bounded by
/// -Xmx and the other is not, so the other comes first unless it is small beside. Class loaders
/// that leak hold far more objects than metaspace, so where they do, the heap's growth is theirs.
fn heap_weight(findings: &[Finding]) -> f64 {
    let loaders_leak =
        findings.iter().any(|f| f.status == Status::Leak && f.domain == Some(Domain::Metaspace));
    if loaders_leak { 0.02 } else { 0.2 }
}

fn domains(evidence: &Evidence<'_>) -> Vec<DomainTrend> {
    let mut domains: Vec<DomainTrend> = Domain::ALL
        .into_iter()
        .filter_map(|domain| {
            let series = evidence.series(&Key::Domain(domain))?;
            let slope = series.trend().slope.finite();
            (series.max() > 0.0).then(|| DomainTrend {
                domain,
                rss_bytes: series.last() as u64,
                slope_bytes_per_s: slope.per_s,
                slope_ci95: slope.ci95,
                source: evidence.source(domain),
            })
        })
        .collect();
    domains.sort_by(|a, b| b.slope_bytes_per_s.total_cmp(&a.slope_bytes_per_s));
    domains
}

fn verdict(evidence: &Evidence<'_>, findings: &[Finding]) -> Finding {
    let best = |status: Status| findings.iter().find(|finding| finding.status == status);
    // Sorted: the first of a status explains most growth.
    if let Some(leak) = best(Status::Leak) {
        return leak.clone();
    }
    let Some(rss) = evidence.trend(&Key::Rss).filter(|trend| trend.shape != Shape::TooShort) else {
        return too_short(evidence);
    };
    if let Some(full) = findings.iter().find(|finding| finding.cause == HEAP_FULL) {
        return full.clone();
    }
    if let Some(open) = best(Status::Inconclusive) {
        return open.clone();
    }
    if let Some(open) = unexplained(evidence, rss, findings) {
        return open;
    }
    if let Some(misfit) = best(Status::DoesNotFit) {
        return misfit.clone();
    }
    if let Some(retention) = best(Status::Retention) {
        return retention.clone();
    }
    if let Some(open) = grows_unevenly(evidence, findings) {
        return open;
    }
    let grew = rss.growth() >= evidence.material();
    let explains = |finding: &&Finding| finding.slope_bytes_per_s * 2.0 >= rss.slope.per_s;
    match best(Status::Healthy).filter(|_| grew).filter(explains) {
        Some(healthy) => healthy.clone(),
        // Whoever asks because the group is full wants to hear of that.
        None => match findings.iter().find(|finding| finding.cause == PAGE_CACHE) {
            Some(cache) => cache.clone(),
            None => no_growth(evidence, rss),
        },
    }
}

/// RSS grows to the end of the window and neither the findings nor memory that is bounded or free
/// account for half of it: the domain that grows fastest.
fn unexplained(evidence: &Evidence<'_>, rss: &Trend, findings: &[Finding]) -> Option<Finding> {
    if !rss.lasts() || rss.lasting.per_s * (rss.seconds - rss.tail_start) < evidence.material() {
        return None;
    }
    let slope = |domain| evidence.trend(&Key::Domain(domain)).map_or(0.0, |t| t.slope.per_s);
    let explained: f64 = BOUNDED.into_iter().map(|domain| slope(domain).max(0.0)).sum::<f64>()
        + findings
            .iter()
            .filter(|f| f.domain.is_none_or(|domain| !BOUNDED.contains(&domain)))
            .map(|f| f.slope_bytes_per_s.max(0.0))
            .sum::<f64>();
    if 2.0 * explained >= rss.lasting.per_s {
        return None;
    }
    let others = Domain::ALL.into_iter().filter(|d| !BOUNDED.contains(d));
    let domain = others.max_by(|a, b| slope(*a).total_cmp(&slope(*b)))?;
    let per_s = evidence.trend(&Key::Domain(domain)).unwrap_or(rss).slope.per_s;
    let what = format!(
        "The RSS of {} grew to the end of the window, {} over {}, but no single cause accounts for most of it; {domain} \
         grows fastest ({}). A longer window would tell: {} more.",
        evidence.who(),
        units::rate(rss.lasting.per_s),
        evidence.window(),
        units::rate(per_s),
        units::duration(2.0 * evidence.seconds())
    );
    Some(open_growth(evidence, domain, per_s, &what))
}

/// The domain that grows most of those that grew for certain, not in a way that tells a leak, and
/// that nothing found speaks of: whoever says "healthy" must have an answer to it.
fn grows_unevenly(evidence: &Evidence<'_>, findings: &[Finding]) -> Option<Finding> {
    let may_leak = |domain: &Domain| !BOUNDED.contains(domain) && !OF_FILES.contains(domain);
    let is_open = |domain: &Domain| !findings.iter().any(|finding| finding.domain == Some(*domain));
    let growth = |domain: Domain| {
        let trend = evidence.trend(&Key::Domain(domain))?;
        let goes_on = trend.shape != Shape::Ended && trend.ending_per_s > 0.0;
        let certain =
            trend.slope.z() > Z_CERTAIN && trend.slope.ci95[0] * trend.seconds >= evidence.material();
        (goes_on && certain).then_some((domain, trend.slope))
    };
    let open = Domain::ALL.into_iter().filter(may_leak).filter(is_open).filter_map(growth);
    let (domain, slope) = open.max_by(|a, b| a.1.per_s.total_cmp(&b.1.per_s))?;
    let what = format!(
        "{domain} of {} grew for certain, {} over {} (95 % between {} and {}), but not evenly enough to tell a leak from \
         what fills. A window of {} would tell.",
        evidence.who(),
        units::rate(slope.per_s),
        evidence.window(),
        units::rate(slope.ci95[0]),
        units::rate(slope.ci95[1]),
        units::duration(longer(evidence))
    );
    Some(open_growth(evidence, domain, slope.per_s, &what))
}

/// Growth of `domain` that no rule speaks of, told by `what`, with its code where that is known.
fn open_growth(evidence: &Evidence<'_>, domain: Domain, per_s: f64, what: &str) -> Finding {
    let mut finding = Draft::new("unexplained-growth", Status::Inconclusive, domain, 0.5)
        .slope(per_s)
        .summary(format!("{what} Source: {}.", evidence.source(domain)))
        .confirm([format!("offheap diagnose {} --for {:.0}s", evidence.pid(), longer(evidence))])
        .finish();
    sites::attach(&mut finding, evidence);
    finding
}

/// How many seconds of window would tell what this one leaves open.
fn longer(evidence: &Evidence<'_>) -> f64 {
    3.0 * evidence.seconds().max(20.0)
}

fn too_short(evidence: &Evidence<'_>) -> Finding {
    let mut finding = Draft::new(TOO_SHORT, Status::Inconclusive, Domain::Unattributed, 0.9)
        .summary(format!(
            "{} was watched for {} only: growth can't be told from noise in less than 15 s and 10 snapshots, and is \
             commonly certain after a minute. {}.",
            sentence(&evidence.who()),
            evidence.window(),
            evidence.rss_words()
        ))
        .confirm([format!("offheap diagnose {} --for 60s", evidence.pid())])
        .finish();
    finding.domain = None;
    finding
}

fn no_growth(evidence: &Evidence<'_>, rss: &Trend) -> Finding {
    let seconds = evidence.seconds();
    let confidence = 0.70 + 0.2 * (seconds / 60.0).min(1.0) + 0.06 * (seconds / 600.0).min(1.0);
    let swing = evidence.series(&Key::Rss).map_or(0.0, crate::Series::swing);
    let mut finding = Draft::new("no-growth", Status::Healthy, Domain::Unattributed, confidence)
        .slope(0.0)
        .summary(format!(
            "Nothing in {} grows without bound: over {} no domain grew steadily to the end. RSS moved within {}. {}{}. \
             Source: the account of every resident byte.",
            evidence.who(),
            evidence.window(),
            units::bytes(swing as u64),
            moved(evidence),
            evidence.rss_words()
        ))
        .saw(
            format!(
                "RSS {} → {}",
                units::bytes(rss.from.max(0.0) as u64),
                units::bytes(rss.to.max(0.0) as u64)
            ),
            "/proc/PID/smaps",
        )
        .confirm([format!(
            "slower growth needs a longer window: offheap record {0} -o run.offheap --for 1h, then offheap diagnose \
             run.offheap",
            evidence.pid()
        )])
        .finish();
    finding.domain = None;
    finding
}

/// What grew and stopped, and what came and went, a sentence each with a space behind it: the
/// largest few.
fn moved(evidence: &Evidence<'_>) -> String {
    const MOST: usize = 3;
    let sentence = |domain: Domain| {
        let series = evidence.series(&Key::Domain(domain))?;
        let trend = series.trend();
        let swing = series.swing();
        if swing < evidence.material() {
            return None;
        }
        let grown = trend.to - trend.from;
        let late = trend.ending_per_s.max(0.0) * trend.seconds / 3.0;
        let ended = grown >= COMES_AND_GOES * swing && late <= STILL * grown;
        let grown = units::bytes(grown.max(0.0) as u64);
        let words = if trend.drawdown >= COMES_AND_GOES * swing {
            let (peak, now) = (units::bytes(series.max() as u64), units::bytes(series.last() as u64));
            format!("{domain} came and went: {peak} at its peak, {now} now. ")
        } else if ended && trend.tail_start > 0.0 {
            let since = units::duration(trend.tail_start);
            format!("{domain} grew by {grown} and has been flat since {since} into the window. ")
        } else if ended {
            format!("{domain} grew by {grown} and stopped. ")
        } else {
            return None;
        };
        Some((swing, words))
    };
    let mut all: Vec<(f64, String)> = Domain::ALL.into_iter().filter_map(sentence).collect();
    all.sort_by(|a, b| b.0.total_cmp(&a.0));
    all.into_iter().take(MOST).map(|(_, words)| words).collect()
}

/// What each phase did, where the user marked some.
fn phases(evidence: &Evidence<'_>, verdict: &mut Finding) {
    let Some(rss) = evidence.series(&Key::Rss) else { return };
    for phase in evidence.phases() {
        let points: Vec<_> =
            rss.points().iter().copied().filter(|p| (phase.start..=phase.end).contains(&p.t)).collect();
        let trend = Trend::of(&points);
        let name: String = phase.name.chars().take(60).collect();
        verdict.evidence.push(Observation {
            text: format!(
                "phase {name:?} ({}): RSS {} → {}, {}",
                units::duration(phase.end - phase.start),
                units::bytes(trend.from.max(0.0) as u64),
                units::bytes(trend.to.max(0.0) as u64),
                units::rate(trend.slope.finite().per_s)
            ),
            source: "/proc/PID/smaps".to_owned(),
        });
    }
}

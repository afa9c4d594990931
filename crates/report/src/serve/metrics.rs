//! `/metrics` for Prometheus: the text format 0.0.4. A process has a bounded number of series: one
//! a domain, never one a site.

use crate::Report;
use offheap_model::Status;
use std::fmt::Write;

/// The format's content type.
pub(super) const TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Characters of a process's name in a label.
const NAME: usize = 100;

/// The figures of one process, each ready to be written.
#[derive(Debug, Clone)]
pub(super) struct Figures {
    /// Metric, further labels, value.
    lines: Vec<(&'static Metric, String, f64)>,
    labels: String,
}

/// A metric: its name, its type, what it says.
type Metric = (&'static str, &'static str, &'static str);

const UP: Metric = ("offheap_up", "gauge", "1 while the process is being watched, 0 once it has ended.");
const RSS: Metric = ("offheap_rss_bytes", "gauge", "Resident bytes of the process.");
const RSS_SLOPE: Metric =
    ("offheap_rss_slope_bytes_per_second", "gauge", "Growth of the RSS over the window (Theil-Sen).");
const DOMAIN: Metric = (
    "offheap_domain_rss_bytes",
    "gauge",
    "Resident bytes of a domain; over all domains these sum to the RSS.",
);
const DOMAIN_SLOPE: Metric =
    ("offheap_domain_slope_bytes_per_second", "gauge", "Growth of a domain over the window (Theil-Sen).");
const LIMIT: Metric = ("offheap_cgroup_limit_bytes", "gauge", "The memory limit of the control group.");
const VERDICT: Metric = ("offheap_verdict", "gauge", "1 for the status of the verdict, 0 for the others.");
const CONFIDENCE: Metric = ("offheap_verdict_confidence", "gauge", "How sure the verdict is, 0 to 1.");
const WINDOW: Metric = ("offheap_window_seconds", "gauge", "Length of the window the verdict rests on.");
const SNAPSHOTS: Metric = ("offheap_window_snapshots", "gauge", "Snapshots in the window.");
const SAMPLES: Metric =
    ("offheap_agent_samples", "gauge", "Allocations the agent sampled in its last window.");
const DROPPED: Metric =
    ("offheap_agent_dropped_samples", "gauge", "Samples the agent had to drop in its last window.");

/// In the order they are written in: all of one metric stand together.
const METRICS: [&Metric; 12] = [
    &UP,
    &RSS,
    &RSS_SLOPE,
    &DOMAIN,
    &DOMAIN_SLOPE,
    &LIMIT,
    &VERDICT,
    &CONFIDENCE,
    &WINDOW,
    &SNAPSHOTS,
    &SAMPLES,
    &DROPPED,
];

impl Figures {
    pub(super) fn of(name: &str, report: &Report<'_>) -> Figures {
        let diagnosis = report.diagnosis;
        let mut lines: Vec<(&'static Metric, String, f64)> = Vec::new();
        let mut line = |metric, labels: String, value| lines.push((metric, labels, value));
        line(&UP, String::new(), if report.ended.is_some() { 0.0 } else { 1.0 });
        line(&RSS_SLOPE, String::new(), diagnosis.rss.slope_bytes_per_s);
        let last = report.snapshots.last();
        if let Some(last) = last {
            line(&RSS, String::new(), last.memory.rss_bytes as f64);
            for figure in &last.domains {
                line(&DOMAIN, format!(",domain=\"{}\"", figure.domain), figure.rss_bytes as f64);
            }
        }
        for trend in &diagnosis.domains {
            line(&DOMAIN_SLOPE, format!(",domain=\"{}\"", trend.domain), trend.slope_bytes_per_s);
        }
        if let Some(limit) = last.and_then(|last| last.cgroup.as_ref()).and_then(|cgroup| cgroup.limit_bytes)
        {
            line(&LIMIT, String::new(), limit as f64);
        }
        for status in
            [Status::Leak, Status::DoesNotFit, Status::Retention, Status::Healthy, Status::Inconclusive]
        {
            let now = f64::from(u8::from(diagnosis.verdict.status == status));
            line(&VERDICT, format!(",status=\"{status}\""), now);
        }
        line(&CONFIDENCE, String::new(), diagnosis.verdict.confidence);
        line(&WINDOW, String::new(), diagnosis.window.seconds);
        line(&SNAPSHOTS, String::new(), diagnosis.window.snapshots as f64);
        let profile = report.profile.or_else(|| report.instants.last().map(|(_, profile)| profile));
        if let Some(profile) = profile {
            line(&SAMPLES, String::new(), profile.sampling.samples as f64);
            line(&DROPPED, String::new(), profile.sampling.dropped as f64);
        }
        let labels = format!("process=\"{}\",pid=\"{}\"", escape(name), diagnosis.target.pid);
        Figures { lines, labels }
    }
}

/// The figures of all processes.
pub(super) fn render<'a>(processes: impl Iterator<Item = &'a Figures>) -> String {
    let processes: Vec<&Figures> = processes.collect();
    let mut out = String::new();
    for metric in METRICS {
        let lines = || {
            processes.iter().flat_map(|process| {
                let of = process.lines.iter().filter(|(of, ..)| *of == metric);
                of.map(|(_, labels, value)| (&process.labels, labels, value))
            })
        };
        if lines().next().is_none() {
            continue;
        }
        let (name, kind, help) = metric;
        // Writing to a String can't fail.
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (process, labels, value) in lines() {
            let _ = writeln!(out, "{name}{{{process}{labels}}} {value}");
        }
    }
    out
}

/// A label's value: the format wants `\`, `"` and line ends escaped.
fn escape(text: &str) -> String {
    let mut out = String::new();
    for character in text.chars().take(NAME) {
        match character {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            other if other.is_control() => out.push(' '),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use offheap_diagnose::{Evidence, diagnose};

    #[test]
    fn a_name_stays_in_its_label() {
        let diagnosis = diagnose(&Evidence::of(&[]));
        let figures = Figures::of("a\"} 1\nevil{x=\"\\", &Report::of(&diagnosis));
        let text = render([&figures, &figures].into_iter());
        assert!(text.contains("process=\"a\\\"} 1\\nevil{x=\\\"\\\\\",pid="), "{text}");
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            assert!(line.starts_with("offheap_"), "{line}");
        }
        assert_eq!(text.matches("# TYPE offheap_up gauge").count(), 1);
        assert!(text.contains("offheap_verdict{") && text.contains("status=\"inconclusive\"} 1\n"));
    }
}

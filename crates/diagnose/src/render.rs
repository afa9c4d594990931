//! A diagnosis and a check as text for a ticket, a job summary and a test report.

use crate::check::{CheckResult, Outcome};
use crate::verdict::Diagnosis;
use offheap_model::{Finding, units};
use std::fmt::Write;

/// The diagnosis as Markdown: the verdict first, then what it rests on.
pub fn render_markdown(diagnosis: &Diagnosis) -> String {
    let mut out = String::new();
    let verdict = &diagnosis.verdict;
    let domain = verdict.domain.map_or("none", offheap_model::Domain::as_str);
    line(
        &mut out,
        format_args!(
            "## offheap: {} · {domain} · `{}` ({:.0} % sure)\n",
            verdict.status,
            verdict.cause,
            100.0 * verdict.confidence
        ),
    );
    line(&mut out, format_args!("{}\n", escape(&verdict.summary)));
    finding(&mut out, verdict);
    line(&mut out, format_args!("| Domain | Resident | Slope | 95 % | Source |\n|---|---:|---:|---|---|"));
    for domain in &diagnosis.domains {
        line(
            &mut out,
            format_args!(
                "| {} | {} | {} | {} … {} | {} |",
                domain.domain,
                units::bytes(domain.rss_bytes),
                units::rate(domain.slope_bytes_per_s),
                units::rate(domain.slope_ci95[0]),
                units::rate(domain.slope_ci95[1]),
                escape(&domain.source)
            ),
        );
    }
    level_and_outlook(&mut out, diagnosis);
    let others: Vec<&Finding> =
        diagnosis.findings.iter().filter(|finding| finding.cause != verdict.cause).collect();
    if !others.is_empty() {
        line(&mut out, format_args!("\nAlso found:\n"));
        for other in others {
            line(
                &mut out,
                format_args!("- **{}** `{}`: {}", other.status, other.cause, escape(&other.summary)),
            );
        }
    }
    out
}

/// What could be given back, and whether it will fit.
fn level_and_outlook(out: &mut String, diagnosis: &Diagnosis) {
    let (level, outlook) = (&diagnosis.level, &diagnosis.outlook);
    if !level.reclaimable.is_empty() {
        line(out, format_args!("\n**Could be given back: {}**\n", units::bytes(level.reclaimable_bytes)));
        for part in &level.reclaimable {
            line(out, format_args!("- {}", escape(&part.words())));
        }
    }
    let words = outlook.words();
    if !words.is_empty() {
        line(out, format_args!("\n**Will it fit?** {}", escape(&words)));
    }
}

fn finding(out: &mut String, finding: &Finding) {
    let list = |out: &mut String, title: &str, items: &mut dyn Iterator<Item = String>| {
        let items: Vec<String> = items.collect();
        if !items.is_empty() {
            line(out, format_args!("**{title}**\n"));
            items.iter().for_each(|item| line(out, format_args!("- {}", escape(item))));
            out.push('\n');
        }
    };
    list(
        out,
        "Evidence",
        &mut finding.evidence.iter().map(|seen| format!("{} ({})", seen.text, seen.source)),
    );
    if let Some(site) = &finding.site {
        line(
            out,
            format_args!(
                "**Site**: {}, {}\n\n```",
                units::bytes(site.bytes),
                units::rate(site.slope_bytes_per_s)
            ),
        );
        for frame in &site.frames {
            line(out, format_args!("{}", frame.name.replace("```", "'''")));
        }
        line(out, format_args!("```\n"));
    }
    list(out, "Fix", &mut finding.fix.iter().cloned());
    list(out, "Confirm", &mut finding.confirm.iter().cloned());
}

/// The check as Markdown for a job summary.
pub fn render_check_markdown(check: &CheckResult) -> String {
    let mut out = String::new();
    line(
        &mut out,
        format_args!(
            "## offheap check: {} (limit {} over {}, {} snapshots)\n",
            check.outcome.as_str(),
            units::rate(check.max_growth_bytes_per_s),
            units::duration(check.seconds),
            check.snapshots
        ),
    );
    line(&mut out, format_args!("| | Subject | Slope | 95 % |\n|---|---|---:|---|"));
    for row in &check.lines {
        line(
            &mut out,
            format_args!(
                "| {} | {} | {} | {} … {} |",
                row.outcome.as_str(),
                row.subject,
                units::rate(row.slope_bytes_per_s),
                units::rate(row.slope_ci95[0]),
                units::rate(row.slope_ci95[1])
            ),
        );
    }
    out
}

/// The check as JUnit XML: one test case for each subject; an inconclusive one is an error, since
/// it neither passed nor failed.
pub fn render_check_junit(check: &CheckResult) -> String {
    let count = |outcome| check.lines.iter().filter(|line| line.outcome == outcome).count();
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    line(
        &mut out,
        format_args!(
            "<testsuite name=\"offheap check\" tests=\"{}\" failures=\"{}\" errors=\"{}\" time=\"{:.3}\">",
            check.lines.len(),
            count(Outcome::Fail),
            count(Outcome::Inconclusive),
            check.seconds
        ),
    );
    for row in &check.lines {
        let open = format!("  <testcase classname=\"offheap\" name=\"growth of {}\"", xml(&row.subject));
        let text = xml(&row.text);
        match row.outcome {
            Outcome::Pass => line(&mut out, format_args!("{open}/>")),
            Outcome::Fail => {
                line(&mut out, format_args!("{open}>\n    <failure message=\"{text}\"/>\n  </testcase>"));
            }
            Outcome::Inconclusive => {
                line(&mut out, format_args!("{open}>\n    <error message=\"{text}\"/>\n  </testcase>"));
            }
        }
    }
    line(&mut out, format_args!("</testsuite>"));
    out
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String can't fail.
    let _ = out.write_fmt(text);
    out.push('\n');
}

/// Command lines and paths come from the target: no HTML, no table cells, no images of theirs. What
/// is between backticks is shown as it is by Markdown itself.
fn escape(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '<' => "&lt;".to_owned(),
            '>' => "&gt;".to_owned(),
            '|' => "\\|".to_owned(),
            '[' => "\\[".to_owned(),
            c if c.is_control() => " ".to_owned(),
            c => c.to_string(),
        })
        .collect()
}

fn xml(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '&' => "&amp;".to_owned(),
            '<' => "&lt;".to_owned(),
            '>' => "&gt;".to_owned(),
            '"' => "&quot;".to_owned(),
            c if c.is_control() => " ".to_owned(),
            c => c.to_string(),
        })
        .collect()
}

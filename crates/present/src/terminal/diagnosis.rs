//! The verdict on a terminal: first what it is, then why, what to do, how to make sure, and what it
//! rests on.

use super::{Align, Style, Table, Tone, clean, map, wrap};
use offheap_diagnose::{CheckResult, Comparison, Diagnosis, Fixed, Outcome, names};
use offheap_model::units::{bytes, duration, hour, rate};
use offheap_model::{Finding, Frame, FrameKind, Site, Status};

/// Lines of a list that are shown without `--all`.
const LINES: usize = 4;
/// Frames of a site that are shown.
const FRAMES: usize = 24;

/// `diagnosis` as text.
pub fn render(diagnosis: &Diagnosis, style: Style) -> String {
    let verdict = &diagnosis.verdict;
    let domain = verdict.domain.map_or(String::new(), |domain| format!(" in {domain}"));
    let headline = format!(
        "{}{domain} · {} · {:.0} % sure",
        word(verdict.status),
        verdict.cause,
        verdict.confidence * 100.0
    );
    let mut out = format!("{}\n\n", style.paint(tone(verdict.status), &headline));
    out.push_str(&wrap(&verdict.summary, style.width, 0));
    out.push('\n');
    out.push_str(&course(diagnosis, style));
    if let Some(site) = &verdict.site {
        out.push_str(&self::site(site, style));
    }
    if !verdict.evidence.is_empty() {
        out.push_str(&style.paint(Tone::Strong, "\nEvidence\n"));
        for observation in &verdict.evidence {
            let text = format!("{} [{}]", observation.text, observation.source);
            out.push_str(&format!("• {}\n", wrap(&text, style.width.saturating_sub(2), 2)));
        }
    }
    out.push_str(&steps("Fix", &verdict.fix, style));
    out.push_str(&steps("Confirm", &verdict.confirm, style));
    out.push_str(&level(diagnosis, style));
    out.push_str(&outlook(diagnosis, style));
    out.push_str(&power(diagnosis, style));
    out.push_str(&others(diagnosis, style));
    out
}

/// Why it is as large as it is: what could be given back.
fn level(diagnosis: &Diagnosis, style: Style) -> String {
    let level = &diagnosis.level;
    if level.rss_bytes == 0 {
        return String::new();
    }
    let mut out = style.paint(Tone::Strong, "\nCould be given back");
    if level.reclaimable.is_empty() {
        out.push_str("  nothing to speak of\n");
        return out;
    }
    out.push_str(&format!("  {} of {}\n", bytes(level.reclaimable_bytes), bytes(level.rss_bytes)));
    let shown = if style.all { level.reclaimable.len() } else { level.reclaimable.len().min(LINES) };
    for part in level.reclaimable.iter().take(shown) {
        out.push_str(&format!("• {}\n", wrap(&part.words(), style.width.saturating_sub(2), 2)));
    }
    out
}

/// Whether it will fit.
fn outlook(diagnosis: &Diagnosis, style: Style) -> String {
    let outlook = &diagnosis.outlook;
    let mut text = outlook.words();
    if text.is_empty() {
        return text;
    }
    if let Some(at) = outlook.kill_at {
        let now = diagnosis.window.start.saturating_add((diagnosis.window.seconds * 1000.0) as i64);
        let until = |at: i64| hour(at, now);
        text.push_str(&format!(" The limit is reached at about {}", until(at)));
        if let Some([Some(sooner), later]) = outlook.kill_at_ci95 {
            let later = later.map_or_else(|| "never".to_owned(), until);
            text.push_str(&format!(" (95 % between {} and {later})", until(sooner)));
        }
        text.push('.');
    }
    format!("{}{}\n", style.paint(Tone::Strong, "\nWill it fit?\n"), wrap(&text, style.width, 0))
}

/// What the verdict is worth.
fn power(diagnosis: &Diagnosis, style: Style) -> String {
    if diagnosis.verdict.status == Status::Leak || diagnosis.power.is_empty() {
        return String::new();
    }
    let shown = if style.all { diagnosis.power.len() } else { diagnosis.power.len().min(LINES) };
    let least: Vec<String> = diagnosis
        .power
        .iter()
        .take(shown)
        .map(|power| format!("{} {}", power.domain, rate(power.smallest_leak_bytes_per_s)))
        .collect();
    let mut text = format!("A leak of at least this would have been seen (95 %): {}.", least.join(", "));
    if !diagnosis.not_looked_at.is_empty() {
        text.push_str(&format!(" Not looked at: {}.", diagnosis.not_looked_at.join("; ")));
    }
    format!("\n{}\n", style.paint(Tone::Dim, &wrap(&text, style.width, 0)))
}

/// Whether a leak of before is gone, as text.
pub fn render_comparison(comparison: &Comparison, style: Style) -> String {
    let (tone, word) = match comparison.fixed {
        Fixed::Gone => (Tone::Good, "GONE"),
        Fixed::Still => (Tone::Bad, "STILL THERE"),
        Fixed::Inconclusive => (Tone::Warn, "CAN'T TELL YET WHETHER IT IS GONE"),
        Fixed::NothingBefore => (Tone::Warn, "NOTHING TO COMPARE WITH"),
    };
    let head = format!("\n{word} · {} · {:.0} % sure", comparison.cause, comparison.confidence * 100.0);
    format!("{}\n{}\n", style.paint(tone, &head), wrap(&comparison.summary, style.width, 0))
}

fn word(status: Status) -> &'static str {
    match status {
        Status::Leak => "LEAK",
        Status::DoesNotFit => "DOES NOT FIT",
        Status::Retention => "RETENTION (free, but held)",
        Status::Healthy => "HEALTHY",
        Status::Inconclusive => "INCONCLUSIVE",
    }
}

fn tone(status: Status) -> Tone {
    match status {
        Status::Leak | Status::DoesNotFit => Tone::Bad,
        Status::Retention | Status::Inconclusive => Tone::Warn,
        Status::Healthy => Tone::Good,
    }
}

fn course(diagnosis: &Diagnosis, style: Style) -> String {
    let rss = &diagnosis.rss;
    if diagnosis.domains.is_empty() && rss.end_bytes == 0 {
        // Of files of other tools no RSS is known.
        return String::new();
    }
    let mut out = format!(
        "\nRSS {} → {} in {} ({} snapshots), {}\n\n",
        bytes(rss.start_bytes),
        bytes(rss.end_bytes),
        duration(diagnosis.window.seconds),
        diagnosis.window.snapshots,
        rate(rss.slope_bytes_per_s),
    );
    let mut table = Table::new(&[
        ("DOMAIN", Align::Left),
        ("RESIDENT", Align::Right),
        ("SLOPE", Align::Right),
        ("95 % BETWEEN", Align::Left),
        ("SOURCE", Align::Left),
    ]);
    let shown = if style.all { diagnosis.domains.len() } else { diagnosis.domains.len().min(8) };
    for domain in diagnosis.domains.iter().take(shown) {
        let grows = domain.slope_ci95[0] > 0.0;
        table.row(
            if grows { Tone::Plain } else { Tone::Dim },
            vec![
                domain.domain.to_string(),
                bytes(domain.rss_bytes),
                rate(domain.slope_bytes_per_s),
                format!("{} and {}", rate(domain.slope_ci95[0]), rate(domain.slope_ci95[1])),
                domain.source.clone(),
            ],
        );
    }
    out.push_str(&table.render(style));
    out
}

fn site(site: &Site, style: Style) -> String {
    let mut out = style.paint(Tone::Strong, "\nAllocation site");
    out.push_str(&format!("  {} live, {}\n", bytes(site.bytes), rate(site.slope_bytes_per_s)));
    for frame in site.frames.iter().take(FRAMES) {
        let kind = match frame.kind {
            FrameKind::Java => "java",
            FrameKind::Native => "native",
            FrameKind::Jvm => "jvm",
            FrameKind::Python => "python",
        };
        let mut place = String::new();
        if let Some(file) = &frame.file {
            place = match frame.line {
                Some(line) => format!("  {file}:{line}"),
                None => format!("  {file}"),
            };
        } else if let Some(module) = &frame.module {
            place = format!("  {}", map::shorten_path(module, 40));
        }
        let text = format!("{kind:>6}  {}{place}", folded(frame));
        out.push_str(&format!("{}\n", super::fit(&text, style.width)));
    }
    if site.frames.len() > FRAMES {
        out.push_str(
            &style.paint(Tone::Dim, &format!("        and {} more frames\n", site.frames.len() - FRAMES)),
        );
    }
    out
}

/// A frame's name; those of C++ without parameters and template arguments.
fn folded(frame: &Frame) -> String {
    match frame.kind {
        FrameKind::Native | FrameKind::Jvm => names::folded(&frame.name),
        FrameKind::Java | FrameKind::Python => frame.name.clone(),
    }
}

fn steps(title: &str, steps: &[String], style: Style) -> String {
    if steps.is_empty() {
        return String::new();
    }
    let mut out = style.paint(Tone::Strong, &format!("\n{title}\n"));
    for (number, step) in steps.iter().enumerate() {
        out.push_str(&format!("{}. {}\n", number + 1, wrap(step, style.width.saturating_sub(3), 3)));
    }
    out
}

fn others(diagnosis: &Diagnosis, style: Style) -> String {
    let others: Vec<&Finding> =
        diagnosis.findings.iter().filter(|finding| finding.cause != diagnosis.verdict.cause).collect();
    if others.is_empty() {
        return String::new();
    }
    let mut out = style.paint(Tone::Strong, "\nAlso seen\n");
    for finding in others {
        let head = format!("{} · {} · {:.0} %", finding.status, finding.cause, finding.confidence * 100.0);
        out.push_str(&format!("• {}\n", style.paint(tone(finding.status), &clean(&head))));
        if style.all {
            out.push_str(&format!("  {}\n", wrap(&finding.summary, style.width.saturating_sub(2), 2)));
        }
    }
    out
}

/// The result of a check as text.
pub fn render_check(check: &CheckResult, style: Style) -> String {
    let tone = |outcome| match outcome {
        Outcome::Pass => Tone::Good,
        Outcome::Fail => Tone::Bad,
        Outcome::Inconclusive => Tone::Warn,
    };
    let headline = format!(
        "{}: at most {} wanted, {} watched in {} snapshots",
        check.outcome.as_str().to_uppercase(),
        rate(check.max_growth_bytes_per_s),
        duration(check.seconds),
        check.snapshots
    );
    let mut out = format!("{}\n", style.paint(tone(check.outcome), &headline));
    for line in &check.lines {
        let text = format!("{:<12} {}", line.outcome.as_str(), clean(&line.text));
        out.push_str(&format!("{}\n", style.paint(tone(line.outcome), &wrap(&text, style.width, 13))));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use offheap_diagnose::{Evidence, Outlook, Part, diagnose};
    use offheap_model::Domain;

    /// A window of two hours over midnight, and a limit that the parts keep within.
    fn leaking(kill_at: Option<i64>) -> Diagnosis {
        let mut diagnosis = diagnose(&Evidence::of(&[]));
        diagnosis.window.start = 86_400_000 - 3_600_000;
        diagnosis.window.seconds = 7200.0;
        diagnosis.outlook = Outlook {
            limit_bytes: Some(1 << 30),
            headroom_bytes: Some(600 << 20),
            ceiling_bytes: 424 << 20,
            fits: Some(true),
            parts: vec![Part {
                domain: Domain::NativeMalloc,
                now_bytes: 424 << 20,
                may_grow_to_bytes: 424 << 20,
                bound_bytes: None,
                unbounded: true,
                because: String::new(),
            }],
            kill_at,
            ..Outlook::default()
        };
        diagnosis
    }

    #[test]
    fn what_leaks_towards_its_limit_is_not_said_to_fit() {
        let style = Style { width: 2000, ..Style::default() };
        let text = outlook(&leaking(Some(86_400_000 + 5 * 3_600_000)), style);
        assert!(text.contains("it fits only if the leak is stopped: "), "{text}");
        // The day is counted from the window's end, as the verdict's first sentence does.
        assert!(text.contains("The limit is reached at about 05:00 UTC."), "{text}");
        let text = outlook(&leaking(None), style);
        assert!(text.contains("left; it fits: ") && !text.contains("reached"), "{text}");
    }

    #[test]
    fn without_a_limit_a_leak_has_no_end_that_is_counted() {
        let style = Style { width: 2000, ..Style::default() };
        let mut diagnosis = leaking(None);
        diagnosis.outlook.limit_bytes = None;
        let text = outlook(&diagnosis, style);
        assert!(text.contains("It may come to 424 MiB: "), "{text}");
        diagnosis.outlook.leaks_unbounded = true;
        let text = outlook(&diagnosis, style);
        assert!(text.contains("424 MiB once the leak is stopped; while it leaks, to any size: "), "{text}");
    }
}

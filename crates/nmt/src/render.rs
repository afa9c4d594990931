//! A report as plain text for a terminal of 100 columns: no colours, biggest first.

use std::cmp::Reverse;
use std::fmt::Write;

use crate::report::{Category, Counted, Frame, Kind, Mapping, Problem, ReplyKind, Report, Site};

/// What to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RenderOptions {
    /// How many sites, of those that weigh (in a diff: changed) most.
    pub sites: usize,
    /// How many problems.
    pub problems: usize,
}

impl Default for RenderOptions {
    fn default() -> Self {
        RenderOptions { sites: 20, problems: 5 }
    }
}

/// A table of the categories, the most committed first, then the sites. In diffs whatever changed
/// most is first and each change carries its sign; `=` is no change.
pub fn render(report: &Report, options: &RenderOptions) -> String {
    let mut out = String::new();
    match report.kind {
        Kind::Unrecognized => out.push_str("This is not the output of VM.native_memory.\n"),
        Kind::Reply => {}
        Kind::Statistics => statistics(&mut out, report),
        Kind::Summary | Kind::Detail | Kind::SummaryDiff | Kind::DetailDiff => {
            headline(&mut out, report);
            categories(&mut out, report);
            counts(&mut out, report);
            sites(&mut out, report, options.sites);
        }
    }
    if let Some(reply) = &report.reply {
        let _ = writeln!(out, "The JVM says: {}", reply.text);
        if let Some(step) = next_step(reply.kind) {
            let _ = writeln!(out, "{step}");
        }
    }
    problems(&mut out, report, options.problems);
    out
}

/// What to do about a reply that is no report.
fn next_step(reply: ReplyKind) -> Option<&'static str> {
    match reply {
        ReplyKind::NotEnabled => {
            Some("Start it with -XX:NativeMemoryTracking=summary (or detail) to have NMT.")
        }
        ReplyKind::DetailNotEnabled => {
            Some("Ask for summary, or start it with -XX:NativeMemoryTracking=detail.")
        }
        ReplyKind::ShutDown => Some("NMT can't be turned on again before the next start."),
        ReplyKind::NoBaseline => Some("Take a baseline first, or save two summaries and compare those."),
        ReplyKind::BadScale => Some("Every JVM knows KB, MB and GB."),
        ReplyKind::BaselineTaken | ReplyKind::BadArgument | ReplyKind::Refused => None,
    }
}

fn headline(out: &mut String, report: &Report) {
    let Some(total) = report.total else {
        out.push_str("Native memory by category (the total is missing)\n\n");
        return;
    };
    let figure = |bytes, delta| match report.kind.is_diff() {
        true => format!("{} ({})", human(bytes), change(delta)),
        false => human(bytes),
    };
    let Mapping { reserved_bytes, reserved_bytes_delta, committed_bytes, committed_bytes_delta, .. } =
        total.mapping;
    let _ = write!(
        out,
        "Native memory: {} committed, {} reserved",
        figure(committed_bytes, committed_bytes_delta),
        figure(reserved_bytes, reserved_bytes_delta)
    );
    out.push_str("\n\n");
}

/// How a category is sorted: biggest, or changed most, first.
fn weight(mapping: &Mapping, diff: bool) -> Reverse<(u64, u64)> {
    let magnitude = |delta: Option<i64>| delta.unwrap_or(0).unsigned_abs();
    Reverse(match diff {
        true => (magnitude(mapping.committed_bytes_delta), magnitude(mapping.reserved_bytes_delta)),
        false => (mapping.committed_bytes, mapping.reserved_bytes),
    })
}

fn categories(out: &mut String, report: &Report) {
    let diff = report.kind.is_diff();
    let mut sorted: Vec<&Category> = report.categories.iter().collect();
    sorted.sort_by_key(|category| weight(&category.mapping, diff));
    let total = report.total.map(|total| Category {
        name: "Total".to_owned(),
        mapping: total.mapping,
        malloc: total.malloc,
        mmap: total.mmap,
        ..Category::default()
    });
    let head: &[&str] = match diff {
        true => &["CATEGORY", "COMMITTED", "CHANGE", "RESERVED", "CHANGE", "MALLOC", "CHANGE", "COUNT"],
        false => &["CATEGORY", "COMMITTED", "RESERVED", "MALLOC", "ARENA", "MAPPED", "STACKS"],
    };
    let mut table = Table::default();
    table.push(head.iter().map(|&title| title.to_owned()).collect());
    for category in sorted.into_iter().chain(&total) {
        table.push(if diff { changed_row(category) } else { row(category) });
    }
    table.write(out);
}

fn row(category: &Category) -> Vec<String> {
    let bytes = |bytes: Option<u64>| bytes.map(human).unwrap_or_default();
    vec![
        category.name.clone(),
        human(category.mapping.committed_bytes),
        human(category.mapping.reserved_bytes),
        bytes(category.malloc.map(|malloc| malloc.bytes)),
        bytes(category.arena.map(|arena| arena.bytes)),
        bytes(category.mmap.map(|mmap| mmap.committed_bytes)),
        bytes(category.stack.map(|stack| stack.committed_bytes)),
    ]
}

fn changed_row(category: &Category) -> Vec<String> {
    let malloc = category.malloc;
    vec![
        category.name.clone(),
        human(category.mapping.committed_bytes),
        change(category.mapping.committed_bytes_delta),
        human(category.mapping.reserved_bytes),
        change(category.mapping.reserved_bytes_delta),
        malloc.map(|malloc| human(malloc.bytes)).unwrap_or_default(),
        change(malloc.and_then(|malloc| malloc.bytes_delta)),
        malloc.and_then(|malloc| malloc.count_delta).map(count_change).unwrap_or_default(),
    ]
}

fn counts(out: &mut String, report: &Report) {
    let mut said = Vec::new();
    let mut say = |what: &str, counted: Option<Counted>| {
        if let Some(Counted { count, count_delta }) = counted {
            let change = count_delta.map(|delta| format!(" ({})", count_change(delta)));
            said.push(format!("{what}: {count}{}", change.unwrap_or_default()));
        }
    };
    for category in &report.categories {
        say("threads", category.threads);
        say("classes", category.classes);
    }
    if !said.is_empty() {
        let _ = writeln!(out, "\n{}", said.join(", "));
    }
    said.clear();
    for category in &report.categories {
        for (what, space) in
            [("metadata used", category.metadata), ("class space used", category.class_space)]
        {
            if let Some(used) = space.and_then(|space| space.used_bytes) {
                let delta = space.and_then(|space| space.used_bytes_delta);
                let change = if delta.is_some() { format!(" ({})", change(delta)) } else { String::new() };
                said.push(format!("{what}: {}{change}", human(used)));
            }
        }
    }
    if !said.is_empty() {
        let _ = writeln!(out, "{}", said.join(", "));
    }
}

/// A site's bytes: malloc'ed or committed ones, and their change.
fn site_bytes(site: &Site) -> (u64, Option<i64>) {
    match (site.malloc, site.mmap) {
        (Some(malloc), _) => (malloc.bytes, malloc.bytes_delta),
        (None, Some(mmap)) => (mmap.committed_bytes, mmap.committed_bytes_delta),
        (None, None) => (0, None),
    }
}

fn sites(out: &mut String, report: &Report, at_most: usize) {
    if report.sites.is_empty() || at_most == 0 {
        return;
    }
    let diff = report.kind.is_diff();
    let mut sorted: Vec<&Site> = report.sites.iter().collect();
    sorted.sort_by_key(|site| {
        let (bytes, delta) = site_bytes(site);
        Reverse(if diff { delta.unwrap_or(0).unsigned_abs() } else { bytes })
    });
    let order = if diff { "changed most" } else { "biggest" };
    let _ = writeln!(out, "\nSites, {order} first ({} of {})", at_most.min(sorted.len()), sorted.len());
    for site in sorted.into_iter().take(at_most) {
        let (bytes, delta) = site_bytes(site);
        let _ = write!(out, "\n{:>10}", human(bytes));
        if diff {
            let _ = write!(out, " {:>11}", change(delta));
        }
        let kind = if site.malloc.is_some() { "malloc" } else { "mmap" };
        let _ = write!(out, "  {kind}  {}", site.category.as_deref().unwrap_or("(no category)"));
        if let Some(count) = site.malloc.and_then(|malloc| malloc.count) {
            let _ = write!(out, ", {count} allocations");
        }
        out.push('\n');
        for frame in &site.frames {
            let _ = writeln!(out, "            {}", frame_text(frame));
        }
    }
}

fn frame_text(frame: &Frame) -> String {
    let mut text = match (&frame.name, frame.offset) {
        (Some(name), Some(offset)) => format!("{name}+{offset:#x}"),
        (Some(name), None) => name.clone(),
        (None, _) => format!("{:#x}", frame.address),
    };
    if let Some(module) = &frame.module {
        let _ = write!(text, " in {module}");
    }
    text
}

fn statistics(out: &mut String, report: &Report) {
    let mut section = "";
    for statistic in &report.statistics {
        if statistic.section != section {
            section = &statistic.section;
            let _ = writeln!(out, "{section}:");
        }
        let indent = if section.is_empty() { "" } else { "  " };
        let colon = if statistic.value.is_empty() { "" } else { ": " };
        let _ = writeln!(out, "{indent}{}{colon}{}", statistic.name, statistic.value);
    }
}

fn problems(out: &mut String, report: &Report, at_most: usize) {
    let all = report.problems.len() as u64 + report.problems_omitted;
    if all == 0 {
        return;
    }
    let _ = writeln!(out, "\n{all} {} could not be read:", if all == 1 { "line" } else { "lines" });
    for Problem { line, text } in report.problems.iter().take(at_most) {
        let _ = writeln!(out, "  line {line}: {text}");
    }
    let left = all.saturating_sub(at_most as u64);
    if left > 0 {
        let _ = writeln!(out, "  and {left} more");
    }
}

/// `8.2 MiB`: what NMT calls MB.
fn human(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return if bytes == 0 { "0".to_owned() } else { format!("{bytes} B") };
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = UNITS[0];
    for next in &UNITS[1..] {
        // No more than three digits before the point, also after rounding.
        if value < 999.95 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

/// `+8.2 MiB`, `-8.2 MiB` or `=`; nothing where it is not known.
fn change(delta: Option<i64>) -> String {
    match delta {
        None => String::new(),
        Some(0) => "=".to_owned(),
        Some(delta) => format!("{}{}", if delta > 0 { '+' } else { '-' }, human(delta.unsigned_abs())),
    }
}

/// `+8`, `-8` or `=`.
fn count_change(delta: i64) -> String {
    if delta == 0 { "=".to_owned() } else { format!("{delta:+}") }
}

/// Columns as wide as they need be: the first to the left, the others to the right.
#[derive(Default)]
struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    fn push(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }

    /// Columns in which no row but the head has anything are left out.
    fn write(&self, out: &mut String) {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let cell = |row: &'_ [String], column: usize| row.get(column).map_or(0, |cell| cell.chars().count());
        let used: Vec<(usize, usize)> = (0..columns)
            .filter(|&column| self.rows.iter().skip(1).any(|row| cell(row, column) > 0))
            .map(|column| (column, self.rows.iter().map(|row| cell(row, column)).max().unwrap_or(0)))
            .collect();
        for row in &self.rows {
            let mut line = String::new();
            for &(column, width) in &used {
                let text = row.get(column).map_or("", String::as_str);
                if column == 0 {
                    let _ = write!(line, "{text:<width$}");
                } else {
                    let _ = write!(line, "  {text:>width$}");
                }
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_people_read() {
        assert_eq!(human(0), "0");
        assert_eq!(human(1023), "1023 B");
        assert_eq!(human(1024), "1.0 KiB");
        assert_eq!(human(999 * 1024), "999.0 KiB");
        assert_eq!(human(1000 * 1024), "1.0 MiB");
        assert_eq!(human(1_897_571_385), "1.8 GiB");
        assert_eq!(human(u64::MAX), "16.0 EiB");
    }

    #[test]
    fn signs_cannot_be_misread() {
        assert_eq!(change(Some(-2048)), "-2.0 KiB");
        assert_eq!(change(Some(2048)), "+2.0 KiB");
        assert_eq!(change(Some(0)), "=");
        assert_eq!(change(Some(i64::MIN)), "-8.0 EiB");
        assert_eq!(change(None), "");
    }
}

//! The difference of two snapshots on a terminal. The direction stands in the headline and in every
//! line.

use super::{Align, Style, Table, Tone, map};
use offheap_model::diff::{Change, SnapshotDiff};
use offheap_model::units::{bytes, delta, duration, rate};

/// Lines of each list when not all are wanted.
const FEW: usize = 8;

/// `diff` as text; `before` and `after` are what the user called the two.
pub fn render(diff: &SnapshotDiff, before: &str, after: &str, style: Style) -> String {
    let seconds = (diff.after_ms - diff.before_ms) as f64 / 1000.0;
    let mut out = format!(
        "{}  from {before} to {after}: + is growth, - is shrinkage\n",
        style.paint(Tone::Strong, "What changed"),
    );
    if !diff.same_process {
        out.push_str(&style.paint(Tone::Warn, "These are two different processes.\n"));
    } else if seconds < 0.0 {
        let text =
            format!("{after} is {} OLDER than {before}: the signs run against time.\n", duration(-seconds));
        out.push_str(&style.paint(Tone::Warn, &text));
    }
    let per_time = if seconds > 0.0 && diff.same_process {
        format!(" in {}, {}", duration(seconds), rate(diff.rss.delta_bytes as f64 / seconds))
    } else {
        String::new()
    };
    out.push_str(&format!(
        "RSS {} → {}: {}{per_time}\n",
        bytes(diff.rss.before_bytes),
        bytes(diff.rss.after_bytes),
        style.paint(tone(&diff.rss), &delta(diff.rss.delta_bytes)),
    ));
    for (title, changes) in [
        ("DOMAIN", &diff.domains),
        ("THREADS BY POOL", &diff.threads),
        ("MALLOC CHUNKS BY SIZE", &diff.size_classes),
        ("ARENA", &diff.arenas),
        ("FILE", &diff.files),
        ("NMT CATEGORY", &diff.nmt),
    ] {
        out.push_str(&list(title, changes, style));
    }
    out
}

fn list(title: &str, changes: &[Change], style: Style) -> String {
    if changes.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&[
        (title, Align::Left),
        ("BEFORE", Align::Right),
        ("AFTER", Align::Right),
        ("CHANGE", Align::Right),
        ("COUNT", Align::Left),
    ]);
    let shown = if style.all { changes.len() } else { changes.len().min(FEW) };
    for change in changes.iter().take(shown) {
        let count = match (change.before_count, change.after_count) {
            (Some(before), Some(after)) if before == after => before.to_string(),
            (Some(before), Some(after)) => format!("{before} → {after}"),
            _ => String::new(),
        };
        table.row(
            tone(change),
            vec![
                map::shorten_path(&change.name, 48),
                bytes(change.before_bytes),
                bytes(change.after_bytes),
                delta(change.delta_bytes),
                count,
            ],
        );
    }
    let mut out = format!("\n{}", table.render(style));
    if changes.len() > shown {
        out.push_str(
            &style.paint(Tone::Dim, &format!("and {} smaller changes (--all)\n", changes.len() - shown)),
        );
    }
    out
}

fn tone(change: &Change) -> Tone {
    match change.delta_bytes {
        1_048_577.. => Tone::Bad,
        ..-1_048_576 => Tone::Good,
        _ => Tone::Plain,
    }
}

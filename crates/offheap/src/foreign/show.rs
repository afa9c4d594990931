//! Foreign files on a terminal and as CSV.

use super::{Order, Series, label};
use offheap_formats::hs_err::HsErr;
use offheap_formats::{Figures, Hprof, Named, Row, Table};
use offheap_model::units::{bytes, delta, duration, rate};
use offheap_present::terminal::{self, Align, Style, Tone};

/// Rows without `--all`.
const ROWS: usize = 20;

/// `value` of `table`: bytes in units, numbers as they are.
fn amount(table: &Table, value: u64) -> String {
    if table.is_bytes { bytes(value) } else { value.to_string() }
}

fn change(table: &Table, value: i64) -> String {
    match (table.is_bytes, value) {
        (true, _) => delta(value),
        (false, 0) => "0".to_owned(),
        (false, _) => format!("{value:+}"),
    }
}

fn slope_text(series: &Series, per: f64) -> String {
    match (series.order, series.table.is_bytes) {
        (Order::Name, true) => format!("{}/file", delta(per.round() as i64)),
        (Order::Name, false) => format!("{per:+.2}/file"),
        (_, true) => rate(per),
        (_, false) => format!("{:+.2}/min", per * 60.0),
    }
}

fn tone(table: &Table, row: &Row) -> Tone {
    let much = if table.is_bytes { 1 << 20 } else { 10 };
    match row.change() {
        grown if grown >= much => Tone::Bad,
        shrunk if shrunk <= -much => Tone::Good,
        _ => Tone::Plain,
    }
}

/// Two files: before, after, and what changed. The direction stands in the headline and in every
/// line.
pub fn comparison(series: &Series, before: &str, after: &str, style: Style) -> String {
    let table = &series.table;
    let mut out = format!(
        "{}  {} from {before} to {after}: + is growth, - is shrinkage\n",
        style.paint(Tone::Strong, "What changed"),
        table.of
    );
    if let Some(seconds) = series.seconds.filter(|seconds| *seconds < 0.0) {
        let text =
            format!("{after} is {} OLDER than {before}: the signs run against time.\n", duration(-seconds));
        out.push_str(&style.paint(Tone::Warn, &text));
    }
    out.push_str(&total(table, style));
    let changed: Vec<&Row> = table.rows.iter().filter(|row| row.change() != 0).collect();
    if changed.is_empty() {
        out.push_str("Nothing changed.\n");
        return out;
    }
    let mut lines = terminal::Table::new(&[
        ("BEFORE", Align::Right),
        ("AFTER", Align::Right),
        ("CHANGE", Align::Right),
        ("COUNT", Align::Right),
        (if table.rows.iter().any(|row| !row.frames.is_empty()) { "SITE" } else { "NAME" }, Align::Left),
    ]);
    let shown = if style.all { changed.len() } else { ROWS.min(changed.len()) };
    for row in changed.iter().take(shown) {
        let count = match (row.counts.first().copied().flatten(), row.counts.last().copied().flatten()) {
            (Some(before), Some(after)) if before == after => before.to_string(),
            (Some(before), Some(after)) => format!("{before} → {after}"),
            _ => String::new(),
        };
        let cells = vec![
            amount(table, row.before()),
            amount(table, row.after()),
            change(table, row.change()),
            count,
            label(row),
        ];
        lines.row(tone(table, row), cells);
    }
    out.push('\n');
    out.push_str(&lines.render(style));
    more(&mut out, changed.len() - shown, "smaller changes", style);
    out
}

fn total(table: &Table, style: Style) -> String {
    let total = table.total();
    format!(
        "total {} → {}: {}\n",
        amount(table, total.before()),
        amount(table, total.after()),
        style.paint(tone(table, &total), &change(table, total.change()))
    )
}

fn more(out: &mut String, count: usize, what: &str, style: Style) {
    if count > 0 {
        out.push_str(&style.paint(Tone::Dim, &format!("and {count} {what} (--all)\n")));
    }
}

/// Several files: first, last, and the slope of each row.
pub fn table(series: &Series, style: Style) -> String {
    let table = &series.table;
    if series.paths.len() == 1 && table.rows.iter().all(|row| row.points.len() < 2) {
        return instant(series, style);
    }
    let span = series.seconds.map(|seconds| format!(" over {}", duration(seconds))).unwrap_or_default();
    let files = match series.paths.len() {
        1 => "one recording".to_owned(),
        count => format!("{count} files {}", series.order.text()),
    };
    let mut out = format!(
        "{}  {} of {files}{span}: + is growth, - is shrinkage\n",
        style.paint(Tone::Strong, "What changed"),
        table.of
    );
    if series.paths.len() > 1 {
        out.push_str(&total(table, style));
    }
    let mut lines = terminal::Table::new(&[
        ("FIRST", Align::Right),
        ("LAST", Align::Right),
        ("CHANGE", Align::Right),
        ("SLOPE", Align::Right),
        (if table.rows.iter().any(|row| !row.frames.is_empty()) { "SITE" } else { "NAME" }, Align::Left),
    ]);
    let moves = |row: &Row| row.points.iter().any(|(_, value)| *value != row.before());
    // Where nothing does, it shows what there is.
    let all = style.all || !table.rows.iter().any(moves);
    let moving: Vec<_> = table.rows.iter().zip(&series.slopes).filter(|(row, _)| all || moves(row)).collect();
    let shown = if style.all { moving.len() } else { ROWS.min(moving.len()) };
    for (row, slope) in moving.iter().take(shown) {
        // An interval that holds 0 is no slope that one could be sure of.
        let sure = slope.is_some_and(|slope| slope.ci95[0] > 0.0 || slope.ci95[1] < 0.0);
        let mark = if sure { "" } else { " ?" };
        let cells = vec![
            amount(table, row.before()),
            amount(table, row.after()),
            change(table, row.change()),
            slope.map_or_else(|| "-".to_owned(), |slope| slope_text(series, slope.per_s)) + mark,
            label(row),
        ];
        lines.row(if sure { tone(table, row) } else { Tone::Plain }, cells);
    }
    out.push('\n');
    out.push_str(&lines.render(style));
    out.push_str(&style.paint(Tone::Dim, "?: the slope may be none\n"));
    more(&mut out, moving.len() - shown, "more", style);
    out
}

/// A recording with one sample of each figure: nothing in it can change.
fn instant(series: &Series, style: Style) -> String {
    let table = &series.table;
    let mut out = format!("{}: one sample of each\n\n", style.paint(Tone::Strong, &table.of));
    let mut lines = terminal::Table::new(&[("BYTES", Align::Right), ("NAME", Align::Left)]);
    let shown = if style.all { table.rows.len() } else { ROWS.min(table.rows.len()) };
    for row in table.rows.iter().take(shown) {
        lines.row(Tone::Plain, vec![amount(table, row.after()), label(row)]);
    }
    out.push_str(&lines.render(style));
    more(&mut out, table.rows.len() - shown, "more", style);
    out
}

/// A row a figure: name, bytes, count.
pub fn csv(figures: &Figures) -> String {
    let mut out = String::from("name,bytes,count\r\n");
    for figure in &figures.list {
        // As in the CSV of profiles: quoted, and never taken for a formula.
        let guard = if figure.name.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
        let count = figure.count.map(|count| count.to_string()).unwrap_or_default();
        out.push_str(&format!(
            "\"{guard}{}\",{},{count}\r\n",
            figure.name.replace('"', "\"\""),
            figure.bytes
        ));
    }
    out
}

/// Named figures on a terminal.
pub fn figures(figures: &Figures, style: Style) -> String {
    let table = Table::of_figures(&[(0, figures)]);
    let mut out = String::new();
    for (place, text) in figures.says.iter().enumerate() {
        let tone = if place == 0 { Tone::Strong } else { Tone::Plain };
        out.push_str(&style.paint(tone, &terminal::wrap(text, style.width, 0)));
        out.push('\n');
    }
    if figures.list.is_empty() {
        return out + &what_to_do(figures.advice.iter().map(String::as_str), style);
    }
    let heading = style.paint(Tone::Strong, &figures.of);
    out.push_str(&format!("{}{heading}\n\n", if figures.says.is_empty() { "" } else { "\n" }));
    let mut lines = terminal::Table::new(&[
        (if table.is_bytes { "BYTES" } else { "COUNT" }, Align::Right),
        (if table.is_bytes { "COUNT" } else { "" }, Align::Right),
        ("NAME", Align::Left),
    ]);
    let shown = if style.all { figures.list.len() } else { ROWS.min(figures.list.len()) };
    for figure in figures.list.iter().take(shown) {
        let count = figure.count.map(|count| count.to_string()).unwrap_or_default();
        let cells = if table.is_bytes { (bytes(figure.bytes), count) } else { (count, String::new()) };
        lines.row(Tone::Plain, vec![cells.0, cells.1, figure.name.clone()]);
    }
    out.push_str(&lines.render(style));
    more(&mut out, figures.list.len() - shown, "more", style);
    out + &what_to_do(figures.advice.iter().map(String::as_str), style)
}

/// Advice, below what it is about.
fn what_to_do<'a>(advice: impl Iterator<Item = &'a str>, style: Style) -> String {
    let mut out = String::new();
    for text in advice {
        if out.is_empty() {
            out.push_str("\nwhat to do\n");
        }
        out.push_str(&format!("  {}\n", terminal::wrap(text, style.width - 2, 2)));
    }
    out
}

/// A fatal error log: what happened, what it knows, where, and what to do. `nmt` are the figures of
/// its NMT section.
pub fn log(log: &HsErr, nmt: &[Named], style: Style) -> String {
    let mut out = format!("{}\n", style.paint(Tone::Strong, log.crash().title()));
    // What ends in a colon is the title of what stands below anyway.
    for line in log.headline.iter().filter(|line| !line.ends_with(':')).take(3) {
        out.push_str(&terminal::wrap(line, style.width, 2));
        out.push('\n');
    }
    let facts = log.facts(nmt);
    let widest = facts.iter().map(|(label, _)| label.len()).max().unwrap_or(0);
    for (place, (label, value)) in facts.iter().enumerate() {
        let lead = if place == 0 { "\n" } else { "" };
        let value = if style.all { value.clone() } else { value.chars().take(400).collect() };
        let value = terminal::wrap(&value, style.width.saturating_sub(widest + 4), widest + 4);
        out.push_str(&format!("{lead}  {label:widest$}  {value}\n"));
    }
    let head: Vec<_> = log.problematic_frame.iter().cloned().collect();
    let native = if log.native_stack.is_empty() { &head } else { &log.native_stack };
    for (title, stack) in [("native stack", native), ("Java stack", &log.java_stack)] {
        if stack.is_empty() {
            continue;
        }
        out.push_str(&format!("\n{title}\n"));
        let shown = if style.all { stack.len() } else { stack.len().min(12) };
        for frame in stack.iter().take(shown) {
            let module = frame.module.as_ref().map(|module| format!("  ({module})")).unwrap_or_default();
            out.push_str(&format!(
                "  {}\n",
                terminal::fit(&format!("{}{module}", frame.name), style.width - 2)
            ));
        }
        more(&mut out, stack.len() - shown, "frames", style);
    }
    out + &what_to_do(log.advice(nmt).iter().map(String::as_str), style)
}

/// A heap dump: what in it holds memory outside of it.
pub fn dump(dump: &Hprof, style: Style) -> String {
    let direct = &dump.direct;
    let mut out = format!(
        "{}\n",
        style.paint(
            Tone::Strong,
            &format!("{} in {} direct buffers", bytes(direct.capacity_bytes), direct.count)
        )
    );
    for (capacity, count) in direct.by_capacity.iter().take(if style.all { usize::MAX } else { 5 }) {
        out.push_str(&format!("  {count} of {}\n", bytes(*capacity)));
        let path = direct.paths.iter().find(|(size, _)| size == capacity);
        if let Some((_, path)) = path {
            let held = if path.is_held { "one is held by" } else { "one:" };
            out.push_str(&format!("    {held} {}\n", terminal::clean(&path.root)));
            for step in &path.steps {
                let field = if step.field.is_empty() { String::new() } else { format!(".{}", step.field) };
                let line = format!("      {}{field}", step.class);
                out.push_str(&format!("{}\n", terminal::fit(&line, style.width)));
            }
        }
    }
    let rows = if style.all { usize::MAX } else { 8 };
    let mut list = |title: &str, rows: Vec<(u64, String)>| {
        if rows.is_empty() {
            return;
        }
        let mut lines = terminal::Table::new(&[("COUNT", Align::Right), (title, Align::Left)]);
        rows.into_iter().for_each(|(count, name)| lines.row(Tone::Plain, vec![count.to_string(), name]));
        out.push('\n');
        out.push_str(&lines.render(style));
    };
    let peer = |peer: &offheap_formats::hprof::PeerFigure| {
        (peer.open, format!("{} with {} set, of {}", peer.class, peer.field, peer.count))
    };
    list(
        "NATIVE PEERS, NOT CLOSED",
        dump.peers.iter().filter(|peer| peer.open > 0).take(rows).map(peer).collect(),
    );
    list(
        "JNI GLOBAL REFERENCES",
        dump.jni_globals.iter().take(rows).map(|(class, count)| (*count, class.clone())).collect(),
    );
    let loaders = dump.loaders.iter().take(rows).map(|loader| {
        let class = if loader.id == 0 { "(boot)" } else { &loader.class };
        (loader.classes, class.to_owned())
    });
    list("CLASSES BY LOADER", loaders.collect());
    list("LOADERS BY CLASS", by_class(dump).into_iter().take(rows).collect());
    out.push_str(&format!("\n{} threads\n", dump.threads));
    out
}

/// Class loaders by their class, most first.
fn by_class(dump: &Hprof) -> Vec<(u64, String)> {
    let mut counts: std::collections::BTreeMap<&str, u64> = std::collections::BTreeMap::new();
    for loader in dump.loaders.iter().filter(|loader| loader.id != 0) {
        *counts.entry(loader.class.as_str()).or_default() += 1;
    }
    let mut counts: Vec<(u64, String)> =
        counts.into_iter().map(|(class, count)| (count, class.to_owned())).collect();
    counts.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    counts
}

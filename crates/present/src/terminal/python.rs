//! A CPython interpreter on a terminal: what grows, who holds it, what its threads do.

use super::{Align, Style, Table, Tone, fit, wrap};
use offheap_model::units::{bytes, duration, rate};
use offheap_model::{PythonHeld, PythonInterpreter, PythonObjects, PythonThread, PythonType};
use serde::Serialize;

/// Types, threads and frames that are shown unless all are wanted.
const MOST_TYPES: usize = 12;
const MOST_THREADS: usize = 8;
const MOST_FRAMES: usize = 4;

/// What `offheap python` shows and `--json` writes.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct PythonReport {
    /// `"offheap/python/v1"`.
    pub schema: &'static str,
    /// Process id.
    pub pid: i32,
    /// CPython's version.
    pub version: String,
    /// True where it is the whole process, false where it is embedded.
    pub main: bool,
    /// Resident bytes of the process.
    pub rss_bytes: u64,
    /// Resident bytes of the object arenas.
    pub arena_bytes: u64,
    /// The interpreters with their threads; empty where they can't be read.
    pub interpreters: Vec<PythonInterpreter>,
    /// The census; none where the objects can't be read.
    pub objects: Option<PythonObjects>,
    /// What became of the types over a window, the fastest growing first; none without a window.
    pub growth: Option<PythonGrowth>,
    /// Who holds the types that were asked for.
    pub held: Vec<PythonHeld>,
    /// What could not be read, and why.
    pub not_looked_at: Vec<String>,
}

/// What became of the types over a window.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct PythonGrowth {
    /// Its length.
    pub seconds: f64,
    /// How many censuses.
    pub censuses: usize,
    /// The types.
    pub types: Vec<TypeGrowth>,
}

/// What became of one type.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct TypeGrowth {
    /// The type.
    pub name: String,
    /// Bytes per second.
    pub slope_bytes_per_s: f64,
    /// Its 95 % interval.
    pub slope_ci95: [f64; 2],
    /// Bytes at the first census.
    pub from_bytes: u64,
    /// Bytes at the last.
    pub to_bytes: u64,
    /// Objects at the first census.
    pub from_count: u64,
    /// Objects at the last.
    pub to_count: u64,
    /// It grows to the end of the window, surely and steadily.
    pub certain: bool,
}

/// The page.
pub fn render(report: &PythonReport, style: Style) -> String {
    let mut out = String::new();
    let mut line = |tone: Tone, text: &str| {
        out.push_str(&paragraph(tone, text, 2, style));
    };
    let place = if report.main { "" } else { ", embedded" };
    line(
        Tone::Strong,
        &format!(
            "Process {}: CPython {}{place} · RSS {} · object arenas {}",
            report.pid,
            report.version,
            bytes(report.rss_bytes),
            bytes(report.arena_bytes)
        ),
    );
    for missing in &report.not_looked_at {
        line(Tone::Warn, missing);
    }
    if let Some(growth) = &report.growth {
        out.push('\n');
        out.push_str(&grown(growth, style));
    }
    for held in &report.held {
        out.push('\n');
        out.push_str(&holders(held, style));
    }
    if let Some(objects) = &report.objects {
        out.push('\n');
        out.push_str(&census(objects, report.arena_bytes, style));
    }
    for interpreter in &report.interpreters {
        out.push('\n');
        out.push_str(&threads(interpreter, style));
    }
    if let Some(next) = next(report) {
        out.push('\n');
        out.push_str(&style.paint(Tone::Dim, &next));
        out.push('\n');
    }
    out
}

/// The command that tells more.
fn next(report: &PythonReport) -> Option<String> {
    report.objects.as_ref()?;
    let Some(growth) = &report.growth else {
        return Some(format!("What grows: offheap python {} --for 30s", report.pid));
    };
    let grows = growth.types.iter().find(|kind| kind.certain && report.held.is_empty())?;
    Some(format!("Who holds it: offheap python {} --for 10s --holders {}", report.pid, grows.name))
}

fn grown(growth: &PythonGrowth, style: Style) -> String {
    let window = format!("{} ({} censuses)", duration(growth.seconds), growth.censuses);
    let mut table = Table::new(&[
        ("GROWS", Align::Left),
        ("PER SECOND", Align::Right),
        ("95 % FROM", Align::Right),
        ("TO", Align::Right),
        ("NOW", Align::Right),
        ("OBJECTS", Align::Left),
    ]);
    let shown = growth.types.iter().filter(|kind| kind.slope_bytes_per_s > 0.0);
    for kind in shown.take(if style.all { usize::MAX } else { MOST_TYPES }) {
        let [low, high] = kind.slope_ci95.map(rate);
        table.row(
            if kind.certain { Tone::Bad } else { Tone::Plain },
            vec![
                kind.name.clone(),
                rate(kind.slope_bytes_per_s),
                low,
                high,
                bytes(kind.to_bytes),
                format!("{} → {}", kind.from_count, kind.to_count),
            ],
        );
    }
    if table.is_empty() {
        return style.paint(Tone::Good, &format!("No type grew over {window}.")) + "\n";
    }
    let certain: Vec<&str> = growth
        .types
        .iter()
        .filter(|kind| kind.certain)
        .take(MOST_FRAMES)
        .map(|kind| kind.name.as_str())
        .collect();
    let verdict = if certain.is_empty() {
        format!("Over {window} no type grew steadily to the end; what rose:")
    } else {
        format!("Over {window} these grew steadily to the end: {}", certain.join(", "))
    };
    paragraph(Tone::Plain, &verdict, 2, style) + &table.render(style)
}

fn holders(held: &PythonHeld, style: Style) -> String {
    if held.looked_at == 0 {
        let text = format!(
            "No object of the type {} was found{}. The name is written as the list of types has it.",
            held.name,
            if held.cut.is_empty() { String::new() } else { format!(" ({})", held.cut) }
        );
        return paragraph(Tone::Plain, &text, 2, style);
    }
    let title = format!("Who holds {} ({} of {} looked at)", held.name, held.looked_at, held.of);
    let mut out = paragraph(Tone::Strong, &title, 2, style);
    let part = |count: u64| format!("{:3.0} %", 100.0 * count as f64 / held.looked_at as f64);
    if held.lonely > 0 {
        let text = format!(
            "{} nobody: nothing in memory refers to them, in two looks. C code lost the reference: a missing Py_DECREF",
            part(held.lonely)
        );
        out.push_str(&paragraph(Tone::Bad, &text, 6, style));
    }
    for holder in &held.holders {
        let container =
            if holder.container.is_empty() { String::new() } else { format!(", in a {}", holder.container) };
        let text = format!("{} {}{container}", part(holder.objects), holder.what);
        out.push_str(&paragraph(Tone::Plain, &text, 6, style));
        if !holder.path.is_empty() {
            let way = format!("      → {}", holder.path.join(" → "));
            out.push_str(&style.paint(Tone::Dim, &fit(&way, style.width)));
            out.push('\n');
        }
    }
    if held.untold() > 0 {
        out.push_str(&format!(
            "{} no name led to them: they refer to each other, or are about to go\n",
            part(held.untold())
        ));
    }
    if !held.cut.is_empty() {
        let text = format!("The search is not complete: {}.", held.cut);
        out.push_str(&paragraph(Tone::Warn, &text, 0, style));
    }
    out
}

/// Lines of `text` in the width, those after the first indented.
fn paragraph(tone: Tone, text: &str, indent: usize, style: Style) -> String {
    style.paint(tone, &wrap(text, style.width, indent)) + "\n"
}

fn census(objects: &PythonObjects, arena_bytes: u64, style: Style) -> String {
    let mut table = Table::new(&[
        ("TYPE", Align::Left),
        ("OBJECTS", Align::Right),
        ("BYTES", Align::Right),
        ("IN ARENAS", Align::Right),
        ("C HEAP", Align::Left),
    ]);
    let most = if style.all { usize::MAX } else { MOST_TYPES };
    for kind in objects.types.iter().take(most) {
        table.row(
            Tone::Plain,
            vec![
                kind.name.clone(),
                kind.count.to_string(),
                bytes(kind.bytes()),
                bytes(kind.arena_bytes),
                bytes(kind.heap_bytes),
            ],
        );
    }
    let mut out = table.render(style);
    let rest: u64 = objects.types.iter().skip(most).map(PythonType::bytes).sum();
    if rest > 0 {
        out.push_str(&format!("and {} of other types: --all\n", bytes(rest)));
    }
    let free = objects.free_block_bytes.saturating_add(objects.free_pool_bytes).min(arena_bytes);
    let text = format!(
        "{} objects, with their elements. In the arenas also: {} of other code's blocks, {} free among blocks in use, {} in \
         free pools. An arena goes back only when all of it is free: of the {} resident up to {} are kept for nothing.",
        objects.objects,
        bytes(objects.other_bytes),
        bytes(objects.free_block_bytes),
        bytes(objects.free_pool_bytes),
        bytes(arena_bytes),
        bytes(free),
    );
    out.push_str(&paragraph(Tone::Plain, &text, 0, style));
    if objects.unread_bytes > 0 {
        let text = format!(
            "Not counted: what lies in {} that were not read, in swap or more of the C heap than a census may read.",
            bytes(objects.unread_bytes)
        );
        out.push_str(&paragraph(Tone::Warn, &text, 0, style));
    }
    out
}

fn threads(interpreter: &PythonInterpreter, style: Style) -> String {
    let name = match interpreter.id {
        0 => "Main interpreter".to_owned(),
        id => format!("Sub-interpreter {id}"),
    };
    let count = interpreter.threads.len();
    let plural = if count == 1 { "" } else { "s" };
    let collects = match interpreter.collects {
        Some(false) => ", its garbage collector is off (gc.disable): cycles stay",
        _ => "",
    };
    let title = format!("{name}, {count} thread{plural}{collects}");
    let mut out = paragraph(Tone::Strong, &title, 2, style);
    let most = if style.all { usize::MAX } else { MOST_THREADS };
    // Whoever holds the GIL comes first.
    let (holder, others): (Vec<_>, Vec<_>) = interpreter.threads.iter().partition(|thread| thread.holds_gil);
    for thread in holder.into_iter().chain(others).take(most) {
        out.push_str(&one(thread, style));
    }
    if let Some(more) = count.checked_sub(most).filter(|more| *more > 0) {
        out.push_str(&format!("  and {more} more: --all\n"));
    }
    out
}

fn one(thread: &PythonThread, style: Style) -> String {
    let tid = thread.tid.map_or_else(|| "ended".to_owned(), |tid| tid.to_string());
    let gil = if thread.holds_gil { " · holds the GIL" } else { "" };
    let mut out = fit(&format!("  {tid} {}{gil}", thread.name), style.width) + "\n";
    let most = if style.all { usize::MAX } else { MOST_FRAMES };
    for frame in thread.frames.iter().take(most) {
        let file = frame.file.as_deref().unwrap_or("?");
        let line = frame.line.map_or_else(String::new, |line| format!(":{line}"));
        out.push_str(&fit(&format!("    {}  {file}{line}", frame.name), style.width));
        out.push('\n');
    }
    if let Some(more) = thread.frames.len().checked_sub(most).filter(|more| *more > 0) {
        out.push_str(&format!("    and {more} more\n"));
    }
    if thread.frames.is_empty() {
        out.push_str(&style.paint(Tone::Dim, "    runs no Python"));
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use offheap_model::{Frame, FrameKind, PythonHolder, PythonHolderKind};

    fn report() -> PythonReport {
        let kind = |name: &str, count| PythonType {
            name: name.to_owned(),
            count,
            arena_bytes: count * 64,
            heap_bytes: 4096,
            gc: true,
        };
        let grows = |name: &str, certain| TypeGrowth {
            name: name.to_owned(),
            slope_bytes_per_s: 561.0 * 1024.0,
            slope_ci95: [550.0 * 1024.0, 574.0 * 1024.0],
            from_bytes: 1 << 20,
            to_bytes: 9 << 20,
            from_count: 13_878,
            to_count: 159_498,
            certain,
        };
        let frame = Frame {
            name: "Shop.serve.<locals>.a_function_with_a_long_name_of_its_own".to_owned(),
            kind: FrameKind::Python,
            file: Some("/srv/application/releases/current/shop/handlers/serve.py".to_owned()),
            line: Some(42),
            module: None,
        };
        let thread = |holds_gil| PythonThread {
            tid: Some(4712),
            name: "worker".to_owned(),
            holds_gil,
            frames: vec![frame.clone(); 6],
            cut: false,
        };
        PythonReport {
            schema: "offheap/python/v1",
            pid: 4711,
            version: "3.11.2".to_owned(),
            main: false,
            rss_bytes: 400 << 20,
            arena_bytes: 100 << 20,
            interpreters: vec![PythonInterpreter {
                id: 0,
                collects: Some(false),
                threads: vec![thread(false), thread(true)],
            }],
            objects: Some(PythonObjects {
                types: (0..20)
                    .map(|n| kind(&format!("shop.models.warehouse.Article{n}"), 1000 * n))
                    .collect(),
                objects: 190_000,
                free_block_bytes: 3 << 20,
                ..PythonObjects::default()
            }),
            growth: Some(PythonGrowth {
                seconds: 30.0,
                censuses: 30,
                types: vec![
                    grows("shop.models.warehouse.ArticleInAVeryLongModule", true),
                    grows("str", false),
                ],
            }),
            held: vec![PythonHeld {
                name: "str".to_owned(),
                of: 1000,
                looked_at: 120,
                lonely: 12,
                holders: vec![PythonHolder {
                    what: "the lru_cache of Checker.tokens (maxsize=None: without bound)".to_owned(),
                    kind: PythonHolderKind::LruCache,
                    objects: 96,
                    container: "dict of 5203".to_owned(),
                    path: vec!["dict of 5203".to_owned(), "shop.Checker".to_owned(), "list of 30".to_owned()],
                    ..PythonHolder::default()
                }],
                cut: String::new(),
            }],
            not_looked_at: Vec::new(),
        }
    }

    #[test]
    fn what_matters_comes_first_and_fits_80_columns() {
        let text = render(&report(), Style { width: 80, ..Style::default() });
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("{what} is not in {text}"));
        assert!(at("GROWS") < at("Who holds str") && at("Who holds str") < at("TYPE"));
        assert!(at("80 % the lru_cache of Checker.tokens (maxsize=None") < at("10 % no name led to them"));
        assert!(at("10 % nobody: nothing in memory") < at("80 % the"));
        // Whoever holds the GIL is the first of the threads.
        assert!(at("4712 worker · holds the GIL") < text.rfind("4712 worker\n").unwrap());
        assert!(text.contains("gc.disable") && text.contains("and 2 more\n"), "{text}");
    }

    #[test]
    fn the_next_command_is_named() {
        let mut report = report();
        let last = |report: &PythonReport| render(report, Style::default()).lines().last().map(str::to_owned);
        report.held.clear();
        let next = "Who holds it: offheap python 4711 --for 10s --holders shop.models.warehouse.ArticleInAVeryLongModule";
        assert_eq!(last(&report).as_deref(), Some(next));
        report.growth = None;
        assert_eq!(last(&report).as_deref(), Some("What grows: offheap python 4711 --for 30s"));
    }
}

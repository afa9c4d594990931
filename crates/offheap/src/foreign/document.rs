//! What is written as JSON of files without sites, and of series.

use super::{Content, Order, Reading, Series};
use offheap_formats::hs_err::HsErr;
use offheap_formats::{Hprof, Named};
use offheap_model::Frame;
use serde::Serialize;
use serde_json::Value;

/// A comparison or a series: each row with its points, last less first, slope.
pub fn json(series: &Series) -> Value {
    // Plain data with string keys: there is nothing that could fail.
    serde_json::to_value(SeriesDocument::of(series)).unwrap_or_default()
}

/// What a file without sites holds, as JSON.
pub fn report(reading: &Reading) -> Value {
    serde_json::to_value(FiguresDocument::of(reading)).unwrap_or_default()
}

/// What `offheap diff --json` says of files, and `offheap convert -o FILE.json` of a recording of
/// the JDK.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub(super) struct SeriesDocument {
    /// `offheap/series/v1`
    schema: &'static str,
    /// What the figures are: `"live bytes"`, `"committed bytes by NMT category"`.
    of: String,
    /// What values are counted in: `bytes` or `count`.
    unit: &'static str,
    /// What slopes are per: `second`, or `file` where the files tell no time.
    slope_per: &'static str,
    /// Where the order of the files comes from.
    order: &'static str,
    /// The files, oldest first.
    files: Vec<String>,
    /// A site or a named figure each.
    rows: Vec<SeriesRow>,
    /// What must be said about the files.
    notes: Vec<String>,
}

/// A site or a named figure over time.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
struct SeriesRow {
    /// Its name; null of a site.
    name: Option<String>,
    /// The stack of a site, innermost first; empty where there is a name.
    frames: Vec<Frame>,
    /// In the first file.
    before: u64,
    /// In the last.
    after: u64,
    /// From the first to the last: growth is positive.
    delta: i64,
    /// Theil–Sen slope; null where there are too few points.
    slope: Option<f64>,
    /// Its 95 % confidence interval.
    slope_ci95: Option<[f64; 2]>,
    /// One for each file.
    points: Vec<SeriesPoint>,
}

/// A value at an instant.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
struct SeriesPoint {
    /// Milliseconds since the Unix epoch; null where the files tell no time.
    time_ms: Option<i64>,
    /// In `unit`.
    value: u64,
    /// How many, where that makes sense.
    count: Option<u64>,
}

/// What `offheap convert -o FILE.json` says of a file without sites.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub(super) struct FiguresDocument<'a> {
    /// `offheap/figures/v1`
    schema: &'static str,
    /// The file's format: `"smaps"`, `"heap dump"`.
    format: &'static str,
    /// What the figures are.
    of: String,
    /// When it was taken, milliseconds since the Unix epoch, where the file says.
    time_ms: Option<i64>,
    /// Largest first.
    figures: Vec<NamedFigure>,
    /// What the file says by itself, in sentences, what matters most first.
    says: Vec<String>,
    /// What to do about it, best first.
    advice: Vec<String>,
    /// All that is known of a heap dump or a fatal error log.
    detail: Option<Detail<'a>>,
    /// What must be said about the file.
    notes: &'a [String],
}

/// A figure.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
struct NamedFigure {
    /// What it is of: an NMT category, a class, a mapped file.
    name: String,
    /// Bytes, where it is of memory.
    bytes: u64,
    /// How many, where that makes sense.
    count: Option<u64>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged)]
enum Detail<'a> {
    Dump(&'a Hprof),
    Log(Box<LogDetail<'a>>),
}

/// A fatal error log.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
struct LogDetail<'a> {
    /// What the kernel said of the signal.
    signal: Option<SignalDetail<'a>>,
    /// What kind of failure: `"NativeMemory"`, `"Python"`, `"Jvm"`…
    crash: String,
    /// What to do, best first.
    advice: Vec<String>,
    /// What the log knows, what matters most first: the terminal shows it.
    facts: Vec<Fact>,
    /// Java threads by pool, most first.
    pools: Vec<Pool<'a>>,
    /// The first lines.
    headline: &'a [String],
    /// The process.
    pid: Option<i32>,
    /// The JVM's name and version.
    vm: &'a str,
    /// The JVM's arguments.
    command_line: &'a str,
    /// How long it had run.
    uptime_s: Option<f64>,
    /// The thread that failed.
    thread: &'a str,
    /// Innermost first.
    native_stack: &'a [Frame],
    /// Innermost first.
    java_stack: &'a [Frame],
    /// Java threads in the list of threads.
    java_threads: Option<u64>,
    /// Resident bytes of the process.
    rss_bytes: Option<u64>,
    /// malloc'ed and not freed, as glibc counts.
    c_heap_bytes: Option<u64>,
    /// Free, but held by glibc.
    c_heap_retained_bytes: Option<u64>,
    /// The container's lines: key, value.
    container: &'a [(String, String)],
}

/// Something that is known.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
struct Fact {
    /// `"asked for"`, `"resident"`…
    label: &'static str,
    /// In words, sizes in units.
    value: String,
}

/// Threads whose names differ in nothing but numbers.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
struct Pool<'a> {
    /// `"pool-1-thread-N"`
    name: &'a str,
    /// How many.
    threads: u64,
}

/// A signal.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
struct SignalDetail<'a> {
    /// `"SIGSEGV"`
    name: &'a str,
    /// `"SEGV_MAPERR"`, `"SI_USER"`…
    code: &'a str,
    /// The address that could not be reached.
    address: Option<u64>,
    /// The pid of who sent it, where a process did.
    sender: Option<i32>,
}

impl SeriesDocument {
    /// Of `series`.
    fn of(series: &Series) -> SeriesDocument {
        let timed = series.order != Order::Name;
        let rows = series.table.rows.iter().zip(&series.slopes).map(|(row, slope)| SeriesRow {
            name: row.frames.is_empty().then(|| row.name.clone()),
            frames: row.frames.clone(),
            before: row.before(),
            after: row.after(),
            delta: row.change(),
            slope: slope.map(|slope| slope.per_s),
            slope_ci95: slope.map(|slope| slope.ci95),
            points: row
                .points
                .iter()
                .zip(&row.counts)
                .map(|((time, value), count)| SeriesPoint {
                    time_ms: timed.then_some(*time),
                    value: *value,
                    count: *count,
                })
                .collect(),
        });
        SeriesDocument {
            schema: "offheap/series/v1",
            of: series.table.of.clone(),
            unit: if series.table.is_bytes { "bytes" } else { "count" },
            slope_per: if timed { "second" } else { "file" },
            order: series.order.text(),
            files: series.paths.iter().map(|path| path.display().to_string()).collect(),
            rows: rows.collect(),
            notes: series.notes.clone(),
        }
    }
}

impl<'a> FiguresDocument<'a> {
    /// Of `reading`, which has no sites.
    fn of(reading: &'a Reading) -> FiguresDocument<'a> {
        let figures = reading.figures().unwrap_or_default();
        let named = figures.list.into_iter().map(|figure| NamedFigure {
            name: figure.name,
            bytes: figure.bytes,
            count: figure.count,
        });
        FiguresDocument {
            schema: "offheap/figures/v1",
            format: reading.format.name(),
            of: figures.of,
            time_ms: reading.time_ms,
            figures: named.collect(),
            says: figures.says,
            advice: figures.advice,
            detail: match &reading.content {
                Content::Dump(dump) => Some(Detail::Dump(dump)),
                Content::Log(log, nmt) => Some(Detail::Log(Box::new(LogDetail::of(log, nmt)))),
                _ => None,
            },
            notes: &reading.notes,
        }
    }
}

impl<'a> LogDetail<'a> {
    fn of(log: &'a HsErr, nmt: &[Named]) -> LogDetail<'a> {
        let crash = log.crash();
        let signal = log.signal.as_ref().map(|signal| SignalDetail {
            name: &signal.name,
            code: &signal.code,
            address: signal.address,
            sender: signal.sender,
        });
        LogDetail {
            signal,
            crash: format!("{crash:?}"),
            advice: log.advice(nmt),
            facts: log.facts(nmt).into_iter().map(|(label, value)| Fact { label, value }).collect(),
            pools: log.pools.iter().map(|(name, threads)| Pool { name, threads: *threads }).collect(),
            headline: &log.headline,
            pid: log.pid,
            vm: &log.vm,
            command_line: &log.command_line,
            uptime_s: log.uptime_s,
            thread: &log.thread,
            native_stack: &log.native_stack,
            java_stack: &log.java_stack,
            java_threads: log.java_threads,
            rss_bytes: log.rss_bytes,
            c_heap_bytes: log.c_heap_bytes,
            c_heap_retained_bytes: log.c_heap_retained_bytes,
            container: &log.container,
        }
    }
}

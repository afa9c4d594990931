//! A verdict on files of other tools: one instant can only be described, several show what grows.

use super::case::case;
use super::series::read_some;
use super::{Content, Order, Reading, Series, code, label, series_of};
use offheap_diagnose::stats::{Point, Shape, Trend};
use offheap_diagnose::{Diagnosis, Level, Outlook, RssTrend, SCHEMA, Target, Window, certainty};
use offheap_formats::{Figure, Format, Row};
use offheap_model::units::{bytes, duration, rate};
use offheap_model::{Domain, Evidence, Finding, Frame, Profile, ProfileSite, Site, Status};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Growth below this is not worth a word.
const MATERIAL: u64 = 1 << 20;
/// Files that must each show more than the one before, where they are too few for statistics.
const FEWEST: usize = 4;
/// How sure growth is that so few files show.
const FEW_FILES: f64 = 0.65;
/// How sure a leak is that a leak checker says: it has looked for pointers to the block and found
/// none.
const BY_A_CHECKER: f64 = 0.9;
/// Findings beside the verdict.
const MOST: usize = 20;

/// What `paths` (a directory stands for its files) say together.
///
/// # Errors
/// None can be read.
pub fn diagnose(paths: &[PathBuf]) -> anyhow::Result<Diagnosis> {
    let (readings, problems) = read_some(paths)?;
    let mut diagnosis = of(readings)?;
    // In the verdict itself, so that it is seen.
    let left_out = problems.iter().map(|problem| Evidence {
        text: problem.split("; `offheap convert").next().unwrap_or(problem).to_owned(),
        source: "left out".to_owned(),
    });
    diagnosis.verdict.evidence.extend(left_out);
    if let Some(first) = diagnosis.findings.first_mut() {
        *first = diagnosis.verdict.clone();
    }
    diagnosis.not_looked_at.extend(problems);
    Ok(diagnosis)
}

fn of(readings: Vec<Reading>) -> anyhow::Result<Diagnosis> {
    if let [reading] = readings.as_slice()
        && !matches!(reading.content, Content::Recording(_))
    {
        let window = Window { start: reading.time_ms.unwrap_or(0), ..window(1) };
        return Ok(document(std::slice::from_ref(&reading.path), window, vec![instant(reading)]));
    }
    let kinds: BTreeSet<Option<&str>> = readings.iter().map(Reading::kind).collect();
    let has_log = readings.iter().any(|reading| matches!(reading.content, Content::Log(..)));
    if kinds.len() > 1 || has_log {
        return case(readings);
    }
    let series = series_of(readings, false)?;
    let points = series.table.rows.iter().map(|row| row.points.len()).max().unwrap_or(0);
    let start = series.table.rows.iter().filter_map(|row| row.points.first()).map(|(time, _)| *time).min();
    let window = Window {
        start: start.filter(|_| series.seconds.is_some()).unwrap_or(0),
        seconds: series.seconds.unwrap_or(0.0),
        ..window(points)
    };
    let mut findings = growing(&series);
    if findings.is_empty() {
        findings.push(still(&series, points));
    }
    Ok(document(&series.paths, window, findings))
}

pub(super) fn window(snapshots: usize) -> Window {
    Window { start: 0, seconds: 0.0, snapshots }
}

pub(super) fn document(files: &[PathBuf], window: Window, findings: Vec<Finding>) -> Diagnosis {
    let names: Vec<String> = files.iter().take(4).map(|file| file.display().to_string()).collect();
    let more = if files.len() > names.len() { " …" } else { "" };
    let verdict = findings.first().cloned().unwrap_or_else(|| {
        finding(Status::Inconclusive, None, "nothing-read", 0.5, "These files hold no figures.".to_owned())
    });
    Diagnosis {
        schema: SCHEMA.to_owned(),
        target: Target { command: names.join(" ") + more, ..Target::default() },
        window,
        rss: RssTrend::default(),
        domains: Vec::new(),
        verdict,
        findings,
        next: None,
        level: Level::default(),
        outlook: Outlook::default(),
        power: Vec::new(),
        not_looked_at: Vec::new(),
    }
}

pub(super) fn finding(
    status: Status,
    domain: Option<Domain>,
    cause: &str,
    confidence: f64,
    summary: String,
) -> Finding {
    Finding {
        status,
        domain,
        cause: cause.to_owned(),
        confidence,
        summary,
        evidence: Vec::new(),
        slope_bytes_per_s: 0.0,
        slope_ci95: None,
        explains: Vec::new(),
        site: None,
        next: None,
        fix: Vec::new(),
        confirm: Vec::new(),
    }
}

/// What one file says.
pub(super) fn instant(reading: &Reading) -> Finding {
    let file = reading.path.display();
    let more = vec!["give several files of different times: offheap diagnose FILE FILE FILE".to_owned()];
    match &reading.content {
        Content::Log(log, nmt) => {
            let is_event = |line: &&str| !line.starts_with("Possible reasons");
            let lines = log.headline.iter().map(String::as_str).take_while(is_event);
            let headline: Vec<&str> = lines.take(3).collect();
            let headline = headline.join(" ");
            let title = log.crash().title();
            let mut found = finding(
                Status::Inconclusive,
                None,
                "fatal-error",
                0.9,
                format!("{title}: {file} is the log of a JVM's fatal error. {headline}"),
            );
            let fact = |(label, value): (&str, String)| Evidence {
                text: format!("{label}: {value}"),
                source: file.to_string(),
            };
            found.evidence = log.facts(nmt).into_iter().map(fact).collect();
            found.fix = log.advice(nmt);
            found
        }
        Content::Profile(parsed) => of_profile(reading, &parsed.profile, more),
        _ => {
            let figures = reading.figures().unwrap_or_default();
            if !figures.says.is_empty() {
                let summary = format!("{file} ({}): {}", reading.format.name(), figures.says.join(" "));
                let found = finding(Status::Inconclusive, None, "says-by-itself", 0.9, summary);
                return Finding { fix: figures.advice, confirm: more, ..found };
            }
            let largest: Vec<String> = figures
                .list
                .iter()
                .take(3)
                .map(|named| format!("{} {}", named.name, bytes(named.bytes)))
                .collect();
            let summary = format!(
                "{file} ({}) is one instant, and an instant never shows what grows. Largest: {}.",
                reading.format.name(),
                largest.join(", ")
            );
            Finding { confirm: more, ..finding(Status::Inconclusive, None, "one-instant", 0.9, summary) }
        }
    }
}

fn of_profile(reading: &Reading, profile: &Profile, more: Vec<String>) -> Finding {
    let checker = matches!(reading.format, Format::MemcheckText | Format::MemcheckXml | Format::Sanitizer);
    let size =
        |site: &&ProfileSite| if checker { site.leak_bytes } else { site.leak_bytes.max(site.live_bytes) };
    let largest = profile.sites.iter().max_by_key(size).filter(|site| size(site) > 0);
    let Some(largest) = largest else {
        let summary =
            format!("{} ({}) knows of no memory that stays.", reading.path.display(), reading.format.name());
        let status = if checker { Status::Healthy } else { Status::Inconclusive };
        return finding(status, None, "nothing-stays", BY_A_CHECKER, summary);
    };
    let total: u64 = profile.sites.iter().map(|site| size(&site)).sum();
    let frames: Vec<Frame> =
        largest.stack.iter().filter_map(|index| profile.frames.get(*index as usize)).cloned().collect();
    let words = format!(
        "{} of {} in {} sites come from {}",
        bytes(size(&largest)),
        bytes(total),
        profile.sites.len(),
        Some(code(&frames)).filter(|code| !code.is_empty()).unwrap_or_else(|| "unknown code".to_owned())
    );
    let mut found = if checker {
        let summary = format!("{} found leaks: {words}.", reading.format.name());
        finding(Status::Leak, Some(Domain::NativeMalloc), "found-by-a-leak-checker", BY_A_CHECKER, summary)
    } else {
        let figure = Figure::best(profile).title();
        let summary = format!(
            "{} ({}, {figure}) is one instant, and an instant never shows what grows: {words}.",
            reading.path.display(),
            reading.format.name()
        );
        Finding {
            confirm: more,
            ..finding(Status::Inconclusive, Some(Domain::NativeMalloc), "one-instant", 0.9, summary)
        }
    };
    found.site = Some(Site { bytes: size(&largest), slope_bytes_per_s: 0.0, frames });
    found
}

/// A finding for each row that grows, the fastest first.
pub(super) fn growing(series: &Series) -> Vec<Finding> {
    if !series.table.is_bytes {
        return Vec::new();
    }
    let mut found: Vec<(i64, Finding)> =
        series.table.rows.iter().filter_map(|row| judge(series, row)).collect();
    found.sort_by_key(|(change, finding)| (finding.status != Status::Leak, -change));
    found.into_iter().take(MOST).map(|(_, finding)| finding).collect()
}

fn judge(series: &Series, row: &Row) -> Option<(i64, Finding)> {
    let change = row.change();
    if change < MATERIAL as i64 {
        return None;
    }
    let timed = series.order != Order::Name;
    let first = row.points.first()?.0;
    let points: Vec<Point> = row
        .points
        .iter()
        .map(|(time, value)| Point {
            t: (time - first) as f64 / if timed { 1000.0 } else { 1.0 },
            v: *value as f64,
        })
        .collect();
    let trend = Trend::of(&points);
    let (status, confidence, how) = match trend.shape {
        Shape::Steady | Shape::RisingFloor => (Status::Leak, certainty(&trend), "grows steadily"),
        Shape::TooShort if points.len() >= FEWEST && points.is_sorted_by(|a, b| a.v < b.v) => {
            (Status::Leak, FEW_FILES, "is more in each file than in the one before")
        }
        Shape::Flat | Shape::Ended => return None,
        _ => (Status::Inconclusive, 0.5, "is more at the end than at the begin, but not steadily"),
    };
    let name = label(row);
    let per_s = if timed { series.slopes_of(row).map_or(0.0, |slope| slope.per_s) } else { 0.0 };
    let span =
        series.seconds.map_or(String::new(), |seconds| format!(" in {}, {}", duration(seconds), rate(per_s)));
    let mut found = finding(
        status,
        domain(row),
        "growth-between-files",
        confidence,
        format!(
            "{name} {how}: {} → {}{span}, in {} instants ({}).",
            bytes(row.before()),
            bytes(row.after()),
            points.len(),
            series.table.of
        ),
    );
    found.slope_bytes_per_s = per_s;
    found.evidence = vec![Evidence {
        text: format!("{name}: +{}", bytes(change.unsigned_abs())),
        source: series.table.of.clone(),
    }];
    if !row.frames.is_empty() {
        found.site = Some(Site { bytes: row.after(), slope_bytes_per_s: per_s, frames: row.frames.clone() });
    }
    found.confirm = vec!["offheap diff with the same files shows every row with its slope".to_owned()];
    Some((change, found))
}

fn still(series: &Series, instants: usize) -> Finding {
    let (status, text) = if instants >= FEWEST {
        (Status::Healthy, "nothing grows steadily")
    } else {
        (Status::Inconclusive, "too few to tell growth from noise; four or more would")
    };
    finding(status, None, "no-growth", 0.7, format!("{instants} instants of {}: {text}.", series.table.of))
}

/// What a row speaks of: code allocates native memory, NMT's categories are the JVM's.
fn domain(row: &Row) -> Option<Domain> {
    if !row.frames.is_empty() {
        return Some(Domain::NativeMalloc);
    }
    // NMT's names, as the JDK writes them (src/hotspot/share/nmt/memTag.hpp).
    let name = row.name.trim_start_matches("NativeMemoryUsage ").trim_end_matches(" committed");
    Some(match name {
        "Java Heap" => Domain::JavaHeap,
        "Class" | "Metaspace" => Domain::Metaspace,
        "Thread" | "Thread Stack" => Domain::ThreadStacks,
        "Code" => Domain::CodeCache,
        "GC" | "GCCardSet" => Domain::Gc,
        "Other" | "DirectBufferStatistics memoryUsed" => Domain::DirectMemory,
        "Shared class space" => Domain::Cds,
        "Compiler"
        | "Internal"
        | "Symbol"
        | "Arena Chunk"
        | "Native Memory Tracking"
        | "JVMCI"
        | "String Deduplication"
        | "Synchronization"
        | "Serviceability"
        | "Module"
        | "Safepoint"
        | "Logging" => Domain::JvmInternal,
        _ => return None,
    })
}

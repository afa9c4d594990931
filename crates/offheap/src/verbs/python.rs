//! `offheap python`

use crate::output::{self, Progress};
use crate::sampler::Stop;
use crate::target;
use anyhow::bail;
use offheap_collect::{Collector, Effort};
use offheap_diagnose::stats::{Point, Trend};
use offheap_model::units::{duration, parse_duration};
use offheap_model::{PythonObjects, PythonType};
use offheap_present::terminal::python::{PythonGrowth, PythonReport, TypeGrowth, render};
use std::collections::HashMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The least time from one census to the next.
const EVERY: Duration = Duration::from_secs(1);
/// A census may use one part in that many of the time.
const CENSUS_SHARE: u32 = 20;
/// Censuses of a window at most.
const MOST: u32 = 600;

/// Look into a CPython interpreter: objects by type, what grows and who holds it, threads and their
/// Python stacks.
///
/// Looks from outside only: nothing is loaded and nothing stops. The program goes on meanwhile, so
/// a count is not of one exact instant.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A pid, or a part of exactly one command line.
    target: String,
    /// Count the objects for this long, to see which types grow.
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
    length: Option<Duration>,
    /// Say who holds the objects of this type (its name as it is listed); with --for, of those made
    /// meanwhile.
    #[arg(long, value_name = "TYPE")]
    holders: Vec<String>,
    /// Show every type, thread and frame.
    #[arg(long)]
    all: bool,
    /// Write JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let pid = target::resolve(&arguments.target)?;
    let mut collector = Collector::open(pid)?;
    let mut snapshot = collector.snapshot(Effort::ACCOUNT)?;
    if snapshot.python.is_none() {
        bail!(
            "no CPython interpreter was found in process {pid}; offheap ps lists the processes that have one"
        );
    };
    let mut missing = Vec::new();
    let mut objects = match collector.python_objects() {
        Ok(objects) => Some(objects),
        Err(why) => {
            missing.push(format!("Its objects can't be counted: {why}"));
            None
        }
    };
    let mut growth = None;
    if let (Some(length), Some(first)) = (arguments.length, objects.clone()) {
        let series = watch(&mut collector, first, length)?;
        objects = series.last().map(|(_, objects)| objects.clone());
        growth = Some(grown(&series));
        // Where it has ended what was learnt stays.
        snapshot = collector.snapshot(Effort::ACCOUNT).unwrap_or(snapshot);
    }
    let python = snapshot.python.unwrap_or_default();
    let mut held = Vec::new();
    for name in arguments.holders.iter().filter(|_| objects.is_some()) {
        match collector.python_holders(name) {
            Ok(found) => held.push(found),
            Err(why) => missing.push(format!("What holds {name} can't be determined: {why}")),
        }
    }
    let interpreters = collector.python_interpreters().unwrap_or_else(|why| {
        missing.push(format!("Its threads and stacks can't be read: {why}"));
        Vec::new()
    });
    let report = PythonReport {
        schema: "offheap/python/v1",
        pid,
        version: python.version,
        main: python.main,
        rss_bytes: snapshot.memory.rss_bytes,
        arena_bytes: python.arena_bytes,
        interpreters,
        objects,
        growth,
        held,
        not_looked_at: missing,
    };
    if arguments.json {
        output::print_json(&serde_json::to_value(&report)?);
    } else {
        output::print(&render(&report, output::style(arguments.all)));
    }
    Ok(ExitCode::SUCCESS)
}

/// Censuses over a window, with their times in seconds.
fn watch(
    collector: &mut Collector,
    first: PythonObjects,
    length: Duration,
) -> anyhow::Result<Vec<(f64, PythonObjects)>> {
    let stop = Stop::catch()?;
    let mut progress = Progress::new();
    let begun = Instant::now();
    let every = EVERY.max(length / MOST);
    let mut series = vec![(0.0, first)];
    while !stop.is_wanted() && begun.elapsed() < length {
        let took = Duration::from_micros(series.last().map_or(0, |(_, objects)| objects.took_us));
        let due = Instant::now() + every.max(took * CENSUS_SHARE);
        progress.show(&format!(
            "{} of {} · counting objects · Ctrl-C: show what is known",
            duration(begun.elapsed().as_secs_f64()),
            duration(length.as_secs_f64())
        ));
        stop.sleep_until(due.min(begun + length));
        match collector.python_objects() {
            Ok(objects) => series.push((begun.elapsed().as_secs_f64(), objects)),
            // It has ended: what was learnt stays.
            Err(_) => break,
        }
    }
    Ok(series)
}

/// What became of each type, the fastest growing first.
fn grown(series: &[(f64, PythonObjects)]) -> PythonGrowth {
    let mut by_type: HashMap<&str, Vec<(f64, &PythonType)>> = HashMap::new();
    for (t, objects) in series {
        for kind in &objects.types {
            by_type.entry(&kind.name).or_default().push((*t, kind));
        }
    }
    let mut types: Vec<TypeGrowth> = by_type
        .into_iter()
        .filter_map(|(name, seen)| {
            let points: Vec<Point> =
                seen.iter().map(|(t, kind)| Point { t: *t, v: kind.bytes() as f64 }).collect();
            let trend = Trend::of(&points);
            let ((_, first), (_, last)) = (seen.first()?, seen.last()?);
            Some(TypeGrowth {
                name: name.to_owned(),
                slope_bytes_per_s: finite(trend.slope.per_s),
                slope_ci95: trend.slope.ci95.map(finite),
                from_bytes: first.bytes(),
                to_bytes: last.bytes(),
                from_count: first.count,
                to_count: last.count,
                certain: trend.lasts(),
            })
        })
        .collect();
    types.sort_by(|a, b| b.slope_bytes_per_s.total_cmp(&a.slope_bytes_per_s).then(a.name.cmp(&b.name)));
    PythonGrowth { seconds: series.last().map_or(0.0, |(t, _)| *t), censuses: series.len(), types }
}

/// JSON knows no infinity.
fn finite(value: f64) -> f64 {
    if value.is_finite() { value } else { 0.0 }
}

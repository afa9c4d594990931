//! What `diagnose` and `check` look at: a process watched for a while, or a recording.

use crate::instants;
use crate::output::Progress;
use crate::sampler::{Sampler, Stop};
use offheap_collect::targets;
use offheap_diagnose::{Evidence, diagnose};
use offheap_model::units::{bytes, duration, parse_duration, rate};
use offheap_model::{Snapshot, Status};
use offheap_store::{Recording, is_recording};
use std::path::Path;
use std::time::{Duration, Instant};

/// Snapshots that statistics look at; more tell nothing more.
const SNAPSHOTS: usize = 600;

/// Seconds between two looks at how the verdict stands.
const IMPRESSION: Duration = Duration::from_secs(5);

/// What to look at and for how long.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Arguments {
    /// A pid, a part of exactly one command line, or a recording.
    pub target: String,
    /// How long to watch a process.
    #[arg(long = "for", default_value = "60s", value_parser = parse_duration)]
    pub length: Duration,
    /// Time between two snapshots [default: 1s, longer for windows above ten minutes].
    #[arg(long, value_parser = parse_duration)]
    pub every: Option<Duration>,
    /// Of a recording: the process with this pid [default: the one with most snapshots].
    #[arg(long)]
    pub pid: Option<i32>,
}

/// What was seen.
#[derive(Debug)]
pub struct Observed {
    /// The snapshots, oldest first.
    pub snapshots: Vec<Snapshot>,
    /// Marks: when, and what.
    pub marks: Vec<(i64, String)>,
    /// Why it ended early, if it did.
    pub ended: Option<String>,
}

/// Watches or reads.
///
/// # Errors
/// No such target, no rights, no such recording.
pub fn observe(arguments: &Arguments) -> anyhow::Result<Observed> {
    let path = Path::new(&arguments.target);
    if is_recording(path) {
        let recording = Recording::open(path)?;
        let target = instants::target(&recording, arguments.pid)?;
        return Ok(Observed {
            snapshots: recording.snapshots(target.id, i64::MIN..=i64::MAX, SNAPSHOTS)?,
            marks: recording.marks()?.into_iter().map(|mark| (mark.time_ms, mark.text)).collect(),
            ended: None,
        });
    }
    watch(arguments)
}

fn watch(arguments: &Arguments) -> anyhow::Result<Observed> {
    let stop = Stop::catch()?;
    let every =
        arguments.every.unwrap_or_else(|| (arguments.length / SNAPSHOTS as u32).max(Duration::from_secs(1)));
    let mut sampler = Sampler::open(targets::resolve(&arguments.target)?, every)?;
    let mut observed = Observed { snapshots: Vec::new(), marks: Vec::new(), ended: None };
    let begun = Instant::now();
    let end = begun + arguments.length;
    let mut progress = Progress::new();
    let mut impression = String::from("too early to say");
    let mut looked = begun;
    loop {
        match sampler.snapshot() {
            // Last words are no point of a series; the next look tells the end.
            Ok(snapshot) if snapshot.notes.iter().any(|note| note.id == offheap_collect::ENDED) => continue,
            Ok(snapshot) => observed.snapshots.push(snapshot),
            Err(error) if error.is_gone() && !observed.snapshots.is_empty() => {
                observed.ended = Some(format!("{error}: {}", sampler.collector().end()));
                break;
            }
            Err(error) => return Err(error.into()),
        }
        if progress.is_visible() && looked.elapsed() >= IMPRESSION {
            looked = Instant::now();
            impression = impression_of(&observed.snapshots);
        }
        let rss = observed.snapshots.last().map_or(0, |snapshot| snapshot.memory.rss_bytes);
        progress.show(&format!(
            "{} of {} · RSS {} · {impression} · Ctrl-C: verdict now",
            duration(begun.elapsed().as_secs_f64()),
            duration(arguments.length.as_secs_f64()),
            bytes(rss),
        ));
        if stop.is_wanted() || sampler.due() > end {
            break;
        }
        stop.sleep_until(sampler.due());
        if stop.is_wanted() {
            break;
        }
    }
    Ok(observed)
}

/// How the verdict stands, in a few words.
fn impression_of(snapshots: &[Snapshot]) -> String {
    let diagnosis = diagnose(&Evidence::of(snapshots));
    let verdict = &diagnosis.verdict;
    match verdict.status {
        Status::Inconclusive => format!("so far {}", rate(diagnosis.rss.slope_bytes_per_s)),
        status => format!("looks like {status}: {} ({:.0} %)", verdict.cause, verdict.confidence * 100.0),
    }
}

//! What `diagnose`, `check` and `fit` look at: a process watched for a while, or a recording.

use crate::instants;
use crate::output::{self, Progress};
use crate::sampler::{Sampler, Stop};
use crate::session::{Allowed, Audience, Event, Live, Observed, References, SearchResult, Task};
use crate::target;
use offheap_model::units::{bytes, duration, parse_duration};
use offheap_store::{Recording, is_recording};
use std::path::Path;
use std::time::Duration;

/// Snapshots that statistics look at; more tell nothing more.
const SNAPSHOTS: usize = 600;
/// A window has at least this many snapshots, also where a large heap makes them costly: fewer than
/// half of that are not judged.
const LEAST_SNAPSHOTS: u32 = 25;

/// What to look at and for how long.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Arguments {
    /// A pid, a part of exactly one command line, or a recording; diagnose takes files of other
    /// tools, too.
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

/// Watches or reads; a process only as far as it is `allowed`.
///
/// # Errors
/// No such target, no rights, no such recording.
pub fn observe(arguments: &Arguments, allowed: Allowed, references: References) -> anyhow::Result<Observed> {
    let path = Path::new(&arguments.target);
    if is_recording(path) { read(path, arguments.pid) } else { watch(arguments, allowed, references) }
}

/// What a recording has of one process; see [`instants::target`] for `pid`.
///
/// # Errors
/// No such recording, no such process in it.
pub fn read(path: &Path, pid: Option<i32>) -> anyhow::Result<Observed> {
    let recording = Recording::open(path)?;
    let target = instants::target(&recording, pid)?;
    // Of profiles recorded along, the last one has the most to say; the others show what grew
    // between two.
    let instants = recording.profiles(target.id)?;
    let profile = instants.last().map(|(_, profile)| profile.clone());
    Ok(Observed {
        snapshots: recording.snapshots(target.id, i64::MIN..=i64::MAX, SNAPSHOTS)?,
        marks: recording.marks()?.into_iter().map(|mark| (mark.time_ms, mark.text)).collect(),
        search: SearchResult { profile, instants, ..SearchResult::default() },
        ended: None,
    })
}

fn watch(arguments: &Arguments, allowed: Allowed, references: References) -> anyhow::Result<Observed> {
    let pid = target::resolve(&arguments.target)?;
    let allowed = allowed.ask(&format!("process {pid}"));
    let stop = Stop::catch()?;
    let every =
        arguments.every.unwrap_or_else(|| (arguments.length / SNAPSHOTS as u32).max(Duration::from_secs(1)));
    let sampler = Sampler::open(pid, every)?.never_slower_than(arguments.length / LEAST_SNAPSHOTS);
    let mut terminal = Terminal { progress: Progress::new(), length: arguments.length };
    let task = Task { length: arguments.length, allowed, references };
    task.run(&mut Live::new(sampler, stop), &mut terminal)
}

/// A person at a terminal, or who reads in their place.
struct Terminal {
    progress: Progress,
    length: Duration,
}

impl Audience for Terminal {
    fn event(&mut self, at: Option<Duration>, event: &Event) {
        self.progress.clear();
        output::note(&match at {
            Some(at) => format!("{}: {event}", duration(at.as_secs_f64())),
            None => event.to_string(),
        });
    }

    fn interim_verdict(&mut self, at: Duration, rss_bytes: u64, words: &str) {
        self.progress.show(&format!(
            "{} of {} · RSS {} · {words} · Ctrl-C: verdict now",
            duration(at.as_secs_f64()),
            duration(self.length.as_secs_f64()),
            bytes(rss_bytes),
        ));
    }

    fn busy(&mut self, with: &str) {
        self.progress.show(with);
    }
}

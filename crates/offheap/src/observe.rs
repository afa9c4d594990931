//! What `diagnose` and `check` look at: a process watched for a while, or a recording.

use crate::instants;
use crate::output::Progress;
use crate::procedure::{Allowed, Found, Procedure, say};
use crate::sampler::{Sampler, Stop};
use crate::target;
use offheap_collect::Collector;
use offheap_diagnose::{Diagnosis, Evidence, diagnose, python_suspects, rules::IN_USE_DECIDES_S};
use offheap_model::units::{bytes, duration, parse_duration};
use offheap_model::{Snapshot, Status};
use offheap_store::{Recording, is_recording};
use std::path::Path;
use std::time::{Duration, Instant};

/// Snapshots that statistics look at; more tell nothing more.
const SNAPSHOTS: usize = 600;
/// A window has so many at least, also where a large heap makes them costly: fewer than half of
/// that are not judged.
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

/// What was seen.
#[derive(Debug, Default)]
pub struct Observed {
    /// The snapshots, oldest first.
    pub snapshots: Vec<Snapshot>,
    /// Marks: when, and what.
    pub marks: Vec<(i64, String)>,
    /// What the search for the code found.
    pub found: Found,
    /// Why it ended early, if it did.
    pub ended: Option<String>,
}

/// Whether it is asked who holds what became more: of use to a verdict only, and not free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum References {
    /// Followed where that matters.
    Followed,
    /// Left alone.
    Left,
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
        found: Found { profile, instants, ..Found::default() },
        ended: None,
    })
}

fn watch(arguments: &Arguments, allowed: Allowed, references: References) -> anyhow::Result<Observed> {
    let pid = target::resolve(&arguments.target)?;
    let allowed = allowed.ask(&format!("process {pid}"));
    let stop = Stop::catch()?;
    let every =
        arguments.every.unwrap_or_else(|| (arguments.length / SNAPSHOTS as u32).max(Duration::from_secs(1)));
    let mut sampler = Sampler::open(pid, every)?.never_slower_than(arguments.length / LEAST_SNAPSHOTS);
    let mut observed =
        Observed { snapshots: Vec::new(), marks: Vec::new(), found: Found::default(), ended: None };
    let begun = Instant::now();
    let end = begun + arguments.length;
    let mut progress = Progress::new();
    let mut procedure = Procedure::new(allowed, arguments.length);
    let mut follower = (references == References::Followed).then(|| Follower::new(arguments.length));
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
        if let Some(follower) = &mut follower {
            follower.step(&mut observed.snapshots, sampler.collector(), &mut progress, false);
        }
        let news = procedure.step(&observed.snapshots);
        if !news.is_empty() {
            progress.clear();
            say(&news);
        }
        let rss = observed.snapshots.last().map_or(0, |snapshot| snapshot.memory.rss_bytes);
        progress.show(&format!(
            "{} of {} · RSS {} · {} · Ctrl-C: verdict now",
            duration(begun.elapsed().as_secs_f64()),
            duration(arguments.length.as_secs_f64()),
            bytes(rss),
            procedure.standing(),
        ));
        if stop.is_wanted() || sampler.due() > end {
            break;
        }
        stop.sleep_until(sampler.due());
        if stop.is_wanted() {
            break;
        }
    }
    if let Some(follower) = follower.as_mut().filter(|_| observed.ended.is_none()) {
        follower.step(&mut observed.snapshots, sampler.collector(), &mut progress, true);
        python_holders(&mut observed.snapshots, sampler.collector(), &mut progress);
    }
    progress.show("reading the allocation sites");
    let (found, news) = procedure.finish();
    progress.clear();
    say(&news);
    observed.found = found;
    Ok(observed)
}

/// Has it looked for who holds the Python objects that became more, if some did.
fn python_holders(snapshots: &mut [Snapshot], collector: &Collector, progress: &mut Progress) {
    if snapshots.last().is_none_or(|snapshot| snapshot.python.is_none()) {
        return;
    }
    let wanted = python_suspects(&Evidence::of(snapshots));
    let Some(python) = snapshots.last_mut().and_then(|snapshot| snapshot.python.as_mut()) else { return };
    for name in wanted {
        progress.show(&format!("following the references to {name} objects"));
        // Where it can't be told the verdict stands without.
        python.held.extend(collector.python_holders(&name));
    }
}

/// Times in a window that references are followed: three of them, which make a series, by half of
/// it.
const FOLLOWED: u32 = 6;
/// And how often between two times whether it matters yet.
const ASKED: u32 = 10;
/// Of the window's length each time may take this part, else they are followed only at the end.
const FOLLOWED_SHARE: u32 = 60;

/// Follows the references on the Java heap where it matters: where only a collection could tell
/// garbage from a leak, what is in use can be seen from outside, too.
struct Follower {
    every: Duration,
    next: Instant,
    most: Duration,
    /// Once it mattered, or where it always does, the looks go on, to make a series.
    begun: bool,
}

impl Follower {
    fn new(length: Duration) -> Follower {
        let every = length / FOLLOWED;
        // In a long window what is in use decides by itself, also where the rest seems to be still.
        let begun = length.as_secs_f64() > IN_USE_DECIDES_S;
        Follower { every, next: Instant::now() + every, most: length / FOLLOWED_SHARE, begun }
    }

    /// Does it if it is due, or if this is the end.
    fn step(
        &mut self,
        snapshots: &mut [Snapshot],
        collector: &Collector,
        progress: &mut Progress,
        end: bool,
    ) {
        let begun = Instant::now();
        let done = snapshots.last().and_then(|s| s.jvm.as_ref()).is_none_or(|jvm| jvm.reach.is_some());
        let due = end || begun >= self.next;
        if done || !due {
            return;
        }
        if !self.begun && !is_open(&diagnose(&Evidence::of(snapshots))) {
            // Each second in a window of a minute; a long one has many snapshots to judge.
            self.next = begun + self.every / ASKED;
            return;
        }
        self.begun = true;
        progress.show("following the references on the Java heap");
        if let Some(jvm) = snapshots.last_mut().and_then(|snapshot| snapshot.jvm.as_mut()) {
            jvm.reach = collector.reach();
        }
        let too_long = begun.elapsed() > self.most;
        self.next = begun + if too_long { A_DAY } else { self.every.mul_f64(0.98) };
    }
}

/// Later than any window's end that matters here.
const A_DAY: Duration = Duration::from_secs(86_400);

/// Whether it matters what is in use: nothing is decided yet, or a heap that fills is all there is.
fn is_open(diagnosis: &Diagnosis) -> bool {
    let verdict = &diagnosis.verdict;
    // Whether the objects behind native memory are in use, or garbage that nobody finalizes, tells
    // what to do about a leak.
    let of_peers = verdict.status == Status::Leak && PEERS.contains(&verdict.cause.as_str());
    verdict.status == Status::Inconclusive || verdict.cause == "heap-filling" || of_peers
}

/// Causes that Java objects may be behind.
const PEERS: [&str; 4] =
    ["native-malloc-growth", "unclosed-native-peer", "jni-library-leak", "finalizers-stuck"];

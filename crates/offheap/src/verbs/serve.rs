//! `offheap serve`

use crate::clock::now_ms;
use crate::sampler::{Sampler, Stop};
use crate::{knowledge, output, target};
use anyhow::{Context, bail};
use offheap_diagnose::{Evidence, diagnose};
use offheap_model::units::parse_duration;
use offheap_model::{Profile, Snapshot};
use offheap_report::Report;
use offheap_report::serve::{Board, Server, Token};
use offheap_store::{Recording, is_recording};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Snapshots of a process that are kept; when there are more, every second one goes and the pace
/// halves.
const KEPT: usize = 1_200;
/// Snapshots of a recording that are read.
const READ: usize = 600;
/// Between two looks at a recording, and between two verdicts.
const FRESH: Duration = Duration::from_secs(2);
/// A verdict may take one part in so many of the time.
const VERDICT_SHARE: u32 = 10;
/// Processes shown at one time.
const MOST: usize = 32;
/// The variable that holds a token of the user's own.
const TOKEN: &str = "OFFHEAP_SERVE_TOKEN";

/// Serve the report's views live on 127.0.0.1: of running processes, and of recordings as they
/// grow.
///
/// Prints the page's URL, which holds a secret token; with `metrics` behind it the same figures for
/// Prometheus. Read-only. Set OFFHEAP_SERVE_TOKEN (16 to 128 letters, digits, - or _) for a token
/// that stays the same. Ctrl-C ends it.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Pids, parts of exactly one command line each, or recordings.
    #[arg(required = true, num_args = 1..=MOST)]
    targets: Vec<String>,
    /// The port; 0 takes any free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Time between two snapshots of a process.
    #[arg(long, default_value = "1s", value_parser = parse_duration)]
    every: Duration,
    #[command(flatten)]
    knowledge: knowledge::Arguments,
}

/// Runs the verb.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    arguments.knowledge.add()?;
    let token = match std::env::var(TOKEN) {
        Ok(text) => match Token::given(&text) {
            Some(token) => token,
            None => bail!("{TOKEN} must be of 16 to 128 letters, digits, - or _"),
        },
        Err(_) => Token::random().context("no random numbers for the token")?,
    };
    let stop = Stop::catch()?;
    let every = arguments.every.max(Duration::from_millis(100));
    let mut shown: Vec<View> = Vec::new();
    for target in &arguments.targets {
        if is_recording(Path::new(target)) {
            join(&mut shown, Path::new(target))?;
        } else {
            shown.push(View::of_process(target, every)?);
        }
    }
    let board = Board::new();
    let server = Server::start(arguments.port, token, board.clone())
        .with_context(|| format!("cannot listen on 127.0.0.1:{}", arguments.port))?;
    output::print(&format!("{}\n", server.url()));
    output::note(&format!("Metrics: {}metrics. Ctrl-C ends it.", server.url()));
    let mut joined = Instant::now();
    while !stop.is_wanted() {
        for view in &mut shown {
            if view.due <= Instant::now() {
                view.look(&board);
            }
        }
        if joined.elapsed() >= FRESH {
            // A process that was restarted is another one in its recording.
            let recordings = arguments.targets.iter().map(Path::new).filter(|path| is_recording(path));
            // What can't be read now may be later.
            recordings.for_each(|path| drop(join(&mut shown, path)));
            joined = Instant::now();
        }
        let Some(next) = shown.iter().map(|view| view.due).min() else { break };
        stop.sleep_until(next);
    }
    Ok(ExitCode::SUCCESS)
}

/// A process that is shown.
struct View {
    name: String,
    source: Source,
    /// Its place on the board, once it has one.
    place: Option<usize>,
    pace: Duration,
    snapshots: Vec<Snapshot>,
    marks: Vec<(i64, String)>,
    profiles: Vec<(i64, Profile)>,
    ended: Option<String>,
    /// Whether something was taken in that is not shown yet.
    is_new: bool,
    /// When to look again, and when the verdict may be made anew.
    due: Instant,
    verdict_due: Instant,
}

enum Source {
    Process(Box<Sampler>),
    /// A recording's target, and the last state of it that was read: snapshots, their last time,
    /// marks and profiles.
    Recording {
        path: PathBuf,
        target: i64,
        state: Option<State>,
    },
    Ended,
}

type State = (u64, i64, bool, usize);

/// Adds a view for each process of the recording at `path` that has none.
fn join(shown: &mut Vec<View>, path: &Path) -> anyhow::Result<()> {
    for target in Recording::open(path)?.targets()? {
        let is_there = |view: &View| matches!(&view.source, Source::Recording { path: known, target: id, .. } if known == path && *id == target.id);
        if shown.len() < MOST && !shown.iter().any(is_there) {
            let source = Source::Recording { path: path.to_owned(), target: target.id, state: None };
            shown.push(View::new(format!("{} · pid {}", target.command, target.pid), source, FRESH));
        }
    }
    Ok(())
}

impl View {
    fn of_process(target: &str, every: Duration) -> anyhow::Result<View> {
        let pid = target::resolve(target)?;
        let source = Source::Process(Box::new(Sampler::open(pid, every)?));
        let name =
            if target == pid.to_string() { format!("pid {pid}") } else { format!("{target} · pid {pid}") };
        Ok(View::new(name, source, every))
    }

    fn new(name: String, source: Source, pace: Duration) -> View {
        let now = Instant::now();
        View {
            name,
            source,
            place: None,
            pace,
            snapshots: Vec::new(),
            marks: Vec::new(),
            profiles: Vec::new(),
            ended: None,
            is_new: false,
            due: now,
            verdict_due: now,
        }
    }

    /// Takes in what is new, and shows it.
    fn look(&mut self, board: &Board) {
        self.is_new |= match &mut self.source {
            Source::Process(_) => self.sample(),
            Source::Recording { .. } => self.read().unwrap_or_else(|error| {
                // A file in the middle of being replaced is looked at again.
                self.ended = Some(format!("{error:#}"));
                true
            }),
            Source::Ended => false,
        };
        if matches!(self.source, Source::Ended) {
            self.due = Instant::now() + Duration::from_secs(3600);
        }
        // The end of a process is shown at once, whatever is due.
        if self.is_new && (self.verdict_due <= Instant::now() || self.ended.is_some()) {
            self.show(board);
            self.is_new = false;
        }
    }

    fn show(&mut self, board: &Board) {
        let begun = Instant::now();
        let evidence = Evidence::of(&self.snapshots).with_marks(&self.marks);
        let profile = self.profiles.last().map(|(_, profile)| profile);
        let diagnosis = match profile {
            Some(profile) => diagnose(&evidence.with_profile(profile)),
            None => diagnose(&evidence),
        };
        let report = Report {
            snapshots: &self.snapshots,
            profile,
            instants: &self.profiles,
            marks: &self.marks,
            ended: self.ended.as_deref(),
            made_ms: now_ms(),
            ..Report::of(&diagnosis)
        };
        self.place = board.put(self.place.unwrap_or(usize::MAX), &self.name, &report);
        self.verdict_due = begun + FRESH.max(begun.elapsed() * VERDICT_SHARE);
    }

    /// One more snapshot of the process.
    fn sample(&mut self) -> bool {
        let Source::Process(sampler) = &mut self.source else { return false };
        let begun = Instant::now();
        match sampler.snapshot() {
            // Last words are no point of a series; the next look tells the end.
            Ok(snapshot) if offheap_collect::is_last_words(&snapshot) => {
                self.due = sampler.due();
                return false;
            }
            Ok(snapshot) => self.snapshots.push(snapshot),
            Err(error) => {
                let how = if error.is_gone() { sampler.collector().end() } else { error.to_string() };
                output::note(&format!("{}: {how}", self.name));
                self.ended = Some(how);
                self.source = Source::Ended;
                return true;
            }
        }
        if self.snapshots.len() > KEPT {
            // The first one stays: growth is counted from there.
            let mut index = 0;
            self.snapshots.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            self.pace *= 2;
        }
        // The sampler's own grid, or a slackened pace.
        self.due = sampler.due().max(begun + self.pace.mul_f64(0.9));
        true
    }

    /// What the recording has by now; false where nothing is new.
    fn read(&mut self) -> anyhow::Result<bool> {
        let begun = Instant::now();
        self.due = begun + FRESH;
        let Source::Recording { path, target, state } = &mut self.source else { return Ok(false) };
        let recording = Recording::open(path)?;
        let id = *target;
        let Some(found) = recording.targets()?.into_iter().find(|target| target.id == id) else {
            bail!("{} no longer has this process", path.display());
        };
        let marks = recording.marks()?;
        let now = (found.snapshots, found.last_ms, found.ended.is_some(), marks.len());
        if state.replace(now) == Some(now) {
            return Ok(false);
        }
        self.snapshots = recording.snapshots(id, i64::MIN..=i64::MAX, READ)?;
        self.profiles = recording.profiles(id)?;
        self.marks = marks.into_iter().map(|mark| (mark.time_ms, mark.text)).collect();
        self.ended = found.ended.map(|end| end.how);
        self.due = begun + FRESH.max(begun.elapsed() * VERDICT_SHARE);
        Ok(true)
    }
}

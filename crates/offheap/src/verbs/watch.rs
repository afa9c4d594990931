//! `offheap watch`

use crate::instants;
use crate::sampler::Sampler;
use crate::target;
use anyhow::{Context, bail};
use offheap_diagnose::stats::{self, Point};
use offheap_model::Snapshot;
use offheap_present::watch::{Action, Trend, Watch};
use offheap_store::{Recording, is_recording};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use std::collections::VecDeque;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Snapshots of a recording that are read at once.
const BACKLOG: usize = 1000;

/// The shortest time between two looks.
const LEAST_PACE: Duration = Duration::from_millis(100);

/// Fewer points than these give no slope worth showing.
const LEAST_POINTS: usize = 8;

/// Watch what grows, live: domains, threads, arenas, chunk sizes, NMT, each with its slope.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A pid, a part of exactly one command line, or a recording, also one that grows.
    target: String,
    /// Time between two looks.
    #[arg(long, default_value = "1s", value_parser = offheap_model::units::parse_duration)]
    every: Duration,
}

/// Runs the verb.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if !std::io::stdout().is_terminal() {
        bail!("watch needs a terminal; for a file use: offheap record {} -o run.offheap", arguments.target);
    }
    let mut source = Source::open(&arguments.target, arguments.every.max(LEAST_PACE))?;
    let Some(first) = source.next()? else { bail!("{} is empty", arguments.target) };
    let title = first.jvm.as_ref().map_or_else(|| first.process.command.clone(), |jvm| jvm.main.clone());
    let mut watch = Watch::new(&title, trend);
    watch.push(first);
    // Panics and errors give the terminal back too.
    let mut terminal = ratatui::try_init().context("cannot draw on this terminal")?;
    let result = follow(&mut terminal, &mut watch, &mut source);
    ratatui::restore();
    result?;
    Ok(ExitCode::SUCCESS)
}

/// Where snapshots come from.
enum Source {
    /// A running process.
    Process(Box<Sampler>),
    /// A recording, which may still grow.
    Recording(Box<Growing>),
}

/// A recording of which those snapshots are wanted that were not shown yet.
struct Growing {
    path: PathBuf,
    target: i64,
    waiting: VecDeque<Snapshot>,
    shown_ms: i64,
    every: Duration,
    due: Instant,
}

impl Source {
    fn open(target: &str, every: Duration) -> anyhow::Result<Source> {
        let path = Path::new(target);
        if !is_recording(path) {
            return Ok(Source::Process(Box::new(Sampler::open(target::resolve(target)?, every)?)));
        }
        let target = instants::target(&Recording::open(path)?, None)?.id;
        Ok(Source::Recording(Box::new(Growing {
            path: path.to_owned(),
            target,
            waiting: VecDeque::new(),
            shown_ms: i64::MIN,
            every,
            due: Instant::now(),
        })))
    }

    /// When it is worth asking again.
    fn due(&self) -> Instant {
        match self {
            Source::Process(sampler) => sampler.due(),
            Source::Recording(growing) => growing.due,
        }
    }

    /// The next snapshot; `None` where there is none yet.
    fn next(&mut self) -> anyhow::Result<Option<Snapshot>> {
        match self {
            Source::Process(sampler) => Ok(Some(sampler.snapshot()?)),
            Source::Recording(growing) => growing.next(),
        }
    }

    /// All there is: one look at a process, what is new in a recording.
    fn take(&mut self, watch: &mut Watch) -> anyhow::Result<()> {
        while let Some(snapshot) = self.next()? {
            watch.push(snapshot);
            if let Source::Process(_) = self {
                return Ok(());
            }
        }
        Ok(())
    }
}

impl Growing {
    fn next(&mut self) -> anyhow::Result<Option<Snapshot>> {
        self.due = Instant::now() + self.every;
        if self.waiting.is_empty() {
            let new = self.shown_ms.saturating_add(1)..=i64::MAX;
            self.waiting.extend(Recording::open(&self.path)?.snapshots(self.target, new, BACKLOG)?);
        }
        let next = self.waiting.pop_front();
        if let Some(snapshot) = &next {
            self.shown_ms = snapshot.time_ms;
        }
        Ok(next)
    }
}

fn follow(
    terminal: &mut ratatui::DefaultTerminal,
    watch: &mut Watch,
    source: &mut Source,
) -> anyhow::Result<()> {
    let mut ended = false;
    loop {
        terminal.draw(|frame| watch.draw(frame))?;
        let wait = if ended {
            Duration::from_secs(3600)
        } else {
            source.due().saturating_duration_since(Instant::now())
        };
        if event::poll(wait)? {
            if let Event::Key(key) = event::read()?
                && key.kind != KeyEventKind::Release
                && watch.key(letter(key.code, key.modifiers)) == Action::Quit
            {
                return Ok(());
            }
            continue;
        }
        if let Err(error) = source.take(watch) {
            watch.say(&format!("{error:#}"));
            ended = true;
        }
    }
}

/// The key as the view knows it.
fn letter(code: KeyCode, modifiers: KeyModifiers) -> char {
    match code {
        KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => '\u{3}',
        KeyCode::Char(letter) => letter,
        KeyCode::Tab | KeyCode::Right => '\t',
        KeyCode::BackTab | KeyCode::Left => 'h',
        KeyCode::Down => 'j',
        KeyCode::Up => 'k',
        KeyCode::Esc => '\u{1b}',
        _ => '\0',
    }
}

/// The slope of (seconds, bytes) as the diagnosis sees it.
fn trend(points: &[(f64, f64)]) -> Option<Trend> {
    if points.len() < LEAST_POINTS {
        return None;
    }
    let points: Vec<Point> = points.iter().map(|(t, v)| Point { t: *t, v: *v }).collect();
    // Drawn every second for every row: a hundred points tell a slope as well as a thousand.
    let step = points.len().div_ceil(120);
    let few: Vec<Point> = points.into_iter().step_by(step).collect();
    let slope = stats::Trend::of(&few).slope;
    Some(Trend { slope: slope.per_s, ci95: slope.ci95 })
}

//! `offheap record`

use super::profile::{check_interval, warn_of_the_warning};
use crate::clock::now_ms;
use crate::output;
use crate::profile::Following;
use crate::sampler::{Sampler, Stop};
use crate::target;
use anyhow::{Context, bail};
use offheap_collect::targets;
use offheap_model::Snapshot;
use offheap_model::units::{bytes, duration, parse_bytes, parse_duration};
use offheap_store::{End, Options, Recorder};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How often a target that ended is looked for again under its name.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// How often a profile is written. Each tells the whole time since its begin: whoever kills the
/// recorder loses the last minute of it.
const PROFILE_EVERY: Duration = Duration::from_secs(60);

/// Record snapshots over time into one file, to diagnose or compare later.
///
/// Ends with the last target, after --for, or with Ctrl-C. A target named by a part of its command
/// line is found again when it was restarted. The file is SQLite: sqlite3 run.offheap 'select *
/// from domain_rss'.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Pids, or parts of exactly one command line each.
    #[arg(required = true)]
    targets: Vec<String>,
    /// The file, for its owner alone (mode 0600): command lines may hold passwords. Goes on with
    /// one that is there.
    #[arg(short, long)]
    output: PathBuf,
    /// Time between two snapshots.
    #[arg(long, default_value = "5s", value_parser = parse_duration)]
    every: Duration,
    /// How long.
    #[arg(long = "for", value_parser = parse_duration)]
    length: Option<Duration>,
    /// The file's size at most (up to 512M); older snapshots are thinned out to stay below.
    #[arg(long, default_value = "64M", value_parser = parse_bytes)]
    limit: u64,
    /// Also record which code allocates: loads the agent into each JVM (see offheap profile), and
    /// keeps its last state when the JVM is killed.
    #[arg(long)]
    profile: bool,
    /// Of the profile: mean bytes between two samples.
    #[arg(long, default_value = "512k", value_parser = parse_bytes, requires = "profile")]
    interval: u64,
}

/// How targets are recorded.
struct How {
    every: Duration,
    /// The interval of their profiles, if wanted.
    profile: Option<u64>,
}

/// A target, and what is recorded of it.
struct Recorded {
    name: String,
    sampler: Option<Sampler>,
    last: Option<Snapshot>,
    profile: Profiling,
    look_at: Instant,
}

/// How far the profiling of a target is.
enum Profiling {
    /// It begins after the next snapshot, which says what the target is.
    Wanted,
    /// Under way; written when it is time.
    On(Box<Following>, Instant),
    /// Not wanted, or not possible.
    Off,
}

/// Runs the verb.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let stop = Stop::catch()?;
    check_interval(arguments.interval)?;
    let how = How {
        every: arguments.every.max(Duration::from_millis(100)),
        profile: arguments.profile.then_some(arguments.interval),
    };
    let mut recorded = Vec::new();
    for name in &arguments.targets {
        let pid = target::resolve(name)?;
        let sampler = Sampler::open(pid, how.every)?;
        recorded.push(Recorded {
            name: name.clone(),
            sampler: Some(sampler),
            last: None,
            profile: how.begin(),
            look_at: Instant::now(),
        });
    }
    let options = Options {
        limit_bytes: arguments.limit,
        host: line("/etc/hostname"),
        boot_id: line("/proc/sys/kernel/random/boot_id"),
    };
    let mut recorder = Recorder::create(&arguments.output, options)?;
    let end = arguments.length.map(|length| Instant::now() + length);
    let begun = Instant::now();
    let mut progress = output::Progress::new();
    let mut count = 0u64;
    while !stop.is_wanted() && end.is_none_or(|end| Instant::now() < end) {
        for target in &mut recorded {
            if step(target, &how, &mut recorder)? {
                count += 1;
            }
        }
        let Some(next) = recorded.iter().filter_map(Recorded::due).min() else { break };
        let size = std::fs::metadata(&arguments.output).map_or(0, |file| file.len());
        progress.show(&format!(
            "{count} snapshots in {}, {} in {}; Ctrl-C ends it",
            duration(begun.elapsed().as_secs_f64()),
            bytes(size),
            arguments.output.display()
        ));
        stop.sleep_until(end.map_or(next, |end| next.min(end)));
    }
    progress.clear();
    for target in &mut recorded {
        target.write_profile(&mut recorder)?;
    }
    // The agents stop here.
    drop(recorded);
    recorder.finish()?;
    if count == 0 {
        bail!("nothing was recorded: every target ended first");
    }
    output::note(&format!(
        "{count} snapshots in {}. Next: offheap diagnose {}",
        arguments.output.display(),
        arguments.output.display()
    ));
    Ok(ExitCode::SUCCESS)
}

impl How {
    fn begin(&self) -> Profiling {
        if self.profile.is_some() { Profiling::Wanted } else { Profiling::Off }
    }
}

impl Recorded {
    /// Begins or goes on with the profile; `snapshot` was just written.
    fn profile(&mut self, how: &How, snapshot: &Snapshot, recorder: &mut Recorder) -> anyhow::Result<()> {
        match &mut self.profile {
            Profiling::Off => {}
            Profiling::Wanted => {
                self.profile = Profiling::Off;
                warn_of_the_warning(snapshot);
                match Following::start(snapshot.process.pid, how.profile.unwrap_or_default(), None) {
                    Ok(begun) => {
                        self.profile = Profiling::On(Box::new(begun), Instant::now() + PROFILE_EVERY);
                    }
                    // The account goes on without.
                    Err(error) => {
                        output::note(&format!("{} is recorded without a profile: {error:#}", self.name))
                    }
                }
            }
            Profiling::On(following, due) => {
                following.read()?;
                if Instant::now() >= *due {
                    *due = Instant::now() + PROFILE_EVERY;
                    self.write_profile(recorder)?;
                }
            }
        }
        Ok(())
    }

    /// Writes the profile as it is now, or, of a target that has ended, as it was last.
    fn write_profile(&mut self, recorder: &mut Recorder) -> anyhow::Result<()> {
        if let (Profiling::On(following, _), Some(snapshot)) = (&mut self.profile, &self.last) {
            following.read()?;
            recorder.profile(snapshot, now_ms(), &following.profile()?)?;
        }
        Ok(())
    }

    /// When something is to be done; `None` when it has ended for good.
    fn due(&self) -> Option<Instant> {
        match &self.sampler {
            Some(sampler) => Some(sampler.due()),
            // A pid that ended never comes back; a name may.
            None => self.name.parse::<i32>().is_err().then_some(self.look_at),
        }
    }
}

/// Does what is due; true where a snapshot was written.
fn step(target: &mut Recorded, how: &How, recorder: &mut Recorder) -> anyhow::Result<bool> {
    if target.due().is_none_or(|due| due > Instant::now()) {
        return Ok(false);
    }
    let Some(sampler) = &mut target.sampler else {
        target.look_at = Instant::now() + LOOK_AGAIN;
        if let Ok(pid) = targets::resolve(&target.name)
            && let Ok(sampler) = Sampler::open(pid, how.every)
        {
            recorder.mark(now_ms(), &format!("{} runs again as pid {pid}", target.name))?;
            target.sampler = Some(sampler);
            target.profile = how.begin();
        }
        return Ok(false);
    };
    match sampler.snapshot() {
        // The last words of a process that is gone are no point of its series; the next look tells
        // its end.
        Ok(snapshot) if offheap_collect::is_last_words(&snapshot) => Ok(false),
        Ok(snapshot) => {
            recorder.append(&snapshot)?;
            target.profile(how, &snapshot, recorder)?;
            target.last = Some(snapshot);
            Ok(true)
        }
        Err(error) if error.is_gone() => {
            let end = sampler.collector().end();
            target.write_profile(recorder)?;
            target.profile = Profiling::Off;
            if let Some(Snapshot { process, .. }) = target.last.take() {
                let end = End { time_ms: now_ms(), how: end.clone() };
                recorder.end(process.pid, process.start_ticks, &end)?;
            }
            recorder.mark(now_ms(), &format!("{} ended: {end}", target.name))?;
            output::note(&format!("{} ended: {end}", target.name));
            target.sampler = None;
            Ok(false)
        }
        Err(error) => Err(error).context("the recording so far is kept"),
    }
}

fn line(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

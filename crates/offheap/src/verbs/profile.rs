//! `offheap profile`

use super::convert::render;
use crate::output::{self, Progress};
use crate::profile::{Following, Probed, Window, live, tree};
use crate::sampler::Stop;
use crate::target;
use crate::{files, foreign};
use anyhow::{Context, bail};
use offheap_collect::{Collector, Effort};
use offheap_linux::Process;
use offheap_live::{Reader, State};
use offheap_model::units::{bytes, duration, parse_bytes, parse_duration};
use offheap_model::{Profile, Snapshot};
use offheap_present::terminal;
use offheap_store::{Recording, is_recording};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Readings of the live file over the window, beside the one at its begin.
const READINGS: u32 = 20;
/// More often than this the file, 32 MiB of it, is not read.
const SHORTEST: Duration = Duration::from_millis(200);

/// Show which code allocates: live allocation sites with Java, native and JVM frames.
///
/// Loads an agent into the running JVM, samples allocations for a while, and shows what was not
/// freed. The agent stays in the JVM and sleeps afterwards. What was allocated before is not seen:
/// offheap run profiles a command from its begin. No agent can be loaded into a program without a
/// JVM; its malloc is probed by the kernel instead, in short bursts, which takes root.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A pid, or a part of exactly one command line.
    #[arg(required_unless_present = "from")]
    target: Option<String>,
    /// Read what an agent has left behind instead: a live file (also of a process that was killed),
    /// or the last profile of a recording; or a profile of another tool.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["target", "length", "interval", "live"])]
    from: Option<PathBuf>,
    /// How long to sample.
    #[arg(long = "for", default_value = "60s", value_parser = parse_duration)]
    length: Duration,
    /// Mean bytes between two samples; 1 is every allocation.
    #[arg(long, default_value = "512k", value_parser = parse_bytes)]
    interval: u64,
    /// Keep the agent's live file at this absolute path in the target's own file system, to be read
    /// with --from after target and offheap were killed. With offheap-live in its name diagnose
    /// knows it as ours.
    #[arg(long, value_name = "PATH")]
    live: Option<String>,
    #[command(flatten)]
    shown: Shown,
}

/// How a profile is shown.
#[derive(Debug, clap::Args)]
pub struct Shown {
    /// Show every site.
    #[arg(long)]
    all: bool,
    /// Show the sites as a tree too: callers first, the heaviest branch first.
    #[arg(long)]
    tree: bool,
    /// Write JSON.
    #[arg(long)]
    pub json: bool,
    /// Also write a file: .pb.gz (pprof), .html (flame graph), .collapsed, .speedscope.json,
    /// .firefox.json, .csv or .json.
    #[arg(short, long)]
    output: Option<PathBuf>,
}

impl Shown {
    /// That the ending of FILE names a format: a wrong one must show before the window, not after
    /// it.
    ///
    /// # Errors
    /// It names none.
    pub fn check(&self) -> anyhow::Result<()> {
        if let Some(path) = &self.output {
            render(&Profile::default(), path, "", Value::Null)?;
        }
        Ok(())
    }

    /// Writes the file, and gives the text for the terminal, or the JSON. `target` is what the JSON
    /// says of the process.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn text(&self, profile: &Profile, title: &str, target: Value) -> anyhow::Result<String> {
        for note in &profile.notes {
            output::note(note);
        }
        if let Some(path) = &self.output {
            let file = render(profile, path, title, target.clone())?;
            files::write(path, &file)?;
        }
        Ok(if self.json {
            terminal::plain_json(&offheap_formats::json::write(profile, target)) + "\n"
        } else {
            let style = output::style(self.all);
            let mut text = terminal::profile::render(profile, style);
            if self.tree {
                text.push('\n');
                text.push_str(&tree::render(profile, style));
            }
            text
        })
    }
}

/// Runs the verb.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    check_interval(arguments.interval)?;
    arguments.shown.check()?;
    if let Some(path) = &arguments.from {
        let (profile, title, target) =
            if foreign::is_foreign(path) { of_another_tool(path)? } else { left_behind(path)? };
        output::print(&arguments.shown.text(&profile, &title, target)?);
        return Ok(ExitCode::SUCCESS);
    }
    let pid = target::resolve(arguments.target.as_deref().unwrap_or_default())?;
    let account = Collector::open(pid)?.snapshot(Effort::ACCOUNT)?;
    let stop = Stop::catch()?;
    let profile = if account.jvm.is_some() {
        warn_of_the_warning(&account);
        sample(
            arguments,
            Following::start(pid, arguments.interval, arguments.live.as_deref())?,
            &account,
            &stop,
        )?
    } else if let Some(following) = Following::look_on(pid)? {
        output::note("The agent came with the program; it samples on as it was told then.");
        sample(arguments, following, &account, &stop)?
    } else {
        probe(arguments, pid, &stop)?
    };
    let title = format!("{} ({pid})", account.process.name);
    output::print(&arguments.shown.text(&profile, &title, target(&account))?);
    Ok(ExitCode::SUCCESS)
}

/// That samples are taken at all.
///
/// # Errors
/// An interval of 0.
pub fn check_interval(interval: u64) -> anyhow::Result<()> {
    if interval == 0 {
        bail!("an interval of 0 bytes takes no samples; 1 takes every allocation");
    }
    Ok(())
}

/// What the JSON says of the process.
fn target(account: &Snapshot) -> Value {
    json!({
        "pid": account.process.pid,
        "command": account.process.command,
        "jvm": account.jvm.as_ref().map(|jvm| &jvm.version),
        "python": account.python.as_ref().map(|python| &python.version),
    })
}

/// The profile in a file of another tool: all that `offheap convert` reads.
fn of_another_tool(path: &Path) -> anyhow::Result<(Profile, String, Value)> {
    let reading = foreign::read(path, &foreign::PerfMaps::new(None)?)?;
    let parsed = reading
        .profile()
        .with_context(|| format!("{} ({}) has no allocation sites", path.display(), reading.format.name()))?;
    let mut profile = parsed.profile.clone();
    // The profile's own are among them.
    profile.notes = reading.notes.clone();
    Ok((profile, path.display().to_string(), Value::Null))
}

/// The profile in a live file or a recording, with a title and what the JSON says of the process.
fn left_behind(path: &Path) -> anyhow::Result<(Profile, String, Value)> {
    if is_recording(path) {
        return recorded(path);
    }
    let bytes = live::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let info = Reader::new(&bytes).with_context(|| path.display().to_string())?.info();
    // The process itself may still be there: its libraries are then the very ones. The pid may also
    // be another's by now; what is found there is believed only if the build id is right.
    let process = i32::try_from(info.pid).ok().and_then(|pid| Process::open(pid).ok());
    let mut profile = Window::left_behind(bytes)?.profile_of(process.as_ref())?;
    let state = match info.state {
        Some(State::Running) => "it sampled to the end",
        _ => "it had been told to stop",
    };
    profile.notes.push(format!(
        "What the agent in process {} left behind ({state}). leak: live bytes that were allocated before the last third of \
         {}. Growth can't be told from one reading.",
        info.pid,
        duration(profile.seconds)
    ));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let target = json!({ "pid": info.pid, "command": null, "jvm": null, "python": null });
    Ok((profile, name.into_owned(), target))
}

/// The last profile in a recording.
fn recorded(path: &Path) -> anyhow::Result<(Profile, String, Value)> {
    let recording = Recording::open(path)?;
    let mut last: Option<(i64, Profile, offheap_store::Target)> = None;
    for target in recording.targets()? {
        if let Some((time_ms, profile)) = recording.profiles(target.id)?.pop()
            && last.as_ref().is_none_or(|(known, ..)| time_ms >= *known)
        {
            last = Some((time_ms, profile, target));
        }
    }
    let Some((_, profile, target)) = last else {
        bail!("{} has no profile in it; record one with offheap record --profile", path.display());
    };
    let value = json!({ "pid": target.pid, "command": target.command, "jvm": null, "python": null });
    Ok((profile, format!("{} ({})", target.command, target.pid), value))
}

/// JDK 21 and later print a warning to the application's own output when an agent is loaded (JEP
/// 451).
pub fn warn_of_the_warning(account: &Snapshot) {
    let allowed = account.process.command.contains("-XX:+EnableDynamicAgentLoading");
    if account.jvm.as_ref().is_some_and(|jvm| jvm.feature >= 21) && !allowed {
        output::note(
            "The JVM will print a warning on its own standard error that an agent was loaded; a JVM started with \
             -XX:+EnableDynamicAgentLoading does not.",
        );
    }
}

/// Samples for the window what no agent can be loaded into.
fn probe(arguments: &Arguments, pid: i32, stop: &Stop) -> anyhow::Result<Profile> {
    if arguments.live.is_some() {
        bail!(
            "--live is for the agent, and none can be loaded into a running program without a JVM; offheap run takes it too"
        );
    }
    let mut probed = Probed::start(pid).context("offheap run -- COMMAND starts it with the agent instead")?;
    let begun = Instant::now();
    let end = begun + arguments.length;
    let mut progress = Progress::new();
    while !stop.is_wanted() && Instant::now() < end {
        progress.show(&format!(
            "{} of {} · Ctrl-C: show it now",
            duration(begun.elapsed().as_secs_f64()),
            duration(arguments.length.as_secs_f64()),
        ));
        stop.sleep_until(end.min(Instant::now() + probed.wait()));
        probed.step();
    }
    progress.clear();
    Ok(probed.profile())
}

/// Samples for the window.
fn sample(
    arguments: &Arguments,
    mut following: Following,
    account: &Snapshot,
    stop: &Stop,
) -> anyhow::Result<Profile> {
    let pid = account.process.pid;
    let begun = Instant::now();
    let end = begun + arguments.length;
    let every = (arguments.length / READINGS).max(SHORTEST);
    let mut progress = Progress::new();
    let mut notes = Vec::new();
    while !stop.is_wanted() && Instant::now() < end {
        progress.show(&format!(
            "{} of {} · {} live of what was allocated since · Ctrl-C: show it now",
            duration(begun.elapsed().as_secs_f64()),
            duration(arguments.length.as_secs_f64()),
            bytes(following.live_bytes() as u64),
        ));
        stop.sleep_until(end.min(Instant::now() + every));
        following.read()?;
        if !following.is_alive() {
            notes.push(format!("Process {pid} ended during the window; this is its last state."));
            break;
        }
    }
    progress.clear();
    let was_there = following.was_there();
    // Named while the target's files can still be looked at.
    let mut profile = following.profile()?;
    if following.is_alive()
        && let Err(error) = following.stop()
    {
        notes.push(format!("The agent could not be told to stop and samples on: {error:#}"));
    }
    notes.push(format!(
        "leak: live bytes that were allocated before the last third of the window (older than {}).",
        duration(profile.seconds / 3.0)
    ));
    notes.push(blind_spot(account, was_there));
    if profile.sampling.dropped > 0 {
        notes.push(format!(
            "{} of {} samples could not be kept; a larger --interval takes fewer.",
            profile.sampling.dropped, profile.sampling.samples
        ));
    }
    profile.notes.extend(notes);
    Ok(profile)
}

/// What can't be seen: all that is older than the agent.
fn blind_spot(account: &Snapshot, was_there: bool) -> String {
    let malloc = account.malloc.as_ref().filter(|malloc| malloc.walked);
    let size = malloc.map_or_else(String::new, |malloc| {
        format!(" (malloc had {} in use)", bytes(malloc.in_use_bytes + malloc.mmapped_bytes))
    });
    if was_there {
        format!(
            "An agent of an earlier run went on: what it sampled then and is still live is shown too; what was \
             allocated before it, or while it slept, is not seen{size}."
        )
    } else {
        format!("What was allocated before the agent came is not seen{size}.")
    }
}

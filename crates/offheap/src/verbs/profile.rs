//! `offheap profile`

use super::convert::render;
use super::jcmd;
use crate::output::{self, Progress};
use crate::profile::{Agent, Window, now_ms, now_ns};
use crate::sampler::Stop;
use anyhow::{Context, bail};
use offheap_collect::{Collector, Effort, targets};
use offheap_linux::Process;
use offheap_model::units::{bytes, duration, parse_bytes, parse_duration};
use offheap_model::{Profile, Snapshot};
use offheap_present::terminal;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Readings of the live file over the window, beside the one at its begin.
const READINGS: u32 = 20;
/// More often than this the file, 32 MiB of it, is not read.
const SHORTEST: Duration = Duration::from_millis(200);
/// How long the JVM may take to load the agent.
const ATTACH: Duration = Duration::from_secs(30);

/// Show which code allocates: live allocation sites with Java, native and JVM frames.
///
/// Loads an agent into the running JVM, samples allocations for a while, and shows what was not freed. The agent stays in the
/// JVM and sleeps afterwards. What was allocated before is not seen.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A pid, or a part of exactly one command line.
    target: String,
    /// How long to sample.
    #[arg(long = "for", default_value = "60s", value_parser = parse_duration)]
    length: Duration,
    /// Mean bytes between two samples; 1 is every allocation.
    #[arg(long, default_value = "512k", value_parser = parse_bytes)]
    interval: u64,
    /// Show every site.
    #[arg(long)]
    all: bool,
    /// Write JSON.
    #[arg(long)]
    json: bool,
    /// Also write a file: .pb.gz (pprof), .html (flame graph), .collapsed, .speedscope.json, .firefox.json, .csv or .json.
    #[arg(short, long)]
    output: Option<PathBuf>,
}

/// Runs the verb.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if arguments.interval == 0 {
        bail!("an interval of 0 bytes takes no samples; 1 takes every allocation");
    }
    if let Some(path) = &arguments.output {
        // A wrong ending must show before the window, not after it.
        render(&Profile::default(), path, "", Value::Null)?;
    }
    let pid = targets::resolve(&arguments.target)?;
    let process = Process::open(pid)?;
    let account = Collector::open(pid)?.snapshot(Effort::SERIES)?;
    warn_of_the_warning(&account);
    let stop = Stop::catch()?;
    let profile = sample(arguments, &process, &account, &stop)?;
    for note in &profile.notes {
        output::note(note);
    }
    let target = json!({
        "pid": pid,
        "command": account.process.command,
        "jvm": account.jvm.as_ref().map(|jvm| &jvm.version),
        "python": Value::Null,
    });
    if let Some(path) = &arguments.output {
        let title = format!("{} ({pid})", account.process.name);
        let file = render(&profile, path, &title, target.clone())?;
        std::fs::write(path, file).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if arguments.json {
        output::print(&offheap_formats::json::write(&profile, target));
        output::print("\n");
    } else {
        output::print(&terminal::profile::render(&profile, output::style(arguments.all)));
    }
    Ok(ExitCode::SUCCESS)
}

/// JDK 21 and later print a warning to the application's own output when an agent is loaded (JEP 451).
fn warn_of_the_warning(account: &Snapshot) {
    let allowed = account.process.command.contains("-XX:+EnableDynamicAgentLoading");
    if account.jvm.as_ref().is_some_and(|jvm| jvm.feature >= 21) && !allowed {
        output::note(
            "The JVM will print a warning on its own standard error that an agent was loaded; a JVM started with \
             -XX:+EnableDynamicAgentLoading does not.",
        );
    }
}

/// Samples for the window.
fn sample(
    arguments: &Arguments,
    process: &Process,
    account: &Snapshot,
    stop: &Stop,
) -> anyhow::Result<Profile> {
    let session = jcmd::open(process.pid(), ATTACH)?;
    let start_ms = now_ms();
    let mut agent = Agent::start(&session, process, arguments.interval)?;
    let was_there = agent.was_there;
    let begun = Instant::now();
    let mut window = Window::begin(agent.read()?, now_ns(), start_ms, was_there)?;
    let end = begun + arguments.length;
    let every = (arguments.length / READINGS).max(SHORTEST);
    let mut progress = Progress::new();
    let mut notes = Vec::new();
    while !stop.is_wanted() && Instant::now() < end {
        progress.show(&format!(
            "{} of {} · {} live of what was allocated since · Ctrl-C: show it now",
            duration(begun.elapsed().as_secs_f64()),
            duration(arguments.length.as_secs_f64()),
            bytes(window.live_bytes() as u64),
        ));
        stop.sleep_until(end.min(Instant::now() + every));
        window.add(agent.read()?, now_ns())?;
        if !process.is_alive() {
            notes.push(format!("Process {} ended during the window; this is its last state.", process.pid()));
            break;
        }
    }
    progress.clear();
    // Named while the target's files can still be looked at.
    let mut profile = window.profile(process)?;
    if process.is_alive()
        && let Err(error) = agent.stop()
    {
        notes.push(format!("The agent could not be told to stop and samples on: {error:#}"));
    }
    drop(agent);
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
    profile.notes = notes;
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

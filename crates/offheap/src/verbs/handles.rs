//! `offheap handles`

use crate::output::{self, Progress};
use crate::sampler::Stop;
use crate::target;
use anyhow::{Context, bail};
use offheap_collect::Collector;
use offheap_model::Handles;
use offheap_present::terminal::handles::render;
use serde_json::json;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Show what native code holds of a JVM's heap: its JNI references, by class and by thread.
///
/// Global and weak global references that nobody has deleted, local references and frames of each
/// thread, and threads that were attached and have ended without being detached. Read from outside:
/// nothing is loaded, and nothing stops. With --for it looks twice, and shows what grew.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A pid, or a part of exactly one command line.
    target: String,
    /// Look again after this time, and show what grew.
    #[arg(long = "for", value_parser = offheap_model::units::parse_duration)]
    window: Option<Duration>,
    /// Show every class and thread.
    #[arg(long)]
    all: bool,
    /// Write JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let pid = target::resolve(&arguments.target)?;
    let collector = Collector::open(pid)?;
    let look = || -> anyhow::Result<Handles> {
        collector.handles()?.with_context(|| {
            format!("process {pid} is no JVM that can be read, so it has no JNI references: offheap doctor {pid} says why")
        })
    };
    let (mut now, mut before) = (look()?, None);
    if let Some(window) = arguments.window {
        let began = Instant::now();
        let stop = Stop::catch()?;
        let mut progress = Progress::new();
        progress.show(&format!("looking again in {:.0} s; Ctrl-C: now", window.as_secs_f64()));
        stop.sleep_until(began + window);
        progress.clear();
        if !collector.process().is_alive() {
            bail!("process {pid} ended meanwhile");
        }
        before = Some((std::mem::replace(&mut now, look()?), began.elapsed().as_secs_f64()));
    }
    if arguments.json {
        output::print_json(&json!({
            "schema": "offheap/handles/v1",
            "pid": pid,
            "seconds": before.as_ref().map(|(_, seconds)| seconds),
            "before": before.as_ref().map(|(before, _)| before),
            "now": now,
        }));
    } else {
        let before = before.as_ref().map(|(before, seconds)| (before, *seconds));
        output::print(&render(&now, before, output::style(arguments.all)));
        if before.is_none() {
            output::note(&format!("Whether they grow: offheap handles {pid} --for 30s"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

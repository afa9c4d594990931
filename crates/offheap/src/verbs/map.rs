//! `offheap map`

use crate::output;
use crate::target;
use anyhow::bail;
use offheap_collect::{Collector, Effort};
use offheap_present::{json, terminal};
use std::process::ExitCode;

/// Show where the memory is: every resident byte of a process in one domain, the sum equal to its RSS.
///
/// Looks from outside only: no attach, no signal, no stop, and no page is read that is not present.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A pid, or a part of exactly one command line.
    target: String,
    /// Show every part of every domain, all arenas, pools and files.
    #[arg(long)]
    all: bool,
    /// Write JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let pid = target::resolve(&arguments.target)?;
    let snapshot = Collector::open(pid)?.snapshot(Effort::FULL)?;
    if arguments.json {
        output::print_json(&json::map(&snapshot));
    } else {
        output::print(&terminal::map::render(&snapshot, output::style(arguments.all)));
    }
    if snapshot.notes.iter().any(|note| note.id == offheap_collect::ENDED) {
        // What was learnt is shown; but it is not an account.
        bail!("process {pid} ended while it was looked at");
    }
    Ok(ExitCode::SUCCESS)
}

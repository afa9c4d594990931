//! `offheap map`

use crate::target::{self, Target};
use crate::{files, output};
use anyhow::{Context, bail};
use offheap_collect::{Collector, Effort, corefile};
use offheap_corefile::Core;
use offheap_present::{core, json, terminal};
use std::path::Path;
use std::process::ExitCode;

/// Show where the memory is: every resident byte of a process in one domain, the sum equal to its
/// RSS.
///
/// Looks from outside only: no attach, no signal, no stop, and no page is read that is not present.
/// Of a core file, which doesn't tell what was resident, it shows what is in it.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A pid, a part of exactly one command line, or a core file.
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
    let pid = match target::process_or_core(&arguments.target)? {
        Target::Process(pid) => pid,
        Target::Core(path) => return of_core(path, arguments),
    };
    let snapshot = Collector::open(pid)?.snapshot(Effort::FULL)?;
    if arguments.json {
        output::print_json(&json::map(&snapshot));
    } else {
        output::print(&terminal::map::render(&snapshot, output::style(arguments.all)));
    }
    if offheap_collect::is_last_words(&snapshot) {
        // What was learnt is shown; but it is not an account.
        bail!("process {pid} ended while it was looked at");
    }
    Ok(ExitCode::SUCCESS)
}

fn of_core(path: &Path, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let core = Core::open(files::open(path)?).with_context(|| format!("cannot read {}", path.display()))?;
    let (snapshot, file) = corefile::look(&core);
    if arguments.json {
        output::print_json(&core::json(&snapshot, &file));
    } else {
        output::print(&core::render(&snapshot, &file, output::style(arguments.all)));
    }
    Ok(ExitCode::SUCCESS)
}

//! `offheap fit`

use crate::session::{Allowed, References};
use crate::{observe, output};
use offheap_diagnose::{Evidence, Outlook};
use offheap_model::units::{parse_bytes, parse_duration};
use offheap_present::{json, terminal};
use std::process::ExitCode;
use std::time::Duration;

/// Say whether a process will fit its limit: what each part is now, what it may come to, and the
/// sum.
///
/// Watches from outside for some seconds (or reads a recording): what grows is taken to reach its
/// bound, what is flat to stay as it is. Exit codes: 0 it fits or has no limit, 4 it does not fit,
/// 2 the tool could not do its work.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A pid, a part of exactly one command line, or a recording.
    target: String,
    /// How long to watch a process.
    #[arg(long = "for", default_value = "15s", value_parser = parse_duration)]
    length: Duration,
    /// A limit to hold it against [default: the control group's].
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    limit: Option<u64>,
    /// Of a recording: the process with this pid [default: the one with most snapshots].
    #[arg(long)]
    pid: Option<i32>,
    /// Write JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let watch = observe::Arguments {
        target: arguments.target.clone(),
        length: arguments.length,
        every: None,
        pid: arguments.pid,
    };
    let observed = observe::observe(&watch, Allowed::NOTHING, References::Left)?;
    let evidence = Evidence::of(&observed.snapshots);
    let outlook = Outlook::of(&evidence, arguments.limit);
    if arguments.json {
        output::print_json(&json::fit(evidence.pid(), &outlook));
    } else {
        output::print(&terminal::outlook::render(&evidence.who(), &outlook, output::style(false)));
    }
    if let Some(why) = observed.ended {
        anyhow::bail!("{why}");
    }
    Ok(ExitCode::from(if outlook.fits == Some(false) { 4 } else { 0 }))
}

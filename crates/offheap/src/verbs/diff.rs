//! `offheap diff`

use crate::output;
use anyhow::Context;
use offheap_model::{Snapshot, diff};
use offheap_present::{json, terminal};
use std::process::ExitCode;

/// Compare two accounts: A is before, B is after, and + is growth from A to B.
///
/// A and B are saved accounts (offheap map PID --json > A).
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Before.
    before: String,
    /// After.
    after: String,
    /// Show all changes, also small ones.
    #[arg(long)]
    all: bool,
    /// Write JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let (before, after) = (read(&arguments.before)?, read(&arguments.after)?);
    let difference = diff::diff(&before, &after);
    if arguments.json {
        output::print_json(&json::diff(&difference));
    } else {
        let style = output::style(arguments.all);
        output::print(&terminal::diff::render(&difference, &arguments.before, &arguments.after, style));
    }
    Ok(ExitCode::SUCCESS)
}

fn read(path: &str) -> anyhow::Result<Snapshot> {
    let text = std::fs::read(path).with_context(|| format!("cannot read {path}"))?;
    json::parse_map(&text).map_err(|why| anyhow::anyhow!("{path}: {why}"))
}

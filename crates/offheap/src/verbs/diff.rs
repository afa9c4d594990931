//! `offheap diff`

use crate::{instants, output};
use offheap_model::diff;
use offheap_present::{json, terminal};
use std::process::ExitCode;

/// Compare two instants: A is before, B is after, and + is growth from A to B.
///
/// A and B are saved accounts (offheap map PID --json > A) or recordings. Of a recording its last instant counts; others
/// are named behind @: run.offheap@first, @last, @10m (after the start), @-5m (before the end), or
/// the text of a mark. Without B the beginning and the end of A are compared.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Before.
    before: String,
    /// After.
    after: Option<String>,
    /// Show all changes, also small ones.
    #[arg(long)]
    all: bool,
    /// Write JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let after_name = arguments.after.as_ref().unwrap_or(&arguments.before);
    // Of two recordings each has its end compared; of one, its beginning with its end.
    let default = if *after_name == arguments.before { "first" } else { "last" };
    let before = instants::snapshot(&arguments.before, default)?;
    let after = instants::snapshot(after_name, "last")?;
    let difference = diff::diff(&before, &after);
    if arguments.json {
        output::print_json(&json::diff(&difference));
    } else {
        let style = output::style(arguments.all);
        // Without @ in their names, the beginning and the end of one recording would read the same.
        let (before, after) = if *after_name == arguments.before {
            (format!("{after_name}@first"), format!("{after_name}@last"))
        } else {
            (arguments.before.clone(), after_name.clone())
        };
        output::print(&terminal::diff::render(&difference, &before, &after, style));
    }
    Ok(ExitCode::SUCCESS)
}

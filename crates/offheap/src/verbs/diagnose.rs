//! `offheap diagnose`

use crate::{observe, output};
use anyhow::{Context, bail};
use offheap_diagnose::{Evidence, diagnose, render_markdown};
use offheap_present::terminal;
use std::path::PathBuf;
use std::process::ExitCode;

/// Say what grows, whether it is a leak, why, and what to do.
///
/// Watches a process (or reads a recording) and gives a verdict with its evidence. Looks from outside only. Exit codes:
/// 0 no leak, 1 leak, 3 inconclusive, 2 the tool could not do its work.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    observe: observe::Arguments,
    /// Never put anything into the process (the default for now: diagnose looks from outside only).
    #[arg(long)]
    no_agent: bool,
    /// Write JSON.
    #[arg(long)]
    json: bool,
    /// Show all domains and findings.
    #[arg(long)]
    all: bool,
    /// Also write the verdict to a file: .md for a ticket, .json for programs.
    #[arg(short, long)]
    output: Option<PathBuf>,
}

/// Runs the verb.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let ending = arguments.output.as_ref().map(|path| path.extension().unwrap_or_default().to_string_lossy());
    if let Some(ending) = &ending
        && !matches!(ending.as_ref(), "md" | "json")
    {
        bail!("a report ends with .md or .json, not {ending:?}");
    }
    let observed = observe::observe(&arguments.observe)?;
    let evidence = Evidence::of(&observed.snapshots).with_marks(&observed.marks);
    let diagnosis = diagnose(&evidence);
    if arguments.json {
        output::print_json(&serde_json::to_value(&diagnosis)?);
    } else {
        output::print(&terminal::diagnosis::render(&diagnosis, output::style(arguments.all)));
    }
    if let Some(path) = &arguments.output {
        let text = match ending.as_deref() {
            Some("md") => render_markdown(&diagnosis),
            _ => format!("{:#}\n", serde_json::to_value(&diagnosis)?),
        };
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(why) = observed.ended {
        // What was learnt is shown; but the window was not seen to its end.
        bail!("{why}");
    }
    Ok(ExitCode::from(diagnosis.exit_code()))
}

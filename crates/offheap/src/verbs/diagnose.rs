//! `offheap diagnose`

use crate::procedure::{Allowed, Gc};
use crate::{observe, output};
use anyhow::{Context, bail};
use offheap_diagnose::{Comparison, Diagnosis, Evidence, compare, diagnose, render_markdown};
use offheap_model::Evidence as Observation;
use offheap_present::terminal;
use std::path::PathBuf;
use std::process::ExitCode;

/// Say what grows, whether it is a leak, why, and what to do.
///
/// Watches a process (or reads a recording) and gives a verdict with its evidence. Looks from outside; only where the answer
/// needs code it loads an agent into the JVM, to see which code allocates what stays. Exit codes: 0 no leak, 1 leak,
/// 3 inconclusive, 2 the tool could not do its work.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    observe: observe::Arguments,
    /// Only look from outside: no agent, no collection.
    #[arg(long)]
    no_agent: bool,
    /// Don't ask whether the agent may be loaded.
    #[arg(short, long, conflicts_with = "no_agent")]
    yes: bool,
    /// Whether a full collection may be run where only that can tell a leak from garbage; auto: in heaps below 1 GiB.
    #[arg(long, value_enum, default_value_t = Gc::Auto, conflicts_with = "no_agent")]
    gc: Gc,
    /// Write JSON.
    #[arg(long)]
    json: bool,
    /// Show all domains and findings.
    #[arg(long)]
    all: bool,
    /// A recording of the time before the fix: say whether its leak is gone. The exit code is then 0 gone, 1 still there,
    /// 3 inconclusive.
    #[arg(long, value_name = "RECORDING")]
    compare: Option<PathBuf>,
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
    let allowed = if arguments.no_agent {
        Allowed::NOTHING
    } else {
        Allowed { agent: true, gc: arguments.gc, ask: !arguments.yes }
    };
    // Read first: a wrong name must show before the window, not after it.
    let before = arguments.compare.as_ref().map(|path| observe::read(path, None)).transpose()?;
    let observed = observe::observe(&arguments.observe, allowed)?;
    let mut evidence = Evidence::of(&observed.snapshots).with_marks(&observed.marks);
    if let Some(profile) = &observed.found.profile {
        evidence = evidence.with_profile(profile);
    }
    let mut diagnosis = diagnose(&evidence);
    if let Some(why) = observed.found.no_code {
        diagnosis
            .verdict
            .evidence
            .push(Observation { text: why, source: "the search for the code".to_owned() });
    }
    let comparison = before.map(|before| compare(&Evidence::of(&before.snapshots), &evidence));
    show(arguments, &diagnosis, comparison.as_ref())?;
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
    Ok(ExitCode::from(comparison.map_or(diagnosis.exit_code(), |comparison| comparison.exit_code())))
}

/// On standard output.
fn show(arguments: &Arguments, diagnosis: &Diagnosis, comparison: Option<&Comparison>) -> anyhow::Result<()> {
    if arguments.json {
        let mut value = serde_json::to_value(diagnosis)?;
        if let Some(comparison) = comparison {
            value["compare"] = serde_json::to_value(comparison)?;
        }
        output::print_json(&value);
        return Ok(());
    }
    let style = output::style(arguments.all);
    output::print(&terminal::diagnosis::render(diagnosis, style));
    if let Some(comparison) = comparison {
        output::print(&terminal::diagnosis::render_comparison(comparison, style));
    }
    Ok(())
}

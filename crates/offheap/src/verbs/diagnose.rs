//! `offheap diagnose`

use super::report;
use crate::session::{Allowed, DEFAULT_MAX_PAUSE, Gc, Observed, References};
use crate::{files, foreign, knowledge, observe, output};
use anyhow::bail;
use offheap_diagnose::{Comparison, Diagnosis, Evidence, compare, diagnose, needs_code, render_markdown};
use offheap_model::Evidence as Observation;
use offheap_model::units::parse_duration;
use offheap_present::terminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Say what grows, whether it is a leak, why, and what to do.
///
/// Watches a process (or reads a recording) and gives a verdict with its evidence. Looks from
/// outside; only where the answer needs code it loads an agent into the JVM, to see which code
/// allocates what stays. Exit codes: 0 no leak, 1 leak, 3 inconclusive, 4 does not fit, 2 the tool
/// could not do its work.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    observe: observe::Arguments,
    /// More files of other tools (all that offheap convert reads), of later times.
    #[arg(value_name = "FILE")]
    more: Vec<PathBuf>,
    /// Only look from outside: no agent, no collection.
    #[arg(long)]
    no_agent: bool,
    /// Don't ask whether the agent may be loaded.
    #[arg(short, long, conflicts_with = "no_agent")]
    yes: bool,
    /// Whether a full collection may be run where only that can tell a leak from garbage; auto: if
    /// it fits --max-pause.
    #[arg(long, value_enum, default_value_t = Gc::Auto, conflicts_with = "no_agent")]
    gc: Gc,
    /// The longest that a full collection, or a count of the objects by class, may be expected to
    /// stop the JVM.
    #[arg(long, value_name = "TIME", default_value = DEFAULT_MAX_PAUSE, value_parser = parse_duration, conflicts_with = "no_agent")]
    max_pause: Duration,
    /// Write JSON.
    #[arg(long)]
    json: bool,
    /// Show all domains and findings.
    #[arg(long)]
    all: bool,
    /// A recording of the time before the fix: say whether its leak is gone. The exit code is then
    /// 0 gone, 1 still there, 3 inconclusive.
    #[arg(long, value_name = "RECORDING")]
    compare: Option<PathBuf>,
    /// Also write a report: .html to look at and hand on, .md for a ticket, .json for programs.
    #[arg(short, long)]
    output: Option<PathBuf>,
    #[command(flatten)]
    knowledge: knowledge::Arguments,
}

/// Runs the verb.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    // A wrong ending must show before the window, not after it.
    let form = arguments.output.as_deref().map(Form::of).transpose()?;
    arguments.knowledge.add()?;
    if foreign::is_foreign(Path::new(&arguments.observe.target)) {
        return files(arguments, form);
    }
    if let Some(file) = arguments.more.first() {
        bail!(
            "{} is no file of another tool, so {} can't be a later one of it",
            arguments.observe.target,
            file.display()
        );
    }
    let allowed = if arguments.no_agent {
        Allowed::NOTHING
    } else {
        Allowed {
            agent: true,
            agent_at_once: false,
            gc: arguments.gc,
            max_pause: arguments.max_pause,
            ask: !arguments.yes,
        }
    };
    // Read first: a wrong name must show before the window, not after it.
    let before = arguments.compare.as_ref().map(|path| observe::read(path, None)).transpose()?;
    let observed = observe::observe(&arguments.observe, allowed, References::Followed)?;
    let mut evidence = Evidence::of(&observed.snapshots).with_marks(&observed.marks);
    if let Some(profile) = &observed.search.profile {
        evidence = evidence.with_profile(profile);
    }
    let mut diagnosis = diagnose(&evidence);
    if let Some(why) = observed.search.no_code.clone().filter(|_| needs_code(&diagnosis.verdict)) {
        diagnosis
            .verdict
            .evidence
            .push(Observation { text: why.to_string(), source: "the search for the code".to_owned() });
    }
    if let Some((classes, seconds)) = &observed.search.classes {
        diagnosis.name_classes(classes, *seconds);
    }
    let comparison = before.map(|before| compare(&Evidence::of(&before.snapshots), &evidence));
    show(arguments, &diagnosis, comparison.as_ref())?;
    if let (Some(path), Some(form)) = (&arguments.output, form) {
        write(path, form, &diagnosis, &observed)?;
        output::note(&format!("The report is in {}.", path.display()));
    }
    if let Some(why) = observed.ended {
        // What was learnt is shown; but the window was not seen to its end.
        bail!("{why}");
    }
    Ok(ExitCode::from(comparison.map_or(diagnosis.exit_code(), |comparison| comparison.exit_code())))
}

/// Files of other tools.
fn files(arguments: &Arguments, form: Option<Form>) -> anyhow::Result<ExitCode> {
    if arguments.compare.is_some() {
        bail!(
            "--compare needs a process or a recording of offheap's; of other files offheap diff shows the difference"
        );
    }
    let paths: Vec<PathBuf> = std::iter::once(PathBuf::from(&arguments.observe.target))
        .chain(arguments.more.iter().cloned())
        .collect();
    let diagnosis = foreign::diagnose(&paths)?;
    show(arguments, &diagnosis, None)?;
    if let (Some(path), Some(form)) = (&arguments.output, form) {
        write(path, form, &diagnosis, &Observed::default())?;
        output::note(&format!("The report is in {}.", path.display()));
    }
    Ok(ExitCode::from(diagnosis.exit_code()))
}

/// What a report is written as.
#[derive(Debug, Clone, Copy)]
enum Form {
    Html,
    Markdown,
    Json,
}

impl Form {
    fn of(path: &Path) -> anyhow::Result<Form> {
        match path.extension().unwrap_or_default().to_str() {
            Some("html" | "htm") => Ok(Form::Html),
            Some("md") => Ok(Form::Markdown),
            Some("json") => Ok(Form::Json),
            _ => bail!("a report ends with .html, .md or .json: {} does not", path.display()),
        }
    }
}

/// Writes the report.
fn write(path: &Path, form: Form, diagnosis: &Diagnosis, observed: &Observed) -> anyhow::Result<()> {
    let text = match form {
        Form::Html => return report::write(path, diagnosis, observed),
        Form::Markdown => render_markdown(diagnosis),
        Form::Json => format!("{:#}\n", serde_json::to_value(diagnosis)?),
    };
    files::write(path, text.as_bytes())
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

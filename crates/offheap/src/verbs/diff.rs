//! `offheap diff`

use crate::foreign::{self, Content, PerfMaps, Series};
use crate::{files, instants, output};
use anyhow::{Context, bail};
use offheap_formats::flamegraph;
use offheap_model::diff;
use offheap_present::{json, terminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Compare two instants: A is before, B is after, and + is growth from A to B.
///
/// Files of other tools (all that offheap convert reads) are compared site by site or category by
/// category, two of them as they are given, a directory or more than two as a series: in the order
/// of time, with a slope for each site or category.
///
/// Else A and B are saved accounts (offheap map PID --json > A) or recordings. Of a recording its
/// last instant counts; others are named behind @: run.offheap@first, @last, @10m (after the
/// start), @-5m (before the end), or the text of a mark. Without B the beginning and the end of A
/// are compared.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Before.
    before: String,
    /// After.
    after: Option<String>,
    /// More files: all together are a series, in the order of time.
    #[arg(value_name = "FILE")]
    more: Vec<String>,
    /// Of two profiles: write a flame graph of the difference (.html), or the comparison as .json.
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// Names of compiled Java code in profiles that have only addresses.
    #[arg(long, value_name = "FILE")]
    perf_map: Option<PathBuf>,
    /// Show all changes, also small ones.
    #[arg(long)]
    all: bool,
    /// Write JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if foreign::is_foreign(Path::new(&arguments.before)) {
        return files(arguments);
    }
    if !arguments.more.is_empty() || arguments.output.is_some() {
        bail!(
            "{} is a recording or a saved account: two instants are compared, on the terminal or with --json",
            arguments.before
        );
    }
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

/// Files of other tools.
fn files(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let paths: Vec<PathBuf> = std::iter::once(&arguments.before)
        .chain(&arguments.after)
        .chain(&arguments.more)
        .map(PathBuf::from)
        .collect();
    let perf_map = arguments.perf_map.as_deref();
    let has_folder = paths.iter().any(|path| path.is_dir());
    if let (Some(out), [before, after]) = (arguments.output.as_deref(), paths.as_slice())
        && out.extension().is_some_and(|ending| ending == "html")
        && !has_folder
    {
        files::write(out, page(before, after, perf_map)?.as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    // One text may hold both.
    let readings = foreign::read_paths(&paths, perf_map)?;
    if readings.len() == 1 && !matches!(readings.first().map(|one| &one.content), Some(Content::Recording(_)))
    {
        bail!("{} is one report: name a second one to compare it with", arguments.before);
    }
    let is_pair = readings.len() == 2 && !has_folder;
    let series = foreign::series_of(readings, is_pair)?;
    if let Some(out) = arguments.output.as_deref() {
        match out.extension().and_then(|ending| ending.to_str()) {
            Some("html") => bail!("a flame graph of a difference needs exactly two profiles"),
            Some("json") => files::write(out, format!("{:#}\n", foreign::json(&series)).as_bytes())?,
            _ => bail!("the ending of {} names no format: use .html or .json", out.display()),
        }
        return Ok(ExitCode::SUCCESS);
    }
    series.notes.iter().for_each(|note| output::note(note));
    if arguments.json {
        output::print_json(&foreign::json(&series));
    } else {
        output::print(&text(&series, is_pair, arguments.all));
    }
    Ok(ExitCode::SUCCESS)
}

fn text(series: &Series, is_pair: bool, all: bool) -> String {
    let style = output::style(all);
    let name = |path: &PathBuf| path.display().to_string();
    match series.paths.as_slice() {
        [before, after] if is_pair => foreign::comparison(series, &name(before), &name(after), style),
        _ => foreign::table(series, style),
    }
}

/// A flame graph of what changed.
fn page(before: &Path, after: &Path, perf_map: Option<&Path>) -> anyhow::Result<String> {
    let maps = PerfMaps::new(perf_map)?;
    let readings = (foreign::read(before, &maps)?, foreign::read(after, &maps)?);
    let profiles =
        readings.0.profile().zip(readings.1.profile()).context("only profiles have a flame graph")?;
    let (first, last) = (&profiles.0.profile, &profiles.1.profile);
    let title = format!("{} → {}", before.display(), after.display());
    Ok(flamegraph::write_diff(first, last, foreign::common_figure(first, last), &title))
}

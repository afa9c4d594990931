//! `offheap check`

use crate::session::{Allowed, References};
use crate::{files, knowledge, observe, output};
use anyhow::Context;
use offheap_diagnose::{Evidence, check, render_check_junit, render_check_markdown};
use offheap_model::Domain;
use offheap_model::units::{parse_bytes, parse_duration};
use offheap_present::terminal;
use std::path::PathBuf;
use std::process::ExitCode;

/// Fail when memory grows faster than allowed: the gate for CI.
///
/// Judges the slope with its 95 % interval, not the difference of two instants. Exit codes: 0 below
/// the limit, 1 above it, 3 the window is too short to tell, 2 the tool could not do its work.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    observe: observe::Arguments,
    /// The fastest growth allowed: 1MB/h, 100k/s, 5M/min.
    #[arg(long, default_value = "1MB/h", value_parser = parse_rate)]
    max_growth: f64,
    /// Judge only these domains [default: the whole RSS outside the Java heap].
    #[arg(long)]
    domain: Vec<Domain>,
    /// Also judge code: load the agent, and fail where what one method or function keeps grows
    /// faster than allowed. A recording is judged by the profiles in it (record --profile).
    #[arg(long)]
    sites: bool,
    /// The fastest growth allowed of one method or function [default: that of --max-growth].
    #[arg(long, value_parser = parse_rate, requires = "sites")]
    max_site_growth: Option<f64>,
    /// Code that may grow: any stack with a frame whose name contains this. Can be given several
    /// times.
    #[arg(long, value_name = "FRAME", requires = "sites")]
    allow: Vec<String>,
    /// Write JSON.
    #[arg(long)]
    json: bool,
    /// Write the result as JUnit XML.
    #[arg(long)]
    junit: Option<PathBuf>,
    /// Write the result as Markdown, for a job summary; appends.
    #[arg(long)]
    markdown: Option<PathBuf>,
    #[command(flatten)]
    knowledge: knowledge::Arguments,
}

/// Runs the verb.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    arguments.knowledge.add()?;
    let allowed = if arguments.sites { Allowed::AGENT } else { Allowed::NOTHING };
    let observed = observe::observe(&arguments.observe, allowed, References::Left)?;
    let evidence = Evidence::of(&observed.snapshots).with_marks(&observed.marks);
    let mut result = check(&evidence, arguments.max_growth, &arguments.domain);
    if arguments.sites {
        let profile = observed.search.profile.as_ref().with_context(|| {
            let why = observed.search.no_code.as_ref().map(ToString::to_string);
            why.unwrap_or_else(|| "the recording has no profile: record it with --profile".to_owned())
        })?;
        let limit = arguments.max_site_growth.unwrap_or(arguments.max_growth);
        result = result.with_sites(profile, limit, &arguments.allow);
    }
    if arguments.json {
        output::print_json(&serde_json::to_value(&result)?);
    } else {
        output::print(&terminal::diagnosis::render_check(&result, output::style(false)));
    }
    if let Some(path) = &arguments.junit {
        files::write(path, render_check_junit(&result).as_bytes())?;
    }
    if let Some(path) = &arguments.markdown {
        use std::io::Write;
        files::append(path)?
            .write_all(render_check_markdown(&result).as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(why) = observed.ended {
        anyhow::bail!("{why}");
    }
    Ok(ExitCode::from(result.exit_code()))
}

/// `"1MB/h"` → bytes per second.
fn parse_rate(text: &str) -> Result<f64, String> {
    let (size, per) = text.split_once('/').unwrap_or((text, "s"));
    let size = parse_bytes(size)?;
    let per = if per.starts_with(|c: char| c.is_ascii_digit()) { per.to_owned() } else { format!("1{per}") };
    let seconds = parse_duration(&per)?.as_secs_f64();
    if seconds > 0.0 {
        Ok(size as f64 / seconds)
    } else {
        Err(format!("{text:?} is no rate; write 1MB/h or 100k/s"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_as_people_write_them() {
        assert_eq!(parse_rate("1MB/h"), Ok(1_048_576.0 / 3600.0));
        assert_eq!(parse_rate("100k/s"), Ok(102_400.0));
        assert_eq!(parse_rate("6M/2min"), Ok(52_428.8));
        assert!(parse_rate("1MB/0s").is_err() && parse_rate("fast").is_err());
    }
}

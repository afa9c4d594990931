//! `offheap nmt`

use super::jcmd;
use crate::{foreign, output};
use anyhow::bail;
use offheap_collect::targets;
use offheap_nmt::{RenderOptions, ReplyKind, Report};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// Files larger than this are no NMT output: the largest detail report known has a few megabytes.
const FILE_LIMIT: u64 = 256 << 20;

/// Show Native Memory Tracking of a running JVM or of saved reports, of every JDK from 8 to 26.
///
/// offheap nmt PID [summary|detail|baseline|diff|detail.diff|statistics] asks the JVM;
/// offheap nmt FILE reads a saved report; offheap nmt FILE1 FILE2 compares two.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Arguments {
    /// A pid, a part of exactly one command line, or a saved report.
    target: String,
    /// What to ask for, or a second, later report.
    #[arg(default_value = "summary")]
    mode: String,
    /// Show all sites and problems.
    #[arg(long)]
    all: bool,
    /// How long the JVM may take for its answer.
    #[arg(long, default_value = "30s", value_parser = offheap_model::units::parse_duration)]
    timeout: Duration,
    /// Write JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let is_file = arguments.target.parse::<i32>().is_err() && Path::new(&arguments.target).is_file();
    let report = match (is_file, arguments.mode.as_str()) {
        (true, "summary") => match read(&arguments.target)?.as_slice() {
            [one] => one.clone(),
            // A paste of before and after.
            [before, .., after] => {
                output::note("the first and the last of several reports are compared");
                offheap_nmt::diff(before, after)?
            }
            [] => bail!("{} is empty", arguments.target),
        },
        (true, later) => {
            let (before, after) = (read(&arguments.target)?, read(later)?);
            match (before.last(), after.last()) {
                (Some(before), Some(after)) => offheap_nmt::diff(before, after)?,
                _ => bail!("nothing to compare"),
            }
        }
        (false, mode) => ask(arguments, mode)?,
    };
    if arguments.json {
        output::print_json(&serde_json::to_value(&report)?);
    } else {
        let options = if arguments.all {
            RenderOptions { sites: usize::MAX, problems: usize::MAX }
        } else {
            RenderOptions::default()
        };
        output::print_plain(&offheap_nmt::render(&report, &options));
    }
    let refused = report.reply.as_ref().is_some_and(|reply| reply.kind != ReplyKind::BaselineTaken);
    Ok(if refused { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The reports in the file at `path`: of NMT's own text, and of the section that a fatal error log
/// or VM.info has.
fn read(path: &str) -> anyhow::Result<Vec<Report>> {
    let (reports, notes) = foreign::nmt_reports(Path::new(path), FILE_LIMIT)?;
    notes.iter().for_each(|note| output::note(note));
    Ok(reports)
}

fn ask(arguments: &Arguments, mode: &str) -> anyhow::Result<Report> {
    let command = match mode {
        "summary" | "detail" | "baseline" | "statistics" => mode,
        "diff" | "summary.diff" => "summary.diff",
        "detail.diff" => "detail.diff",
        other => bail!(
            "{other:?} is neither a file nor one of summary, detail, baseline, diff, detail.diff and statistics"
        ),
    };
    let pid = targets::resolve(&arguments.target)?;
    let session = jcmd::open(pid, arguments.timeout)?;
    let ask = |command: &str| -> anyhow::Result<Report> {
        let reply = session.jcmd(command)?;
        Ok(offheap_nmt::parse(format!("{}\n{}", reply.status, reply.text).as_bytes()))
    };
    let takes_scale = !matches!(command, "baseline" | "statistics");
    if takes_scale {
        let report = ask(&format!("VM.native_memory {command} scale=b"))?;
        // JDK 8 knows no scale of bytes.
        if report.reply.as_ref().is_none_or(|reply| reply.kind != ReplyKind::BadScale) {
            return Ok(report);
        }
    }
    ask(&format!("VM.native_memory {command}"))
}

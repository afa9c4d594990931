//! `offheap convert`

use crate::foreign::{self, Content, PerfMaps, Reading};
use crate::{files, output};
use anyhow::bail;
use offheap_formats::{Figure, Table};
use offheap_model::Profile;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Turn a file of another tool into a format you like, or see what it says.
///
/// Reads jemalloc and gperftools heap profiles, pprof, async-profiler and JDK JFR, heaptrack, massif, memcheck, LeakSanitizer,
/// memleak and collapsed stacks; NMT reports, smaps, pmap -x and -X, hs_err logs, heap dumps (hprof) and the outputs of jcmd that tell
/// sizes; plain, gzip or zstd, recognised by content. Writes profiles by the ending of OUT: .pb.gz (pprof), .html (flame graph),
/// .collapsed, .speedscope.json, .firefox.json, .otlp, .csv, .json; everything else as .csv or .json. Frames that are only
/// addresses are named from the files that were mapped.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The file.
    input: PathBuf,
    /// Where to write; its ending picks the format [default: collapsed stacks, or a report, to standard output].
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// Names of compiled Java code, as `jcmd PID Compiler.perfmap` writes them [default: /tmp/perf-PID.map, if the name of
    /// the file holds the pid].
    #[arg(long, value_name = "FILE")]
    perf_map: Option<PathBuf>,
    /// Write .otlp for this version of opentelemetry-proto (the signal is in development: each has its own layout).
    #[arg(long, value_name = "VERSION", value_parser = [offheap_formats::otlp::VERSION])]
    otlp_proto: Option<String>,
    /// Show all rows of a report.
    #[arg(long)]
    all: bool,
}

/// Runs the verb.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let maps = PerfMaps::new(arguments.perf_map.as_deref())?;
    let reading = foreign::read(&arguments.input, &maps)?;
    for note in &reading.notes {
        output::note(note);
    }
    let Some(path) = &arguments.output else {
        output::print(&text(&reading, arguments.all));
        return Ok(ExitCode::SUCCESS);
    };
    let title = arguments.input.file_name().unwrap_or_default().to_string_lossy();
    let bytes = match reading.profile() {
        Some(parsed) if path.extension().is_some_and(|ending| ending == "otlp") => {
            if arguments.otlp_proto.is_none() {
                bail!(
                    "OTLP profiles are in development: say which version of the proto is meant (--otlp-proto {})",
                    offheap_formats::otlp::VERSION
                );
            }
            offheap_formats::otlp::write(&parsed.profile)
        }
        Some(parsed) => render(&parsed.profile, path, &title, serde_json::Value::Null)?,
        None => render_figures(&reading, path)?,
    };
    files::write(path, &bytes)?;
    Ok(ExitCode::SUCCESS)
}

fn text(reading: &Reading, all: bool) -> String {
    let style = output::style(all);
    match &reading.content {
        Content::Profile(parsed) => {
            let figure = Figure::best(&parsed.profile);
            offheap_formats::collapsed::write(&parsed.profile, figure, false)
        }
        Content::Figures(figures) => foreign::figures(figures, style),
        Content::Recording(recording) => {
            let series = foreign::Series::of_table(&reading.path, Table::of_recording(recording));
            foreign::table(&series, style)
        }
        Content::Dump(dump) => foreign::dump(dump, style),
        Content::Log(log, _) => foreign::log(log, style),
    }
}

/// What has no sites goes into tables.
fn render_figures(reading: &Reading, path: &Path) -> anyhow::Result<Vec<u8>> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if let Content::Recording(recording) = &reading.content
        && name.ends_with(".json")
    {
        let series = foreign::Series::of_table(&reading.path, Table::of_recording(recording));
        return Ok(format!("{:#}\n", foreign::json(&series)).into_bytes());
    }
    let figures = reading.figures();
    Ok(match figures {
        _ if name.ends_with(".json") => format!("{:#}\n", foreign::report(reading)).into_bytes(),
        Some(figures) if name.ends_with(".csv") => foreign::csv(&figures).into_bytes(),
        _ => bail!(
            "a file of format {:?} has no allocation sites: it can be written as .json or .csv",
            reading.format.name()
        ),
    })
}

/// `profile` in the format that the ending of `path` names; `target` is what the JSON says of the process.
pub(crate) fn render(
    profile: &Profile,
    path: &Path,
    title: &str,
    target: serde_json::Value,
) -> anyhow::Result<Vec<u8>> {
    use offheap_formats::{collapsed, csv, firefox, flamegraph, json, pprof, speedscope};
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let figure = Figure::best(profile);
    let is = |ending: &str| name.ends_with(ending);
    Ok(if is(".pb.gz") {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        packed.write_all(&pprof::write(profile))?;
        packed.finish()?
    } else if is(".pb") {
        pprof::write(profile)
    } else if is(".html") {
        flamegraph::write(profile, figure, title).into_bytes()
    } else if is(".speedscope.json") {
        speedscope::write(profile, title).into_bytes()
    } else if is(".firefox.json") {
        firefox::write(profile, figure, title).into_bytes()
    } else if is(".json") {
        json::write(profile, target).into_bytes()
    } else if is(".collapsed") || is(".txt") {
        collapsed::write(profile, figure, false).into_bytes()
    } else if is(".csv") {
        csv::write(profile).into_bytes()
    } else {
        bail!(
            "the ending of {name} names no format: use .pb.gz, .html, .collapsed, .speedscope.json, .firefox.json, .csv or .json"
        )
    })
}

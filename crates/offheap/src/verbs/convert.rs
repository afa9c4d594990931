//! `offheap convert`

use crate::foreign::{self, Content, PerfMaps, Reading};
use crate::{files, output};
use anyhow::bail;
use offheap_formats::{Figure, Table, WRITERS, Writer};
use offheap_model::Profile;
use offheap_present::terminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Turn a file of another tool into a format you like, or see what it says.
///
/// Reads jemalloc and gperftools heap profiles (also jeprof --raw and --text), pprof (also -top),
/// async-profiler and JDK JFR (also jfr print and view), heaptrack and heaptrack_print, massif and
/// ms_print, memcheck, LeakSanitizer, memleak, collapsed stacks, speedscope; NMT reports, smaps,
/// maps, status, pmap, hs_err logs, heap dumps (hprof), the outputs of jcmd that tell sizes,
/// javacore, malloc_info and malloc_stats, statistics of jemalloc, tcmalloc and mimalloc,
/// memory.stat, out-of-memory messages of the kernel, kubectl describe and top, docker stats,
/// vmmap; plain, gzip or zstd, recognised by content. Text may be pasted as it is: quoted, fenced,
/// stamped by a log, with words around it, several reports in one. Writes profiles by the ending of
/// OUT: .pb.gz (pprof), .html (flame graph), .collapsed, .speedscope.json, .firefox.json, .otlp,
/// .csv, .json; everything else as .csv or .json. Frames that are only addresses are named from the
/// files that were mapped.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The file.
    input: PathBuf,
    /// Where to write; its ending picks the format [default: collapsed stacks, or a report, to
    /// standard output].
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// Names of compiled Java code, as `jcmd PID Compiler.perfmap` writes them [default:
    /// /tmp/perf-PID.map, if the name of the file holds the pid].
    #[arg(long, value_name = "FILE")]
    perf_map: Option<PathBuf>,
    /// Write .otlp for this version of opentelemetry-proto (the signal is in development: each has
    /// its own layout).
    #[arg(long, value_name = "VERSION", value_parser = [offheap_formats::otlp::VERSION])]
    otlp_proto: Option<String>,
    /// Show all rows of a report.
    #[arg(long)]
    all: bool,
}

/// Runs the verb.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let maps = PerfMaps::new(arguments.perf_map.as_deref())?;
    let mut readings = foreign::read_all(&arguments.input, &maps)?;
    for note in readings.iter().flat_map(|reading| &reading.notes) {
        output::note(note);
    }
    if readings.len() > 1 {
        return several(arguments, readings);
    }
    let Some(reading) = readings.pop() else { bail!("{} is empty", arguments.input.display()) };
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

/// Several reports of one text: those of one kind are compared, others shown one below the other.
fn several(arguments: &Arguments, readings: Vec<Reading>) -> anyhow::Result<ExitCode> {
    let style = output::style(arguments.all);
    let name = |reading: &Reading| reading.path.display().to_string();
    let of: Vec<Option<String>> =
        readings.iter().map(|reading| reading.figures().map(|figures| figures.of)).collect();
    let is_one_kind = of.windows(2).all(|pair| matches!(pair, [Some(a), Some(b)] if a == b));
    if let Some(path) = &arguments.output {
        if !is_one_kind || path.extension().is_none_or(|ending| ending != "json") {
            let kinds: Vec<&str> = readings.iter().map(|reading| reading.format.name()).collect();
            bail!(
                "{} holds {} reports ({}): only such as are of one kind can be written together, as .json",
                arguments.input.display(),
                readings.len(),
                kinds.join(", ")
            );
        }
        let series = foreign::series_of(readings, true)?;
        files::write(path, format!("{:#}\n", foreign::json(&series)).as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    if is_one_kind {
        let names: Vec<String> = readings.iter().map(name).collect();
        let series = foreign::series_of(readings, true)?;
        output::print(&match names.as_slice() {
            [before, after] => foreign::comparison(&series, before, after, style),
            _ => foreign::table(&series, style),
        });
        return Ok(ExitCode::SUCCESS);
    }
    for reading in &readings {
        let heading = format!("{} ({})", name(reading), reading.format.name());
        output::print(&format!("{}\n", style.paint(terminal::Tone::Strong, &heading)));
        output::print(&format!("{}\n", text(reading, arguments.all)));
    }
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
        Content::Log(log, nmt) => foreign::log(log, nmt, style),
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

/// `profile` in the format that the ending of `path` names; `target` is what the JSON says of the
/// process.
pub(crate) fn render(
    profile: &Profile,
    path: &Path,
    title: &str,
    target: serde_json::Value,
) -> anyhow::Result<Vec<u8>> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let Some(writer) = Writer::of(&name) else {
        let endings: Vec<&str> = WRITERS.iter().map(|writer| writer.ending).collect();
        bail!("the ending of {name} names no format: use one of {}", endings.join(", "));
    };
    Ok(writer.write(profile, title, target))
}

//! `offheap convert`

use crate::output;
use anyhow::{Context, bail};
use offheap_formats::{Figure, Parsed};
use offheap_model::Profile;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A file is read whole; larger ones than this are refused.
const FILE_LIMIT: u64 = 4 << 30;
/// Unpacked, at the most.
const UNPACKED_LIMIT: u64 = 8 << 30;

/// Turn a profile of another tool into a format you like.
///
/// Reads jemalloc and gperftools heap profiles, pprof, async-profiler and JDK JFR, heaptrack, massif, memcheck, LeakSanitizer,
/// memleak and collapsed stacks, plain, gzip or zstd, recognised by content. Writes by the ending of OUT: .pb.gz (pprof),
/// .html (flame graph), .collapsed, .speedscope.json, .firefox.json, .csv, .json. Native frames that the file gives only by
/// address stay addresses.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The profile.
    input: PathBuf,
    /// Where to write; its ending picks the format [default: collapsed stacks to standard output].
    #[arg(short, long)]
    output: Option<PathBuf>,
}

/// Runs the verb.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let parsed = read(&arguments.input)?;
    if let Some(cut) = &parsed.cut {
        output::note(&format!("{}: {cut}", arguments.input.display()));
    }
    for note in &parsed.profile.notes {
        output::note(note);
    }
    match &arguments.output {
        None => {
            let figure = Figure::best(&parsed.profile);
            output::print(&offheap_formats::collapsed::write(&parsed.profile, figure, false));
        }
        Some(path) => {
            let title = arguments.input.file_name().unwrap_or_default().to_string_lossy();
            let bytes = render(&parsed.profile, path, &title, serde_json::Value::Null)?;
            std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn read(path: &Path) -> anyhow::Result<Parsed> {
    let length = std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len();
    if length > FILE_LIMIT {
        bail!("{} has {length} bytes; at most {FILE_LIMIT} are read", path.display());
    }
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let (unpacked, cut) = offheap_formats::unwrap(&bytes, UNPACKED_LIMIT)?;
    let mut parsed = offheap_formats::read_profile(&unpacked).with_context(|| path.display().to_string())?;
    parsed.cut = parsed.cut.or(cut);
    Ok(parsed)
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

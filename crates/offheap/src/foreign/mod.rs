//! Files of other tools: found, unpacked, told apart, read; alone or as a series. The readers themselves are in
//! `offheap-formats` and `offheap-nmt`; here is what they need of the file system.

mod document;
mod names;
#[cfg(test)]
mod schemas;
mod series;
mod show;
mod source;
mod verdict;

pub use document::{json, report};
pub use names::PerfMaps;
pub use series::{Order, Series, common_figure, series};
pub use show::{comparison, csv, dump, figures, log, table};
pub use verdict::diagnose;

use crate::files;
use anyhow::{Context, anyhow, bail};
use offheap_formats::hs_err::HsErr;
use offheap_formats::jfr::{self, Jfr};
use offheap_formats::{
    Cut, Figures, Format, Hprof, Named, Parsed, Row, detect, hprof, hs_err, jcmd, unwrapped,
};
use offheap_model::Frame;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// A file that is read whole is refused beyond this, unpacked.
const WHOLE_LIMIT: u64 = 2 << 30;
/// One that is read piece by piece, beyond this.
const PIECES_LIMIT: u64 = 256 << 30;
/// How much a wrapped file may unfold to: this many times its size, or this much whatever its size. What is read piece by
/// piece takes no memory for it (a heap dump of nothing but zeros folds nearly so well); what is held in memory while it is read
/// takes as much, so that a small file must not unfold to much.
const PIECES: (u64, u64) = (500, 1 << 30);
const HELD: (u64, u64) = (40, 32 << 20);
/// A file with fewer bytes on the disk than one in so many is nothing but holes.
const SPARSENESS: u64 = 64;
/// Files of a directory that are looked at.
const MAX_FILES: usize = 10_000;
/// What is needed to tell the format.
const HEAD: u64 = 64 << 10;

/// What a file holds.
#[derive(Debug)]
pub enum Content {
    /// Allocation sites.
    Profile(Parsed),
    /// Named figures of one instant.
    Figures(Figures),
    /// A recording of the JDK: figures over time.
    Recording(Box<Jfr>),
    /// A heap dump.
    Dump(Box<Hprof>),
    /// A fatal error log, and the figures of its NMT section.
    Log(Box<HsErr>, Vec<Named>),
}

/// A file that was read.
#[derive(Debug)]
pub struct Reading {
    /// Its path.
    pub path: PathBuf,
    /// Its format.
    pub format: Format,
    /// When it was taken, milliseconds since the Unix epoch, where it says.
    pub time_ms: Option<i64>,
    /// When the file was last written.
    pub modified_ms: i64,
    /// What is in it.
    pub content: Content,
    /// What must be said about it.
    pub notes: Vec<String>,
}

impl Reading {
    /// Its figures, of whatever has no sites; of a fatal error log with an NMT section, that section's.
    pub fn figures(&self) -> Option<Figures> {
        match &self.content {
            Content::Figures(figures) => Some(figures.clone()),
            Content::Dump(dump) => Some(offheap_formats::of_dump((**dump).clone())),
            Content::Log(log, nmt) if nmt.is_empty() => Some(offheap_formats::of_log((**log).clone())),
            Content::Log(_, nmt) => Some(Figures::new(NMT, nmt.clone())),
            Content::Profile(_) | Content::Recording(_) => None,
        }
    }

    /// Its sites.
    pub fn profile(&self) -> Option<&Parsed> {
        match &self.content {
            Content::Profile(parsed) => Some(parsed),
            _ => None,
        }
    }
}

/// Of a recording without any.
const NO_NATIVE_EVENT: &str = "no event of native memory can be read from it: async-profiler writes them with nativemem, the \
    JDK (20 and later) with -XX:NativeMemoryTracking=summary; and what describes the events comes at the end of a JDK's file";

/// No JDK's NMT has more categories.
const MOST_CATEGORIES: u64 = 40;

/// What NMT's figures are called, in reports and in logs.
const NMT: &str = "committed bytes by NMT category";

/// Whether `path` is a directory, or a file of a format that is read here.
pub fn is_foreign(path: &Path) -> bool {
    path.is_dir() || head(path).is_ok_and(|head| detect(&head).is_some())
}

fn open(path: &Path, limit: u64, folded: (u64, u64)) -> anyhow::Result<Box<dyn Read>> {
    let cannot = || format!("cannot read {}", path.display());
    let file = files::open(path)?;
    let metadata = file.metadata().with_context(cannot)?;
    // Some file systems don't know what they have on the disk, and say 0.
    let disk = metadata.blocks().saturating_mul(512 * SPARSENESS);
    if metadata.len() > HELD.1 && disk > 0 && disk < metadata.len() {
        bail!("{} has {} bytes, and nearly all of them are holes", path.display(), metadata.len());
    }
    let (times, always) = folded;
    let limit = limit.min(metadata.len().saturating_mul(times).max(always));
    unwrapped(std::io::BufReader::with_capacity(256 << 10, file), limit).with_context(cannot)
}

fn head(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut head = Vec::new();
    // What a damaged wrapping still gives is enough to tell.
    let result = open(path, PIECES_LIMIT, PIECES)?.take(HEAD).read_to_end(&mut head);
    if head.is_empty() {
        result.with_context(|| format!("cannot read {}", path.display()))?;
    }
    Ok(head)
}

/// Reads the file at `path`; frames that are only addresses get their names from the files that were mapped, and from
/// `perf_maps`.
///
/// # Errors
/// It can't be read, or is of no known format.
pub fn read(path: &Path, perf_maps: &PerfMaps) -> anyhow::Result<Reading> {
    let head = head(path)?;
    let format = detect(&head).ok_or_else(|| match jcmd::refusal(&head) {
        Some(reason) => anyhow!("{}: the JVM refused the command: {reason}", path.display()),
        None => anyhow!(
            "{}: its format is not recognised; `offheap convert --help` lists those that are",
            path.display()
        ),
    })?;
    let context = || path.display().to_string();
    let modified_ms = std::fs::metadata(path)
        .and_then(|metadata| metadata.modified())
        .ok()
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
        .map_or(0, |since| since.as_millis() as i64);
    let mut reading = Reading {
        path: path.to_owned(),
        format,
        time_ms: None,
        modified_ms,
        content: Content::Figures(Figures::default()),
        notes: Vec::new(),
    };
    let mut cut: Option<Cut>;
    reading.content = match format {
        Format::Jfr => {
            let recording = match source::Plain::open(path) {
                Some(plain) => jfr::read_at(&plain),
                None => jfr::read_from(&mut *open(path, PIECES_LIMIT, HELD)?),
            };
            let recording = recording.with_context(context)?;
            cut = recording.profile.cut.clone();
            let profile = &recording.profile.profile;
            reading.time_ms = (profile.start_ms > 0).then_some(profile.start_ms);
            let is_profile = !recording.profile.profile.sites.is_empty();
            if !is_profile && recording.series.is_empty() {
                reading.notes.push(NO_NATIVE_EVENT.to_owned());
            }
            if !is_profile && !recording.series.is_empty() {
                Content::Recording(Box::new(recording))
            } else {
                Content::Profile(recording.profile)
            }
        }
        Format::Hprof => {
            let again = &mut || open(path, PIECES_LIMIT, PIECES).map_err(std::io::Error::other);
            let dump = hprof::read_from(again).with_context(context)?;
            (cut, reading.time_ms) = (dump.cut.clone(), Some(dump.time_ms));
            Content::Dump(Box::new(dump))
        }
        _ => {
            let (bytes, damage) = whole(path)?;
            cut = damage;
            match format {
                Format::Nmt => Content::Figures(nmt(&bytes, &mut reading.notes).with_context(context)?),
                Format::VmInfo => {
                    let log = hs_err::read(&bytes).with_context(context)?;
                    let section = log.nmt.as_ref().map(|text| offheap_nmt::parse(text.as_bytes()));
                    match section.as_ref().map(categories).filter(|nmt| !nmt.is_empty()) {
                        Some(nmt) => Content::Figures(Figures { cut: log.cut, ..Figures::new(NMT, nmt) }),
                        None => Content::Figures(offheap_formats::of_log(log)),
                    }
                }
                Format::HsErr => {
                    let log = hs_err::read(&bytes).with_context(context)?;
                    let section = log.nmt.as_ref().map(|text| offheap_nmt::parse(text.as_bytes()));
                    Content::Log(Box::new(log), section.as_ref().map_or(Vec::new(), categories))
                }
                Format::Smaps | Format::Pmap | Format::Jcmd => {
                    Content::Figures(offheap_formats::read_figures(&bytes).with_context(context)?)
                }
                _ => {
                    let parsed = offheap_formats::read_profile(&bytes).with_context(context)?;
                    reading.time_ms = (parsed.profile.start_ms > 0).then_some(parsed.profile.start_ms);
                    Content::Profile(names::name(parsed, path, perf_maps, &mut reading.notes))
                }
            }
        }
    };
    match &reading.content {
        // Among its notes is where it is cut off.
        Content::Profile(parsed) => reading.notes.extend(parsed.profile.notes.iter().cloned()),
        Content::Figures(figures) => cut = cut.or(figures.cut.clone()),
        Content::Log(log, _) => cut = cut.or(log.cut.clone()),
        Content::Recording(_) | Content::Dump(_) => {}
    }
    let said = |cut: &Cut| reading.notes.contains(&cut.to_string());
    if let Some(cut) = cut.filter(|cut| !said(cut)) {
        reading.notes.push(cut.to_string());
    }
    Ok(reading)
}

/// A whole file, and where its wrapping is damaged.
fn whole(path: &Path) -> anyhow::Result<(Vec<u8>, Option<Cut>)> {
    let mut bytes = Vec::new();
    let result = open(path, WHOLE_LIMIT, HELD)?.take(WHOLE_LIMIT + 1).read_to_end(&mut bytes);
    if bytes.len() as u64 > WHOLE_LIMIT {
        bail!(
            "{} has more than {WHOLE_LIMIT} bytes, unpacked: no honest file of its format does",
            path.display()
        );
    }
    if let Err(error) = &result
        && error.kind() == ErrorKind::FileTooLarge
    {
        bail!("{} is refused: {error}", path.display());
    }
    let cut =
        result.err().map(|error| Cut { at: bytes.len() as u64, reading: format!("its wrapping ({error})") });
    Ok((bytes, cut))
}

fn nmt(bytes: &[u8], notes: &mut Vec<String>) -> anyhow::Result<Figures> {
    let report = offheap_nmt::parse(bytes);
    if report.categories.is_empty() {
        match &report.reply {
            Some(reply) => bail!("this NMT output has no figures: the JVM said {:?}", reply.text),
            None => bail!("this NMT output has no figures"),
        }
    }
    if !report.problems.is_empty() {
        notes.push(format!("{} lines make no sense and were left out", report.problems.len()));
    }
    let figures = Figures::new(NMT, categories(&report));
    let sum = figures.list.iter().fold(0u64, |sum, figure| sum.saturating_add(figure.bytes));
    // Each category is rounded to a unit of the report; some are below a unit, and left out.
    let unit = report.scale.map_or(1 << 10, offheap_nmt::Scale::bytes);
    let rounded = unit.saturating_mul(MOST_CATEGORIES);
    if let Some(total) = report.total.map(|total| total.mapping.committed_bytes)
        && sum.saturating_add(rounded) < total
    {
        notes.push(format!("its categories are {sum} bytes of {total}: the report is cut off"));
    }
    Ok(figures)
}

/// NMT's categories: what is committed, malloc included; the number is that of mallocs.
fn categories(report: &offheap_nmt::Report) -> Vec<Named> {
    let figures = report.categories.iter().map(|category| Named {
        name: category.name.clone(),
        bytes: category.mapping.committed_bytes,
        count: category.malloc.as_ref().and_then(|malloc| malloc.count),
    });
    figures.collect()
}

/// The files that `paths` mean: a directory stands for those in it (not below it) that are of a known format.
///
/// # Errors
/// A directory can't be read, or there is none such.
pub fn expand(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let cannot = || format!("cannot read {}", path.display());
        let mut found = Vec::new();
        for entry in std::fs::read_dir(path).with_context(cannot)?.take(MAX_FILES) {
            let entry = entry.with_context(cannot)?.path();
            if entry.is_file() && is_foreign(&entry) {
                found.push(entry);
            }
        }
        if found.is_empty() {
            bail!("no file in {} is of a known format", path.display());
        }
        found.sort();
        files.append(&mut found);
    }
    Ok(files)
}

/// The innermost frames of a row that say most, or its name.
pub(crate) fn label(row: &Row) -> String {
    if row.frames.is_empty() { row.name.clone() } else { code(&row.frames) }
}

/// The innermost of `frames` that say most.
fn code(frames: &[Frame]) -> String {
    /// Functions that only hand an allocation on.
    const PLUMBING: [&str; 11] = [
        "malloc",
        "calloc",
        "realloc",
        "memalign",
        "posix_memalign",
        "strdup",
        "operator new",
        "os::malloc",
        "os::realloc",
        "AllocateHeap",
        "prof_backtrace",
    ];
    let is_plumbing =
        |name: &str| PLUMBING.iter().any(|plumbing| name.contains(plumbing)) || name.starts_with("je_");
    let bare = |name: &str| name.split('(').next().filter(|bare| !bare.is_empty()).unwrap_or(name).to_owned();
    let skipped = frames.iter().take_while(|frame| is_plumbing(&frame.name)).count();
    let from = if skipped < frames.len() { skipped } else { 0 };
    let names: Vec<String> = frames.iter().skip(from).take(3).map(|frame| bare(&frame.name)).collect();
    names.join(" < ")
}

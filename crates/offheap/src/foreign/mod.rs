//! Files of other tools: found, unpacked, told apart, read; alone or as a series. The readers
//! themselves are in `offheap-formats` and `offheap-nmt`; here is what they need of the file
//! system.

mod case;
#[cfg(test)]
mod corpus;
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
pub use series::{Order, Series, common_figure, of as series_of, read_paths};
pub use show::{comparison, csv, dump, figures, log, table};
pub use verdict::diagnose;

use crate::files;
use anyhow::{Context, anyhow, bail};
use offheap_formats::hs_err::HsErr;
use offheap_formats::jfr::{self, Jfr};
use offheap_formats::{
    Cut, Figures, Format, Gives, Hprof, Named, Parsed, Row, detect, hprof, hs_err, jcmd, pasted, unwrapped,
};
use offheap_model::{Frame, units, vocabulary};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

/// A file that is read whole is refused beyond this, unpacked.
const WHOLE_LIMIT: u64 = 2 << 30;
/// One that is read piece by piece, beyond this.
const PIECES_LIMIT: u64 = 256 << 30;
/// How much a wrapped file may unfold to: this many times its size, or this much whatever its size.
/// What is read piece by piece takes no memory for it (a heap dump of nothing but zeros folds
/// nearly so well); what is held in memory while it is read takes as much, so that a small file
/// must not unfold to much.
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
    /// Its figures, of whatever has no sites; of a fatal error log with an NMT section, that
    /// section's.
    pub fn figures(&self) -> Option<Figures> {
        match &self.content {
            Content::Figures(figures) => Some(figures.clone()),
            Content::Dump(dump) => Some(offheap_formats::of_dump((**dump).clone())),
            Content::Log(log, nmt) if nmt.is_empty() => Some(offheap_formats::of_log((**log).clone())),
            Content::Log(_, nmt) => Some(Figures::new(NMT, nmt.clone())),
            Content::Profile(_) | Content::Recording(_) => None,
        }
    }

    /// What its [figures](Reading::figures) are of: only those of one kind are compared.
    pub fn kind(&self) -> Option<&str> {
        match &self.content {
            Content::Figures(figures) => Some(&figures.of),
            Content::Dump(_) => Some(offheap_formats::BY_CLASS),
            Content::Log(_, nmt) if nmt.is_empty() => Some(offheap_formats::OF_LOG),
            Content::Log(..) => Some(NMT),
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
const NMT: &str = offheap_formats::BY_CATEGORY;

/// Endings of files that a user means as text of another tool, whether it can be read or not.
const TEXTS: [&str; 5] = ["txt", "log", "out", "md", "stat"];

/// Whether `path` is a directory, or a file that holds something of a format that is read here, or
/// is meant to.
pub fn is_foreign(path: &Path) -> bool {
    path.is_dir() || holds(path, true)
}

/// Whether the file at `path` holds something of a format that is read here; with `by_ending`, also
/// whether its ending says that it is meant to.
fn holds(path: &Path, by_ending: bool) -> bool {
    let Ok(head) = head(path) else { return false };
    if detect(&head).is_some() {
        return true;
    }
    // Our own documents are of other verbs.
    if !pasted::is_text(&head) || head.trim_ascii_start().starts_with(b"{") {
        return false;
    }
    let is_text =
        path.extension().and_then(|ending| ending.to_str()).is_some_and(|ending| TEXTS.contains(&ending));
    by_ending && is_text
        || whole(path, pasted::MAX_PASTE as u64)
            .is_ok_and(|(bytes, _)| !pasted::reports(&bytes).reports.is_empty())
}

fn open(path: &Path, limit: u64, folded: (u64, u64)) -> anyhow::Result<Box<dyn Read>> {
    let cannot = || format!("cannot read {}", path.display());
    let file = files::open(path)?;
    let metadata = file.metadata().with_context(cannot)?;
    // Some file systems don't know what they have on the disk, and say 0.
    let disk = metadata.blocks().saturating_mul(512 * SPARSENESS);
    if metadata.len() > HELD.1 && disk > 0 && disk < metadata.len() {
        bail!("{} has {}, and nearly all of them are holes", path.display(), units::bytes(metadata.len()));
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

/// What can't be read at all, by how it begins: what it is, and what to do.
const OTHERS: [(&[u8], &str); 8] = [
    (
        b"\x7fELF",
        "an ELF file (a program, a library or a core): offheap reads a core's maps and symbols with gdb's help only",
    ),
    (
        b"SQLite format 3\0",
        "an SQLite file: recordings of offheap are taken by map, watch, diagnose and diff",
    ),
    (b"\x89PNG", "a picture: paste the text itself"),
    (b"\xff\xd8\xff", "a picture: paste the text itself"),
    (b"PK\x03\x04", "a ZIP or JAR file: unpack it and name the files in it"),
    (b"%PDF", "a PDF: paste the text itself"),
    (b"<!doctype html", "a web page: save the text itself"),
    (b"<!DOCTYPE html", "a web page: save the text itself"),
];

/// That `bytes`, the file at `path`, are of no known format, and what they could be.
fn unrecognised(path: &Path, bytes: &[u8]) -> anyhow::Error {
    let path = path.display();
    if let Some(reason) = jcmd::refusal(bytes) {
        return anyhow!("{path}: the JVM refused the command: {reason}");
    }
    let known = "`offheap convert --help` lists the formats that are read";
    if bytes.trim_ascii().is_empty() {
        return anyhow!("{path} is empty; {known}");
    }
    if let Some((_, what)) = OTHERS.iter().find(|(begin, _)| bytes.starts_with(begin)) {
        return anyhow!("{path}: its format is not recognised: it is {what}; {known}");
    }
    let could = if pasted::is_text(bytes) { pasted::could_be(bytes) } else { Vec::new() };
    if let Some((what, bring)) = pasted::stranger(bytes) {
        return anyhow!("{path}: its format is not recognised: it looks like {what}. Bring {bring}; {known}");
    }
    if could.is_empty() {
        let kind = if pasted::is_text(bytes) { "text with no report in it" } else { "binary" };
        return anyhow!("{path}: its format is not recognised ({kind}); {known}");
    }
    anyhow!(
        "{path}: its format is not recognised. Some of its words are those of: {}; but the line that such a report starts with is \
         missing: paste it from its first line on, with its line ends; {known}",
        could.join(", ")
    )
}

/// Reads the one report in the file at `path`; of several the first, and a note says so.
///
/// # Errors
/// As [`read_all`].
pub fn read(path: &Path, perf_maps: &PerfMaps) -> anyhow::Result<Reading> {
    let mut all = read_all(path, perf_maps)?;
    let more = all.len().saturating_sub(1);
    let mut first = all.drain(..).next().ok_or_else(|| unrecognised(path, &[]))?;
    if more > 0 {
        first.notes.push(format!("the first of {} reports in {}", more + 1, path.display()));
    }
    Ok(first)
}

/// Reads all that is in the file at `path`: a text may hold several reports. Frames that are only
/// addresses get their names from the files that were mapped, and from `perf_maps`.
///
/// # Errors
/// It can't be read, or nothing in it is of a known format.
pub fn read_all(path: &Path, perf_maps: &PerfMaps) -> anyhow::Result<Vec<Reading>> {
    let head = head(path)?;
    match detect(&head) {
        Some(format @ (Format::Jfr | Format::Hprof)) => {
            let mut reading = Reading::new(path, format);
            let cut = reading.in_pieces().with_context(|| path.display().to_string())?;
            reading.finish(cut);
            return Ok(vec![reading]);
        }
        None if !pasted::is_text(&head) => return Err(unrecognised(path, &head)),
        _ => {}
    }
    let (bytes, damage) = whole(path, WHOLE_LIMIT)?;
    let pasted = pasted::reports(&bytes);
    let several = pasted.reports.len() > 1;
    let mut readings = Vec::new();
    let mut problems = Vec::new();
    for report in &pasted.reports {
        let mut reading = Reading::new(path, report.format);
        if several {
            // A name of its own, in the order of the text.
            reading.path = PathBuf::from(format!("{}:{}", path.display(), report.line));
        }
        match reading.text(&report.bytes, path, perf_maps) {
            Ok(cut) => {
                reading.finish(damage.clone().or(cut));
                readings.push(reading);
            }
            Err(error) => problems.push(error.context(reading.path.display().to_string())),
        }
    }
    let Some(first) = readings.first_mut() else {
        return Err(problems.into_iter().next().unwrap_or_else(|| unrecognised(path, &bytes)));
    };
    first.notes.extend(pasted.skipped);
    first.notes.extend(problems.iter().map(|problem| format!("left out: {problem:#}")));
    Ok(readings)
}

impl Reading {
    fn new(path: &Path, format: Format) -> Reading {
        let modified_ms = std::fs::metadata(path)
            .and_then(|metadata| metadata.modified())
            .ok()
            .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
            .map_or(0, |since| since.as_millis() as i64);
        Reading {
            path: path.to_owned(),
            format,
            time_ms: None,
            modified_ms,
            content: Content::Figures(Figures::default()),
            notes: Vec::new(),
        }
    }

    /// Reads a file that is not held in memory; says where it ends.
    fn in_pieces(&mut self) -> anyhow::Result<Option<Cut>> {
        let path = self.path.as_path();
        if self.format == Format::Hprof {
            let dump = match source::Plain::open(path) {
                Some(plain) => hprof::read_at(&plain)?,
                None => {
                    hprof::read_from(&mut || open(path, PIECES_LIMIT, PIECES).map_err(std::io::Error::other))?
                }
            };
            self.time_ms = Some(dump.time_ms);
            let cut = dump.cut.clone();
            self.content = Content::Dump(Box::new(dump));
            return Ok(cut);
        }
        let recording = match source::Plain::open(path) {
            Some(plain) => jfr::read_at(&plain)?,
            None => jfr::read_from(&mut *open(path, PIECES_LIMIT, HELD)?)?,
        };
        let cut = recording.profile.cut.clone();
        self.recording(recording);
        Ok(cut)
    }

    fn recording(&mut self, recording: Jfr) {
        let profile = &recording.profile.profile;
        self.time_ms = (profile.start_ms > 0).then_some(profile.start_ms);
        let is_profile = !profile.sites.is_empty();
        if !is_profile && recording.series.is_empty() {
            self.notes.push(NO_NATIVE_EVENT.to_owned());
        }
        self.content = if !is_profile && !recording.series.is_empty() {
            Content::Recording(Box::new(recording))
        } else {
            Content::Profile(recording.profile)
        };
    }

    /// Reads `bytes`, which are all of it; `file` is where they are from.
    fn text(&mut self, bytes: &[u8], file: &Path, perf_maps: &PerfMaps) -> anyhow::Result<Option<Cut>> {
        self.content = match (self.format, self.format.gives()) {
            (Format::Nmt, _) => Content::Figures(nmt(bytes, &mut self.notes)?),
            (Format::VmInfo, _) => {
                let log = hs_err::read(bytes)?;
                match section(&log).as_ref().map(categories).filter(|nmt| !nmt.is_empty()) {
                    Some(nmt) => Content::Figures(Figures { cut: log.cut, ..Figures::new(NMT, nmt) }),
                    None => Content::Figures(offheap_formats::of_log(log)),
                }
            }
            (Format::HsErr, _) => {
                let log = hs_err::read(bytes)?;
                let nmt = section(&log).as_ref().map_or(Vec::new(), categories);
                Content::Log(Box::new(log), nmt)
            }
            (_, Gives::Figures(read)) => Content::Figures(read(bytes)?),
            (_, Gives::Series(read)) => {
                self.recording(read(bytes)?);
                return Ok(None);
            }
            (_, Gives::Sites(read)) => {
                let parsed = read(bytes)?;
                self.time_ms = (parsed.profile.start_ms > 0).then_some(parsed.profile.start_ms);
                Content::Profile(names::name(parsed, file, perf_maps, &mut self.notes))
            }
            (format, Gives::Apart) => bail!("{:?} is read in another way", format.name()),
        };
        Ok(None)
    }

    /// Gathers what must be said; `cut` is where it ends.
    fn finish(&mut self, mut cut: Option<Cut>) {
        match &self.content {
            // Among its notes is where it is cut off.
            Content::Profile(parsed) => self.notes.extend(parsed.profile.notes.iter().cloned()),
            Content::Figures(figures) => {
                self.time_ms = self.time_ms.or(figures.time_ms);
                cut = cut.or(figures.cut.clone());
            }
            Content::Log(log, _) => cut = cut.or(log.cut.clone()),
            Content::Recording(_) | Content::Dump(_) => {}
        }
        if let Some(cut) = cut.map(|cut| cut.to_string()).filter(|cut| !self.notes.contains(cut)) {
            self.notes.push(cut);
        }
    }
}

/// A whole file of at most `limit` bytes, unpacked, and where its wrapping is damaged.
fn whole(path: &Path, limit: u64) -> anyhow::Result<(Vec<u8>, Option<Cut>)> {
    let mut bytes = Vec::new();
    let result = open(path, limit, HELD)?.take(limit.saturating_add(1)).read_to_end(&mut bytes);
    if bytes.len() as u64 > limit {
        bail!(
            "{} has more than {}, unpacked: no honest file of its format does",
            path.display(),
            units::bytes(limit)
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
        let what = match report.problems.len() {
            1 => "1 line makes no sense and was left out".to_owned(),
            count => format!("{count} lines make no sense and were left out"),
        };
        notes.push(what);
    }
    let figures = Figures::new(NMT, categories(&report));
    let sum = offheap_formats::sum(&figures.list);
    // Each category is rounded to a unit of the report; some are below a unit, and left out.
    let unit = report.scale.map_or(1 << 10, offheap_nmt::Scale::bytes);
    let rounded = unit.saturating_mul(MOST_CATEGORIES);
    if let Some(total) = report.total.map(|total| total.mapping.committed_bytes)
        && sum.saturating_add(rounded) < total
    {
        let (sum, total) = (units::bytes(sum), units::bytes(total));
        notes.push(format!("its categories are {sum} of {total}: the report is cut off"));
    }
    Ok(figures)
}

/// The reports of NMT in the file at `path`, also those within fatal error logs and VM.info, and
/// what must be said.
///
/// # Errors
/// It can't be read, is larger than `limit`, or has none.
pub fn nmt_reports(path: &Path, limit: u64) -> anyhow::Result<(Vec<offheap_nmt::Report>, Vec<String>)> {
    let (bytes, damage) = whole(path, limit)?;
    let pasted = pasted::reports(&bytes);
    let (mut found, mut others) = (Vec::new(), Vec::new());
    for report in &pasted.reports {
        match report.format {
            Format::Nmt => found.push(offheap_nmt::parse(&report.bytes)),
            Format::HsErr | Format::VmInfo => {
                match hs_err::read(&report.bytes).ok().as_ref().and_then(section) {
                    Some(report) => found.push(report),
                    None => others.push(format!(
                        "this {} has no NMT section: the JVM ran without -XX:NativeMemoryTracking=summary",
                        report.format.name()
                    )),
                }
            }
            format => {
                others.push(format!("this is no NMT report but {}: offheap convert reads it", format.name()))
            }
        }
    }
    if found.is_empty() {
        // What the JVM answers, however it is worded, its parser knows best.
        let report = offheap_nmt::parse(&bytes);
        if report.kind != offheap_nmt::Kind::Unrecognized {
            return Ok((vec![report], Vec::new()));
        }
        return Err(match others.first() {
            Some(other) => anyhow!("{}: {other}", path.display()),
            None => unrecognised(path, &bytes),
        });
    }
    Ok((found, damage.map(|cut| cut.to_string()).into_iter().chain(pasted.skipped).collect()))
}

/// The NMT section of a fatal error log.
fn section(log: &HsErr) -> Option<offheap_nmt::Report> {
    log.nmt.as_ref().map(|text| offheap_nmt::parse(text.as_bytes()))
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

/// The files that `paths` mean: a directory stands for those in it (not below it) that are of a
/// known format.
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
            if entry.is_file() && holds(&entry, false) {
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
    let bare = |name: &str| name.split('(').next().filter(|bare| !bare.is_empty()).unwrap_or(name).to_owned();
    let skipped = frames.iter().take_while(|frame| vocabulary::looks_like_plumbing(&frame.name)).count();
    let from = if skipped < frames.len() { skipped } else { 0 };
    let names: Vec<String> = frames.iter().skip(from).take(3).map(|frame| bare(&frame.name)).collect();
    names.join(" < ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_larger_than_its_limit_is_not_read_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.txt");
        std::fs::write(&path, "x".repeat(11)).unwrap();
        assert_eq!(whole(&path, 11).unwrap().0.len(), 11);
        let error = whole(&path, 10).unwrap_err().to_string();
        assert!(error.contains("more than 10 B"), "{error}");
    }
}

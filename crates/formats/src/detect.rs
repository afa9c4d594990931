//! Which format a file is of, by its content.

use crate::{Error, Parsed};
use crate::{
    collapsed, gperftools, heaptrack, hprof, hs_err, jcmd, jemalloc, jfr, json, massif, memcheck, memleak,
    pprof, sanitizer, smaps,
};

/// A format known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// [`collapsed`]
    Collapsed,
    /// [`gperftools`]
    Gperftools,
    /// [`heaptrack`]
    Heaptrack,
    /// [`hprof`]
    Hprof,
    /// [`hs_err`]
    HsErr,
    /// [`jcmd`]
    Jcmd,
    /// [`jemalloc`]
    Jemalloc,
    /// [`jfr`]
    Jfr,
    /// [`json`]
    Json,
    /// [`massif`]
    Massif,
    /// [`memcheck::read_text`]
    MemcheckText,
    /// [`memcheck::read_xml`]
    MemcheckXml,
    /// [`memleak`]
    Memleak,
    /// Native Memory Tracking, as `jcmd PID VM.native_memory` prints it; read by the `nmt` crate.
    Nmt,
    /// [`pprof`]
    Pprof,
    /// [`smaps::read_pmap`]
    Pmap,
    /// [`sanitizer`]
    Sanitizer,
    /// [`smaps::read_smaps`]
    Smaps,
    /// `jcmd PID VM.info`, which has the sections of an [`hs_err`] log.
    VmInfo,
}

impl Format {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Format::Collapsed => "collapsed stacks",
            Format::Gperftools => "gperftools heap profile",
            Format::Heaptrack => "heaptrack",
            Format::Hprof => "heap dump",
            Format::HsErr => "hs_err log",
            Format::Jcmd => "jcmd output",
            Format::Jemalloc => "jemalloc heap profile",
            Format::Jfr => "JFR recording",
            Format::Json => "offheap profile",
            Format::Massif => "massif",
            Format::MemcheckText => "memcheck report",
            Format::MemcheckXml => "memcheck report in XML",
            Format::Memleak => "memleak output",
            Format::Nmt => "NMT report",
            Format::Pprof => "pprof",
            Format::Pmap => "pmap -X",
            Format::Sanitizer => "sanitizer report",
            Format::Smaps => "smaps",
            Format::VmInfo => "VM.info",
        }
    }
}

/// Whether the head of a file is of a format.
type Test = fn(&[u8]) -> bool;

/// True where `head` is a report of NMT; hs_err logs, which hold one, are told before.
fn is_nmt(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head.get(..8 << 10).unwrap_or(head));
    let mut lines = text.lines().map(str::trim).skip_while(|line| {
        // "12345:" or the status of the attach protocol.
        line.is_empty() || line.trim_end_matches(':').parse::<i64>().is_ok()
    });
    // Some of its answers have no figures; the reader says which one it is.
    let begins = [
        "Native Memory Tracking",
        "Native memory tracking is not enabled",
        "Total: reserved=",
        "Baseline taken",
        "Baseline succeeded",
        "No baseline for comparison",
    ];
    lines.next().is_some_and(|line| begins.iter().any(|begin| line.starts_with(begin)))
}

/// How much of a file is looked at: reports may come after a program's own output.
const HEAD: usize = 64 << 10;

/// The format of `bytes`, already unwrapped.
pub fn detect(bytes: &[u8]) -> Option<Format> {
    let head = bytes.get(..HEAD).unwrap_or(bytes);
    // The certain ones first; collapsed stacks, which look like much else, last.
    let tests: [(Test, Format); 19] = [
        (jemalloc::is, Format::Jemalloc),
        (gperftools::is, Format::Gperftools),
        (hprof::is, Format::Hprof),
        (hs_err::is, Format::HsErr),
        (hs_err::is_vm_info, Format::VmInfo),
        (is_nmt, Format::Nmt),
        (jcmd::is, Format::Jcmd),
        (smaps::is_smaps, Format::Smaps),
        (smaps::is_pmap, Format::Pmap),
        (jfr::is, Format::Jfr),
        (heaptrack::is, Format::Heaptrack),
        (massif::is, Format::Massif),
        (memcheck::is_xml, Format::MemcheckXml),
        (json::is, Format::Json),
        (pprof::is, Format::Pprof),
        (sanitizer::is, Format::Sanitizer),
        (memcheck::is_text, Format::MemcheckText),
        (memleak::is, Format::Memleak),
        (collapsed::is, Format::Collapsed),
    ];
    tests.into_iter().find_map(|(is, format)| is(head).then_some(format))
}

/// Reads `bytes`, already unwrapped, as the profile that [`detect`] says it is.
///
/// # Errors
/// The format is not known or has no profile, or what its reader says.
pub fn read_profile(bytes: &[u8]) -> Result<Parsed, Error> {
    match detect(bytes) {
        Some(Format::Collapsed) => collapsed::read(bytes),
        Some(Format::Gperftools) => gperftools::read(bytes),
        Some(Format::Heaptrack) => heaptrack::read(bytes),
        Some(Format::Jemalloc) => jemalloc::read(bytes),
        Some(Format::Jfr) => jfr::read(bytes).map(|jfr| jfr.profile),
        Some(Format::Json) => json::read(bytes),
        Some(Format::Massif) => massif::read(bytes).map(|massif| massif.stacks),
        Some(Format::MemcheckText) => memcheck::read_text(bytes),
        Some(Format::MemcheckXml) => memcheck::read_xml(bytes),
        Some(Format::Memleak) => memleak::read(bytes),
        Some(Format::Pprof) => pprof::read(bytes),
        Some(Format::Sanitizer) => sanitizer::read(bytes),
        Some(
            format @ (Format::Hprof
            | Format::HsErr
            | Format::Jcmd
            | Format::Nmt
            | Format::Pmap
            | Format::Smaps
            | Format::VmInfo),
        ) => Err(Error::NotThis {
            format: "profile",
            reason: format!("a file of format {:?} has no allocation sites", format.name()),
        }),
        None => Err(Error::NotThis { format: "profile", reason: "its format is not recognised".into() }),
    }
}

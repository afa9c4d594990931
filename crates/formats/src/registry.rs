//! The formats that are read, one line each: how a file of it is told, how one starts in a longer
//! text, what reads it.

use crate::figures::{mapped, resident};
use crate::jfr::Jfr;
use crate::{
    Error, Figures, Parsed, collapsed, docker_stats, firefox, gperftools, heaptrack, heaptrack_print, hprof,
    hs_err, javacore, jcmd, jemalloc, jemalloc_stats, jfr, jfr_text, json, kubectl, malloc_stats, massif,
    memcheck, memleak, memory_stat, mimalloc_stats, ms_print, nmt, oom, pprof, proc_status, sanitizer, smaps,
    speedscope, symbolised, tcmalloc_stats, top, vmmap,
};

/// A format known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// [`collapsed`]
    Collapsed,
    /// [`docker_stats`]
    DockerStats,
    /// [`firefox`]
    Firefox,
    /// [`gperftools`]
    Gperftools,
    /// [`heaptrack`]
    Heaptrack,
    /// [`heaptrack_print`]
    HeaptrackPrint,
    /// [`hprof`]
    Hprof,
    /// [`hs_err`]
    HsErr,
    /// [`javacore`]
    Javacore,
    /// [`jcmd`]
    Jcmd,
    /// [`jemalloc`]
    Jemalloc,
    /// [`jemalloc_stats`]
    JemallocStats,
    /// [`jfr`]
    Jfr,
    /// [`jfr_text::read_print`]
    JfrPrint,
    /// [`jfr_text::read_view`]
    JfrView,
    /// [`json`]
    Json,
    /// [`kubectl`]
    Kubectl,
    /// [`malloc_stats`]
    MallocStats,
    /// [`smaps::read_mapped`]
    Maps,
    /// [`massif`]
    Massif,
    /// [`memcheck::read_text`]
    MemcheckText,
    /// [`memcheck::read_xml`]
    MemcheckXml,
    /// [`memleak`]
    Memleak,
    /// [`memory_stat`]
    MemoryStat,
    /// [`mimalloc_stats`]
    MimallocStats,
    /// [`ms_print`]
    MsPrint,
    /// Native Memory Tracking, as `jcmd PID VM.native_memory` prints it; read by the `nmt` crate.
    Nmt,
    /// [`oom`]
    Oom,
    /// [`smaps::read_pmap`]
    Pmap,
    /// [`smaps::read_mapped`], of `pmap` without an option.
    PlainPmap,
    /// [`pprof`]
    Pprof,
    /// [`proc_status`]
    ProcStatus,
    /// [`sanitizer`]
    Sanitizer,
    /// [`smaps::read_smaps`]
    Smaps,
    /// [`speedscope`]
    Speedscope,
    /// [`symbolised`]
    Symbolised,
    /// [`tcmalloc_stats`]
    TcmallocStats,
    /// [`top`]
    Top,
    /// `jcmd PID VM.info`, which has the sections of an [`hs_err`] log.
    VmInfo,
    /// [`vmmap`]
    Vmmap,
}

impl Format {
    /// Its name.
    pub fn name(self) -> &'static str {
        self.reader().map_or("unknown", |reader| reader.name)
    }

    /// What it gives.
    pub fn gives(self) -> Gives {
        self.reader().map_or(Gives::Apart, |reader| reader.gives)
    }

    fn reader(self) -> Option<&'static Reader> {
        READERS.iter().find(|reader| reader.format == self)
    }
}

/// What a reader gives.
#[derive(Debug, Clone, Copy)]
pub enum Gives {
    /// Allocation sites.
    Sites(fn(&[u8]) -> Result<Parsed, Error>),
    /// Named figures.
    Figures(fn(&[u8]) -> Result<Figures, Error>),
    /// Figures over time.
    Series(fn(&[u8]) -> Result<Jfr, Error>),
    /// Something of its own: its module says what.
    Apart,
}

/// How a format shows in a longer text.
#[derive(Debug)]
pub(crate) struct Text {
    /// Whether a report starts with this line, also right behind another one. Without blanks around
    /// it.
    pub begins: fn(&str) -> bool,
    /// Whether one may start with this line where nothing else does.
    pub perhaps: Option<fn(&str) -> bool>,
    /// Whether this line can be of it; `None` where its reader passes over all others.
    pub has: Option<fn(&str) -> bool>,
    /// Whether lines that start it stand in it again and again.
    pub joins: bool,
    /// Its last line, where it has one: nothing within starts another report.
    pub ends: Option<fn(&str) -> bool>,
    /// Words that a text has which is meant to be one.
    pub words: &'static [&'static str],
}

/// A format and its reader.
#[derive(Debug)]
pub(crate) struct Reader {
    pub format: Format,
    pub name: &'static str,
    /// Whether the head of a file is of it.
    pub is: fn(&[u8]) -> bool,
    /// `None` where it is never pasted.
    pub text: Option<Text>,
    pub gives: Gives,
}

/// A format whose files are never pasted.
const fn file(format: Format, name: &'static str, is: fn(&[u8]) -> bool, gives: Gives) -> Reader {
    Reader { format, name, is, text: None, gives }
}

/// A format of text.
const fn text(
    format: Format,
    name: &'static str,
    is: fn(&[u8]) -> bool,
    gives: Gives,
    begins: fn(&str) -> bool,
) -> Reader {
    let text = Text { begins, perhaps: None, has: None, joins: false, ends: None, words: &[] };
    Reader { format, name, is, text: Some(text), gives }
}

impl Reader {
    /// Where a line may start it that starts nothing for sure.
    const fn perhaps(mut self, perhaps: fn(&str) -> bool) -> Reader {
        if let Some(text) = &mut self.text {
            text.perhaps = Some(perhaps);
        }
        self
    }

    /// Which lines can be of it.
    const fn has(mut self, has: fn(&str) -> bool) -> Reader {
        if let Some(text) = &mut self.text {
            text.has = Some(has);
        }
        self
    }

    /// Its starts don't start another one.
    const fn joins(mut self) -> Reader {
        if let Some(text) = &mut self.text {
            text.joins = true;
        }
        self
    }

    /// Its last line.
    const fn ends(mut self, ends: fn(&str) -> bool) -> Reader {
        if let Some(text) = &mut self.text {
            text.ends = Some(ends);
        }
        self
    }

    /// Words that tell what a text is meant to be.
    const fn words(mut self, words: &'static [&'static str]) -> Reader {
        if let Some(text) = &mut self.text {
            text.words = words;
        }
        self
    }
}

/// Smaps as figures.
fn smaps_figures(bytes: &[u8]) -> Result<Figures, Error> {
    resident(bytes, smaps::read_smaps)
}

/// `pmap` as figures.
fn pmap_figures(bytes: &[u8]) -> Result<Figures, Error> {
    resident(bytes, smaps::read_pmap)
}

/// Massif's stacks.
fn massif_stacks(bytes: &[u8]) -> Result<Parsed, Error> {
    massif::read(bytes).map(|massif| massif.stacks)
}

use Gives::{Apart, Figures as Numbers, Series, Sites};

/// All of them: the certain ones first, those that look like much else last.
#[rustfmt::skip]
pub(crate) static READERS: [Reader; 40] = [
    text(Format::Jemalloc, "jemalloc heap profile", jemalloc::is, Sites(jemalloc::read), jemalloc::begins),
    text(Format::Gperftools, "gperftools heap profile", gperftools::is, Sites(gperftools::read), gperftools::begins),
    file(Format::Symbolised, "jeprof --raw", symbolised::is, Sites(symbolised::read)),
    file(Format::Hprof, "heap dump", hprof::is, Apart),
    text(Format::HsErr, "hs_err log", hs_err::is, Apart, hs_err::begins).perhaps(hs_err::perhaps).ends(hs_err::ends).words(&["libjvm"]),
    text(Format::VmInfo, "VM.info", hs_err::is_vm_info, Apart, hs_err::begins_vm_info).ends(hs_err::ends),
    text(Format::Nmt, "NMT report", nmt::is, Apart, nmt::begins).perhaps(nmt::perhaps).has(jcmd::has).words(&["reserved=", "committed="]),
    text(Format::Jcmd, "jcmd output", jcmd::is, Numbers(jcmd::read), jcmd::begins).perhaps(jcmd::perhaps).has(jcmd::has),
    text(Format::Smaps, "smaps", smaps::is_smaps, Numbers(smaps_figures), |_| false).perhaps(smaps::begins_smaps).has(smaps::has_smaps).words(&["Rss:", " kB"]),
    text(Format::Pmap, "pmap -X", smaps::is_pmap, Numbers(pmap_figures), smaps::is_columns).perhaps(smaps::begins_x).has(smaps::has_pmap),
    text(Format::PlainPmap, "pmap", smaps::is_plain_pmap, Numbers(mapped), |_| false).perhaps(smaps::begins_plain_pmap).has(smaps::has_pmap),
    text(Format::Maps, "/proc/PID/maps", smaps::is_maps, Numbers(mapped), |_| false).perhaps(smaps::begins_smaps).has(smaps::has_maps),
    file(Format::Jfr, "JFR recording", jfr::is, Apart),
    file(Format::Heaptrack, "heaptrack", heaptrack::is, Sites(heaptrack::read)),
    file(Format::Massif, "massif", massif::is, Sites(massif_stacks)),
    file(Format::MemcheckXml, "memcheck report in XML", memcheck::is_xml, Sites(memcheck::read_xml)),
    file(Format::Json, "offheap profile", json::is, Sites(json::read)),
    file(Format::Speedscope, "speedscope", speedscope::is, Sites(speedscope::read)),
    file(Format::Firefox, "Firefox Profiler", firefox::is, Sites(firefox::read)),
    file(Format::Pprof, "pprof", pprof::is, Sites(pprof::read)),
    text(Format::JfrPrint, "jfr print", jfr_text::is_print, Series(jfr_text::read_print), |_| false).perhaps(jfr_text::begins_print).words(&["jdk.NativeMemoryUsage"]),
    text(Format::JfrView, "jfr view", jfr_text::is_view, Numbers(jfr_text::read_view), jfr_text::begins_view).words(&["First Observed"]),
    text(Format::Javacore, "javacore", javacore::is, Numbers(javacore::read), |_| false).perhaps(javacore::perhaps).has(javacore::has).words(&["MEMUSER"]),
    text(Format::JemallocStats, "jemalloc's statistics", jemalloc_stats::is, Numbers(jemalloc_stats::read), jemalloc_stats::begins).perhaps(jemalloc_stats::perhaps).words(&["jemalloc"]),
    text(Format::TcmallocStats, "tcmalloc's statistics", tcmalloc_stats::is, Numbers(tcmalloc_stats::read), tcmalloc_stats::begins).has(tcmalloc_stats::has).words(&["MALLOC:"]),
    text(Format::MimallocStats, "mimalloc's statistics", mimalloc_stats::is, Numbers(mimalloc_stats::read), mimalloc_stats::begins).words(&["mimalloc"]),
    text(Format::MallocStats, "malloc_stats", malloc_stats::is, Numbers(malloc_stats::read), malloc_stats::begins).perhaps(malloc_stats::perhaps).has(malloc_stats::has).words(&["system bytes"]),
    text(Format::Vmmap, "vmmap", vmmap::is, Numbers(vmmap::read), vmmap::begins).perhaps(vmmap::perhaps).words(&["Physical footprint"]),
    text(Format::MsPrint, "ms_print", ms_print::is, Sites(ms_print::read), ms_print::begins).perhaps(ms_print::perhaps),
    text(Format::HeaptrackPrint, "heaptrack_print", heaptrack_print::is, Sites(heaptrack_print::read), heaptrack_print::begins).perhaps(heaptrack_print::perhaps).words(&["leaked over"]),
    text(Format::ProcStatus, "/proc/PID/status", proc_status::is, Numbers(proc_status::read), |_| false).perhaps(proc_status::perhaps).words(&["VmRSS"]),
    text(Format::MemoryStat, "memory.stat", memory_stat::is, Numbers(memory_stat::read), |_| false).perhaps(memory_stat::begins).has(memory_stat::has).words(&["inactive_anon"]),
    text(Format::DockerStats, "docker stats", docker_stats::is, Numbers(docker_stats::read), docker_stats::begins).words(&["MEM USAGE"]),
    text(Format::Sanitizer, "sanitizer report", sanitizer::is, Sites(sanitizer::read), sanitizer::begins).words(&["Sanitizer"]),
    text(Format::MemcheckText, "memcheck report", memcheck::is_text, Sites(memcheck::read_text), memcheck::begins_text).perhaps(memcheck::perhaps_text).words(&["definitely lost"]),
    text(Format::Memleak, "memleak output", memleak::is, Sites(memleak::read), |_| false).perhaps(memleak::is_headline).words(&["allocations from stack"]),
    text(Format::Top, "table of jeprof or pprof", top::is, Sites(top::read), top::begins).perhaps(top::perhaps).words(&["flat%"]),
    text(Format::Oom, "out-of-memory message", oom::is, Numbers(oom::read), oom::begins).joins().has(oom::has).words(&["oom"]),
    text(Format::Kubectl, "kubectl describe", kubectl::is, Numbers(kubectl::read), |_| false).perhaps(kubectl::perhaps).words(&["OOMKilled"]),
    text(Format::Collapsed, "collapsed stacks", collapsed::is, Sites(collapsed::read), |_| false).perhaps(collapsed::begins).has(collapsed::has),
];

/// How much of a file is looked at: reports may come after a program's own output.
const HEAD: usize = 64 << 10;

/// The reader of `bytes`, already unwrapped.
pub(crate) fn find(bytes: &[u8]) -> Option<&'static Reader> {
    let head = bytes.get(..HEAD).unwrap_or(bytes);
    READERS.iter().find(|reader| (reader.is)(head))
}

/// The format of `bytes`, already unwrapped.
pub fn detect(bytes: &[u8]) -> Option<Format> {
    find(bytes).map(|reader| reader.format)
}

/// Reads `bytes`, already unwrapped, as the profile that [`detect`] says it is.
///
/// # Errors
/// The format is not known or has no profile, or what its reader says.
pub fn read_profile(bytes: &[u8]) -> Result<Parsed, Error> {
    let no = |reason: String| Err(Error::NotThis { format: "profile", reason });
    match find(bytes) {
        Some(Reader { gives: Gives::Sites(read), .. }) => read(bytes),
        Some(Reader { format: Format::Jfr, .. }) => jfr::read(bytes).map(|jfr| jfr.profile),
        Some(reader) => no(format!("a file of format {:?} has no allocation sites", reader.name)),
        None => no("its format is not recognised".into()),
    }
}

/// Reads `bytes`, already unwrapped, of a format that has figures instead of sites: smaps, pmap,
/// hs_err, heap dumps, `jcmd` outputs and more. (NMT text is recognised as [`Format::Nmt`]; its
/// reader is the `nmt` crate.)
///
/// # Errors
/// It is of another format, or what its reader says.
pub fn read_figures(bytes: &[u8]) -> Result<Figures, Error> {
    let no = |reason: String| Err(Error::NotThis { format: "file of figures", reason });
    match find(bytes) {
        Some(Reader { gives: Gives::Figures(read), .. }) => read(bytes),
        Some(Reader { format: Format::HsErr | Format::VmInfo, .. }) => hs_err::read(bytes).map(crate::of_log),
        Some(Reader { format: Format::Hprof, .. }) => hprof::read(bytes).map(crate::of_dump),
        Some(reader) => no(format!("a file of format {:?} is read in another way", reader.name)),
        None => no("its format is not recognised".into()),
    }
}

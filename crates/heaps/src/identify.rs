//! Which allocator serves `malloc` in a process.
//!
//! A library may be mapped and yet serve nobody. What counts is where calls of `malloc` go: the loader keeps the address
//! of the `malloc` that it found first in the order of linking (`__rtld_malloc` from glibc 2.31, its own relocations
//! before), and so do the tables through which libraries call it.

use crate::glibc::Glibc;
use offheap_linux::{Elf, Memory, PAGE, PageKind, Vma, image_of};

/// An allocator.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Allocator {
    /// The GNU C library's.
    Glibc,
    /// jemalloc.
    Jemalloc,
    /// tcmalloc, gperftools' or Google's.
    Tcmalloc,
    /// mimalloc.
    Mimalloc,
    /// musl's mallocng or its forerunner.
    Musl,
    /// Not recognised.
    #[default]
    Unknown,
}

impl Allocator {
    /// Its usual name.
    pub fn name(self) -> &'static str {
        match self {
            Allocator::Glibc => "glibc",
            Allocator::Jemalloc => "jemalloc",
            Allocator::Tcmalloc => "tcmalloc",
            Allocator::Mimalloc => "mimalloc",
            Allocator::Musl => "musl",
            Allocator::Unknown => "unknown",
        }
    }
}

/// Which allocator it is and where it lives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// Which one serves `malloc`.
    pub allocator: Allocator,
    /// Its version where the library tells, else empty.
    pub version: String,
    /// The file its code is in: a library, or the executable it was linked into; empty where none was recognised.
    pub path: String,
}

/// Symbols that give an allocator away.
const MARKS: [(&str, Allocator); 12] = [
    ("gnu_get_libc_version", Allocator::Glibc),
    ("ptmalloc_init", Allocator::Glibc),
    ("mallocx", Allocator::Jemalloc),
    ("je_mallocx", Allocator::Jemalloc),
    ("je_malloc", Allocator::Jemalloc),
    ("tc_malloc", Allocator::Tcmalloc),
    ("TCMallocInternalMalloc", Allocator::Tcmalloc),
    ("MallocExtension_Internal_GetNumericProperty", Allocator::Tcmalloc),
    ("mi_malloc", Allocator::Mimalloc),
    ("__malloc_donate", Allocator::Musl),
    ("__malloc_alloc_meta", Allocator::Musl),
    ("__libc_malloc_impl", Allocator::Musl),
];
/// Names of libraries that may serve `malloc`.
const NAMES: [(&str, Allocator); 10] = [
    ("libc.so.6", Allocator::Glibc),
    ("libc-2.", Allocator::Glibc),
    ("libjemalloc", Allocator::Jemalloc),
    ("libtcmalloc", Allocator::Tcmalloc),
    ("libmimalloc", Allocator::Mimalloc),
    ("ld-musl-", Allocator::Musl),
    // musl's own name for itself; glibc's has a number.
    ("libc.so", Allocator::Musl),
    ("libc.musl-", Allocator::Musl),
    ("malloc", Allocator::Unknown),
    ("alloc.so", Allocator::Unknown),
];
/// Text searched for a version at the most.
const MOST_TEXT: u64 = 4 << 20;
/// Data of one module searched for pointers at the most.
const MOST_DATA: u64 = 16 << 20;

/// A module that defines `malloc`.
struct Candidate {
    path: String,
    allocator: Allocator,
    /// Address of `malloc`; `None` where the file hides it.
    malloc: Option<u64>,
    /// `.rodata`.
    text: Option<(u64, u64)>,
}

/// Finds out which allocator serves `malloc` in the process behind `memory`, whose executable is `executable`.
pub fn identify(memory: &Memory, executable: Option<&str>) -> Identity {
    let vmas = memory.vmas();
    let modules = modules(vmas);
    let mut candidates: Vec<Candidate> = modules
        .iter()
        .filter_map(|module| candidate(memory, module, Some(module.path.as_str()) == executable))
        .collect();
    let serving = serving(memory, vmas, &candidates);
    let chosen = match serving {
        Some(at) => candidates.swap_remove(at),
        None => match candidates.into_iter().next() {
            Some(first) => first,
            None => return Identity::default(),
        },
    };
    let version = version(memory, &chosen);
    Identity { allocator: chosen.allocator, version, path: chosen.path }
}

/// A mapped file that holds code.
struct Module {
    path: String,
    /// Where its first mapping starts.
    start: u64,
}

fn modules(vmas: &[Vma]) -> Vec<Module> {
    let mut modules: Vec<Module> = Vec::new();
    for vma in vmas.iter().filter(|vma| vma.exec && vma.path.starts_with('/')) {
        if modules.iter().all(|module| module.path != vma.path) {
            let start = image_of(vmas, |other| other.path == vma.path).map_or(vma.start, |first| first.start);
            modules.push(Module { path: vma.path.clone(), start });
        }
    }
    modules
}

fn candidate(memory: &Memory, module: &Module, is_executable: bool) -> Option<Candidate> {
    let file = module.path.rsplit('/').next().unwrap_or_default();
    let by_name = NAMES.iter().find(|(part, _)| file.contains(part)).map(|(_, allocator)| *allocator);
    if by_name.is_none() && !is_executable {
        return None;
    }
    let wanted = |name: &str| name == "malloc" || MARKS.iter().any(|(mark, _)| *mark == name);
    let elf: Elf = memory.elf_at_wanted(module.start, wanted).unwrap_or_default();
    let bias = elf.load_bias(module.start);
    let marked = MARKS.iter().find(|(mark, _)| elf.symbol(mark).is_some()).map(|(_, allocator)| *allocator);
    let malloc = elf.symbol("malloc").map(|symbol| bias.wrapping_add(symbol.address));
    let mut allocator = marked.or(by_name).unwrap_or_default();
    if is_executable && marked.is_none() {
        // A static executable has glibc's malloc in it without any name that lasts; its main arena is told by shape.
        if !memory.vmas().iter().any(is_loader) && Glibc::find(memory, &module.path).is_some() {
            allocator = Allocator::Glibc;
        } else if malloc.is_none() {
            return None;
        }
    }
    if allocator == Allocator::Unknown && malloc.is_none() {
        return None;
    }
    let text = elf.section(".rodata").map(|(start, len)| (bias.wrapping_add(start), len));
    Some(Candidate { path: module.path.clone(), allocator, malloc, text })
}

fn is_loader(vma: &Vma) -> bool {
    let file = vma.path.rsplit('/').next().unwrap_or_default();
    file.starts_with("ld-linux")
        || file.starts_with("ld-2.")
        || file.starts_with("ld-musl-")
        || file == "libc.so"
}

/// The candidate whose `malloc` the loader knows, else the one most other modules know.
fn serving(memory: &Memory, vmas: &[Vma], candidates: &[Candidate]) -> Option<usize> {
    if candidates.len() < 2 {
        return (candidates.len() == 1).then_some(0);
    }
    let mut votes = vec![0u64; candidates.len()];
    let mut left = MOST_DATA;
    // The loader's word decides; only where it has none (before glibc 2.31, musl) others are asked.
    for asked in [is_loader as fn(&Vma) -> bool, |vma| !is_loader(vma)] {
        let data = vmas
            .iter()
            .filter(|vma| vma.path.starts_with('/') && vma.read && !vma.exec && !vma.shared && asked(vma));
        for vma in data {
            count_pointers(memory, vma, candidates, &mut votes, &mut left);
        }
        let most = votes.iter().copied().max().unwrap_or(0);
        if most > 0 {
            return votes.iter().position(|count| *count == most);
        }
    }
    None
}

/// Counts the pointers to each candidate's `malloc` in a module's data. Pointers of a module to its own do not count.
fn count_pointers(memory: &Memory, vma: &Vma, candidates: &[Candidate], votes: &mut [u64], left: &mut u64) {
    for run in memory.pagemap().runs(vma.start, vma.end) {
        let len = (run.end - run.start).min(*left);
        if run.kind != PageKind::Present || len < PAGE {
            continue;
        }
        *left -= len;
        let mut bytes = vec![0; len as usize];
        let got = memory.read_bulk(run.start, &mut bytes);
        for word in bytes[..got].chunks_exact(8) {
            let word = word.try_into().map_or(0, u64::from_le_bytes);
            if word == 0 {
                continue;
            }
            for (candidate, votes) in candidates.iter().zip(votes.iter_mut()) {
                if candidate.malloc == Some(word) && candidate.path != vma.path {
                    *votes += 1;
                }
            }
        }
    }
}

/// What the library's own text says its version is; else what follows `.so.` in the file's name.
fn version(memory: &Memory, candidate: &Candidate) -> String {
    let (before, accepted): (&[u8], fn(&str) -> bool) = match candidate.allocator {
        Allocator::Glibc => (b"GNU C Library", |_| true),
        Allocator::Tcmalloc => (b"gperftools ", |_| true),
        // "5.3.0-0-g54eaed1d…" stands alone between NULs.
        Allocator::Jemalloc => {
            (b"-g", |text| text.split('-').next().is_some_and(|v| v.split('.').count() == 3))
        }
        Allocator::Musl => (b"1.", |text| {
            let mut parts = text.split('.');
            text.len() < 12 && parts.clone().count() == 3 && parts.all(|part| part.parse::<u32>().is_ok())
        }),
        _ => (b"", |_| false),
    };
    let told = candidate
        .text
        .filter(|_| !before.is_empty())
        .and_then(|(start, len)| find_text(memory, start, len.min(MOST_TEXT), before, accepted))
        .and_then(|text| match candidate.allocator {
            Allocator::Glibc => after(&text, "version "),
            Allocator::Tcmalloc => after(&text, "gperftools "),
            _ => text.split('-').next().map(str::to_owned),
        });
    let file = candidate.path.rsplit('/').next().unwrap_or_default();
    told.or_else(|| {
        let suffix = file.split_once(".so.").map(|(_, suffix)| suffix)?;
        // libc.so.6 and libjemalloc.so.2 name an interface, not a version.
        (candidate.allocator == Allocator::Mimalloc).then(|| suffix.to_owned())
    })
    .unwrap_or_default()
}

/// The number that follows `word` in `text`: "2.36".
fn after(text: &str, word: &str) -> Option<String> {
    let rest = text.split_once(word)?.1;
    let number: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    Some(number.trim_end_matches('.').to_owned()).filter(|number| !number.is_empty())
}

/// The first text between NULs that holds `part` and is accepted.
fn find_text(
    memory: &Memory,
    start: u64,
    len: u64,
    part: &[u8],
    accepted: fn(&str) -> bool,
) -> Option<String> {
    let mut bytes = Vec::new();
    let mut at = start;
    while at < start.checked_add(len)? {
        let count = (PAGE - at % PAGE).min(start + len - at) as usize;
        let mut page = vec![0; count];
        // Pages that can't be read are passed over, as if they held no text.
        let _ = memory.read(at, &mut page);
        bytes.extend_from_slice(&page);
        at += count as u64;
    }
    bytes
        .split(|byte| *byte == 0)
        .filter(|text| text.windows(part.len()).any(|window| window == part))
        .map(|text| String::from_utf8_lossy(text).into_owned())
        .find(|text| accepted(text))
}

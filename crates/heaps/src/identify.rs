//! Which allocator serves `malloc` in a process.
//!
//! A library may be mapped and yet serve nobody. What counts is where calls of `malloc` go: the
//! loader keeps the address of the `malloc` that it found first in the order of linking
//! (`__rtld_malloc` from glibc 2.31, its own relocations before), and so do the tables through
//! which libraries call it.

use crate::allocator::{ALLOCATORS, Allocator, OTHERS, Version};
use crate::glibc;
use offheap_target::{Elf, PageKind, Reads, Target, Vma, image_of, page_bytes};

/// Which allocator it is and where it lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Which one serves `malloc`.
    pub allocator: &'static Allocator,
    /// Its version where the library tells, else empty.
    pub version: String,
    /// The file its code is in: a library, or the executable it was linked into.
    pub path: String,
}

/// Bytes of text searched for a version at most.
const MOST_TEXT: u64 = 4 << 20;
/// Bytes of data of all modules searched for pointers at most.
const MOST_DATA: u64 = 16 << 20;

/// A module that defines `malloc`.
struct Candidate {
    path: String,
    /// `None` for a library that nobody knows.
    allocator: Option<&'static Allocator>,
    /// Address of `malloc`; `None` where the file hides it.
    malloc: Option<u64>,
    /// `.rodata`.
    text: Option<(u64, u64)>,
}

/// Finds out which allocator serves `malloc` in the process behind `memory`, whose executable is
/// `executable`. `None` where none was recognised.
pub fn identify(memory: &dyn Target, executable: Option<&str>) -> Option<Identity> {
    let vmas = memory.vmas();
    let modules = modules(vmas);
    let mut candidates: Vec<Candidate> = modules
        .iter()
        .filter_map(|module| candidate(memory, module, Some(module.path.as_str()) == executable))
        .collect();
    let chosen = match serving(memory, vmas, &candidates) {
        Some(at) => candidates.swap_remove(at),
        None => candidates.into_iter().next()?,
    };
    let allocator = chosen.allocator?;
    let version = version(memory, &chosen, allocator).unwrap_or_default();
    Some(Identity { allocator, version, path: chosen.path })
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

fn candidate(memory: &dyn Target, module: &Module, is_executable: bool) -> Option<Candidate> {
    let file = module.path.rsplit('/').next().unwrap_or_default();
    let by_name = ALLOCATORS.into_iter().find(|known| known.libraries.iter().any(|part| file.contains(part)));
    if by_name.is_none() && !OTHERS.iter().any(|part| file.contains(part)) && !is_executable {
        return None;
    }
    let is_mark = |name: &str| ALLOCATORS.iter().any(|known| known.marks.contains(&name));
    let elf: Elf =
        memory.elf_at_wanted(module.start, |name| name == "malloc" || is_mark(name)).unwrap_or_default();
    let bias = elf.load_bias(module.start);
    let marked =
        ALLOCATORS.into_iter().find(|known| known.marks.iter().any(|mark| elf.symbol(mark).is_some()));
    let malloc = elf.symbol("malloc").map(|symbol| bias.wrapping_add(symbol.address));
    let mut allocator = marked.or(by_name);
    if is_executable && marked.is_none() {
        // A static executable has glibc's malloc in it without any name that lasts; its main arena
        // is known by shape.
        if !memory.vmas().iter().any(is_loader) && glibc::is_in(memory, &module.path) {
            allocator = Some(&glibc::ALLOCATOR);
        } else if malloc.is_none() {
            return None;
        }
    }
    if allocator.is_none() && malloc.is_none() {
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
fn serving(memory: &dyn Target, vmas: &[Vma], candidates: &[Candidate]) -> Option<usize> {
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

/// Counts the pointers to each candidate's `malloc` in a module's data. Pointers of a module to its
/// own do not count.
fn count_pointers(
    memory: &dyn Target,
    vma: &Vma,
    candidates: &[Candidate],
    votes: &mut [u64],
    left: &mut u64,
) {
    for run in memory.runs(vma.start, vma.end) {
        let len = (run.end - run.start).min(*left);
        if run.kind != PageKind::Present || len < page_bytes() {
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

/// What the library's own text says its version is, or its file's name.
fn version(memory: &dyn Target, candidate: &Candidate, allocator: &Allocator) -> Option<String> {
    match allocator.version {
        Version::Text { part, accepts, take } => {
            let (start, len) = candidate.text?;
            take(&find_text(memory, start, len.min(MOST_TEXT), part, accepts)?)
        }
        Version::FileName => {
            let file = candidate.path.rsplit('/').next()?;
            file.split_once(".so.").map(|(_, suffix)| suffix.to_owned())
        }
    }
}

/// The number that follows `word` in `text`: "2.36".
pub(crate) fn after(text: &str, word: &str) -> Option<String> {
    let rest = text.split_once(word)?.1;
    let number: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    Some(number.trim_end_matches('.').to_owned()).filter(|number| !number.is_empty())
}

/// The first text between NULs that holds `part` and is accepted.
fn find_text(
    memory: &dyn Target,
    start: u64,
    len: u64,
    part: &[u8],
    accepted: fn(&str) -> bool,
) -> Option<String> {
    let mut bytes = Vec::new();
    let mut at = start;
    while at < start.checked_add(len)? {
        let count = (page_bytes() - at % page_bytes()).min(start + len - at) as usize;
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

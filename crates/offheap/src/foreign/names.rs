//! Names for frames that a file gives only by address: from the symbols of the files that were
//! mapped, and from perf maps for what a JIT made.

use crate::files;
use anyhow::{Context, bail};
use offheap_formats::perf_map::{self, PerfMap};
use offheap_formats::{Mapping, Parsed};
use offheap_linux::Elf;
use offheap_model::{Frame, FrameKind};
use offheap_symbols::{Symbols, demangle};
use std::collections::{BTreeSet, HashMap};
use std::io::Read;
use std::path::{Path, PathBuf};

/// A perf map larger than this is none.
const PERF_MAP_LIMIT: u64 = 1 << 30;

/// Where names of compiled Java code come from.
#[derive(Debug, Default)]
pub struct PerfMaps {
    given: Option<PerfMap>,
}

impl PerfMaps {
    /// The map at `path`, or, without one, whatever the profile's name leads to:
    /// `jeprof.PID.….heap` → `/tmp/perf-PID.map`.
    ///
    /// # Errors
    /// The map that was asked for can't be read, or names nothing.
    pub fn new(path: Option<&Path>) -> anyhow::Result<PerfMaps> {
        let given = path.map(read).transpose()?;
        if let (Some(map), Some(path)) = (&given, path)
            && map.is_empty()
        {
            bail!("{} is no perf map: its lines are to be START SIZE NAME", path.display());
        }
        Ok(PerfMaps { given })
    }
}

fn read(path: &Path) -> anyhow::Result<PerfMap> {
    let cannot = || format!("cannot read {}", path.display());
    let mut bytes = Vec::new();
    files::open(path)?.take(PERF_MAP_LIMIT + 1).read_to_end(&mut bytes).with_context(cannot)?;
    if bytes.len() as u64 > PERF_MAP_LIMIT {
        bail!("{} is too large for a perf map", path.display());
    }
    Ok(perf_map::read(&bytes))
}

/// The map that a process of a pid in the profile's name left behind.
fn by_name(profile: &Path) -> Option<(PathBuf, PerfMap)> {
    let name = profile.file_name()?.to_str()?;
    let pids = name.split(|c: char| !c.is_ascii_digit()).filter(|pid| pid.len() > 1);
    pids.map(|pid| PathBuf::from(format!("/tmp/perf-{pid}.map")))
        .find_map(|path| Some((path.clone(), read(&path).ok().filter(|map| !map.is_empty())?)))
}

/// A file that was mapped.
struct Object {
    /// What to take from an address to get the file's own.
    bias: u64,
    /// Symbols of the file that debugs it, where there is one, and its own.
    symbols: Vec<Symbols>,
}

/// `parsed`, the profile at `path`, with names. What can't be named says `library+0xoffset`; what
/// is missing goes to `notes`.
pub fn name(parsed: Parsed, path: &Path, maps: &PerfMaps, notes: &mut Vec<String>) -> Parsed {
    if parsed.addresses.iter().all(Option::is_none) {
        return parsed;
    }
    let found = if maps.given.is_none() { by_name(path) } else { None };
    if let Some((path, _)) = &found {
        notes.push(format!("names of compiled Java code are from {}", path.display()));
    }
    let perf_map = maps.given.as_ref().or(found.as_ref().map(|(_, map)| map));
    let written = std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    let mappings = parsed.mappings.clone();
    let mut objects: HashMap<&str, Option<Object>> = HashMap::new();
    let (mut missing, mut changed, mut unknown) = (BTreeSet::new(), BTreeSet::new(), 0u64);
    let named = parsed.named(|address, frame| {
        let next = mappings.partition_point(|mapping| mapping.start <= address);
        let mapping =
            next.checked_sub(1).and_then(|last| mappings.get(last)).filter(|found| address < found.end);
        let Some(mapping) = mapping else {
            let named = perf_map.and_then(|map| map.frame(address));
            unknown += u64::from(named.is_none());
            return named;
        };
        let object = objects.entry(&mapping.path).or_insert_with(|| {
            let object = object(mapping, &mappings);
            if object.is_none() {
                missing.insert(mapping.path.clone());
            }
            let modified = std::fs::metadata(&mapping.path).and_then(|metadata| metadata.modified()).ok();
            if mapping.build_id.is_none() && object.is_some() && modified > written && written.is_some() {
                changed.insert(mapping.path.clone());
            }
            object
        });
        let base = mapping.path.rsplit('/').next().unwrap_or_default();
        let (own, name) = match object {
            Some(object) => {
                let own = address.wrapping_sub(object.bias);
                (own, object.symbols.iter().find_map(|symbols| symbols.name(own)).map(demangle))
            }
            None => (address.wrapping_sub(mapping.start).wrapping_add(mapping.offset), None),
        };
        Some(Frame {
            name: name.unwrap_or_else(|| format!("{base}+{own:#x}")),
            kind: if base == "libjvm.so" { FrameKind::Jvm } else { FrameKind::Native },
            module: Some(mapping.path.clone()),
            ..frame.clone()
        })
    });
    let list = |paths: &BTreeSet<String>| paths.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    if !missing.is_empty() {
        notes.push(format!("no symbols of: {} (missing here, or another build)", list(&missing)));
    }
    if !changed.is_empty() {
        notes.push(format!(
            "changed after the profile was written, so names may be wrong: {}",
            list(&changed)
        ));
    }
    if unknown > 0 && perf_map.is_none() {
        notes.push(format!(
            "{unknown} addresses lie in no file: compiled Java code, if this was a JVM; \
             --perf-map names it (jcmd PID Compiler.perfmap, JDK 17 and later, while the JVM runs)"
        ));
    }
    named
}

/// The file of `mapping` with its symbols, if it is still the one that was mapped, as far as one
/// can tell.
fn object(mapping: &Mapping, all: &[Mapping]) -> Option<Object> {
    // The profile says what to open: it may be a stranger's.
    let open = |path: &str| {
        // Reading some of the kernel's files does something.
        let real = Path::new(path).canonicalize().ok()?;
        let is_kernels = ["/proc", "/sys", "/dev"].iter().any(|folder| real.starts_with(folder));
        if is_kernels { None } else { files::open(&real).ok() }
    };
    let elf = Elf::parse_wanted(open(&mapping.path)?, |_| false).ok()?;
    let build_id = elf.build_id().to_vec();
    let id: String = build_id.iter().map(|byte| format!("{byte:02x}")).collect();
    if mapping.build_id.as_ref().is_some_and(|wanted| !wanted.eq_ignore_ascii_case(&id)) {
        return None;
    }
    let first = all
        .iter()
        .filter(|other| other.path == mapping.path && other.offset == 0 && other.start <= mapping.start)
        .map(|other| other.start)
        .next_back()
        .unwrap_or_else(|| mapping.start.wrapping_sub(mapping.offset));
    let debug = id.split_at_checked(2).filter(|(_, rest)| !rest.is_empty()).and_then(|(head, rest)| {
        let file = open(&format!("/usr/lib/debug/.build-id/{head}/{rest}.debug"))?;
        Symbols::read(&file, &build_id).ok()
    });
    let own = open(&mapping.path).and_then(|file| Symbols::read(&file, &build_id).ok());
    Some(Object { bias: elf.load_bias(first), symbols: debug.into_iter().chain(own).collect() })
}

//! Which file holds the symbols of a library that a process has mapped.

use crate::table::{Symbols, hex};
use offheap_linux::{Process, Vma};
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::path::Path;

/// A library or executable as the process has it mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Module<'a> {
    /// Its path in the process's own file system.
    pub path: &'a str,
    /// Its first address.
    pub start: u64,
    /// The GNU build id; empty where it has none.
    pub build_id: &'a [u8],
}

/// The symbols of `module`: of the very file that `process` has mapped (through `map_files`, for which it takes root),
/// else of the one at its path in the process's root; or, where the distribution keeps them apart, of the file with that
/// build id below `/usr/lib/debug`. `None` where there is no such file any more or it has no symbols. `vmas` are the
/// mappings of the process.
pub fn find(process: &Process, vmas: &[Vma], module: Module<'_>) -> Option<Symbols> {
    // More symbols are in the debugging file than in the stripped one; only the build id ties the two together.
    let id = hex(module.build_id);
    let debug = id.split_at_checked(2).filter(|(_, rest)| !rest.is_empty()).and_then(|(first, rest)| {
        let path = format!("/usr/lib/debug/.build-id/{first}/{rest}.debug");
        let file = open(&process.path_in_root(&path)).or_else(|| open(Path::new(&path)))?;
        Symbols::read(&file, module.build_id).ok()
    });
    let mapped = || {
        let vma = vmas.iter().find(|vma| vma.contains(module.start))?;
        process.file(&format!("map_files/{:x}-{:x}", vma.start, vma.end)).ok()
    };
    let own = || {
        // Of a process that has just ended there is no root any more; with a build id our own file system will do.
        let ours = (!module.build_id.is_empty()).then(|| open(Path::new(module.path))).flatten();
        let files = [mapped(), open(&process.path_in_root(module.path)), ours];
        files.iter().flatten().find_map(|file| Symbols::read(file, module.build_id).ok())
    };
    debug.filter(|symbols| !symbols.is_empty()).or_else(own).filter(|symbols| !symbols.is_empty())
}

/// A regular file; anything else of that name could hold us up or do something.
fn open(path: &Path) -> Option<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty()).ok()?);
    file.metadata().is_ok_and(|metadata| metadata.is_file()).then_some(file)
}

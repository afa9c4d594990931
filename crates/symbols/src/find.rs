//! Which file holds the symbols of a library that a process has mapped.

use crate::table::{Symbols, hex};
use offheap_linux::foreign::{Expect, open_here};
use offheap_linux::{Process, Vma};
use std::time::SystemTime;

/// A library or executable as the process has it mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Module<'a> {
    /// Its path in the process's own file system.
    pub path: &'a str,
    /// Its first address.
    pub start: u64,
    /// The GNU build id; empty where it has none.
    pub build_id: &'a [u8],
    /// When the process had it loaded at the latest, if known: without a build id, a file that was
    /// changed since is another one.
    pub loaded: Option<SystemTime>,
}

/// The symbols of `module`: of the very file that `process` has mapped (through `map_files`, for
/// which it takes root), else of the one at its path in the process's root, or, where there is no
/// process any more, in our own; or, where the distribution keeps them apart, of the file with that
/// build id below `/usr/lib/debug`. `None` where there is no such file any more or it has no
/// symbols. `vmas` are the mappings of the process.
pub fn find(process: Option<&Process>, vmas: &[Vma], module: Module<'_>) -> Option<Symbols> {
    // More symbols are in the debugging file than in the stripped one; only the build id ties the
    // two together.
    let id = hex(module.build_id);
    let in_root = |path: &str| process?.open_in_root(path, &Expect::LIBRARY).ok();
    let here = |path: &str| open_here(path, &Expect::LIBRARY).ok();
    let debug = id.split_at_checked(2).filter(|(_, rest)| !rest.is_empty()).and_then(|(first, rest)| {
        let path = format!("/usr/lib/debug/.build-id/{first}/{rest}.debug");
        let file = in_root(&path).or_else(|| here(&path))?;
        Symbols::read(&file, module.build_id).ok()
    });
    let mapped = || {
        let vma = vmas.iter().find(|vma| vma.contains(module.start))?;
        process?.mapped_file(vma, &Expect::LIBRARY).ok()
    };
    let ours = || {
        // Nothing but a build id, or its age, says that the file is still the one that was loaded,
        // and in our own file system at that.
        let file = here(module.path)?;
        let unchanged = || Some(file.metadata().ok()?.modified().ok()? <= module.loaded?);
        (!module.build_id.is_empty() || unchanged() == Some(true)).then_some(file)
    };
    let own = || {
        let files = [mapped(), in_root(module.path), ours()];
        files.iter().flatten().find_map(|file| Symbols::read(file, module.build_id).ok())
    };
    debug.filter(|symbols| !symbols.is_empty()).or_else(own).filter(|symbols| !symbols.is_empty())
}

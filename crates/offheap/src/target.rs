//! Which process is meant, or which core file.

use crate::output;
use offheap_collect::targets;
use std::path::Path;

/// The pid that `target` names; says so where that is only the shell or init before a JVM.
///
/// # Errors
/// None or several processes fit.
pub fn resolve(target: &str) -> anyhow::Result<i32> {
    let pid = targets::resolve(target)?;
    if let Some(behind) = targets::behind(pid) {
        output::note(&format!(
            "Process {pid} is neither a JVM nor a Python, but has started one: process {behind}. Is that meant?"
        ));
    }
    Ok(pid)
}

/// What can be looked at once.
pub enum Target<'a> {
    /// A running process.
    Process(i32),
    /// A file that may be the core file of one that died.
    Core(&'a Path),
}

/// What `target` names: a file that starts as an ELF file does, or is a packed one, is taken for a
/// core file, anything else as by [`resolve`].
///
/// # Errors
/// As [`resolve`].
pub fn process_or_core(target: &str) -> anyhow::Result<Target<'_>> {
    let path = Path::new(target);
    if target.parse::<i32>().is_err()
        && path.is_file()
        && offheap_corefile::may_be_core(&crate::files::open(path)?)
    {
        return Ok(Target::Core(path));
    }
    resolve(target).map(Target::Process)
}

//! Which process is meant.

use crate::output;
use offheap_collect::targets;

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

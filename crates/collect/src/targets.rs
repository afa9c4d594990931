//! Which processes there are, and which is meant (`names.rs`).

pub use crate::names::{TargetError, resolve};

use offheap_hotspot::HotSpot;
use offheap_linux::{Cgroup, PageKind, Process, Target, page_bytes, user_name};
use std::ops::Range;

/// The pid of the only JVM or Python that the process `pid`, which is neither itself, has started:
/// a shell, an init or `timeout` often stands before what is meant.
pub fn behind(pid: i32) -> Option<i32> {
    const MOST: usize = 64;
    let first = Process::open(pid).ok()?;
    if kind(&first).is_some() {
        return None;
    }
    let mut found = Vec::new();
    let mut waiting = first.children().ok()?;
    for _ in 0..MOST {
        let Some(child) = waiting.pop() else { break };
        let Ok(process) = Process::open(child) else { continue };
        if kind(&process).is_some() {
            found.push(child);
        } else {
            waiting.extend(process.children().unwrap_or_default());
        }
    }
    match found.as_slice() {
        [only] => Some(*only),
        _ => None,
    }
}

/// The runtime in a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    /// A JVM.
    Jvm,
    /// CPython, and no JVM.
    Python,
}

/// The runtime in `process`; `None` where there is none, or its maps may not be read and its name
/// tells nothing.
pub fn kind(process: &Process) -> Option<Runtime> {
    let exe = process.exe().unwrap_or_default();
    let name = exe.rsplit('/').next().unwrap_or_default();
    let status = process.status().ok()?;
    if status.no_memory {
        return None;
    }
    let Ok(maps) = process.bytes("maps") else {
        return match status.name.as_str() {
            "java" => Some(Runtime::Jvm),
            name if name.starts_with("python") => Some(Runtime::Python),
            _ => None,
        };
    };
    let has = |needle: &[u8]| maps.windows(needle.len()).any(|window| window == needle);
    if has(b"/libjvm.so") || has(b"/libj9vm") {
        Some(Runtime::Jvm)
    } else if name.starts_with("python") || has(b"/libpython") {
        Some(Runtime::Python)
    } else {
        None
    }
}

/// A JVM or a Python, as cheaply as it can be told.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// Pid as this tool sees it.
    pub pid: i32,
    /// Pid inside its own namespace.
    pub inner_pid: i32,
    /// User.
    pub user: String,
    /// What it is.
    pub runtime: Runtime,
    /// Version; empty where it can't be read.
    pub version: String,
    /// Main class, jar or script.
    pub main: String,
    /// Resident bytes.
    pub rss: u64,
    /// Heap in use.
    pub heap_used: Option<u64>,
    /// Heap committed.
    pub heap_committed: Option<u64>,
    /// Resident bytes of the heap's pages.
    pub heap_resident: Option<u64>,
    /// Limit of its control group.
    pub limit: Option<u64>,
    /// Until the limit.
    pub headroom: Option<u64>,
    /// Why something is missing.
    pub note: String,
}

/// Every JVM and every CPython of the host, the one with most resident bytes first.
///
/// # Errors
/// `/proc` can't be listed.
pub fn list() -> std::io::Result<Vec<Listed>> {
    let mut list: Vec<Listed> = Process::list()?.into_iter().filter_map(listed).collect();
    list.sort_by_key(|listed| (std::cmp::Reverse(listed.rss), listed.pid));
    Ok(list)
}

fn listed(pid: i32) -> Option<Listed> {
    let process = Process::open(pid).ok()?;
    let runtime = kind(&process)?;
    let status = process.status().ok()?;
    let arguments = process.arguments().unwrap_or_default();
    let cgroup = Cgroup::of(&process);
    let mut listed = Listed {
        pid,
        inner_pid: status.inner_pid(),
        user: user_name(status.euid),
        runtime,
        version: String::new(),
        main: String::new(),
        rss: status.rss_bytes,
        heap_used: None,
        heap_committed: None,
        heap_resident: None,
        limit: cgroup.as_ref().and_then(|group| group.limit),
        headroom: cgroup.as_ref().and_then(|group| group.headroom),
        note: String::new(),
    };
    match runtime {
        Runtime::Jvm => match offheap_hotspot::brief(&process) {
            Some(brief) => {
                listed.version = brief.version;
                listed.main = brief.main;
                listed.heap_used = brief.heap_used;
                // G1 adds a few bytes to each counter so that no space is empty (pad_capacity in
                // g1MonitoringSupport.hpp).
                listed.heap_committed = brief.heap_committed.map(|bytes| bytes - bytes % page_bytes());
                listed.heap_resident = heap_resident(&process);
            }
            None if process.file("mem").is_err() => {
                listed.note = format!("no rights; run: sudo -u {} offheap ps", listed.user);
            }
            None => listed.note = "not a HotSpot JVM, or still starting".to_owned(),
        },
        Runtime::Python => {
            listed.version = python_version(&process);
            // The first argument that is no option is the script; "-m" names a module.
            listed.main = script(&arguments);
        }
    }
    if listed.main.is_empty() {
        listed.main = arguments.join(" ");
    }
    listed.main = offheap_model::secrets::masked([listed.main.as_str()]);
    Some(listed)
}

/// Resident bytes of a JVM's heap, as the page tables tell: what is committed need not be resident.
fn heap_resident(process: &Process) -> Option<u64> {
    let memory = process.memory(&process.maps().ok()?).ok()?;
    let ranges = HotSpot::open(&memory).ok()?.heap_ranges(&memory);
    let resident = |range: &Range<u64>| -> u64 {
        let runs = memory.runs(range.start, range.end);
        runs.iter().filter(|run| run.kind == PageKind::Present).map(|run| run.end - run.start).sum()
    };
    (!ranges.is_empty()).then(|| ranges.iter().map(resident).sum())
}

fn script(arguments: &[String]) -> String {
    let mut rest = arguments.iter().skip(1);
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "-c" => return "-c …".to_owned(),
            "-m" => return rest.next().map_or_else(String::new, |module| format!("-m {module}")),
            "-W" | "-X" => {
                rest.next();
            }
            option if option.starts_with('-') => {}
            script => return script.to_owned(),
        }
    }
    String::new()
}

fn python_version(process: &Process) -> String {
    let exe = process.exe().unwrap_or_default();
    let name = exe.rsplit('/').next().unwrap_or_default();
    name.strip_prefix("python").unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_is_found_behind_options() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(script(&words("python3 -X dev -u app.py --port 80")), "app.py");
        assert_eq!(script(&words("python3 -m http.server")), "-m http.server");
        assert_eq!(script(&words("python3")), "");
    }
}

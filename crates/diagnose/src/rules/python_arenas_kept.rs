//! # Python keeps arenas after a burst
//!
//! ## Signature
//! Much of pymalloc's arenas is free but resident, all through the last third of the window: blocks
//! between others in use, and whole pools in arenas that hold others.
//!
//! ## Why
//! Objects of up to 512 bytes lie in arenas of 256 KiB (from 3.10: 1 MiB), and an arena goes back
//! to the system only when nothing in it is in use. After a burst a few survivors, spread over all
//! arenas, keep them. It is no leak: the next burst uses the same memory.
//!
//! ## Confirm
//! - `offheap python PID`: blocks free, pools free, arenas.
//! - `sys._debugmallocstats()` in the program says the same.
//!
//! ## Fix
//! - Do the burst in a process of its own (`multiprocessing`, `concurrent.futures.ProcessPoolExecutor`).
//! - Make what survives before the burst, or copy it after: survivors together keep few arenas.
//! - Smaller batches: a lower peak keeps less.
//!
//! ## Example
//! *Of the 212 MiB RSS of process 4711 CPython keeps 96.0 MiB free in 140 arenas (140 MiB in all);
//! at the last count 90.2 MiB among blocks in use, 8.00 MiB in free pools…*

use super::Rule;
use crate::draft::Draft;
use crate::evidence::Evidence;
use crate::series::Key;
use offheap_model::{Domain, Finding, PythonObjects, Status, units};

/// See the page.
pub struct PythonArenasKept;

/// Less that is kept is not worth a word.
const LEAST_KEPT: u64 = 16 << 20;
/// A smaller part of the arenas that is kept is not worth a word: half-filled pools are usual.
const PART: f64 = 0.35;

impl Rule for PythonArenasKept {
    fn id(&self) -> &'static str {
        "python-arenas-kept"
    }

    fn is_of_python(&self) -> bool {
        true
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Option<Finding> {
        let last = evidence.last()?;
        let arenas = last.python.as_ref()?.arena_bytes;
        let free = |objects: &PythonObjects| objects.free_block_bytes.saturating_add(objects.free_pool_bytes);
        let censuses: Vec<&PythonObjects> =
            evidence.snapshots().iter().filter_map(|s| s.python.as_ref()?.objects.as_ref()).collect();
        // A census in the midst of a burst's end shows much free: it must be there all through the
        // window's end.
        let recent = censuses.get(censuses.len() - censuses.len().div_ceil(3)..)?;
        let kept = recent.iter().map(|objects| free(objects)).min()?.min(arenas);
        if kept < LEAST_KEPT || (kept as f64) < PART * arenas as f64 {
            return None;
        }
        let objects = censuses.last()?;
        let slope =
            evidence.trend(&Key::Domain(Domain::PythonHeap)).map_or(0.0, |trend| trend.slope.per_s.max(0.0));
        let figures = format!(
            "{} free in {} arenas ({} in all); at the last count {} among blocks in use, {} in free pools",
            units::bytes(kept),
            objects.arenas,
            units::bytes(arenas),
            units::bytes(objects.free_block_bytes),
            units::bytes(objects.free_pool_bytes)
        );
        let draft = Draft::new(self.id(), Status::Retention, Domain::PythonHeap, 0.85)
            .slope(slope)
            .summary(format!(
                "Of the {} RSS of {} CPython keeps {figures}. Nobody uses it, and it is no leak: it was needed once, and objects \
                 that survived keep each arena. Seen over {}. Source: pymalloc's pools.",
                units::bytes(last.memory.rss_bytes),
                evidence.who(),
                evidence.window()
            ))
            .saw(figures, "pymalloc's pools")
            .fix([
                "do the burst in a process of its own, which gives all back when it ends (multiprocessing)",
                "make what survives before the burst, or copy it afterwards: survivors together keep few arenas",
            ])
            .confirm([format!("offheap python {}: what is free in the arenas", evidence.pid())]);
        Some(draft.finish())
    }
}

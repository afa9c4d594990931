//! When it is worth to look which code allocates: before a verdict is certain, so that the agent
//! sees enough of the window.

use crate::evidence::Evidence;
use crate::rules::slow_leak;
use crate::series::{Key, Series};
use crate::stats::{Point, theil_sen, thin};
use offheap_model::Domain;

/// Growth that code could be named for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Suspect {
    /// Where it grows.
    pub domain: Domain,
    /// How fast, bytes per second.
    pub per_s: f64,
}

/// Fewer snapshots than these show no direction.
const MIN_SNAPSHOTS: usize = 6;
/// Blocks of one size that must have come one after the other, and none gone, to be a suspect.
/// Unit: blocks.
const LEAST_OF_SIZE: f64 = 60.0;
/// The old generation must gain this share of -Xmx over the window to be a suspect.
const HEAP_SHARE: f64 = 0.15;
/// A thread's stack and what the JVM keeps for it, resident: about this much. Measured 60 KiB of C
/// heap and 40 to 100 KiB of stack.
const THREAD_BYTES: f64 = 128.0 * 1024.0;

/// What seems to grow in a way that allocation sites would explain, fastest first; `window` is how
/// many seconds will be watched in all. This is a suspicion and no verdict: it costs an agent if it
/// is wrong, and a site if it is late.
pub fn suspect(evidence: &Evidence<'_>, window: f64) -> Option<Suspect> {
    if evidence.count() < MIN_SNAPSHOTS {
        return None;
    }
    let rest = match evidence.last()?.jvm.as_ref().map(|jvm| jvm.nmt.is_some()) {
        Some(false) => Domain::Malloc,
        _ => Domain::NativeMalloc,
    };
    let domain = |domain| (Key::Domain(domain), domain, 1.0);
    let candidates = [
        (Key::DirectReserved, Domain::DirectMemory, 1.0),
        (Key::DirectHidden, Domain::DirectMemory, 1.0),
        (Key::MallocRest, rest, 1.0),
        (Key::Threads, Domain::ThreadStacks, THREAD_BYTES),
        (Key::Metaspace, Domain::Metaspace, 1.0),
        (Key::FilesVirtual, Domain::MappedFiles, 1.0),
        domain(Domain::NativeMmap),
        domain(Domain::PythonHeap),
        domain(Domain::MappedFiles),
        domain(Domain::Unattributed),
        // Where the C heap can't be walked its resident bytes must do.
        domain(rest),
    ];
    let rising = |key: &Key, least: f64| {
        let per_s = rise(evidence.series(key)?);
        // What it will have come to by the end must be worth a word.
        (per_s * window.max(evidence.seconds()) >= least).then_some(per_s)
    };
    // Blocks of one size that only come are followed up however few they are.
    let slow = slow_leak::growing_size(evidence, LEAST_OF_SIZE)
        .map(|(_, series)| Suspect { domain: Domain::NativeMalloc, per_s: series.trend().slope.per_s });
    // Healthy programs promote objects too, and collect them some time.
    let heap = evidence.last()?.jvm.as_ref().and_then(|jvm| {
        let per_s = rising(&Key::OldUsed, HEAP_SHARE * jvm.heap.max_bytes as f64)?;
        Some(Suspect { domain: Domain::JavaHeap, per_s })
    });
    candidates
        .into_iter()
        .filter_map(|(key, domain, bytes)| {
            let per_s = rising(&key, evidence.material() / bytes)? * bytes;
            Some(Suspect { domain, per_s })
        })
        .chain(heap)
        .max_by(|a, b| a.per_s.total_cmp(&b.per_s))
        .or(slow)
}

/// The slope of the later two thirds, if it is surely upwards; else 0. The first third may be a
/// warm-up.
fn rise(series: &Series) -> f64 {
    let points = series.points();
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return 0.0 };
    let begin = first.t + (last.t - first.t) / 3.0;
    let tail: Vec<Point> = points.iter().copied().filter(|point| point.t >= begin).collect();
    let slope = theil_sen(&thin(&tail), 1.0);
    if slope.ci95[0] > 0.0 { slope.per_s } else { 0.0 }
}

//! Why a process is as large as it is: what of it is free but held, by which remedy it could be
//! given back, and at what price.

use crate::evidence::Evidence;
use crate::growth::plural;
use crate::series::{Key, total};
use offheap_model::{Domain, Jvm, Snapshot, units};
use serde::{Deserialize, Serialize};

/// What could be given back of a process, whether or not it grows.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Level {
    /// Resident bytes now.
    pub rss_bytes: u64,
    /// The most that was ever resident, where the kernel tells (`VmHWM`).
    pub peak_rss_bytes: u64,
    /// The sum of `reclaimable`; no byte is in two of them.
    pub reclaimable_bytes: u64,
    /// What could be given back, most first.
    pub reclaimable: Vec<Reclaimable>,
}

/// Memory that is held and not needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Reclaimable {
    /// How much, about.
    pub bytes: u64,
    /// Where it is.
    pub domain: Domain,
    /// What it is, in words.
    pub what: String,
    /// What gives it back.
    pub remedy: String,
    /// What that costs beside.
    pub side_effect: String,
    /// True where the remedy works on the running process, false where it takes a restart.
    pub now: bool,
}

impl Reclaimable {
    /// In a line: how much, of what, by which remedy, at what price.
    pub fn words(&self) -> String {
        format!(
            "{} {}: {}. {}. But: {}.",
            units::bytes(self.bytes),
            self.domain,
            self.what,
            self.remedy.trim_end_matches('.'),
            self.side_effect
        )
    }
}

/// Less is not worth a line.
const LEAST_LINE: u64 = 4 << 20;
/// A process is in `retention` if one part in this many of its RSS is free but held.
/// Unit: parts.
const MATERIAL_SHARE: u64 = 4;
/// A process is in `retention` if no less than this is free but held.
const MATERIAL: u64 = 64 << 20;
/// A heap that fills within this time is at work, and what is free in it is needed.
pub(crate) const WORKING_S: f64 = 600.0;
/// A heap that the program would fill again within this time is in use.
/// Unit: seconds.
const AT_WORK_S: f64 = 30.0;
/// Of a heap after a full collection this many per cent may stay free.
/// Unit: per cent.
/// Source: the default of HotSpot's `MaxHeapFreeRatio`.
const MAX_FREE_PER_CENT: f64 = 70.0;
/// What is free at every moment is judged over one part in this many of the window, its end.
/// Unit: parts.
const RECENT: usize = 3;
/// Of the readings there, one in this many may be an odd one.
/// Unit: readings.
const ODD: usize = 10;
/// Stacks of a pool are worth a line from this many threads on.
const POOL: u64 = 64;
/// A thread's stack without huge pages commonly takes about this, resident.
const STACK: u64 = 128 << 10;

/// Whether so much of a process of this RSS, free but held, is worth acting on.
pub(crate) fn is_material(bytes: u64, rss: u64) -> bool {
    bytes >= MATERIAL && bytes >= rss / MATERIAL_SHARE
}

impl Level {
    /// What the evidence shows.
    pub fn of(evidence: &Evidence<'_>) -> Level {
        let Some(last) = evidence.last() else { return Level::default() };
        let mut reclaimable: Vec<Reclaimable> = c_heap(evidence, last)
            .into_iter()
            .chain(java_heap(evidence))
            .chain(beside(evidence, last))
            .collect();
        reclaimable.retain(|part| part.bytes >= LEAST_LINE);
        reclaimable.sort_by_key(|part| std::cmp::Reverse(part.bytes));
        Level {
            rss_bytes: last.memory.rss_bytes,
            peak_rss_bytes: last.memory.peak_rss_bytes,
            reclaimable_bytes: total(reclaimable.iter().map(|part| part.bytes)),
            reclaimable,
        }
    }
}

/// What the series held at every moment of the window's end, odd readings left out.
pub(crate) fn floor(evidence: &Evidence<'_>, key: &Key) -> Option<u64> {
    let points = evidence.series(key)?.points();
    let mut recent: Vec<f64> =
        points.get(points.len() - points.len().div_ceil(RECENT)..)?.iter().map(|p| p.v).collect();
    recent.sort_by(f64::total_cmp);
    recent.get(recent.len() / ODD).map(|v| v.max(0.0) as u64)
}

/// Free in the C heap and resident: what a trim gives back, and what lies between live chunks.
fn c_heap(evidence: &Evidence<'_>, last: &Snapshot) -> Vec<Reclaimable> {
    let Some(malloc) = last.malloc.as_ref().filter(|malloc| malloc.walked) else { return Vec::new() };
    let (pid, arenas) = (evidence.pid(), malloc.arenas.len());
    let free = floor(evidence, &Key::MallocFree).unwrap_or(malloc.free_resident_bytes);
    let trimmable = floor(evidence, &Key::Trimmable).unwrap_or(malloc.trimmable_bytes).min(free);
    vec![
        Reclaimable {
            bytes: trimmable,
            domain: Domain::AllocatorRetention,
            what: format!("whole pages that malloc holds free, in {arenas} arena{}", plural(arenas)),
            remedy: if last.jvm.is_some() {
                format!("offheap trim {pid}; kept low: -XX:TrimNativeHeapInterval=60000 (JDK 17.0.9 and later)")
            } else {
                format!("offheap trim {pid}; kept low: malloc_trim(0) after bursts, or MALLOC_ARENA_MAX=2")
            },
            side_effect: "each arena is locked while it is trimmed; the next burst takes the pages anew".to_owned(),
            now: true,
        },
        Reclaimable {
            bytes: free.saturating_sub(trimmable),
            domain: Domain::AllocatorRetention,
            what: "pieces that malloc holds free between live blocks".to_owned(),
            remedy: "MALLOC_ARENA_MAX=2, or LD_PRELOAD=libjemalloc.so.2, at the next start: part of it".to_owned(),
            side_effect: "with two arenas more threads wait for each other in malloc; jemalloc has retention of its own"
                .to_owned(),
            now: false,
        },
    ]
}

/// A Java heap that holds pages it does not need.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct EmptyHeap {
    /// Resident.
    pub resident: f64,
    /// What a collection would leave; garbage included where nothing tells.
    pub live: f64,
    /// What a collector that is told to shrink would give back.
    pub bytes: f64,
    /// Of what stays, what only a lower `-Xms` would give back.
    pub below_xms: f64,
    /// Until the program has filled it again, at its rate of allocation; `None` where that is not
    /// known.
    pub fills_in: Option<f64>,
}

/// How much of the Java heap is resident and not needed.
pub(crate) fn empty_heap(evidence: &Evidence<'_>) -> Option<EmptyHeap> {
    let jvm = evidence.last()?.jvm.as_ref()?;
    let resident = jvm.heap.resident_bytes as f64;
    let live = live(evidence, jvm)?;
    let ratio =
        jvm.flag("MaxHeapFreeRatio").and_then(|value| value.parse().ok()).unwrap_or(MAX_FREE_PER_CENT);
    let shrinks_to = match jvm.gc.as_str() {
        // They uncommit what is empty, region by region.
        "Z" | "Shenandoah" => live,
        _ => live / (1.0 - (ratio / 100.0).clamp(0.0, 0.95)),
    };
    let least = jvm.heap.min_bytes as f64;
    let bytes = (resident - shrinks_to.max(least)).max(0.0);
    let below_xms = (resident - bytes).min(least) - shrinks_to;
    let rate = evidence.recent_allocation_rate();
    Some(EmptyHeap {
        resident,
        live,
        bytes,
        below_xms: below_xms.max(0.0),
        fills_in: rate.map(|rate| (bytes + below_xms.max(0.0)) / rate.max(1.0)),
    })
}

/// What is live on the heap, at most: what was found in use, else the least that was in use in the
/// window, garbage included.
fn live(evidence: &Evidence<'_>, jvm: &Jvm) -> Option<f64> {
    let in_use = evidence
        .last_reach()
        .filter(|(_, reach)| reach.complete && reach.heap_in_use_bytes > 0)
        .map(|(_, reach)| reach.heap_in_use_bytes);
    let used = evidence.series(&Key::HeapUsed)?;
    let least = used.points().iter().map(|p| p.v).fold(f64::INFINITY, f64::min);
    // A heap without generations tells by the same figure what all of it was right after a
    // collection.
    let after = jvm.heap.old_after_gc_bytes.filter(|_| jvm.heap.old_used_bytes.is_none());
    Some(in_use.or(after).map_or(least, |bytes| bytes as f64).min(least))
}

fn java_heap(evidence: &Evidence<'_>) -> Vec<Reclaimable> {
    let Some((empty, jvm)) = empty_heap(evidence).zip(evidence.last().and_then(|last| last.jvm.as_ref()))
    else {
        return Vec::new();
    };
    let refill = match empty.fills_in {
        // Room to work in: nothing is gained by giving it back.
        Some(seconds) if seconds < AT_WORK_S => return Vec::new(),
        Some(seconds) if seconds < WORKING_S => {
            format!("; at the present load it is filled again in {}", units::duration(seconds))
        }
        _ => String::new(),
    };
    let what =
        format!("Java heap that is resident beyond what {} in use need", units::bytes(empty.live as u64));
    let keep = match jvm.gc.as_str() {
        "G1" if jvm.feature >= 12 => "-XX:G1PeriodicGCInterval=300000",
        "Z" => "-XX:ZUncommitDelay=60",
        "Shenandoah" => "-XX:ShenandoahUncommitDelay=60000 -XX:ShenandoahGuaranteedGCInterval=300000",
        _ => "-XX:MinHeapFreeRatio=10 -XX:MaxHeapFreeRatio=30",
    };
    vec![
        Reclaimable {
            bytes: empty.bytes as u64,
            domain: Domain::JavaHeap,
            what: what.clone(),
            remedy: format!("jcmd {} GC.run; kept low: {keep}", evidence.pid()),
            side_effect: format!("the program stands still for a full collection{refill}"),
            now: true,
        },
        Reclaimable {
            bytes: empty.below_xms as u64,
            domain: Domain::JavaHeap,
            what,
            remedy: format!("a lower -Xms than {}, at the next start", units::bytes(jvm.heap.min_bytes)),
            side_effect: format!("the heap is expanded anew when it is needed{refill}"),
            now: false,
        },
    ]
}

/// Huge pages of stacks, large pools of threads, direct buffers that nobody uses.
fn beside(evidence: &Evidence<'_>, last: &Snapshot) -> Vec<Reclaimable> {
    let mut parts = Vec::new();
    let threads = total(last.threads.iter().map(|pool| pool.count));
    let huge = total(last.threads.iter().map(|pool| pool.huge_bytes));
    parts.push(Reclaimable {
        bytes: huge.saturating_sub(threads.saturating_mul(STACK)),
        domain: Domain::ThreadStacks,
        what: format!("huge pages behind the stacks of {threads} threads"),
        remedy: "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled, and a restart".to_owned(),
        side_effect:
            "other programs of the host that gain from huge pages lose them, unless they ask for them"
                .to_owned(),
        now: false,
    });
    for pool in last.threads.iter().filter(|pool| pool.count >= POOL) {
        parts.push(Reclaimable {
            bytes: pool.resident_bytes.saturating_sub(pool.huge_bytes),
            domain: Domain::ThreadStacks,
            what: format!("the stacks of {} threads {}", pool.count, pool.pool),
            remedy: "a smaller pool: in proportion to the threads that it has less".to_owned(),
            side_effect: "less is done at the same time".to_owned(),
            now: false,
        });
    }
    if let Some((_, reach)) = evidence.last_reach().filter(|(_, reach)| reach.complete) {
        parts.push(Reclaimable {
            bytes: reach.direct_bytes.saturating_sub(reach.direct_in_use_bytes),
            domain: Domain::DirectMemory,
            what: "direct buffers that nothing refers to, which wait for a collection".to_owned(),
            remedy: format!("jcmd {} GC.run; kept low: -XX:MaxDirectMemorySize", evidence.pid()),
            side_effect: "the program stands still for a full collection".to_owned(),
            now: true,
        });
    }
    parts
}

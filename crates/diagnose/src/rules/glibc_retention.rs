//! # The C library keeps free memory
//!
//! ## Signature
//! Free chunks of the C heap are resident: 64 MiB and 15 % of the RSS or more could be trimmed, or
//! 96 MiB and a quarter of the RSS are free in pieces. What is in use does not grow.
//!
//! ## Why
//! glibc gives back only the top of an arena, and each thread may have an arena of its own (up to
//! eight for each core). A burst on many threads leaves many arenas with holes; one live chunk near
//! the top keeps everything below it. Free memory in whole pages can be trimmed; pieces smaller
//! than a page between live chunks can't (fragmentation).
//!
//! ## Confirm
//! - `offheap map PID`: arenas with in use, free and trimmable.
//! - `jcmd PID System.trim_native_heap` (JDK 17.0.9 and later) or `offheap trim PID`: RSS falls by the predicted amount.
//!
//! ## Fix
//! | Remedy | What it gains |
//! |---|---|
//! | `jcmd PID System.trim_native_heap` | the trimmable bytes, now and once |
//! | `-XX:TrimNativeHeapInterval=60000` (17.0.9 with `-XX:+UnlockExperimentalVMOptions`; later updates of 17 and 21, and 25, without) | the same, every minute |
//! | `MALLOC_ARENA_MAX=2` in the environment | most of what is free in all arenas but the two; costs contention on many cores |
//! | `LD_PRELOAD=libjemalloc.so.2` | most of all that is free, pieces too |
//! | `GLIBC_TUNABLES=glibc.malloc.trim_threshold=131072` | keeps the top small, switches the growing threshold off |
//!
//! ## Example
//! *Of the 412 MiB RSS of process 4711 150 MiB are free memory that the C library keeps, in 14
//! arenas; malloc_trim would give back 148 MiB now…*

use super::Rule;
use crate::draft::Draft;
use crate::evidence::Evidence;
use crate::growth::Freed;
use crate::level;
use crate::series::{Key, total};
use offheap_model::{Domain, Finding, Malloc, Snapshot, Status, units};

/// See the page.
pub struct GlibcRetention;

/// Less that a trim would give back is not worth one.
const TRIM_BYTES: u64 = 64 << 20;
/// Less that is free in pieces is no fragmentation.
const FRAGMENTED_BYTES: u64 = 96 << 20;

impl Rule for GlibcRetention {
    fn id(&self) -> &'static str {
        "glibc-retention"
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Option<Finding> {
        let last = evidence.last()?;
        let malloc = last.malloc.as_ref().filter(|malloc| malloc.walked)?;
        let rss = last.memory.rss_bytes;
        // A snapshot in the middle of a burst shows much free: what counts is free all through the
        // window's end.
        let free = level::floor(evidence, &Key::MallocFree)?;
        let trimmable = level::floor(evidence, &Key::Trimmable)?.min(free);
        let worth_a_trim = trimmable >= TRIM_BYTES && trimmable >= rss / 20 * 3;
        let fragmented = free >= FRAGMENTED_BYTES && free >= rss / 4;
        if !worth_a_trim && !fragmented {
            return None;
        }
        let growth =
            evidence.growth(&Key::Domain(Domain::AllocatorRetention), Freed::ByProgram, evidence.material());
        let slope = growth.as_ref().map_or(0.0, |growth| growth.per_s.max(0.0));
        let figures = format!(
            "{} free but resident in {} arenas, of which malloc_trim would give back {}; in use {}",
            units::bytes(free),
            malloc.arenas.len(),
            units::bytes(trimmable),
            units::bytes(malloc.in_use_bytes.saturating_add(malloc.mmapped_bytes))
        );
        let mut draft = Draft::new(self.id(), Status::Retention, Domain::AllocatorRetention, 0.88)
            .slope(slope)
            .summary(format!(
                "Of the {} RSS of {} the C library keeps {figures}. Nobody uses it, and it is no leak: it was needed \
                 once, at its peak. Seen over {}; retention {}. Source: walk of the glibc heap.",
                units::bytes(rss),
                evidence.who(),
                evidence.window(),
                units::rate(slope)
            ))
            .saw(figures, "walk of the glibc heap and pagemap");
        for arena in malloc.arenas.iter().take(3) {
            draft = draft.saw(
                format!(
                    "arena {:#x}{}: {} in use, {} free, {} trimmable",
                    arena.address,
                    if arena.main { " (main)" } else { "" },
                    units::bytes(arena.in_use_bytes),
                    units::bytes(arena.free_bytes.saturating_add(arena.top_bytes)),
                    units::bytes(arena.trimmable_bytes)
                ),
                "walk of the glibc heap",
            );
        }
        let draft = draft.fix(remedies(last, malloc, free, trimmable)).confirm([
            format!("jcmd {0} System.trim_native_heap, or offheap trim {0}: RSS falls", evidence.pid()),
            format!("offheap map {}: arenas", evidence.pid()),
        ]);
        Some(draft.finish())
    }
}

/// The remedies with what each would gain, by this snapshot.
fn remedies(last: &Snapshot, malloc: &Malloc, free: u64, trimmable: u64) -> Vec<String> {
    let trim = units::bytes(trimmable);
    let mut steps = Vec::new();
    if let Some(jvm) = &last.jvm {
        let unlock = if jvm.version.starts_with("17.0.9") { "-XX:+UnlockExperimentalVMOptions " } else { "" };
        steps.push(format!("jcmd {} System.trim_native_heap: {trim}, now and once", last.process.pid));
        steps.push(format!("{unlock}-XX:TrimNativeHeapInterval=60000: about {trim}, kept low from then on"));
    } else {
        steps.push(format!("call malloc_trim(0) after bursts: {trim}"));
    }
    // With two arenas the threads share: what the other arenas hold free is reused instead of held
    // by each.
    let mut by_arena: Vec<u64> =
        malloc.arenas.iter().map(|a| total([a.free_bytes, a.top_bytes, a.tcache_bytes])).collect();
    by_arena.sort_unstable_by(|a, b| b.cmp(a));
    let all = total(by_arena.iter().copied());
    let others = total(by_arena.iter().copied().skip(2));
    let gain = (u128::from(free) * u128::from(others) / u128::from(all.max(1))) as u64;
    if malloc.arenas.len() > 2 {
        steps.push(format!("MALLOC_ARENA_MAX=2 in the environment: up to {}", units::bytes(gain)));
    }
    steps.push(format!(
        "LD_PRELOAD=libjemalloc.so.2: up to {}, pieces between live chunks too",
        units::bytes(free)
    ));
    steps
}

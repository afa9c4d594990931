//! # The C heap grows
//!
//! ## Signature
//! Live chunks of the C heap (not its free ones), less what `java.nio.Bits` or native memory
//! tracking accounts for, and less what leaking threads and classes bring with them, grow steadily
//! to the end of the window. In a JVM without native memory tracking the JVM's own malloc can't be
//! told from everybody else's: the domain is then `malloc`.
//!
//! In a JVM the owner may be a dead Java object whose Cleaner waits for a collection (`Inflater`s
//! that were dropped, not ended). So growth counts once it outlived a collection that finds what is
//! dead; without one in the window offheap says `inconclusive`, and that `jcmd PID GC.run` would
//! tell.
//!
//! ## Why
//! Native code allocates and does not free: a JNI library, a Java object with a native peer whose
//! `close()` is never called (RocksDB, zstd, `Inflater`/`Deflater`, `ImageReader`…), a C++
//! container that only grows. In-use bytes are better evidence than RSS: a leak first eats what the
//! allocator held free, and RSS does not move.
//!
//! ## Confirm
//! - `offheap profile PID`: the stack that allocates what stays.
//! - The chunk size that grows is a fingerprint: `sizeof` of a struct, plus 8, rounded up to 16.
//! - In a JVM: `jcmd PID GC.class_histogram` shows which Java class's count grows alike. After `jcmd PID GC.run` peers
//!   with cleaners are gone.
//! - `-XX:NativeMemoryTracking=summary` (a restart) splits the JVM's share off.
//!
//! ## Fix
//! - `close()` the Java objects with native peers: try-with-resources.
//! - Own native code: free on every path; bound containers; in C++ `unique_ptr`.
//!
//! ## Example
//! *In process 4711, live C heap beyond what the JVM accounts for grew steadily over 1 min (61
//! snapshots): 31.2 MiB → 92.0 MiB, +1.01 MiB/s… Chunks of 352 bytes grew most: 38 → 644 (requests
//! of 329–344 bytes).*

use super::Rule;
use super::class_loader_leak::class_growth;
use super::netty_pool_arenas::pool_chunks;
use super::thread_leak::thread_growth;
use crate::draft::{Draft, Subject};
use crate::evidence::Evidence;
use crate::growth::{Freed, Growth, Kind};
use crate::series::{Key, Series};
use offheap_model::{ContentHint, Domain, Finding, Snapshot, Status, units};

/// See the page.
pub struct NativeMallocGrowth;

/// C heap that comes with a byte of metaspace: loaders' tables, symbols, protection domains.
/// Unit: bytes.
/// Measured: between 0.3 and 1.2.
const MALLOC_PER_METASPACE: f64 = 1.5;
/// C heap that comes with a thread: its JVM object, handle and resource areas, arena and tcache.
/// Measured: about 60 KiB.
const MALLOC_PER_THREAD: f64 = 160.0 * 1024.0;
/// C heap that comes with a byte of live Java heap: remembered sets, mark stacks.
const MALLOC_PER_OLD: f64 = 0.03;
/// A block is outgrown where the live C heap rises by this share between two snapshots.
const OUTGROWN_BY: f64 = 0.3;
/// A block is outgrown that was resident to this share before.
const FULL: f64 = 0.8;
/// The size class that grows must explain this share to be named as the one.
const SIZE_SHARE: f64 = 0.3;

impl Rule for NativeMallocGrowth {
    fn id(&self) -> &'static str {
        "native-malloc-growth"
    }

    fn asks_what_is_in_use(&self) -> &'static [Status] {
        &[Status::Leak]
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Option<Finding> {
        let last = evidence.last()?;
        let domain = domain(last);
        let growth = rest_growth(evidence)?;
        let walked = evidence.series(&Key::MallocRest).is_some();
        let subject = Subject {
            what: match (walked, domain) {
                (true, Domain::Malloc) => "live C heap beyond direct buffers",
                (true, _) if evidence.is_jvm() => "live C heap beyond what the JVM accounts for",
                (true, _) => "live C heap",
                (false, _) => "resident C heap",
            },
            meaning: if evidence.is_jvm() {
                "Native code, or Java objects with native peers that are never closed, allocate and do not free."
            } else {
                "The program allocates and does not free."
            },
            source: if walked { "walk of the glibc heap" } else { "the allocator's mappings" },
        };
        let mut draft = Draft::of_growth(self.id(), evidence, domain, &growth, &subject)?;
        if domain == Domain::Malloc {
            draft = draft
                .also("The JVM's own malloc is in it: native memory tracking would split it off.")
                .weigh(0.97);
        }
        if !walked {
            // Free chunks that the allocator keeps are in it too.
            draft = draft.weigh(0.85);
        }
        draft = sizes(draft, evidence, &growth);
        if let Some(chunk) = pool_chunks(evidence, &Key::Mmapped) {
            draft = draft.saw(
                format!(
                    "large blocks come in steps of {}: a pooling allocator, like Netty's",
                    units::bytes(chunk)
                ),
                "chunks in maps of their own",
            );
        }
        let mut fix = Vec::new();
        if evidence.is_jvm() {
            fix.push("close() Java objects with native peers (try-with-resources): RocksDB, zstd, Inflater, ImageReader…");
        }
        fix.push("own native code: free on every path, bound containers that only grow");
        let mut confirm = vec![match evidence.is_jvm() {
            true => format!("offheap profile {}: the stack that allocates", evidence.pid()),
            false => "offheap run -- COMMAND: the same program from its start, with the stack that allocates"
                .to_owned(),
        }];
        if evidence.is_jvm() {
            confirm.push(format!(
                "jcmd {} GC.class_histogram, twice some minutes apart: a class whose count grows alike",
                evidence.pid()
            ));
        }
        if domain == Domain::Malloc {
            confirm.push("-XX:NativeMemoryTracking=summary at the next restart".to_owned());
        }
        Some(draft.fix(fix).confirm(confirm).finish())
    }
}

/// The growth of the C heap beyond what is accounted for otherwise.
pub(super) fn rest_growth(evidence: &Evidence<'_>) -> Option<Growth> {
    match evidence.series(&Key::MallocRest) {
        Some(rest) => {
            let growth = evidence.growth_of(&net(evidence, rest), Freed::ByCollector, evidence.material());
            if growth.kind == Kind::Lasting {
                Some(growth)
            } else {
                outgrown(evidence, rest).or(Some(growth))
            }
        }
        // Another allocator than glibc's: only its resident bytes are known.
        None => {
            let key = Key::Domain(domain(evidence.last()?));
            evidence.growth(&key, Freed::ByCollector, evidence.material())
        }
    }
}

/// Growth of a block that is filled, and replaced by a larger one whenever it is full, as vectors,
/// hash tables and buffers that double: what is allocated rises in steps, what is resident in a
/// line. A buffer of fixed size that is being filled makes the line, but no step; so a block must
/// have been outgrown within the window.
fn outgrown(evidence: &Evidence<'_>, live: &Series) -> Option<Growth> {
    let key = Key::Domain(domain(evidence.last()?));
    let resident = evidence.series(&key)?;
    let points = live.points();
    let (full, larger) = points.iter().zip(points.iter().skip(1)).rev().find(|(a, b)| {
        b.v - a.v >= (OUTGROWN_BY * a.v).max(evidence.material())
            && resident.at(a.t).is_some_and(|v| v >= FULL * a.v)
    })?;
    let mut growth = evidence.growth(&key, Freed::ByCollector, evidence.material())?;
    if growth.kind != Kind::Lasting || resident.last() < full.v {
        return None;
    }
    growth.certainty *= 0.92;
    growth.why = format!(
        "what was full with {} was replaced by {}, and that is being filled as fast",
        units::bytes(full.v.max(0.0) as u64),
        units::bytes(larger.v.max(0.0) as u64)
    );
    Some(growth)
}

/// `malloc` in a JVM whose share is unknown, `native-malloc` elsewhere.
pub(super) fn domain(last: &Snapshot) -> Domain {
    match &last.jvm {
        Some(jvm) if jvm.nmt.is_none() => Domain::Malloc,
        _ => Domain::NativeMalloc,
    }
}

/// The series less what comes with threads, classes and live Java objects that grow themselves.
/// With NMT the JVM's own part is already taken off.
fn net(evidence: &Evidence<'_>, rest: &Series) -> Series {
    let mut net = rest.without(rest, 0.0);
    if evidence.last().and_then(|s| s.jvm.as_ref()).is_none_or(|jvm| jvm.nmt.is_some()) {
        return net;
    }
    if class_growth(evidence).is_some_and(|g| g.status().is_some())
        && let Some(metaspace) = evidence.series(&Key::Metaspace)
    {
        net = net.without(metaspace, MALLOC_PER_METASPACE);
    }
    if thread_growth(evidence).is_some_and(|g| g.status().is_some())
        && let Some(threads) = evidence.series(&Key::Threads)
    {
        net = net.without(threads, MALLOC_PER_THREAD);
    }
    if let Some(old) = evidence.series(&Key::OldUsed)
        && old.trend().lasts()
    {
        net = net.without(old, MALLOC_PER_OLD);
    }
    net
}

/// Names the chunk sizes that grow, with what they seem to hold.
fn sizes(mut draft: Draft, evidence: &Evidence<'_>, growth: &Growth) -> Draft {
    let total = growth.to - growth.from;
    let mut grown: Vec<(u64, Growth)> = evidence
        .all_series()
        .filter_map(|(key, series)| match key {
            Key::SizeClass(size) => Some((*size, evidence.growth_of(series, Freed::ByProgram, 0.02 * total))),
            _ => None,
        })
        .filter(|(_, growth)| growth.grew())
        .collect();
    grown.sort_by(|a, b| (b.1.to - b.1.from).total_cmp(&(a.1.to - a.1.from)));
    for (rank, (size, class)) in grown.iter().take(3).enumerate() {
        let count = |bytes: f64| (bytes / *size as f64).round();
        let mut text = format!(
            "chunks of {size} bytes: {:.0} → {:.0} (requests of {}–{} bytes), {}",
            count(class.from),
            count(class.to),
            size.saturating_sub(23),
            size.saturating_sub(8),
            units::rate(class.per_s)
        );
        if let Some(hint) = evidence.last().and_then(|last| hint(last, *size)) {
            text.push_str("; ");
            text.push_str(&hint);
        }
        if rank == 0 && class.to - class.from >= SIZE_SHARE * total {
            draft = draft.also(&format!("It is {text}."));
        }
        draft = draft.saw(text, "walk of the glibc heap");
    }
    draft
}

fn hint(snapshot: &Snapshot, size: u64) -> Option<String> {
    let class = snapshot.malloc.as_ref()?.size_classes.iter().find(|class| class.chunk_bytes == size)?;
    Some(match class.hint.as_ref()? {
        ContentHint::Vtable(name) => format!("C++ objects of type {name}"),
        ContentHint::Text(text) => {
            format!("text like {:?}", text.chars().take(40).collect::<String>())
        }
        ContentHint::Zero => "all zero".to_owned(),
        ContentHint::PointerInto(library) => format!("begin with a pointer into {library}"),
    })
}

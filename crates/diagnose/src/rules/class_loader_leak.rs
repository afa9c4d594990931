//! # Classes are loaded and never unloaded
//!
//! ## Signature
//! Metaspace in use and the number of classes grow steadily to the end of the window, and a
//! collection that unloads classes has come without stopping it: an old or full one, one that
//! unloaded something, or one caused by metaspace itself when it passed its threshold.
//!
//! ## Why
//! Each redeployment, script, proxy or generated class makes a class loader (or adds to one), and
//! something keeps it alive: a `ThreadLocal` of a pooled thread, a JDBC driver, a shutdown hook, a
//! static cache of classes, a thread that still runs with it as context loader. The C heap grows
//! beside it: symbols and the loaders' own structures.
//!
//! ## Confirm
//! - `jcmd PID VM.classloader_stats` twice: which loader class multiplies, or which one loader gets ever more classes. It
//!   needs a safepoint.
//! - `jcmd PID GC.class_stats` (JDK 8–14), `jcmd PID VM.classes` (JDK 22+): the names of what is loaded.
//! - A heap dump in Eclipse MAT: "duplicate classes", then the path to GC roots of one old loader.
//!
//! ## Fix
//! - Many loaders: cut what holds the old ones (deregister drivers and hooks, `ThreadLocal.remove()`, stop threads).
//! - One loader: cache what is generated (scripts, proxies, serialisers) instead of generating it again.
//! - Until then `-XX:MaxMetaspaceSize=512m`, so that it ends in an `OutOfMemoryError` and not in the kernel's kill.
//! - Growth after an agent was attached: compare without the agent.
//!
//! ## Example
//! *In process 4711, metaspace grew steadily over 1 min (61 snapshots): 14.1 MiB → 45.8 MiB, +540
//! KiB/s…; classes 2103 → 6402, class loaders 12 → 442.*

use super::Rule;
use crate::draft::{Draft, Subject};
use crate::evidence::Evidence;
use crate::growth::{Freed, Growth, Kind};
use crate::next_step::NextStep;
use crate::series::Key;
use offheap_model::{Domain, Finding};

/// See the page.
pub struct ClassLoaderLeak;

/// The first threshold that makes metaspace cause a collection, about.
/// Unit: bytes.
/// Source: the default of `-XX:MetaspaceSize` on 64-bit Linux.
const DEFAULT_THRESHOLD: f64 = 22_020_096.0;
/// Growth by this factor passes the threshold that a collection of metaspace leaves.
/// Unit: times.
/// Source: HotSpot raises it so that 40 % are free (MinMetaspaceFreeRatio).
const NEXT_THRESHOLD: f64 = 1.7;
/// Above this share of the loaded classes being unloaded again it is a saw-tooth.
const UNLOADED_AT_MOST: f64 = 0.4;

impl Rule for ClassLoaderLeak {
    fn id(&self) -> &'static str {
        "class-loader-leak"
    }

    fn explains(&self) -> &'static [(&'static str, f64)] {
        // Loaders' tables, symbols and protection domains in the C heap were measured at 0.3 to 1.2
        // bytes of metaspace; with what the classes' static fields and their compiled code hold,
        // more.
        &[
            ("native-malloc-growth", 4.0),
            ("jvm-internal-growth", 4.0),
            ("string-symbol-tables", 4.0),
            ("code-cache-growth", 4.0),
            ("compiler-arenas", 4.0),
            ("gc-structures", 4.0),
            ("heap-leak", f64::INFINITY),
            ("heap-full", f64::INFINITY),
        ]
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Option<Finding> {
        let growth = class_growth(evidence)?;
        let (first, last) = (evidence.first()?.jvm.as_ref()?, evidence.last()?.jvm.as_ref()?);
        let counts = |a: Option<u64>, b: Option<u64>| match (a, b) {
            (Some(a), Some(b)) => format!("{a} → {b}"),
            _ => "unknown".to_owned(),
        };
        let loaded = counts(first.classes, last.classes);
        let loaders = counts(first.class_loaders, last.class_loaders);
        let many_loaders =
            matches!((first.class_loaders, last.class_loaders), (Some(a), Some(b)) if b > a + 3);
        let subject = Subject {
            what: "metaspace in use",
            meaning: if many_loaders {
                "Class loaders are made and stay reachable, and their classes with them."
            } else {
                "Classes are added to loaders that live."
            },
            source: "the VM's counters",
        };
        let draft = Draft::of_growth(self.id(), evidence, Domain::Metaspace, &growth, &subject)?
            .also(&format!("Classes: {loaded}; class loaders: {loaders}."))
            .saw(format!("classes {loaded}, class loaders {loaders}"), "the VM's counters")
            .fix(if many_loaders {
                [
                    "cut what holds old class loaders: deregister drivers and hooks, ThreadLocal.remove(), stop their threads",
                    "until then -XX:MaxMetaspaceSize=512m: an OutOfMemoryError instead of the kernel's kill",
                ]
            } else {
                [
                    "cache what is generated (scripts, proxies, serialisers) instead of defining new classes for each use",
                    "until then -XX:MaxMetaspaceSize=512m: an OutOfMemoryError instead of the kernel's kill",
                ]
            })
            .confirm([
                format!("jcmd {} VM.classloader_stats, twice some minutes apart", evidence.pid()),
                format!("jcmd {} GC.heap_dump /tmp/heap.hprof, then Eclipse MAT: duplicate classes", evidence.pid()),
            ]);
        Some(draft.finish())
    }
}

/// The growth of metaspace, asked whether it outlived a collection that unloads classes.
pub(super) fn class_growth(evidence: &Evidence<'_>) -> Option<Growth> {
    let mut growth = evidence.growth(&Key::Metaspace, Freed::ByOldCollection, evidence.material())?;
    let (loaded, unloaded) = loaded_and_unloaded(evidence);
    if growth.kind == Kind::Lasting && unloaded > UNLOADED_AT_MOST * loaded {
        growth.kind = Kind::Uncollected;
        growth.why = format!("of {loaded:.0} classes loaded in the window {unloaded:.0} were unloaded again");
        growth.next = Some(NextStep::Collect(evidence.pid()));
    } else if growth.kind == Kind::Uncollected && unloading_had_its_chance(evidence, &growth, unloaded) {
        growth.kind = Kind::Lasting;
        growth.certainty = crate::certainty(evidence.trend(&Key::Metaspace)?) * 0.95;
        growth.why = "it passed the threshold at which metaspace causes a collection, and nothing came back"
            .to_owned();
        growth.next = None;
    }
    growth.grew().then_some(growth)
}

fn loaded_and_unloaded(evidence: &Evidence<'_>) -> (f64, f64) {
    let jvm = |s: Option<&offheap_model::Snapshot>| s.and_then(|s| s.jvm.clone()).unwrap_or_default();
    let (first, last) = (jvm(evidence.first()), jvm(evidence.last()));
    let difference = |a: Option<u64>, b: Option<u64>| b.unwrap_or(0) as f64 - a.or(b).unwrap_or(0) as f64;
    let unloaded = difference(first.classes_unloaded, last.classes_unloaded).max(0.0);
    ((difference(first.classes, last.classes) + unloaded).max(0.0), unloaded)
}

fn unloading_had_its_chance(evidence: &Evidence<'_>, growth: &Growth, unloaded: f64) -> bool {
    let Some(jvm) = evidence.last().and_then(|s| s.jvm.as_ref()) else { return false };
    let threshold = jvm
        .flag("MetaspaceSize")
        .and_then(|value| value.parse().ok())
        .filter(|bytes: &f64| *bytes > 0.0)
        .unwrap_or(DEFAULT_THRESHOLD);
    let passed = growth.from < threshold && threshold < growth.to || growth.to > NEXT_THRESHOLD * growth.from;
    unloaded > 0.0 || !evidence.collections().any.is_empty() && passed && growth.to > threshold
}

//! # The Java heap is committed but empty
//!
//! The collector holds resident memory for a heap that the program no longer needs.
//!
//! ## Signature
//! Resident heap is far above what a collector that is told to shrink would keep for what is in use
//! (by at least 64 MiB and a quarter of the RSS), and at the present rate of allocation it would
//! take more than ten minutes to fill. A heap that the next collection cycle will use again is not
//! empty, it is working. What is in use is what was reached from roots where references were
//! followed, else the least that was in use at any moment of the window, garbage included.
//!
//! ## Why
//! A batch, a start-up or a burst of load expanded the heap. Collectors give memory back
//! reluctantly, and some never: they act after a full or concurrent collection only, and an idle
//! program causes none.
//!
//! ## Confirm
//! - `jcmd PID GC.heap_info`: committed against used.
//! - `jcmd PID GC.run`, then `offheap map PID`: `java-heap` falls if the collector is able to shrink.
//!
//! ## Fix
//! | Collector | What gives it back |
//! |---|---|
//! | G1, JDK 12 and later | `-XX:G1PeriodicGCInterval=300000` (a concurrent collection when idle) with a smaller `-Xms`; without a restart: `jcmd PID VM.set_flag G1PeriodicGCInterval 300000` |
//! | G1, JDK 8 to 11 | a full collection (`jcmd PID GC.run`) with `-XX:MaxHeapFreeRatio=30`, `-XX:MinHeapFreeRatio=10` |
//! | Parallel | the free ratios and `-XX:GCTimeRatio=4`; it takes several full collections, often G1 is the better fix |
//! | Serial | the free ratios; one full collection is enough |
//! | ZGC | `-XX:+ZUncommit` (the default) after `-XX:ZUncommitDelay=300` seconds, unless `-Xms` equals `-Xmx` |
//! | Shenandoah | `-XX:+ShenandoahUncommit`, `-XX:ShenandoahUncommitDelay`, `-XX:ShenandoahGuaranteedGCInterval` |
//!
//! Nothing goes below `-Xms`.
//!
//! ## Example
//! *Process 4711 keeps 172 MiB of Java heap that it does not need: 512 MiB resident, 102 MiB in use
//! within 1 min (61 snapshots); at the present rate it would take 5 h 42 min to fill.*

use super::Rule;
use crate::draft::{Draft, sentence};
use crate::evidence::Evidence;
use crate::level;
use offheap_model::{Domain, Finding, Jvm, Status, units};

/// See the page.
pub struct HeapCommittedEmpty;

impl Rule for HeapCommittedEmpty {
    fn id(&self) -> &'static str {
        "heap-committed-empty"
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Option<Finding> {
        let last = evidence.last()?;
        let jvm = last.jvm.as_ref()?;
        let empty = level::empty_heap(evidence)?;
        let fills_in = empty.fills_in?;
        let held = empty.bytes + empty.below_xms;
        if !level::is_material(held as u64, last.memory.rss_bytes) || fills_in < level::WORKING_S {
            return None;
        }
        let rate = evidence.recent_allocation_rate()?;
        let figures = format!(
            "{} resident, {} in use",
            units::bytes(empty.resident as u64),
            units::bytes(empty.live as u64)
        );
        let draft = Draft::new(self.id(), Status::Retention, Domain::JavaHeap, 0.85)
            .summary(format!(
                "{} keeps {} of Java heap that it does not need: {figures} within {}; at the present rate of \
                 allocation it would take {} to fill. The {} collector gives it back only when told to. {}. \
                 Source: {}.",
                sentence(&evidence.who()),
                units::bytes(held as u64),
                evidence.window(),
                units::duration(fills_in),
                if jvm.gc.is_empty() { "present" } else { &jvm.gc },
                evidence.rss_words(),
                jvm.heap.source
            ))
            .saw(figures, &jvm.heap.source)
            .saw(format!("allocation of at least {}", units::rate(rate)), &jvm.heap.source)
            .fix(remedies(jvm))
            .confirm([
                format!("jcmd {} GC.heap_info", evidence.pid()),
                format!("jcmd {0} GC.run, then offheap map {0}", evidence.pid()),
            ]);
        Some(draft.finish())
    }
}

/// How this collector in this JDK gives memory back.
fn remedies(jvm: &Jvm) -> Vec<String> {
    let ratios = "-XX:MinHeapFreeRatio=10 -XX:MaxHeapFreeRatio=30";
    let mut steps = match jvm.gc.as_str() {
        "G1" if jvm.feature >= 12 => vec![
            "-XX:G1PeriodicGCInterval=300000: an idle G1 collects every five minutes and gives back; now, without a \
             restart: jcmd PID VM.set_flag G1PeriodicGCInterval 300000"
                .to_owned(),
            format!("{ratios} to keep less in reserve"),
        ],
        "G1" => vec![
            format!("{ratios} and a full collection when the load has gone (jcmd PID GC.run)"),
            "JDK 12 or later with -XX:G1PeriodicGCInterval=300000 does that by itself".to_owned(),
        ],
        "Parallel" => vec![
            format!("{ratios} -XX:GCTimeRatio=4; Parallel shrinks over several full collections"),
            "or -XX:+UseG1GC, which gives back in one".to_owned(),
        ],
        "Serial" => vec![format!("{ratios}; Serial shrinks at the next full collection (jcmd PID GC.run)")],
        "Z" => vec![
            "-XX:+ZUncommit -XX:ZUncommitDelay=60, and -Xms below -Xmx".to_owned(),
            "-XX:SoftMaxHeapSize below -Xmx makes ZGC stay smaller".to_owned(),
        ],
        "Shenandoah" => vec![
            "-XX:+ShenandoahUncommit -XX:ShenandoahUncommitDelay=60000 -XX:ShenandoahGuaranteedGCInterval=300000"
                .to_owned(),
        ],
        _ => vec![format!("{ratios} and a full collection (jcmd PID GC.run)")],
    };
    if jvm.heap.min_bytes > 0 && jvm.heap.min_bytes.saturating_mul(2) > jvm.heap.max_bytes {
        steps.insert(
            0,
            format!("lower -Xms ({}): no collector goes below it", units::bytes(jvm.heap.min_bytes)),
        );
    }
    steps.push(
        "or a smaller -Xmx, if the peak that expanded the heap need not be served at full speed".to_owned(),
    );
    steps
}

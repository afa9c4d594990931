//! # The Java heap is still filling
//!
//! RSS grows because the collector touches heap pages for the first time. That is bounded by `-Xmx`
//! and no leak.
//!
//! ## Signature
//! The domain `java-heap` grows and its resident bytes are below `-Xmx`. Nothing shows that live
//! data grows with it.
//!
//! ## Why
//! A JVM reserves its whole heap at the start but touches a page only when something is put there.
//! Young collections walk through region after region, so RSS climbs towards `-Xmx` even when every
//! object dies young. A container whose limit is just above `-Xmx` will be killed by this growth,
//! which looks like a leak to whoever watches RSS alone.
//!
//! ## Confirm
//! - `offheap map PID`: the resident part of `java-heap` against `-Xmx`; all other domains stay flat.
//! - `jcmd PID GC.heap_info`: what is in use falls back after collections.
//! - Growth ends when the resident heap reaches `-Xmx`.
//!
//! ## Fix
//! - Leave room: container limit ≥ `-Xmx` + what the other domains hold.
//! - A smaller `-Xmx`, or `-Xms` equal to `-Xmx` with `-XX:+AlwaysPreTouch`, so that RSS is what it will be from the start.
//!
//! ## Example
//! *The Java heap of process 4711 is still filling: resident 310 MiB → 402 MiB of at most 1.00 GiB,
//! +1.53 MiB/s over 1 min (61 snapshots). It can grow by 622 MiB more, to -Xmx…*

use super::{Rule, heap_full};
use crate::draft::Draft;
use crate::evidence::Evidence;
use crate::growth::Kind;
use crate::series::Key;
use offheap_model::{Domain, Finding, Status, units};

/// See the page.
pub struct HeapFilling;

/// What has stopped has gained no more than this share of its growth in the last third of the
/// window.
const STILL: f64 = 0.1;

impl Rule for HeapFilling {
    fn id(&self) -> &'static str {
        "heap-filling"
    }

    fn asks_what_is_in_use(&self) -> &'static [Status] {
        &[Status::Healthy]
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Option<Finding> {
        let jvm = evidence.last()?.jvm.as_ref()?;
        if heap_full::pressure(evidence, jvm).is_some() {
            return None;
        }
        let heap = &jvm.heap;
        let trend = evidence.trend(&Key::Domain(Domain::JavaHeap))?;
        let grown = trend.growth();
        if grown < evidence.material() || heap.max_bytes == 0 {
            return None;
        }
        let left = heap.max_bytes.saturating_sub(heap.resident_bytes);
        let growth = evidence.growth(&Key::Domain(Domain::JavaHeap), crate::Freed::ByProgram, 0.0)?;
        // What rises and falls again is the collector's rhythm.
        if growth.kind == Kind::None {
            return None;
        }
        let per_s = trend.slope.per_s.max(0.0);
        let points = evidence.series(&Key::Domain(Domain::JavaHeap))?.points();
        let late = points.get(points.len() * 2 / 3).map_or(trend.to, |p| p.v);
        let stopped = growth.kind == Kind::Ended && trend.to - late <= STILL * grown;
        let ends = if stopped || left == 0 {
            "It has stopped within the window.".to_owned()
        } else if evidence.collections().old.len() >= 2 {
            format!("It can grow by {} more, to -Xmx.", units::bytes(left))
        } else {
            format!(
                "It can grow by {} more, to -Xmx; whether live data grows inside it shows only after an old collection.",
                units::bytes(left)
            )
        };
        // A heap that is mapped several times counts several times in RSS.
        let times = f64::from(heap.mapped_times.max(1));
        let figures = format!(
            "resident {} → {} of at most {}, {}",
            units::bytes((trend.from / times).max(0.0) as u64),
            units::bytes((trend.to / times).max(0.0) as u64),
            units::bytes(heap.max_bytes),
            units::rate(per_s)
        );
        let draft = Draft::new(self.id(), Status::Healthy, Domain::JavaHeap, 0.85)
            .slope(per_s)
            .summary(format!(
                "The Java heap of {} {}: {figures} over {}. {ends} {}. Source: {}.",
                evidence.who(),
                if stopped { "filled further" } else { "is still filling" },
                evidence.window(),
                evidence.rss_words(),
                evidence.source(Domain::JavaHeap)
            ))
            .saw(figures, "pages of the heap's range, -Xmx from the VM's flags")
            .fix([
                format!(
                    "leave room for it: a limit of at least -Xmx ({}) plus the other domains",
                    units::bytes(heap.max_bytes)
                ),
                "or lower -Xmx, or set -Xms to -Xmx with -XX:+AlwaysPreTouch so that RSS starts where it ends"
                    .to_owned(),
            ])
            .confirm([
                format!("offheap map {}", evidence.pid()),
                format!("jcmd {} GC.heap_info, before and after a collection", evidence.pid()),
            ]);
        Some(draft.finish())
    }
}

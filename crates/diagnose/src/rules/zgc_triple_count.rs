//! # ZGC's heap is counted more than once
//!
//! ## Signature
//! The collector is ZGC and each page of its heap is mapped several times (three times up to JDK
//! 20, and with `-XX:-ZGenerational` in 21 and 22).
//!
//! ## Why
//! Non-generational ZGC marks pointers by the address they are read through, so it maps the same
//! memory three times. `ps`, `top` and RSS count every mapping; the memory exists once. The control
//! group counts it once too, so the container is not as full as RSS says.
//!
//! ## Confirm
//! - `offheap map PID`: PSS against RSS. `cat /sys/fs/cgroup/memory.current`.
//!
//! ## Fix
//! - Watch PSS or the control group's figure instead of RSS, or use JDK 21 and later with generational ZGC.
//!
//! ## Example
//! *The RSS of process 4711, 3.35 GiB, counts ZGC's heap three times: 1.00 GiB exists once…*

use super::Rule;
use crate::draft::Draft;
use crate::evidence::Evidence;
use offheap_model::{Domain, Finding, Status, units};

/// See the page.
pub struct ZgcTripleCount;

impl Rule for ZgcTripleCount {
    fn id(&self) -> &'static str {
        "zgc-triple-count"
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Option<Finding> {
        let last = evidence.last()?;
        let heap = &last.jvm.as_ref()?.heap;
        if heap.mapped_times < 2 {
            return None;
        }
        // It is not measured in each snapshot.
        let pss = evidence.snapshots().iter().rev().find_map(|snapshot| snapshot.memory.pss_bytes);
        let figures = format!(
            "{} of heap, each page mapped {} times; RSS {}{}",
            units::bytes(heap.resident_bytes),
            heap.mapped_times,
            units::bytes(last.memory.rss_bytes),
            pss.map_or_else(String::new, |pss| format!(", PSS {}", units::bytes(pss)))
        );
        let draft = Draft::new(self.id(), Status::Healthy, Domain::JavaHeap, 0.9)
            .summary(format!(
                "The RSS of {} counts ZGC's heap {} times: {figures}. The memory exists once, and the control group \
                 counts it once. Source: the page map.",
                evidence.who(),
                heap.mapped_times
            ))
            .saw(figures, "page map")
            .fix(["watch PSS or the control group's memory.current instead of RSS, or use generational ZGC (JDK 21+)"])
            .confirm([format!("offheap map {}: PSS against RSS", evidence.pid())]);
        Some(draft.finish())
    }
}

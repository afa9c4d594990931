//! The cheap look for a list of processes.

use crate::counters::{collector, feature_of_release, feature_of_specification, from_mapping};
use crate::heap;
use crate::hsperf::Hsperf;
use crate::{Brief, HotSpot, ViewOptions};
use offheap_linux::Process;

/// The cheap look for a list of processes: from hsperfdata alone where the process has its file
/// mapped, for which the right to its memory is not needed, else from the JVM's tables in memory.
/// `None` for a process that is not a HotSpot JVM or can't be looked at.
pub fn brief(process: &Process) -> Option<Brief> {
    if let Some(hsperf) = from_mapping(process) {
        return Some(of_hsperf(&hsperf));
    }
    let vmas = process.maps().ok()?;
    let memory = process.memory(&vmas).ok()?;
    let hotspot = HotSpot::open(&memory).ok()?;
    let view = hotspot.view(&memory, &[], ViewOptions { walk_classes: false, thread_names: false });
    Some(Brief {
        vendor: view.vendor,
        version: view.version,
        feature: view.feature,
        gc: view.gc,
        main: view.main,
        heap_used: view.heap.used,
        heap_committed: view.heap.committed,
        source: "vmStructs",
    })
}

/// What the counters alone tell.
pub fn of_hsperf(hsperf: &Hsperf) -> Brief {
    let text = |name: &str| hsperf.text(name).unwrap_or_default().to_owned();
    let version = text("java.property.java.vm.version");
    let (heap_committed, heap_used, _) = heap::from_hsperf(hsperf);
    Brief {
        vendor: text("java.property.java.vm.vendor"),
        feature: hsperf
            .text("java.property.java.vm.specification.version")
            .and_then(feature_of_specification)
            .or_else(|| feature_of_release(&version))
            .unwrap_or(0),
        version,
        gc: collector(hsperf).to_owned(),
        main: text("sun.rt.javaCommand"),
        heap_used,
        heap_committed,
        source: "hsperfdata",
    }
}

//! A view of HotSpot in the model's words.

use crate::claims::{Claim, Label};
use offheap_hotspot::{Space, ThreadKind as HotSpotThreadKind, View, What};
use offheap_model::{
    DirectBuffers, Domain, HeapFigure, Jvm, NmtCategory, NmtCounters, SpaceFigure, ThreadKind,
};
use std::collections::HashMap;
use std::rc::Rc;

/// The figures of `view`; what needs the account (the heap's residency) is filled in later.
pub fn jvm(view: &View) -> Jvm {
    Jvm {
        vendor: view.vendor.clone(),
        version: view.version.clone(),
        feature: view.feature,
        gc: view.gc.clone(),
        main: offheap_model::secrets::masked([view.main.as_str()]),
        heap: HeapFigure {
            reserved_bytes: view.heap.reserved,
            max_bytes: view.heap.max,
            min_bytes: view.heap.min,
            committed_bytes: view.heap.committed,
            used_bytes: view.heap.used,
            old_used_bytes: view.heap.old_used,
            old_after_gc_bytes: view.heap.old_after_gc,
            old_max_bytes: view.heap.old_max,
            resident_bytes: 0,
            mapped_times: view.heap.mapped_times.max(1),
            source: view.heap.source.to_owned(),
        },
        metaspace: space(view.metaspace),
        class_space: space(view.class_space),
        code_cache: space(view.code_cache),
        classes: view.classes,
        classes_unloaded: view.classes_unloaded,
        class_loaders: view.class_loaders,
        references: None,
        reach: None,
        handles: None,
        direct: view.direct.map(|direct| DirectBuffers {
            count: direct.count,
            reserved_bytes: direct.reserved,
            capacity_bytes: direct.capacity,
            max_bytes: direct.max,
            hidden_bytes: None,
        }),
        nmt: view.nmt.as_ref().map(|categories| NmtCounters {
            categories: categories
                .iter()
                .filter(|category| category.malloc_bytes + category.arena_bytes + category.reserved_bytes > 0)
                .map(|category| NmtCategory {
                    name: category.name.clone(),
                    malloc_bytes: category.malloc_bytes,
                    malloc_count: category.malloc_count,
                    arena_bytes: category.arena_bytes,
                    reserved_bytes: category.reserved_bytes,
                    committed_bytes: category.committed_bytes,
                })
                .collect(),
            source: "memory".to_owned(),
        }),
        nmt_level: view.nmt_level.clone(),
        gc_young_count: view.gc_young_count,
        gc_old_count: view.gc_old_count,
        gc_old_us: view.gc_old_us,
        java_threads: view.java_threads,
        java_threads_started: view.java_threads_started,
        flags: view.flags.clone(),
    }
}

fn space(space: Space) -> SpaceFigure {
    SpaceFigure {
        reserved_bytes: space.reserved,
        committed_bytes: space.committed,
        used_bytes: space.used,
        max_bytes: space.max,
    }
}

/// The claims of `view`. Stacks are claimed by the caller, who wants each on its own.
pub fn claims(view: &View) -> Vec<Claim> {
    let mut labels: HashMap<(Domain, &str, &'static str), Rc<Label>> = HashMap::new();
    view.labels
        .iter()
        .filter_map(|label| {
            let (domain, name) = match label.what {
                What::JavaHeap => (Domain::JavaHeap, "Java heap"),
                What::Metaspace => (Domain::Metaspace, "metaspace"),
                What::ClassSpace => (Domain::Metaspace, "class space"),
                What::Cds => (Domain::Cds, label.name.as_str()),
                What::CodeCache => (Domain::CodeCache, label.name.as_str()),
                What::Gc => (Domain::Gc, label.name.as_str()),
                What::JvmInternal => (Domain::JvmInternal, label.name.as_str()),
                What::ThreadStack => return None,
            };
            let shared = labels
                .entry((domain, name, label.source))
                .or_insert_with(|| Label::new(domain, name, label.source));
            Some(Claim { start: label.start, end: label.end, label: Rc::clone(shared) })
        })
        .collect()
}

/// Whether `label` is of the Java heap.
pub fn is_java_heap(label: &offheap_hotspot::Label) -> bool {
    label.what == What::JavaHeap
}

/// The model's word for a thread's kind.
pub fn thread_kind(kind: HotSpotThreadKind) -> ThreadKind {
    match kind {
        HotSpotThreadKind::Java => ThreadKind::Java,
        HotSpotThreadKind::Compiler => ThreadKind::Compiler,
        HotSpotThreadKind::Gc => ThreadKind::Gc,
        HotSpotThreadKind::Vm => ThreadKind::Vm,
        HotSpotThreadKind::Native => ThreadKind::Native,
    }
}

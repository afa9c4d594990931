//! A walk of the C heap in the model's words.

use offheap_heaps::{ContentHint, Heap};
use offheap_model as model;

/// The figures of `heap`.
pub fn malloc(heap: &Heap) -> model::Malloc {
    model::Malloc {
        allocator: heap.allocator.to_owned(),
        allocator_version: heap.version.clone(),
        walked: heap.walked,
        exact: heap.exact,
        doubts: heap.doubts.clone(),
        system_bytes: heap.system,
        in_use_bytes: heap.in_use,
        in_use_count: heap.in_use_count,
        tcache_bytes: heap.cached,
        free_bytes: heap.free,
        top_bytes: heap.top,
        free_resident_bytes: heap.arenas.iter().map(|a| a.split.free + a.split.top + a.split.cached).sum(),
        trimmable_bytes: heap.returnable,
        mmapped_bytes: heap.large_bytes,
        mmapped_count: heap.large_count,
        arenas: heap
            .arenas
            .iter()
            .map(|arena| model::Arena {
                address: arena.address,
                main: arena.main,
                threads: arena.threads,
                system_bytes: arena.system,
                resident_bytes: arena.resident,
                in_use_bytes: arena.in_use,
                in_use_count: arena.in_use_count,
                tcache_bytes: arena.cached,
                free_bytes: arena.free,
                top_bytes: arena.top,
                trimmable_bytes: arena.returnable,
            })
            .collect(),
        size_classes: heap
            .size_classes
            .iter()
            .map(|class| model::SizeClass {
                chunk_bytes: class.chunk_bytes,
                count: class.count,
                total_bytes: class.total_bytes,
                hint: class.hint.as_ref().map(hint),
            })
            .collect(),
    }
}

fn hint(hint: &ContentHint) -> model::ContentHint {
    match hint {
        ContentHint::Vtable(name) => model::ContentHint::Vtable(name.clone()),
        ContentHint::Text(text) => model::ContentHint::Text(text.clone()),
        ContentHint::Zero => model::ContentHint::Zero,
        ContentHint::PointerInto(library) => model::ContentHint::PointerInto(library.clone()),
    }
}

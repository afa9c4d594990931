//! glibc's malloc: arenas, heaps, chunks, thread caches and large chunks in maps of their own, all
//! walked.

mod arenas;
mod caches;
mod fastbins;
mod large;
mod layout;
mod mapped;
mod sizes;
#[cfg(test)]
mod synthetic;
mod tally;
mod tcache;
mod walk;
mod window;

use crate::allocator::{HeapWalk, Version};
use crate::hints::{self, Vtables};
use crate::named::Named;
use crate::ranges::Ranges;
use crate::{Allocator, Heap, Options};
use offheap_target::Target;

pub(crate) use sizes::Sizes;
use walk::Glibc;

pub(crate) static ALLOCATOR: Allocator = Allocator {
    name: "glibc",
    gives_back_by: Some("malloc_trim(0)"),
    marks: &["gnu_get_libc_version", "ptmalloc_init"],
    libraries: &["libc.so.6", "libc-2."],
    version: Version::Text {
        part: b"GNU C Library",
        accepts: |_| true,
        take: |text| crate::identify::after(text, "version "),
    },
    open: |path| Box::new(Malloc { path: path.to_owned(), found: None, vtables: Vtables::default() }),
};

/// True where the module at `path` has glibc's malloc in it, by the shape of its main arena.
pub(crate) fn is_in(target: &dyn Target, path: &str) -> bool {
    Glibc::find(target, path).is_some()
}

/// Walks glibc's heap.
#[derive(Debug)]
struct Malloc {
    path: String,
    /// Found anew until it is settled: a process that has just started has not set its heap up yet.
    found: Option<Glibc>,
    vtables: Vtables,
}

impl HeapWalk for Malloc {
    fn walk(&mut self, target: &dyn Target, options: &Options<'_>) -> Heap {
        if !self.found.as_ref().is_some_and(|found| found.is_settled(target)) {
            self.found = Glibc::find(target, &self.path);
        }
        let Some(glibc) = &self.found else {
            let mut unknown =
                Named { allocator: ALLOCATOR.name, ranges: |_, _| Ranges::default(), belongs: |_| false };
            return unknown.walk(target, options);
        };
        let (mut heap, sizes) = glibc.walk(target, options);
        heap.source = "glibc chunk walk";
        heap.size_classes = sizes.classes();
        if options.hints {
            hints::fill(target, &mut heap.size_classes, &sizes, &mut self.vtables);
        }
        heap
    }
}

//! # Anonymous maps of native code grow
//!
//! ## Signature
//! Anonymous memory that belongs neither to the JVM nor to the C heap grows steadily to the end of
//! the window.
//!
//! ## Why
//! Native code calls `mmap` and not `munmap`: memory pools of libraries, JIT compilers of their own
//! (LuaJIT, V8, Python extensions), arenas of an allocator that is not the C library's (Go, Rust
//! with its own, .NET), GPU drivers.
//!
//! ## Confirm
//! - `offheap profile PID`: who calls `mmap`.
//! - `strace -f -e trace=mmap,munmap -p PID` for a few seconds (slows the program).
//!
//! ## Fix
//! - Unmap on every path; close the library's handles; look for the library's own limit on its pools.
//!
//! ## Example
//! *In process 4711, anonymous maps of native code grew steadily over 1 min (61 snapshots)…*

use super::Rule;
use crate::draft::{Draft, Subject};
use crate::evidence::Evidence;
use crate::growth::Freed;
use crate::series::{Key, Series};
use offheap_model::{Domain, Finding};

/// See the page.
pub struct NativeMmapGrowth;

/// The collector's tables that could not be labelled grow with the heap by this share.
/// Source: mark bitmaps are 1/64 of the heap, card tables 1/512.
const TABLES_PER_HEAP: f64 = 0.035;

impl Rule for NativeMmapGrowth {
    fn id(&self) -> &'static str {
        "native-mmap-growth"
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Option<Finding> {
        let series = beside_the_heap(evidence, Domain::NativeMmap)?;
        let growth = evidence.growth_of(&series, Freed::ByCollector, evidence.material());
        let source = evidence.source(Domain::NativeMmap);
        let subject = Subject {
            what: "anonymous maps of native code",
            meaning: "Native code maps memory and does not unmap it.",
            source: &source,
        };
        let maps = |s: &offheap_model::Snapshot| s.memory.vma_count;
        let draft = Draft::of_growth(self.id(), evidence, Domain::NativeMmap, &growth, &subject)?
            .saw(
                format!("mappings: {} → {}", maps(evidence.first()?), maps(evidence.last()?)),
                "/proc/PID/smaps",
            )
            .fix(["munmap on every path; close the library's handles; set the library's limit for its pools"])
            .confirm([
                format!("offheap profile {}: who calls mmap", evidence.pid()),
                format!("strace -f -e trace=mmap,munmap -p {} for some seconds", evidence.pid()),
            ]);
        Some(draft.finish())
    }
}

/// A domain's resident bytes less what the collector's tables account for while the heap becomes
/// resident.
pub(super) fn beside_the_heap(evidence: &Evidence<'_>, domain: Domain) -> Option<Series> {
    let series = evidence.series(&Key::Domain(domain))?;
    let heap = evidence.series(&Key::Domain(Domain::JavaHeap))?;
    Some(series.without(heap, TABLES_PER_HEAP))
}

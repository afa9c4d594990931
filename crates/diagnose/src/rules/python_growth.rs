//! # The Python heap grows
//!
//! ## Signature
//! pymalloc's arenas (objects of up to 512 bytes) grow steadily to the end of the window, and where
//! blocks are counted their number does too, and neither a container that holds most of it nor
//! another mistake was found.
//!
//! ## Why
//! A list, dict or registry that is never pruned, an `lru_cache(maxsize=None)`, reference cycles
//! through objects with `__del__`, or an extension module that forgets a `Py_DECREF`. Arenas are
//! given back only when completely empty, so a plateau is no leak.
//!
//! ## Confirm
//! - `offheap python PID --for 30s`: the types that grow; `--holders TYPE`: who holds them.
//! - `PYTHONTRACEMALLOC=10` at the next start and `tracemalloc` snapshots name the Python lines whose objects stay.
//! - `tracemalloc` in the program (slow), or `gc.get_objects()` counted by type twice.
//! - Embedded in a JVM (jep, JPype): objects are freed only when the library gets to it; `System.gc()` alone frees nothing.
//!
//! ## Fix
//! - Bound or prune the container; `lru_cache(maxsize=…)`; weak references.
//! - Extension modules: balance `Py_INCREF` and `Py_DECREF`.
//!
//! ## Example
//! *In process 4711, the Python heap grew steadily over 1 min (61 snapshots): 18.0 MiB → 49.1 MiB,
//! +520 KiB/s…*

use super::Rule;
use crate::draft::{Draft, Subject};
use crate::evidence::Evidence;
use crate::growth::Freed;
use crate::python_types::{growing, with_types};
use crate::series::Key;
use offheap_model::{Domain, Finding};

/// See the page.
pub struct PythonGrowth;

impl Rule for PythonGrowth {
    fn id(&self) -> &'static str {
        "python-growth"
    }

    fn is_of_python(&self) -> bool {
        true
    }

    fn yields_to(&self) -> &'static [&'static str] {
        &["python-interpreters", "python-lost-references", "python-container", "python-cycles"]
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Option<Finding> {
        evidence.last()?.python.as_ref()?;
        let growth =
            evidence.growth(&Key::Domain(Domain::PythonHeap), Freed::ByProgram, evidence.material())?;
        growth.status()?;
        let types = growing(evidence);
        let source = evidence.source(Domain::PythonHeap);
        let meaning = match types.first() {
            Some(kind) => format!("Python objects are made and kept, most of them {}.", kind.name),
            None => "Python objects are made and kept.".to_owned(),
        };
        let subject = Subject { what: "the Python heap", meaning: &meaning, source: &source };
        let mut draft = Draft::of_growth(self.id(), evidence, Domain::PythonHeap, &growth, &subject)?
            .fix([
                "bound or prune the container that holds the objects; lru_cache with a maxsize; weak references",
                "extension modules: balance Py_INCREF and Py_DECREF",
            ])
            .confirm([
                format!("offheap python {} --for 30s: the types that grow, and --holders TYPE who holds them", evidence.pid()),
                "PYTHONTRACEMALLOC=10 at the next start, and tracemalloc snapshots, name the Python lines".to_owned(),
                "tracemalloc.take_snapshot() twice and compare_to()".to_owned(),
            ]);
        if let Some(blocks) = evidence.trend(&Key::PythonBlocks) {
            draft =
                draft.saw(format!("pymalloc blocks: {:.0} → {:.0}", blocks.from, blocks.to), "pool headers");
        }
        Some(with_types(draft, evidence).finish())
    }
}

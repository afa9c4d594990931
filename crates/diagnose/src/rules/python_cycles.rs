//! # Python's collector is off and cycles stay
//!
//! ## Signature
//! The Python heap grows steadily to the end of the window, the interpreter's cyclic collector is
//! switched off (`gc.disable()`), and no name leads to most of the objects that came: they refer to
//! each other only.
//!
//! ## Why
//! Objects that refer to each other in a circle are freed by nobody but the collector. Programs
//! switch it off for latency, or for a benchmark, and forget it; `gc.freeze()` with later growth is
//! alike.
//!
//! ## Confirm
//! - `offheap python PID`: "its garbage collector is off".
//! - `gc.collect()` in the program returns a large number, and the Python heap stops growing for a while.
//!
//! ## Fix
//! - `gc.enable()`, or call `gc.collect()` now and then; or break the circle: weak references to parents, `close()`.
//!
//! ## Example
//! *In process 4711, the Python heap grew steadily over 1 min… It is app.Node objects that only
//! refer to each other, and the garbage collector is off (gc.disable).*

use super::Rule;
use crate::draft::Draft;
use crate::evidence::Evidence;
use crate::python_types::{GrowingType, growing, growth_of, held, subject, with_types};
use offheap_model::Finding;

/// See the page.
pub struct PythonCycles;

impl Rule for PythonCycles {
    fn id(&self) -> &'static str {
        "python-cycles"
    }

    fn is_of_python(&self) -> bool {
        true
    }

    fn yields_to(&self) -> &'static [&'static str] {
        &["python-interpreters"]
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Option<Finding> {
        let kind = cyclic(evidence)?;
        let (domain, growth) = growth_of(evidence, &kind)?;
        let meaning = format!(
            "It is {} objects that no name leads to: they refer to each other, and the garbage collector is off (gc.disable).",
            kind.name
        );
        let source = evidence.source(domain);
        let draft =
            Draft::of_growth(self.id(), evidence, domain, &growth, &subject(domain, &meaning, &source))?;
        let draft = with_types(draft, evidence)
            .fix(["gc.enable(), or gc.collect() now and then; or break the circle with weak references"])
            .confirm([
                "gc.collect() in the program: it returns how many objects it freed".to_owned(),
                format!("offheap python {} --for 30s --holders {}", evidence.pid(), kind.name),
            ]);
        Some(draft.finish())
    }
}

/// The type that only cycles hold.
fn cyclic<'a>(evidence: &Evidence<'a>) -> Option<GrowingType<'a>> {
    let collects = evidence.snapshots().iter().rev().find_map(|s| s.python.as_ref()?.collects)?;
    if collects {
        return None;
    }
    growing(evidence).into_iter().find(|kind| {
        held(evidence, kind.name)
            .is_some_and(|held| held.cut.is_empty() && held.untold() > held.looked_at / 2)
    })
}

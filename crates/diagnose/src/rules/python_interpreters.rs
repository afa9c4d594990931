//! # Python interpreters are made and never ended
//!
//! ## Signature
//! The number of CPython interpreters in the process (the main one and sub-interpreters) rises from
//! look to look, and the Python heap grows steadily to the end of the window.
//!
//! ## Why
//! Each interpreter has modules, types and caches of its own: some megabytes once a few modules are
//! imported, in the Python heap and in the C heap. jep makes one for each `SubInterpreter` (and
//! `JepConfig.createSubInterpreter`), C code with `Py_NewInterpreter`. It stays until it is ended
//! on purpose, on the thread that made it; that its Java object is garbage, or its thread has
//! ended, frees nothing.
//!
//! ## Confirm
//! - `offheap python PID`: the interpreters with their threads.
//! - jep: `jcmd PID GC.class_histogram | grep jep`: `jep.SubInterpreter` objects.
//!
//! ## Fix
//! - jep: `close()` every `Interpreter` on the thread that made it (try-with-resources), or keep one interpreter a thread of
//!   a pool; `SharedInterpreter` shares the modules.
//! - C: `Py_EndInterpreter` for every `Py_NewInterpreter`.
//!
//! ## Example
//! *In process 4711, the Python heap grew steadily over 1 min… It is what interpreters import: 12 →
//! 85 of them, and none was ended.*

use super::Rule;
use crate::draft::{Draft, Subject};
use crate::evidence::Evidence;
use crate::growth::Freed;
use crate::python_types::with_types;
use crate::series::{Key, Series};
use offheap_model::{Domain, Finding};

/// See the page.
pub struct PythonInterpreters;

/// This many interpreters must have come.
/// Unit: interpreters.
const LEAST_INTERPRETERS: f64 = 5.0;
/// Of those that came this share must have come in the second half of the looks.
const LATE: f64 = 0.25;
/// An interpreter without any module takes about this much; growth by less is of something else.
const LEAST_EACH: f64 = 64.0 * 1024.0;
/// C heap that comes with a byte of objects: tables of dicts, code, types.
/// Unit: bytes.
/// Measured: 0.6 with the modules that jep imports.
const MALLOC_PER_OBJECT: f64 = 2.0;

/// Whether none was ended, and they come to the end. They may be so few that none comes between
/// two looks.
fn only_come(looks: &Series) -> bool {
    let points = looks.points();
    let none_goes = points.iter().zip(points.iter().skip(1)).all(|(a, b)| b.v >= a.v);
    let half = points.get(points.len() / 2).map_or(0.0, |point| point.v);
    none_goes && looks.last() - half >= LATE * (looks.last() - looks.first())
}

impl Rule for PythonInterpreters {
    fn id(&self) -> &'static str {
        "python-interpreters"
    }

    fn is_of_python(&self) -> bool {
        true
    }

    fn explains(&self) -> &'static [(&'static str, f64)] {
        &[("native-malloc-growth", MALLOC_PER_OBJECT), ("jni-library-leak", MALLOC_PER_OBJECT)]
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Option<Finding> {
        let looks = evidence.series(&Key::PythonInterpreters)?;
        let more = looks.last() - looks.first();
        if more < LEAST_INTERPRETERS || !only_come(looks) {
            return None;
        }
        let growth =
            evidence.growth(&Key::Domain(Domain::PythonHeap), Freed::ByProgram, evidence.material())?;
        if growth.to - growth.from < LEAST_EACH * more {
            return None;
        }
        let words = format!("{:.0} → {:.0} interpreters, and none was ended", looks.first(), looks.last());
        let meaning = format!("It is what Python interpreters import and keep: {words}.");
        let source = evidence.source(Domain::PythonHeap);
        let subject = Subject { what: "the Python heap", meaning: &meaning, source: &source };
        let draft = Draft::of_growth(self.id(), evidence, Domain::PythonHeap, &growth, &subject)?
            .saw(words, "the interpreters' own list")
            .fix([
                "close() every interpreter on the thread that made it (jep: try-with-resources; C: Py_EndInterpreter), or reuse \
                 one for each thread of a pool",
            ])
            .confirm([format!("offheap python {}: the interpreters and their threads", evidence.pid())]);
        Some(with_types(draft, evidence).finish())
    }
}

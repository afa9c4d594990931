//! # An extension module lost references (missing `Py_DECREF`)
//!
//! ## Signature
//! The Python heap, or with objects of more than 512 bytes the C heap, grows steadily to the end of
//! the window; objects of one type make much of it, and to most of the new ones nothing in memory
//! refers, in two scans some time apart: neither Python nor C code has their address any more, so
//! nobody can ever free them.
//!
//! ## Why
//! C code made an object, or got a new reference to one (`PyObject_GetAttrString`,
//! `PySequence_GetItem`, `PyDict_SetItemString` does *not* take the caller's), and returned without
//! `Py_DECREF`. The collector cannot help: it believes the count. Nothing in Python code shows it;
//! `gc.get_referrers` finds nobody.
//!
//! ## Confirm
//! - `offheap python PID --for 30s --holders TYPE`: "nobody".
//! - `python -X dev` with a debug build: `sys.gettotalrefcount()` rises with each call of the culprit.
//!
//! ## Fix
//! - Balance every new reference with `Py_DECREF` on every path, the error paths too; `Py_SETREF`, `Py_XDECREF`, or a
//!   binding generator (Cython, pybind11, PyO3) that does it.
//!
//! ## Example
//! *In process 4711, the C heap grew steadily over 1 min… It is bytes objects that nothing refers
//! to (118 of 120 looked at): C code lost the reference, a missing Py_DECREF.*

use super::Rule;
use crate::draft::Draft;
use crate::evidence::Evidence;
use crate::python_types::{are_lost, growing, growth_of, held, subject, with_types};
use offheap_model::Finding;

/// See the page.
pub struct PythonLostReferences;

impl Rule for PythonLostReferences {
    fn id(&self) -> &'static str {
        "python-lost-references"
    }

    fn is_of_python(&self) -> bool {
        true
    }

    fn yields_to(&self) -> &'static [&'static str] {
        &["python-interpreters"]
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Option<Finding> {
        let (kind, held) = growing(evidence).into_iter().find_map(|kind| {
            let held = held(evidence, kind.name)?;
            are_lost(held).then_some((kind, held))
        })?;
        let (domain, growth) = growth_of(evidence, &kind)?;
        let meaning = format!(
            "It is {} objects that nothing refers to ({} of {} looked at): C code lost the reference, a missing Py_DECREF.",
            kind.name, held.lonely, held.looked_at
        );
        let source = evidence.source(domain);
        let draft =
            Draft::of_growth(self.id(), evidence, domain, &growth, &subject(domain, &meaning, &source))?;
        let draft = with_types(draft, evidence)
            .fix([format!(
                "the extension module that makes {} objects: Py_DECREF every new reference on every path \
                 (PyDict_SetItemString and PyList_Append take one of their own)",
                kind.name
            )])
            .confirm([format!("offheap python {} --for 30s --holders {}", evidence.pid(), kind.name)]);
        Some(draft.finish())
    }
}

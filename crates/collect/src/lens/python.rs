//! CPython: its object arenas.

use super::{Lens, Look, Sight};
use crate::claims::{Claim, Label};
use offheap_cpython::Interpreter;
use offheap_model::{Domain, Python, Snapshot};
use offheap_target::Target;
use std::rc::Rc;

/// Looks at a CPython interpreter.
#[derive(Debug, Default)]
pub(crate) struct PythonLens {
    interpreter: Option<Interpreter>,
}

impl PythonLens {
    /// The interpreter, if there is one.
    pub fn interpreter(&self) -> Option<&Interpreter> {
        self.interpreter.as_ref()
    }
}

impl Lens for PythonLens {
    fn rank(&self) -> u8 {
        3
    }

    fn open(&mut self, target: &dyn Target) {
        if self.interpreter.is_none() {
            self.interpreter = Interpreter::open(target);
        }
    }

    fn look(&mut self, look: &Look<'_>, sight: &mut Sight) {
        sight.pymalloc = self.interpreter.as_ref().map(|interpreter| interpreter.view(look.target));
    }

    fn claims(&mut self, _: &Look<'_>, sight: &Sight) -> Vec<Claim> {
        let Some(pymalloc) = &sight.pymalloc else { return Vec::new() };
        let label = Label::new(Domain::PythonHeap, "pymalloc arenas", "pool headers");
        let claim =
            |(start, end, _): &(u64, u64, u64)| Claim { start: *start, end: *end, label: Rc::clone(&label) };
        pymalloc.ranges.iter().map(claim).collect()
    }

    fn fill(&self, sight: &Sight, snapshot: &mut Snapshot) {
        let seen = self.interpreter.as_ref().zip(sight.pymalloc.as_ref());
        snapshot.python = seen.map(|(interpreter, view)| Python {
            version: interpreter.version().to_owned(),
            main: interpreter.is_main(),
            arena_bytes: view.resident,
            blocks: Some(view.blocks),
            ..Python::default()
        });
    }
}

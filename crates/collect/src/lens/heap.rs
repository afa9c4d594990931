//! The C heap: whichever allocator serves `malloc`.

use super::{Lens, Look, Sight};
use crate::account::Account;
use crate::claims::Claim;
use crate::collector::Effort;
use crate::malloc;
use crate::split::{HeapLabels, Owner, split};
use offheap_heaps::{Heap, LabelKind, Walker};
use offheap_hotspot::View;
use offheap_model::{Jvm, Snapshot};
use offheap_target::Target;
use std::rc::Rc;

/// Looks at the C heap.
#[derive(Debug, Default)]
pub(crate) struct HeapLens {
    walker: Option<Walker>,
}

impl HeapLens {
    /// Walks the C heap, but for what is the JVM's by `view`.
    pub fn walk(&self, target: &dyn Target, view: Option<&View>, effort: Effort) -> Option<Heap> {
        let walker = self.walker.as_ref()?;
        let exclude: Vec<(u64, u64)> = view
            .map_or_else(Vec::new, |view| view.labels.iter().map(|label| (label.start, label.end)).collect());
        let options = offheap_heaps::Options {
            size_classes: true,
            hints: effort.deep,
            budget_bytes: effort.heap_budget,
            exclude: &exclude,
            chunks: &[],
        };
        Some(walker.walk(target, &options))
    }
}

/// A JVM of which nothing is known, for the split.
static EMPTY_JVM: std::sync::LazyLock<Jvm> = std::sync::LazyLock::new(Jvm::default);

impl Lens for HeapLens {
    fn rank(&self) -> u8 {
        4
    }

    fn open(&mut self, target: &dyn Target) {
        if self.walker.is_none() {
            self.walker = Walker::open(target);
        }
    }

    fn look(&mut self, look: &Look<'_>, sight: &mut Sight) {
        let Some(heap) = self.walk(look.target, sight.view.as_ref(), look.effort) else { return };
        let labels = HeapLabels::new(&heap);
        sight.heap = Some((heap, labels));
    }

    fn claims(&mut self, _: &Look<'_>, sight: &Sight) -> Vec<Claim> {
        let Some((heap, labels)) = &sight.heap else { return Vec::new() };
        let claim = |label: &offheap_heaps::Label| Claim {
            start: label.start,
            end: label.end,
            label: Rc::clone(match label.kind {
                LabelKind::Arena { .. } | LabelKind::UnwalkedArena { .. } => &labels.arenas,
                LabelKind::MmappedChunk => &labels.mapped,
                LabelKind::UnwalkedHeap => &labels.unwalked,
            }),
        };
        heap.labels.iter().map(claim).collect()
    }

    fn split(&mut self, _: &Look<'_>, sight: &mut Sight, account: &mut Account, _: &mut Snapshot) {
        let Some((heap, labels)) = &sight.heap else { return };
        let owner = match &sight.jvm {
            None if sight.blind.is_some() => Owner::Unknown(&EMPTY_JVM),
            None => Owner::Program,
            Some(jvm) => match &jvm.nmt {
                Some(nmt) => Owner::Counted(jvm, nmt),
                None => Owner::Unknown(jvm),
            },
        };
        split(account, heap, labels, owner, sight.uncounted.unwrap_or(0));
    }

    fn fill(&self, sight: &Sight, snapshot: &mut Snapshot) {
        snapshot.malloc = sight.heap.as_ref().map(|(heap, _)| malloc::malloc(heap));
    }
}

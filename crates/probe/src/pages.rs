//! Pages that became resident outside of the arenas: in blocks of malloc so large that they have a mapping of their own, and in
//! anonymous mappings. Such blocks are too rare for bursts to meet, and grow without an allocation as they are filled; who is
//! first to write to their pages is met all along.

use crate::faults::{Fault, Faults};
use crate::modules::Modules;
use offheap_heaps::{Label, LabelKind};
use offheap_linux::{PAGE, Process, Vma};
use std::collections::HashMap;
use std::time::Duration;

/// Pages that are remembered.
const MAX_PAGES: usize = 1 << 16;
/// A transparent huge page (x86-64 and aarch64 with pages of 4 KiB).
const HUGE: u64 = 2 << 20;

/// What is written to for the first time this far above the stack pointer is the stack: glibc's threads have 8 MiB, unless told.
const STACK: u64 = 8 << 20;

/// A sampled page that is resident.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Page {
    /// When it was first written to, since the begin.
    pub at: Duration,
    /// Bytes that it stands for.
    pub bytes: f64,
    /// Index into [`Sampler::stacks`](crate::Sampler::stacks): the code that was first to write to it.
    pub stack: usize,
    /// It belongs to a block of malloc; else to a mapping that the program made itself.
    pub is_block: bool,
}

/// A page as it was met.
struct Met {
    at: Duration,
    faults: f64,
    stack: usize,
}

/// The pages of a process.
#[derive(Default)]
pub struct Pages {
    faults: Faults,
    /// By their address.
    met: HashMap<u64, Met>,
}

impl Pages {
    /// Whether pages are sampled at all.
    pub fn is_on(&self) -> bool {
        self.faults.is_on()
    }

    /// Takes what came since the last time. `number` gives a stack its number, if there is room for it.
    pub fn step(
        &mut self,
        threads: &[i32],
        vmas: &[Vma],
        modules: &mut Modules,
        now: Duration,
        mut number: impl FnMut(Vec<u64>) -> Option<usize>,
    ) {
        self.faults.follow(threads);
        let met = &mut self.met;
        self.faults.drain(|fault| {
            let address = fault.address & !(PAGE - 1);
            if !is_of_interest(&fault, vmas) || met.len() >= MAX_PAGES && !met.contains_key(&address) {
                return;
            }
            let frames = modules.unwind_here(&fault.registers, &fault.stack);
            if let Some(stack) = number(frames) {
                // Of two at one address the later one: the earlier page is gone.
                met.insert(address, Met { at: now, faults: fault.weight, stack });
            }
        });
    }

    /// Forgets the pages that are gone, and those in the arenas, whose blocks are what counts.
    pub fn forget(&mut self, process: &Process, labels: &[Label]) {
        let Ok(pagemap) = process.pagemap() else { return };
        self.met.retain(|address, _| {
            let in_arena = label_of(labels, *address).is_some_and(|label| {
                matches!(label.kind, LabelKind::Arena { .. } | LabelKind::UnwalkedArena { .. })
            });
            !in_arena && (pagemap.is_present(*address) || pagemap.is_swapped(*address))
        });
    }

    /// Those that are resident, as far as [`Pages::forget`] knows; of `smaps` only what tells huge pages is taken.
    pub fn list(&self, smaps: &[Vma], labels: &[Label]) -> Vec<Page> {
        let page = |(address, met): (&u64, &Met)| {
            let is_block =
                label_of(labels, *address).is_some_and(|label| label.kind == LabelKind::MmappedChunk);
            let bytes = vma_of(smaps, *address).map_or(0.0, bytes_of_a_fault);
            Page { at: met.at, bytes: met.faults * bytes, stack: met.stack, is_block }
        };
        self.met.iter().map(page).collect()
    }
}

/// Private anonymous memory that is neither brk's nor the stack that the thread ran on.
fn is_of_interest(fault: &Fault, vmas: &[Vma]) -> bool {
    vma_of(vmas, fault.address).is_some_and(|vma| {
        // The kernel merges a thread's stack with a map that lies above it, so not by the mapping.
        let sp = fault.registers.sp;
        let is_stack = (sp.saturating_sub(PAGE)..sp.saturating_add(STACK)).contains(&fault.address);
        let is_anonymous = vma.inode == 0 && (vma.path.is_empty() || vma.path.starts_with("[anon:"));
        is_anonymous && vma.write && !vma.shared && !is_stack
    })
}

/// How many bytes of such a mapping one fault made resident, on average.
fn bytes_of_a_fault(vma: &Vma) -> f64 {
    let small = vma.anonymous.saturating_sub(vma.anon_huge) / PAGE;
    let faults = small + vma.anon_huge.div_ceil(HUGE);
    if faults == 0 { PAGE as f64 } else { vma.anonymous as f64 / faults as f64 }
}

fn vma_of(vmas: &[Vma], address: u64) -> Option<&Vma> {
    let vma = vmas.get(vmas.partition_point(|vma| vma.end <= address))?;
    (vma.start <= address).then_some(vma)
}

fn label_of(labels: &[Label], address: u64) -> Option<&Label> {
    let label = labels.get(labels.partition_point(|label| label.end <= address))?;
    (label.start <= address).then_some(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_in_huge_pages_stands_for_all_of_one() {
        let of = |anonymous, anon_huge| bytes_of_a_fault(&Vma { anonymous, anon_huge, ..Vma::default() });
        assert_eq!(of(0, 0), 4096.0);
        assert_eq!(of(400 << 20, 0), 4096.0);
        assert_eq!(of(400 << 20, 400 << 20), (2 << 20) as f64);
        let half = of(4 << 20, 2 << 20);
        assert_eq!(half, (4 << 20) as f64 / 513.0);
    }
}

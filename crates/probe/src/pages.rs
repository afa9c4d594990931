//! Pages that became resident outside of the arenas: in blocks of malloc so large that they have a mapping of their own, and in
//! anonymous mappings. Such blocks are too rare for bursts to meet, and grow without an allocation as they are filled; who is
//! first to write to their pages is met all along.

use crate::faults::{Fault, Faults};
use crate::modules::Modules;
use offheap_heaps::{Label, LabelKind};
use offheap_linux::{PAGE, Pagemap, Process, Vma};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Pages that are remembered.
const MAX_PAGES: usize = 1 << 16;
/// A transparent huge page (x86-64 and aarch64 with pages of 4 KiB).
const HUGE: u64 = 2 << 20;

/// How often what came is looked at. What is mapped for a moment and unmapped again is gone by then, or at one of the looks that
/// follow, before its addresses are another's.
const LOOK: Duration = Duration::from_millis(10);
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
pub struct Pages {
    watch: Arc<Watch>,
    thread: Option<JoinHandle<()>>,
    /// By their address.
    met: HashMap<u64, Met>,
}

/// What looks every few milliseconds.
struct Watch {
    faults: Mutex<Faults>,
    is_over: AtomicBool,
}

impl Watch {
    fn faults(&self) -> MutexGuard<'_, Faults> {
        // A look that broke down leaves nothing half done.
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, pagemap: &Pagemap) {
        while !self.is_over.load(Ordering::Relaxed) {
            self.faults().look(|address| stays(pagemap, address));
            std::thread::sleep(LOOK);
        }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.watch.is_over.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Pages {
    /// Of `process`; without a page map there are none.
    pub fn of(process: &Process) -> Pages {
        let watch = Arc::new(Watch { faults: Mutex::default(), is_over: AtomicBool::new(false) });
        let own = Arc::clone(&watch);
        let thread = process.pagemap().ok().map(|pagemap| std::thread::spawn(move || own.run(&pagemap)));
        Pages { watch, thread, met: HashMap::new() }
    }

    /// Whether pages are sampled at all.
    pub fn is_on(&self) -> bool {
        self.watch.faults().is_on()
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
        if self.thread.is_none() {
            return;
        }
        let mut all = self.watch.faults();
        all.follow(threads);
        let met = &mut self.met;
        all.take(|fault, faults| {
            let address = fault.address & !(PAGE - 1);
            if !is_of_interest(&fault, vmas) || met.len() >= MAX_PAGES && !met.contains_key(&address) {
                return;
            }
            let frames = modules.unwind_here(&fault.registers, &fault.stack);
            if let Some(stack) = number(frames) {
                // Of two at one address the later one: the earlier page is gone.
                met.insert(address, Met { at: now, faults, stack });
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
            !in_arena && stays(&pagemap, *address)
        });
    }

    /// Those that are resident, as far as [`Pages::forget`] knows; of `smaps` is taken what tells huge pages, and that no more can be
    /// in a mapping than is resident there.
    pub fn list(&self, smaps: &[Vma], labels: &[Label]) -> Vec<Page> {
        let mut in_vma: HashMap<u64, f64> = HashMap::new();
        let mut pages: Vec<(Page, &Vma)> = Vec::with_capacity(self.met.len());
        for (address, met) in &self.met {
            let Some(vma) = vma_of(smaps, *address) else { continue };
            let bytes = met.faults * bytes_of_a_fault(vma);
            *in_vma.entry(vma.start).or_default() += bytes;
            let is_block =
                label_of(labels, *address).is_some_and(|label| label.kind == LabelKind::MmappedChunk);
            pages.push((Page { at: met.at, bytes, stack: met.stack, is_block }, vma));
        }
        for (page, vma) in &mut pages {
            let all = in_vma.get(&vma.start).copied().unwrap_or(0.0).max(1.0);
            page.bytes *= ((vma.anonymous + vma.swap) as f64 / all).min(1.0);
        }
        pages.into_iter().map(|(page, _)| page).collect()
    }
}

fn stays(pagemap: &Pagemap, address: u64) -> bool {
    pagemap.is_present(address) || pagemap.is_swapped(address)
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

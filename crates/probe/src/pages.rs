//! Pages that became resident outside of the arenas: in blocks of malloc so large that they have a
//! mapping of their own, and in anonymous mappings. Such blocks are too rare for bursts to meet,
//! and grow without an allocation as they are filled; who is first to write to their pages is met
//! all along.

use crate::faults::{Fault, Faults};
use crate::modules::Modules;
use offheap_heaps::{Label, LabelKind};
use offheap_linux::arch::huge_page_bytes;
use offheap_linux::{Pagemap, Process, Vma, page_bytes, page_start};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// Pages that are remembered.
const MAX_PAGES: usize = 1 << 16;

/// How often what came is looked at. What is mapped for a moment and unmapped again is gone by
/// then, or at one of the looks that follow, before its addresses are another's.
const BETWEEN_READS: Duration = Duration::from_millis(10);
/// What is written to for the first time this far above the stack pointer is the stack: glibc's
/// threads have 8 MiB, unless told.
const STACK: u64 = 8 << 20;

/// A sampled page that is resident.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Page {
    /// When it was first written to, since the begin.
    pub at: Duration,
    /// Bytes that it stands for.
    pub bytes: f64,
    /// Index into [`Sampler::stacks`](crate::Sampler::stacks): the code that was first to write to
    /// it.
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
    /// The mappings when it began.
    begin: Vec<Vma>,
    /// By their address.
    met: HashMap<u64, Met>,
    /// Only one page of 2 to the power of this is remembered.
    thinned: u32,
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
            std::thread::sleep(BETWEEN_READS);
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
        let looks = |pagemap: Pagemap| Builder::new().spawn(move || own.run(&pagemap)).ok();
        let thread = process.pagemap().ok().and_then(looks);
        let begin = process.residency().map_or_else(|_| Vec::new(), |residency| residency.vmas);
        Pages { watch, thread, begin, met: HashMap::new(), thinned: 0 }
    }

    /// Whether the pages of the thread `tid` are sampled.
    pub fn follows(&self, tid: i32) -> bool {
        self.watch.faults().follows(tid)
    }

    /// Leaves memory for buffers to others.
    pub fn give_way(&self) {
        self.watch.faults().give_way();
    }

    /// Takes what came since the last time. `number` gives a stack its number, if there is room for
    /// it.
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
        let (met, thinned) = (&mut self.met, &mut self.thinned);
        // First what came by threads that may have ended.
        all.take(|fault, faults| {
            let address = page_start(fault.address);
            if !is_of_interest(&fault, vmas) || !is_among(address, *thinned) {
                return;
            }
            if met.len() >= MAX_PAGES {
                // Half of them stand for all.
                *thinned += 1;
                met.retain(|address, met| {
                    met.faults *= 2.0;
                    is_among(*address, *thinned)
                });
            }
            let frames = modules.unwind_here(&fault.registers, &fault.stack);
            if let Some(stack) = number(frames) {
                // Of two at one address the later one: the earlier page is gone.
                let faults = faults * f64::from(1u32 << (*thinned).min(30));
                met.insert(address, Met { at: now, faults, stack });
            }
        });
        all.follow(threads);
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

    /// Those that are resident, as far as [`Pages::forget`] knows; of `smaps` is taken by how much
    /// each mapping has grown since the begin: no more can be in it, whatever else faulted there
    /// (copies on write, pages that were swapped out).
    pub fn list(&self, smaps: &[Vma], labels: &[Label]) -> Vec<Page> {
        let mut in_vma: HashMap<u64, (Growth, f64)> = HashMap::new();
        let mut pages: Vec<(Page, u64)> = Vec::with_capacity(self.met.len());
        for (address, met) in &self.met {
            let Some(vma) = vma_of(smaps, *address) else { continue };
            let (growth, all) =
                in_vma.entry(vma.start).or_insert_with(|| (Growth::of(vma, &self.begin), 0.0));
            let bytes = met.faults * growth.of_a_fault();
            *all += bytes;
            let is_block =
                label_of(labels, *address).is_some_and(|label| label.kind == LabelKind::MmappedChunk);
            pages.push((Page { at: met.at, bytes, stack: met.stack, is_block }, vma.start));
        }
        for (page, vma) in &mut pages {
            if let Some((growth, all)) = in_vma.get(vma) {
                page.bytes *= ((growth.small + growth.huge) as f64 / all.max(1.0)).min(1.0);
            }
        }
        pages.into_iter().map(|(page, _)| page).collect()
    }
}

/// Whether the page at `address` is one of those that are remembered where one of 2 to the power of
/// `thinned` is.
fn is_among(address: u64, thinned: u32) -> bool {
    // The high bits of a product depend on all bits of the number (Knuth's multiplicative hash).
    let hash = (address / page_bytes()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    thinned == 0 || hash.leading_zeros() >= thinned
}

fn stays(pagemap: &Pagemap, address: u64) -> bool {
    pagemap.is_present(address) || pagemap.is_swapped(address)
}

/// Private anonymous memory that is neither brk's nor the stack that the thread ran on.
fn is_of_interest(fault: &Fault, vmas: &[Vma]) -> bool {
    vma_of(vmas, fault.address).is_some_and(|vma| {
        // The kernel merges a thread's stack with a map that lies above it, so not by the mapping.
        let sp = fault.registers.sp;
        let is_stack = (vma.start..vma.end).contains(&sp)
            && (sp.saturating_sub(page_bytes())..sp.saturating_add(STACK)).contains(&fault.address);
        let is_anonymous = vma.inode == 0 && (vma.path.is_empty() || vma.path.starts_with("[anon:"));
        is_anonymous && vma.write && !vma.shared && !is_stack
    })
}

/// What became resident in a mapping: bytes in small pages and in huge ones.
#[derive(Debug, Clone, Copy)]
struct Growth {
    small: u64,
    huge: u64,
}

impl Growth {
    /// Of `vma` since `begin`, when it may have been several.
    fn of(vma: &Vma, begin: &[Vma]) -> Growth {
        let first = begin.partition_point(|before| before.end <= vma.start);
        let before = begin.iter().skip(first).take_while(|before| before.start < vma.end);
        let before: Vec<&Vma> = before.filter(|before| before.inode == vma.inode).collect();
        let sum = |of: fn(&Vma) -> u64| before.iter().map(|before| of(before)).sum::<u64>();
        let small = |vma: &Vma| (vma.anonymous + vma.swap).saturating_sub(vma.anon_huge);
        Growth {
            small: small(vma).saturating_sub(sum(small)),
            huge: vma.anon_huge.saturating_sub(sum(|before| before.anon_huge)),
        }
    }

    /// How many bytes one fault made resident, on average.
    fn of_a_fault(self) -> f64 {
        let faults = self.small / page_bytes() + self.huge.div_ceil(huge_page_bytes());
        if faults == 0 { page_bytes() as f64 } else { (self.small + self.huge) as f64 / faults as f64 }
    }
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

    fn vma(start: u64, end: u64, anonymous: u64, anon_huge: u64) -> Vma {
        Vma { start, end, anonymous, anon_huge, ..Vma::default() }
    }

    #[test]
    fn a_fault_in_huge_pages_stands_for_all_of_one() {
        let of = |anonymous, huge| Growth::of(&vma(0, 1 << 30, anonymous, huge), &[]).of_a_fault();
        assert_eq!(of(0, 0), 4096.0);
        assert_eq!(of(400 << 20, 0), 4096.0);
        assert_eq!(of(400 << 20, 400 << 20), (2 << 20) as f64);
        assert_eq!(of(4 << 20, 2 << 20), (4 << 20) as f64 / 513.0);
    }

    #[test]
    fn what_was_there_at_the_begin_is_no_growth() {
        let begin = [
            vma(0x1000, 0x2000, 4096, 0),
            vma(1 << 30, 2 << 30, 1 << 30, 1 << 30),
            vma(3 << 30, 4 << 30, 9, 0),
        ];
        // It has grown downwards, and was joined with another.
        let growth = Growth::of(&vma(1 << 29, 3 << 30, (1 << 30) + (40 << 20), 1 << 30), &begin);
        assert_eq!((growth.small, growth.huge), (40 << 20, 0));
        assert_eq!(growth.of_a_fault(), 4096.0);
    }

    #[test]
    fn the_more_pages_the_fewer_are_remembered() {
        let among = |thinned| (0..1u64 << 16).filter(|page| is_among(page * page_bytes(), thinned)).count();
        assert_eq!(among(0), 1 << 16);
        for thinned in 1..5 {
            let share = among(thinned) as f64 * f64::from(1 << thinned) / f64::from(1 << 16);
            assert!((0.9..1.1).contains(&share), "{thinned}: {share}");
            assert!(
                (0..1000u64).all(|page| !is_among(page * page_bytes(), thinned + 1)
                    || is_among(page * page_bytes(), thinned))
            );
        }
    }
}

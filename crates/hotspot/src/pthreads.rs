//! The C library's own list of threads, found by shape.
//!
//! glibc keeps a `struct pthread` at the top of each stack it allocates, chained in a ring
//! (nptl/descr.h, nptl/allocatestack.c: `stack_used`, and `stack_cache` for stacks kept after their
//! thread ended). Its layout differs from release to release, so the places of the thread id, the
//! links and the stack block are taken from threads of which all three are known: Java's.

use crate::target::{Peek, Target, word};
use offheap_target::arch::END_OF_ADDRESSES;
use offheap_target::page_bytes;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

/// Bytes of a `struct pthread` that are searched; it has at most 2,304.
const STRUCT: usize = 2304;
/// Java threads compared.
const SAMPLES: usize = 4;
/// Bytes a guard and the alignment may add to a stack.
const MAX_GUARD: u64 = 4 << 20;
/// More threads than are followed.
const MAX_THREADS: usize = 100_000;
/// Bytes around one list's head where the head of the other list is looked for.
const HEADS: u64 = 128;

/// A thread of which everything is known.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    /// Address of its `struct pthread`.
    pub(crate) pthread: u64,
    pub(crate) tid: i32,
    /// Without the C library's guard.
    pub(crate) stack: Range<u64>,
}

/// The stacks the C library allocated.
#[derive(Debug, Default)]
pub(crate) struct Stacks {
    /// By thread id, guard included.
    pub(crate) of: HashMap<i32, Range<u64>>,
    /// Kept after their thread ended.
    pub(crate) cached: Vec<Range<u64>>,
}

/// Offsets in a `struct pthread`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Layout {
    tid: usize,
    /// Address and size of the block follow each other.
    block: usize,
}

impl Layout {
    /// Two pointers, to the next and the previous thread's, right before the id.
    fn links(self) -> u64 {
        self.tid as u64 - 16
    }
}

/// Reads the stacks of all threads; nothing where the C library is not glibc or the shape is not
/// found.
pub(crate) fn stacks(target: &dyn Target, known: &[Known], is_thread: impl Fn(i32) -> bool) -> Stacks {
    find(target, known, is_thread).unwrap_or_default()
}

fn find(target: &dyn Target, known: &[Known], is_thread: impl Fn(i32) -> bool) -> Option<Stacks> {
    // A stack made by the kernel (the primordial thread's) has no block.
    let samples: Vec<(&Known, Vec<u8>)> = known
        .iter()
        .filter(|known| {
            known.stack.start < known.pthread && known.pthread < known.stack.end.saturating_add(MAX_GUARD)
        })
        .filter(|known| target.vma(known.pthread).is_some_and(|vma| vma.path.is_empty()))
        .filter_map(|known| Some((known, readable(target, known.pthread)?)))
        .take(SAMPLES)
        .collect();
    let layout = layout(&samples)?;
    let start = samples.first()?.0.pthread.checked_add(layout.links())?;
    let mut stacks = Stacks::default();
    let mut heads = Vec::new();
    ring(target, start, |links| {
        match thread(target, layout, links) {
            Some((tid, block)) if is_thread(tid) => {
                stacks.of.insert(tid, block);
            }
            // The ring's head is no thread; it lies in the library's data.
            _ => heads.push(links),
        }
    });
    let &[head] = heads.as_slice() else { return Some(stacks) };
    // The other lists' heads lie around it.
    let mut near: Vec<u64> = (head.saturating_sub(HEADS)..head.saturating_add(HEADS)).step_by(8).collect();
    near.retain(|at| at.abs_diff(head) >= 16 && is_ring(target, *at));
    let mut seen = HashSet::new();
    for head in near {
        ring(target, head, |links| {
            if links != head
                && seen.insert(links)
                && let Some((tid, block)) = thread(target, layout, links)
                && !is_thread(tid)
            {
                stacks.cached.push(block);
            }
        });
    }
    Some(stacks)
}

/// As much of the structure as can be read: it may end at the end of a mapping.
fn readable(target: &dyn Target, pthread: u64) -> Option<Vec<u8>> {
    let words = target.words_while_readable(pthread, STRUCT / 8);
    (words.len() > 100).then(|| words.into_iter().flat_map(u64::to_le_bytes).collect())
}

/// Where all samples have their id and a block around their stack.
fn layout(samples: &[(&Known, Vec<u8>)]) -> Option<Layout> {
    let everywhere =
        |fits: &dyn Fn(&Known, &[u8]) -> bool| samples.iter().all(|(known, bytes)| fits(known, bytes));
    let tid = (16..STRUCT).step_by(4).find(|at| {
        everywhere(&|known, bytes| {
            bytes.get(*at..at + 4).is_some_and(|bytes| bytes == known.tid.to_le_bytes())
        })
    })?;
    let block = (0..STRUCT).step_by(8).find(|at| {
        everywhere(&|known, bytes| {
            let Some((start, size)) = pair(bytes, *at) else { return false };
            is_block(start, size)
                && start <= known.stack.start
                && start + size >= known.stack.end
                && size <= (known.stack.end - known.stack.start).saturating_add(MAX_GUARD)
        })
    })?;
    (samples.len() >= 2).then_some(Layout { tid, block })
}

fn pair(bytes: &[u8], at: usize) -> Option<(u64, u64)> {
    Some((word(bytes.get(at..at + 8)?), word(bytes.get(at + 8..at + 16)?)))
}

fn is_block(start: u64, size: u64) -> bool {
    start != 0
        && start.is_multiple_of(page_bytes())
        && size.is_multiple_of(page_bytes())
        && size != 0
        && size < 1 << 40
        && start < END_OF_ADDRESSES
}

/// Id and stack block of the thread whose links are at `links`.
fn thread(target: &dyn Target, layout: Layout, links: u64) -> Option<(i32, Range<u64>)> {
    let pthread = links.checked_sub(layout.links())?;
    let tid = target.i32(pthread.checked_add(layout.tid as u64)?)?;
    let bytes: [u8; 16] = target.array(pthread.checked_add(layout.block as u64)?)?;
    let (start, size) = pair(&bytes, 0)?;
    // The structure lies inside the block it describes.
    (is_block(start, size) && (start..start + size).contains(&pthread)).then(|| (tid, start..start + size))
}

/// Calls `look` with each element of the ring, the first one included, as long as its links agree.
fn ring(target: &dyn Target, start: u64, mut look: impl FnMut(u64)) {
    let mut at = start;
    for _ in 0..MAX_THREADS {
        look(at);
        let Some(next) = target.pointer(at) else { return };
        if next == start || target.u64(next.wrapping_add(8)) != Some(at) {
            return;
        }
        at = next;
    }
}

/// True where a ring's links at `at` agree with its neighbours'.
fn is_ring(target: &dyn Target, at: u64) -> bool {
    let Some([next, previous]) = target.words(at, 2).and_then(|words| words.first_chunk::<2>().copied())
    else {
        return false;
    };
    next != 0
        && previous != 0
        && target.u64(next.wrapping_add(8)) == Some(at)
        && target.u64(previous) == Some(at)
}

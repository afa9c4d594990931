//! The arenas and the heaps they consist of (`heap_info` in glibc's malloc/arena.c).

use super::layout::{Layout, MAX_ARENAS};
use offheap_target::arch::END_OF_ADDRESSES;
use offheap_target::{Reads, Target, page_bytes, page_start};

/// How heaps may be aligned and how large one gets at most: 64 MiB (`HEAP_MAX_SIZE`), or from 2.35
/// to 2.41 with the tunable `glibc.malloc.hugetlb=2` four huge pages: of 2 MiB, 32 MiB, 512 MiB, 1
/// GiB.
const HEAP_SIZES: [u64; 5] = [64 << 20, 8 << 20, 128 << 20, 2 << 30, 4 << 30];
/// More heaps than this in one arena are no heaps: at 64 MiB each this is 4 TiB.
const MAX_HEAPS: usize = 65_536;
/// `MINSIZE`: no chunk is smaller.
pub(super) const MIN_CHUNK: u64 = 32;
/// Set in a chunk's size while the chunk before it is in use.
pub(super) const PREV_INUSE: u64 = 1;
/// Set in a chunk's size where it has a map of its own.
pub(super) const IS_MMAPPED: u64 = 2;
/// Set in a chunk's size where it is not of the main arena.
pub(super) const NON_MAIN_ARENA: u64 = 4;
/// All the flags.
pub(super) const FLAGS: u64 = 7;

/// A `malloc_state` as it was read.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    pub address: u64,
    pub main: bool,
    /// `contiguous()` is false: the main arena has memory besides the brk heap.
    pub scattered: bool,
    /// Address of the top chunk; 0 while the arena has no memory.
    pub top: u64,
    pub threads: Option<u64>,
    pub system: u64,
    /// Heads of the fastbin lists.
    pub fastbins: Vec<u64>,
    /// Where its chunks are.
    pub segments: Vec<Segment>,
}

/// A range in which one chunk follows the other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Segment {
    /// Where the range starts; before the first chunk there may be structures.
    pub base: u64,
    /// The first chunk.
    pub first: u64,
    /// Where the range ends. For a range that ends in fence posts this is a limit, not the end.
    pub end: u64,
    /// True where `end` is just a limit.
    pub open_ended: bool,
    /// True for memory of the main arena.
    pub main: bool,
    /// The arena's top chunk, wherever that is.
    pub top: u64,
}

/// Reads the ring of arenas. The second value says what did not fit.
pub(super) fn read(memory: &dyn Target, layout: &Layout, sbrk_base: u64) -> (Vec<State>, Vec<String>) {
    let mut states = Vec::new();
    let mut doubts = Vec::new();
    let mut address = layout.main_arena;
    loop {
        let Some((state, next)) = read_state(memory, layout, address) else {
            doubts.push(format!("the arena at {address:#x} could not be read"));
            break;
        };
        states.push(state);
        address = next;
        if address == layout.main_arena {
            break;
        }
        if states.len() >= MAX_ARENAS {
            doubts.push("the ring of arenas does not close".to_owned());
            break;
        }
    }
    let heap_size = heap_size(memory, &states);
    for state in &mut states {
        if state.top == 0 {
            continue;
        }
        if state.main {
            state.segments.extend(main_segment(memory, state, sbrk_base));
        } else {
            match heaps(memory, layout, state, heap_size) {
                Some(segments) => state.segments = segments,
                None => {
                    doubts.push(format!("the heaps of the arena at {:#x} could not be told", state.address))
                }
            }
        }
    }
    (states, doubts)
}

fn read_state(memory: &dyn Target, layout: &Layout, address: u64) -> Option<(State, u64)> {
    // Nothing in there, flags and counts included, has its highest bits set.
    let word = |offset: u64| {
        let word = memory.u64(address.checked_add(offset)?).ok()?;
        (word < END_OF_ADDRESSES).then_some(word)
    };
    let top = word(layout.top())?;
    // Before its first use an arena's top is a dummy: the first bin.
    let top = if top == address + layout.bins - 16 { 0 } else { top };
    let fastbins = match layout.fastbins() {
        Some(first) => (0..10).map(|bin| word(first + bin * 8)).collect::<Option<_>>()?,
        None => Vec::new(),
    };
    let state = State {
        address,
        main: address == layout.main_arena,
        // NONCONTIGUOUS_BIT of flags, which follow the 32-bit mutex.
        scattered: memory.u32(address.checked_add(4)?).ok()? & 2 != 0,
        top,
        threads: if layout.has_attached { Some(word(layout.next() + 16)?) } else { None },
        system: word(layout.system_mem())?,
        fastbins,
        segments: Vec::new(),
    };
    Some((state, word(layout.next())?))
}

/// The first heap's alignment that makes every arena's top lead to a heap of that arena.
fn heap_size(memory: &dyn Target, states: &[State]) -> u64 {
    let fits = |size: u64| {
        states
            .iter()
            .filter(|state| !state.main && state.top != 0)
            .all(|state| memory.u64(state.top & !(size - 1)) == Ok(state.address))
    };
    HEAP_SIZES.into_iter().find(|size| fits(*size)).unwrap_or(HEAP_SIZES[0])
}

/// `heap_info` starts with the arena's address, the heap before it, and its size. The first heap
/// holds the `malloc_state`.
fn heaps(memory: &dyn Target, layout: &Layout, state: &State, heap_size: u64) -> Option<Vec<Segment>> {
    let first_heap = page_start(state.address);
    // 0x20 up to 2.34, 0x30 from 2.35.
    let header = state.address - first_heap;
    let mut segments = Vec::new();
    let mut heap = state.top & !(heap_size - 1);
    while segments.len() < MAX_HEAPS {
        if memory.u64(heap).ok()? != state.address {
            return None;
        }
        let before = memory.u64(heap + 8).ok()?;
        let size = memory.u64(heap + 16).ok()?;
        if before >= END_OF_ADDRESSES || size > heap_size || size % page_bytes() != 0 || size <= header {
            return None;
        }
        let first = if heap == first_heap { state.address + layout.state_size() } else { heap + header };
        segments.push(Segment {
            base: heap,
            first: first.next_multiple_of(16),
            end: heap.checked_add(size)?,
            open_ended: false,
            main: false,
            top: state.top,
        });
        if before == 0 {
            segments.sort_unstable_by_key(|segment| segment.base);
            return Some(segments);
        }
        heap = before;
    }
    None
}

/// What `sbrk` gave the main arena. Where brk was blocked there is more, or this is not all:
/// [`super::regions`].
fn main_segment(memory: &dyn Target, state: &State, sbrk_base: u64) -> Option<Segment> {
    let base =
        if sbrk_base != 0 { sbrk_base } else { memory.vmas().iter().find(|vma| vma.path == "[heap]")?.start };
    let limit = end_of_mapped(memory, base)?;
    let segment =
        Segment { base, first: base.next_multiple_of(16), main: true, top: state.top, ..Segment::default() };
    if (base..limit).contains(&state.top) {
        let size = memory.u64(state.top + 8).ok()? & !FLAGS;
        return Some(Segment { end: state.top.checked_add(size)?.min(limit), ..segment });
    }
    Some(Segment { end: limit, open_ended: true, ..segment })
}

/// Where the writable anonymous memory around `address` ends; maps that touch count as one.
pub(super) fn end_of_mapped(memory: &dyn Target, address: u64) -> Option<u64> {
    let vma = memory.vma(address)?;
    let mut end = vma.end;
    while let Some(next) =
        memory.vma(end).filter(|next| next.is_anonymous() && next.write && next.path == vma.path)
    {
        end = next.end;
    }
    Some(end)
}

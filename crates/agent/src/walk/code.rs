//! HotSpot's code cache: its heaps, and the blobs (methods, stubs, the interpreter) in them.
//! Sources: hotspot memory/heap.cpp, code/codeBlob.hpp, code/codeCache.cpp.
//!
//! Code heap memory is never given back, so what lies in its committed part is read as it is.

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize};

use super::vmstructs::{self, Field, get};
use crate::guard::peek;

/// Most code heaps that a code cache has: non-nmethods, profiled, non-profiled, hot (JDK 26), and
/// room.
const MAX_HEAPS: usize = 8;
/// A code heap: none of this changes but what `committed_end` points to.
struct Heap {
    low: AtomicU64,
    /// Where the VM keeps the end of the committed part, which moves up.
    committed_end: AtomicU64,
    segments: AtomicU64,
    shift: AtomicU32,
}
static HEAPS: [Heap; MAX_HEAPS] = [const {
    Heap {
        low: AtomicU64::new(0),
        committed_end: AtomicU64::new(0),
        segments: AtomicU64::new(0),
        shift: AtomicU32::new(0),
    }
}; MAX_HEAPS];
/// Code heaps, once the VM has made them.
static HEAP_COUNT: AtomicUsize = AtomicUsize::new(0);
/// All code heaps lie between these.
static CODE: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];
/// Reads a word of memory that the VM never gives back (code heap, static data) .
///
/// # Safety
/// `at` lies there.
#[inline]
pub unsafe fn load<T: Copy>(at: u64) -> T {
    // SAFETY: by the caller.
    unsafe { (at as *const T).read_unaligned() }
}

/// The code heaps; looks for them until they are there.
fn heaps() -> usize {
    let n = HEAP_COUNT.load(Acquire);
    if n != 0 || !vmstructs::present() {
        return n;
    }
    find_heaps().unwrap_or(0)
}

#[cold]
fn find_heaps() -> Option<usize> {
    let mut n = 0;
    let (mut lowest, mut highest) = (u64::MAX, 0);
    let mut add = |heap: u64| -> Option<()> {
        let field = |space: Field, f: Field| Some(heap.wrapping_add_signed(get(space)? + get(f)?));
        let low: u64 = peek(field(Field::HeapMemory, Field::SpaceLow)?)?;
        let end: u64 = peek(field(Field::HeapMemory, Field::SpaceEnd)?)?;
        if low != 0 {
            let h = HEAPS.get(n)?;
            h.low.store(low, Relaxed);
            h.committed_end.store(field(Field::HeapMemory, Field::SpaceHigh)?, Relaxed);
            h.segments.store(peek(field(Field::HeapSegmap, Field::SpaceLow)?)?, Relaxed);
            h.shift.store(peek::<u32>(heap.wrapping_add_signed(get(Field::HeapShift)?))? & 31, Relaxed);
            (lowest, highest) = (lowest.min(low), highest.max(end));
            n += 1;
        }
        Some(())
    };
    if let Some(at) = get(Field::CodeHeaps) {
        let array: u64 = peek(at as u64)?;
        let len: i32 = peek(array.wrapping_add_signed(get(Field::ArrayLength)?))?;
        let data: u64 = peek(array.wrapping_add_signed(get(Field::ArrayData)?))?;
        // Stubs are made after all heaps; an incomplete list would be kept for ever.
        peek::<u64>(peek(get(Field::CallStubReturn)? as u64)?)?;
        for i in 0..(len.max(0) as u64).min(MAX_HEAPS as u64) {
            add(peek(data + 8 * i)?)?;
        }
    } else {
        add(peek(get(Field::CodeHeapSingle)? as u64)?)?;
    }
    let [low, high] = &CODE;
    low.store(lowest, Relaxed);
    high.store(highest, Relaxed);
    HEAP_COUNT.store(n, Release);
    Some(n)
}

#[inline]
fn heap_of(pc: u64) -> Option<&'static Heap> {
    HEAPS.get(..heaps())?.iter().find(|h| {
        // SAFETY: CodeHeap objects are made once and never freed.
        pc >= h.low.load(Relaxed) && pc < unsafe { load::<u64>(h.committed_end.load(Relaxed)) }
    })
}

/// Whether an address is in HotSpot's generated code.
#[inline]
pub fn in_code(pc: u64) -> bool {
    let [low, high] = &CODE;
    if HEAP_COUNT.load(Relaxed) != 0 && (pc < low.load(Relaxed) || pc >= high.load(Relaxed)) {
        return false;
    }
    heap_of(pc).is_some()
}

/// The code blob that an address lies in, by the heap's segment map (hotspot memory/heap.cpp).
pub fn blob_of(pc: u64) -> Option<u64> {
    let heap = heap_of(pc)?;
    let (low, map) = (heap.low.load(Relaxed), heap.segments.load(Relaxed));
    let shift = heap.shift.load(Relaxed) & 31;
    let mut i = (pc - low) >> shift;
    for _ in 0..1 << 16 {
        // SAFETY: the segment map covers the committed memory, and stays.
        match unsafe { load::<u8>(map + i) } {
            0 => break,
            0xff => return None,
            back => i = i.checked_sub(u64::from(back))?,
        }
    }
    let block = low + (i << shift);
    // SAFETY: a block's header in committed memory.
    let used: u8 = unsafe { load(block.wrapping_add_signed(get(Field::BlockUsed)?)) };
    (used == 1).then_some(block + get(Field::SizeOfHeapBlock)? as u64)
}

/// A field of a code blob.
#[inline]
pub fn blob<T: Copy>(blob: u64, f: Field) -> Option<T> {
    let offset = get(f)?;
    // SAFETY: blobs lie in committed code heap memory, headers whole.
    Some(unsafe { load(blob.wrapping_add_signed(offset)) })
}

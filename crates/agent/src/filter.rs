//! Which addresses may be live samples: what every free asks, in one load.

use core::sync::atomic::{AtomicU8, Ordering::Relaxed};

use crate::arch::PageAligned;
use crate::sys;

/// Entries of [`FILTER`].
const FILTER_SLOTS: usize = 64 << 10;
/// How many live samples have an address with this hash: 0 says "not sampled" for sure. Private
/// memory, not the file's, so that a forked child has its own. 255 sticks.
static FILTER: PageAligned<[AtomicU8; FILTER_SLOTS]> =
    PageAligned([const { AtomicU8::new(0) }; FILTER_SLOTS]);

/// An address's place.
#[inline(always)]
pub fn slot_of(addr: u64) -> &'static AtomicU8 {
    // Neighbours in memory are neighbours here, so that what a program works on takes little of the
    // first cache: a line stands for 4 KiB, all of the table for 4 MiB, and each 4 MiB begin at
    // another place of it.
    let i = (addr >> 6) ^ ((addr >> 22).wrapping_mul(0x9e37_79b1) >> 12);
    // SAFETY: masked to the table's size.
    unsafe { FILTER.0.get_unchecked(i as usize & (FILTER_SLOTS - 1)) }
}

/// Whether a block at `addr` may be a live sample. One load.
#[inline(always)]
pub fn maybe_sampled(addr: u64) -> bool {
    slot_of(addr).load(Relaxed) != 0
}

/// Forgets all samples in this process's own memory.
pub fn clear() {
    for slot in &FILTER.0 {
        if slot.load(Relaxed) != 0 {
            slot.store(0, Relaxed);
        }
    }
}

/// Gives the filter's memory back; the agent is not at work.
pub fn forget() {
    sys::advise(FILTER.0.as_ptr() as usize, size_of_val(&FILTER), libc::MADV_DONTNEED);
}

/// The number of live samples at an address's place in the filter, changed by one; a place that is
/// full stays so.
pub fn change(addr: u64, by: i8) {
    let slot = slot_of(addr);
    let there = slot.load(Relaxed);
    // A stop may have cleared it in between.
    if there != 255 && (by > 0 || there != 0) {
        slot.fetch_add(by as u8, Relaxed);
    }
}

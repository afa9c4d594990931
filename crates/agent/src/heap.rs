//! The agent's own memory, so that even a stray allocation inside it never reaches the target's
//! allocator.

use core::alloc::{GlobalAlloc, Layout};
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use offheap_live::Counter;

/// Hands out pieces of one private mapping and takes nothing back. The agent does not allocate by
/// design; [`Counter::AgentHeap`] shows in the live file whether that is true.
struct Arena;

const ARENA_BYTES: usize = 256 << 10;
static START: AtomicUsize = AtomicUsize::new(0);
static USED: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every block is a disjoint part of the mapping, aligned as asked; null when there is none.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        crate::table::count(Counter::AgentHeap);
        let mut start = START.load(Relaxed);
        if start == 0 {
            let Some(p) = crate::sys::map_anonymous(ARENA_BYTES) else { return core::ptr::null_mut() };
            match START.compare_exchange(0, p as usize, Relaxed, Relaxed) {
                Ok(_) => start = p as usize,
                Err(theirs) => {
                    // SAFETY: the mapping just made, seen by nobody.
                    unsafe { crate::sys::unmap(p, ARENA_BYTES) };
                    start = theirs;
                }
            }
        }
        let (size, align) = (layout.size(), layout.align());
        let room = size.saturating_add(align);
        if room > ARENA_BYTES {
            return core::ptr::null_mut();
        }
        let at = USED.fetch_add(room, Relaxed);
        if at > ARENA_BYTES - room {
            USED.store(ARENA_BYTES, Relaxed);
            return core::ptr::null_mut();
        }
        ((start + at + align - 1) & !(align - 1)) as *mut u8
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[cfg(not(test))]
#[global_allocator]
static ARENA: Arena = Arena;
#[cfg(test)]
#[allow(dead_code, reason = "unit tests keep the test harness's allocator")]
static ARENA: Arena = Arena;

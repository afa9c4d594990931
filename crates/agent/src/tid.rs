//! Thread ids without a system call: programs that allow themselves few (seccomp) would be killed
//! for gettid.
//!
//! glibc keeps each thread's id in its control block, at a place that has been the same for
//! many years; it is looked for all the same, when the agent is started.

use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::arch::{Thread, control_block, thread_pointer};
use crate::sys;

/// Largest thread id plus one (PID_MAX_LIMIT, linux/threads.h).
const LIMIT: u32 = 1 << 22;

/// Its place; 0: not found.
static PLACE: AtomicUsize = AtomicUsize::new(0);

fn at(place: usize) -> u32 {
    // SAFETY: within the thread's control block, which stays while the thread runs.
    unsafe { ((thread_pointer() as usize + place) as *const u32).read_volatile() }
}

/// Looks for the place. Not for use in a hook.
pub fn init() {
    let tid = sys::gettid();
    let found = if at(control_block::TID) == tid {
        Some(control_block::TID)
    } else {
        let mut all = control_block::TID_AREA.step_by(4).filter(|&place| at(place) == tid);
        // The one place, or the first of a pair: before glibc 2.25 the process id came next.
        all.next().filter(|first| all.all(|other| other == first + 4))
    };
    PLACE.store(found.unwrap_or(0), Relaxed);
}

/// The calling thread's id; where it can't be told, a number above all ids that no other thread has
/// at the same time.
#[inline]
pub fn current(t: &Thread) -> u32 {
    match t.tid.get() {
        0 => first(t),
        tid => tid,
    }
}

#[cold]
fn first(t: &Thread) -> u32 {
    let place = PLACE.load(Relaxed);
    let tid = if place == 0 { 0 } else { at(place) };
    let tid = if tid == 0 || tid >= LIMIT { (thread_pointer() >> 6) as u32 | 1 << 31 } else { tid };
    t.tid.set(tid);
    tid
}

/// Whether this is the id of a thread, and not a number made here.
pub fn is_real(tid: u32) -> bool {
    tid < LIMIT
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch;

    #[test]
    fn each_thread_has_its_own() {
        init();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    assert_eq!(current(arch::thread()), sys::gettid());
                    assert_eq!(arch::thread().tid.get(), sys::gettid());
                });
            }
        });
        PLACE.store(0, Relaxed);
        std::thread::spawn(|| assert!(!is_real(current(arch::thread())))).join().unwrap();
    }
}

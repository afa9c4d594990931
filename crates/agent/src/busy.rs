//! Whether the agent is at work on a thread.
//!
//! A signal handler that interrupts it must not be taken for the program; and one that leaves by
//! longjmp, or a thread that is cancelled, must not leave the thread silent for ever. So no counter
//! is kept, but where on the stack the work began: there a word lies that only the work's own frame
//! keeps as it is. A frame that is left behind is overwritten sooner or later, and certainly where
//! the next work begins at the same place.
//!
//! What such work held (a walk's place among the readers of the module table, remembered walks, the
//! lock of the regions) is marked with the thread's id; the thread takes it back when its next work
//! finds it.

use core::cell::Cell;

use crate::arch::Thread;
use crate::guard;

/// The word, combined with where it lies.
const MARK: u64 = 0x9d1c_6f0b_35e7_a284;

/// Where work begins: to be kept in the frame of who does it.
pub struct Place(Cell<u64>);

impl Place {
    /// An unused one.
    pub const fn new() -> Place {
        Place(Cell::new(0))
    }

    fn address(&self) -> u64 {
        core::ptr::from_ref(self) as u64
    }
}

/// Work under way, until it is dropped.
pub struct Busy<'a> {
    t: &'a Thread,
    place: Option<&'a Place>,
}

impl Busy<'_> {
    /// Whether no other work on this thread is interrupted by this one. Then whatever carries the
    /// thread's id is left over.
    pub fn is_outermost(&self) -> bool {
        self.place.is_some()
    }

    /// The thread.
    pub fn thread(&self) -> &Thread {
        self.t
    }
}

/// Whether the agent is at work on this thread, seen from `place`.
pub fn is_at_work(t: &Thread, place: &Place) -> bool {
    let at = t.busy.get();
    at != 0 && at != place.address() && still_there(at)
}

#[cold]
fn still_there(at: u64) -> bool {
    // The stack that it lay on may be gone.
    !guard::works() || guard::peek::<u64>(at) == Some(at ^ MARK)
}

/// Begins work.
#[inline]
pub fn begin<'a>(t: &'a Thread, place: &'a Place) -> Busy<'a> {
    if is_at_work(t, place) {
        return Busy { t, place: None };
    }
    // Volatile: nothing reads it but a handler's look from outside.
    // SAFETY: a cell of the caller's.
    unsafe { place.0.as_ptr().write_volatile(place.address() ^ MARK) };
    t.busy.set(place.address());
    Busy { t, place: Some(place) }
}

impl Drop for Busy<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.t.busy.set(0);
            // SAFETY: as above.
            unsafe { place.0.as_ptr().write_volatile(0) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch;

    #[test]
    fn work_that_was_left_behind_is_noticed() {
        guard::init();
        let t = arch::thread();
        let (place, inner) = (Place::new(), Place::new());
        let work = begin(t, &place);
        assert!(work.is_outermost() && is_at_work(t, &inner));
        assert!(!begin(t, &inner).is_outermost());
        assert!(is_at_work(t, &inner), "the end of what was inside is not the end");
        // As a longjmp does: never dropped, and its frame is used for something else.
        core::mem::forget(work);
        assert!(is_at_work(t, &inner));
        place.0.set(5);
        assert!(!is_at_work(t, &inner));
        let work = begin(t, &inner);
        assert!(work.is_outermost());
        core::mem::forget(work);
        assert!(begin(t, &inner).is_outermost(), "the same place again");
        assert!(!is_at_work(t, &place));
        // On a stack that is gone.
        t.busy.set(4096 * 3);
        assert!(!is_at_work(t, &place));
        t.busy.set(0);
    }
}

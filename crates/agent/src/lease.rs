//! The lease: a reader that dies leaves nobody who would stop the agent, so it stops by itself when
//! nobody has renewed its lease for some time.
//!
//! A reader renews it by changing a word that both have mapped; to what does not matter, so that no
//! clocks need to agree, and whatever is written there buys no more than one lease. The agent looks
//! at the word with each sample.

use core::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicPtr, AtomicU64};

use crate::clock;

/// Longest lease: an hour.
/// Unit: s.
pub const LONGEST: u64 = 3600;

/// The word; it stays mapped once there is one.
static WORD: AtomicPtr<AtomicU64> = AtomicPtr::new(core::ptr::null_mut());
/// How long a lease is, in nanoseconds; 0: there is none, and the agent stops when it is told.
static LENGTH: AtomicU64 = AtomicU64::new(0);
/// The word as it was seen last, and until when the lease so lasts.
static SEEN: AtomicU64 = AtomicU64::new(0);
static UNTIL: AtomicU64 = AtomicU64::new(0);

/// Begins a lease of so many seconds (0: none), renewed by way of this word.
///
/// # Safety
/// The word stays mapped for ever.
pub unsafe fn begin(word: *mut AtomicU64, seconds: u64) {
    WORD.store(word, Release);
    // SAFETY: by the caller.
    SEEN.store(unsafe { (*word).load(Relaxed) }, Relaxed);
    LENGTH.store(seconds.min(LONGEST) * 1_000_000_000, Relaxed);
    renew();
}

/// Ends it: nothing runs out any more.
pub fn end() {
    LENGTH.store(0, Relaxed);
}

/// Makes the lease of an agent at work longer, if it has one; gives its length in seconds.
pub fn lengthen(seconds: u64) -> u64 {
    if LENGTH.load(Relaxed) != 0 {
        LENGTH.fetch_max(seconds.min(LONGEST) * 1_000_000_000, Relaxed);
    }
    LENGTH.load(Relaxed) / 1_000_000_000
}

/// Somebody is there.
pub fn renew() {
    UNTIL.store(clock::now_ns().saturating_add(LENGTH.load(Relaxed)), Relaxed);
}

/// Whether it has run out by now.
#[inline]
pub fn has_run_out(now_ns: u64) -> bool {
    let length = LENGTH.load(Relaxed);
    if length == 0 {
        return false;
    }
    // SAFETY: there is a word as long as there is a length, and it stays.
    let word = unsafe { (*WORD.load(Acquire)).load(Relaxed) };
    if word != SEEN.load(Relaxed) {
        SEEN.store(word, Relaxed);
        UNTIL.store(now_ns.saturating_add(length), Relaxed);
        return false;
    }
    now_ns >= UNTIL.load(Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_change_renews_it_for_its_length_and_no_longer() {
        static WORD: AtomicU64 = AtomicU64::new(5);
        let second = 1_000_000_000;
        assert!(!has_run_out(u64::MAX), "there is none");
        // SAFETY: a static.
        unsafe { begin(WORD.as_ptr().cast(), 10) };
        let now = clock::now_ns();
        assert!(!has_run_out(now) && !has_run_out(now + 9 * second) && has_run_out(now + 11 * second));
        for garbage in [u64::MAX, 0, 7] {
            WORD.store(garbage, Relaxed);
            assert!(!has_run_out(now + 100 * second));
            assert!(!has_run_out(now + 109 * second) && has_run_out(now + 110 * second));
        }
        assert_eq!((lengthen(20), lengthen(5), lengthen(1 << 40)), (20, 20, LONGEST));
        end();
        assert_eq!(lengthen(60), 0, "none stays none");
        assert!(!has_run_out(u64::MAX));
    }
}

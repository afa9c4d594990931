//! The time, in hooks: by the vDSO, or, where a machine has none, by the processor's counter. Never
//! by a system call, for which a program that allows itself few (seccomp) would be killed.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use crate::arch::counter;
use crate::sys;

/// The counter's first value, and the time it was read at.
static COUNTER: AtomicU64 = AtomicU64::new(0);
static TIME: AtomicU64 = AtomicU64::new(0);
/// Nanoseconds per count, times 2^32.
static RATE: AtomicU64 = AtomicU64::new(0);
/// Whether libc asks the kernel for the time.
static NO_VDSO: AtomicBool = AtomicBool::new(false);

/// Finds out how the time can be told. Not for use in a hook.
pub fn init() {
    // SAFETY: getauxval takes a number.
    let vdso = unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) };
    NO_VDSO.store(vdso == 0, Relaxed);
    if vdso == 0 {
        measure();
    }
}

/// Measures the counter, the longer it is known the better.
fn measure() {
    let now = || (sys::clock_ns(libc::CLOCK_MONOTONIC), counter());
    if TIME.load(Relaxed) == 0 {
        let (time, count) = now();
        TIME.store(time, Relaxed);
        COUNTER.store(count, Relaxed);
        sys::sleep_ms(2);
    }
    let (time, count) = now();
    let (time, count) = (time.wrapping_sub(TIME.load(Relaxed)), count.wrapping_sub(COUNTER.load(Relaxed)));
    let rate = (u128::from(time) << 32) / u128::from(count.max(1));
    RATE.store(rate as u64, Relaxed);
}

/// CLOCK_MONOTONIC in nanoseconds, a few milliseconds coarse.
#[inline]
pub fn now_ns() -> u64 {
    if NO_VDSO.load(Relaxed) { counted() } else { sys::clock_ns(libc::CLOCK_MONOTONIC_COARSE) }
}

#[cold]
fn counted() -> u64 {
    let count = counter().wrapping_sub(COUNTER.load(Relaxed));
    let since = (u128::from(count) * u128::from(RATE.load(Relaxed))) >> 32;
    TIME.load(Relaxed).wrapping_add(since as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_tells_the_time_too() {
        measure();
        let (counted, clock) = (counted(), sys::clock_ns(libc::CLOCK_MONOTONIC));
        assert!(clock.abs_diff(counted) < 50_000_000, "{counted} {clock}");
    }
}

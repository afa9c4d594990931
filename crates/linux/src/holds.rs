//! How long reading holds the target's mmap lock, and the pauses that let the target have it.
//!
//! While `/proc/PID/pagemap`, `smaps` or `mem` is read, the kernel holds the lock of the target's
//! address space for reading. Its page faults go on (from Linux 6.4), but every mmap, munmap,
//! mprotect, brk and start of a thread waits. One call after the other is no better than one long
//! call: a reader that comes back at once overtakes the thread that sleeps until the lock is free,
//! for up to 4 ms (`RWSEM_WAIT_TIMEOUT` of kernel/locking/rwsem.c). While `mem` was read 256 KiB at
//! a time, the target's mmap took 0.2 ms at the median and up to 38 ms; with a pause of 0.05 ms
//! after each call 0.006 ms, and up to 0.4 ms. So calls are made short by those who make them, and
//! there are pauses between them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Calls that take so long together are followed by a pause.
pub(crate) const SPELL: Duration = Duration::from_micros(50);
/// A pause is at least this long: a thread that waits for the lock is woken and runs in that time.
/// A call that comes so long after the last one starts a new spell.
const PAUSE: Duration = Duration::from_micros(50);
/// And at most this.
const LONGEST_PAUSE: Duration = Duration::from_millis(5);

/// Of a call that takes the lock for each page anew, or for one entry, this part of the time
/// counts: copying and coming and going are not under it.
const PART: u32 = 4;

/// How long the target's mmap lock was held at most. A call's own time is taken for it, so it is an
/// upper bound; of reads of memory, for whose pages it is taken one by one, a quarter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// The longest time without a pause.
    pub longest: Duration,
    /// All of them together.
    pub total: Duration,
    /// How many calls that were.
    pub calls: u64,
}

/// Measures the calls that hold the target's mmap lock, and pauses between them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Holds(Arc<Mutex<Meter>>);

#[derive(Debug, Default)]
struct Meter {
    held: Held,
    spell: Duration,
    ended: Option<Instant>,
}

impl Holds {
    /// Makes a call that holds the lock for as long as it takes; gives its result and time.
    pub fn during<T>(&self, call: impl FnOnce() -> T) -> (T, Duration) {
        self.measured(1, call)
    }

    /// Makes a call that takes the lock for a page at a time.
    pub fn page_by_page<T>(&self, call: impl FnOnce() -> T) -> T {
        self.measured(PART, call).0
    }

    fn measured<T>(&self, part: u32, call: impl FnOnce() -> T) -> (T, Duration) {
        let begun = Instant::now();
        let result = call();
        let ended = Instant::now();
        let took = ended - begun;
        let pause = self.meter().called(begun, ended, took / part);
        if let Some(pause) = pause {
            std::thread::sleep(pause);
        }
        (result, took)
    }

    /// What was held since this was last asked.
    pub fn take(&self) -> Held {
        std::mem::take(&mut self.meter().held)
    }

    fn meter(&self) -> std::sync::MutexGuard<'_, Meter> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Meter {
    /// Counts a call that held the lock for `took`; gives how long to pause after it.
    fn called(&mut self, begun: Instant, ended: Instant, took: Duration) -> Option<Duration> {
        if self.ended.is_none_or(|ended| begun.saturating_duration_since(ended) >= PAUSE) {
            self.spell = Duration::ZERO;
        }
        self.spell += took;
        self.ended = Some(ended);
        self.held.longest = self.held.longest.max(self.spell);
        self.held.total += took;
        self.held.calls += 1;
        (self.spell >= SPELL).then(|| (self.spell / 2).clamp(PAUSE, LONGEST_PAUSE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_in_a_row_are_one_hold_until_there_is_a_pause() {
        let (mut meter, begin) = (Meter::default(), Instant::now());
        let micros = Duration::from_micros;
        let mut called = |at: u64, took: u64, held: u64| {
            let pause = meter.called(begin + micros(at), begin + micros(at + took), micros(held));
            (pause, meter.held.longest, meter.held.total)
        };
        assert_eq!(called(0, 40, 40), (None, micros(40), micros(40)));
        assert_eq!(called(50, 120, 120), (Some(micros(80)), micros(160), micros(160)));
        // A gap as long as a pause lets the target in too.
        assert_eq!(called(300, 20, 20), (None, micros(160), micros(180)));
        // What is held for a part of the time only counts for that part.
        assert_eq!(called(330, 100, 25), (None, micros(160), micros(205)));
        // However long a call took, the pause ends.
        assert_eq!(called(1000, 1_000_000, 1_000_000).0, Some(LONGEST_PAUSE));
    }
}

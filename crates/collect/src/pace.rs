//! Work that not every snapshot can afford.

use std::time::{Duration, Instant};

/// Between two times at least this passes.
const LEAST: Duration = Duration::from_secs(4);
/// And this many times as long as it took: at most one percent of one core.
const SPARING: u32 = 100;

/// When it is time for it again.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    next: Option<Instant>,
}

impl Pace {
    /// Does `work` if it is due.
    pub(crate) fn when_due<T>(&mut self, work: impl FnOnce() -> T) -> Option<T> {
        let begun = Instant::now();
        if self.next.is_some_and(|next| begun < next) {
            return None;
        }
        let done = work();
        self.next = Some(Instant::now() + (begun.elapsed() * SPARING).max(LEAST));
        Some(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_just_done_is_not_done_again() {
        let mut pace = Pace::default();
        assert_eq!(pace.when_due(|| 1), Some(1));
        assert_eq!(pace.when_due(|| 2), None);
        pace.next = Some(Instant::now());
        assert_eq!(pace.when_due(|| 3), Some(3));
        // What took long waits long.
        pace.next = None;
        pace.when_due(|| std::thread::sleep(Duration::from_millis(60)));
        assert!(pace.next.unwrap() > Instant::now() + LEAST);
    }
}

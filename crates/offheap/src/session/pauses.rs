//! How long a JVM would stand still for what is asked of it: predicted before, measured after, held
//! against a budget.
//!
//! All figures are of `GC.class_histogram -all` and `GC.run` on heaps full of small objects, the
//! worst case, on two cores (bench/pauses); a busy or slower machine takes longer, which the steps
//! already measured in the same JVM show.

use offheap_model::{Jvm, Snapshot};
use std::time::Duration;

/// What stops all threads of a JVM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It counts its objects by class (`GC.class_histogram -all`): all are looked at, garbage
    /// included.
    Count,
    /// It runs one full collection (`GC.run`).
    Collect,
}

/// The pause unless `--max-pause` says otherwise.
pub const DEFAULT_MAX_PAUSE: &str = "500ms";

/// What any step takes beside its work: the request, the safepoint.
const BASE: Duration = Duration::from_millis(50);

/// A step may take this many times what it was measured to take, the next time: other work on the
/// cores.
/// Unit: times.
const SLACK: f64 = 1.5;

/// Milliseconds that a collector needs for each MiB of heap in use, small objects, two cores.
#[derive(Debug, Clone, Copy)]
struct Cost {
    /// Name as in [`Jvm::gc`].
    gc: &'static str,
    count: f64,
    collect: f64,
}

/// Measured by bench/pauses (its README.md has the table) on JDK 17 and 25, the slower of the two,
/// rounded up. `collect` is at least as many times `count` as it was for large objects, whose count
/// tells less of the collection.
const COSTS: [Cost; 5] = [
    Cost { gc: "Serial", count: 0.9, collect: 4.5 },
    Cost { gc: "Parallel", count: 0.9, collect: 1.6 },
    Cost { gc: "G1", count: 1.0, collect: 1.7 },
    Cost { gc: "Z", count: 2.5, collect: 0.1 },
    Cost { gc: "Shenandoah", count: 2.7, collect: 0.1 },
];
/// A collector that nobody here has measured: the slowest count of those above, and the greatest
/// ratio.
const UNKNOWN: Cost = Cost { gc: "", count: 2.7, collect: 13.5 };

/// The pauses of one JVM: what each step took, for how much heap in use.
#[derive(Debug, Default)]
pub struct Pauses {
    counted: Option<Measured>,
    collected: Option<Measured>,
}

#[derive(Debug, Clone, Copy)]
struct Measured {
    took: Duration,
    used: u64,
}

impl Pauses {
    /// Notes what a step took, with `used` bytes of heap in use. The time until the JVM's reply is
    /// the most that its pause can have been.
    pub fn measured(&mut self, step: Step, took: Duration, used: u64) {
        let of = match step {
            Step::Count => &mut self.counted,
            Step::Collect => &mut self.collected,
        };
        *of = Some(Measured { took, used });
    }

    /// The longest pause that `step` is expected to make in the JVM of `snapshot`; `None` where
    /// there is no saying: no JVM, a heap whose use can't be read, or one that is swapped out in
    /// part, which a collection would read back from a disk.
    pub fn predict(&self, step: Step, snapshot: &Snapshot) -> Option<Duration> {
        let jvm = snapshot.jvm.as_ref()?;
        let used = heap_in_use(jvm);
        if snapshot.memory.swap_bytes > used / 64 {
            return None;
        }
        let cost = COSTS.into_iter().find(|cost| cost.gc == jvm.gc).unwrap_or(UNKNOWN);
        let again = |measured: Measured| {
            let growth = used as f64 / measured.used.max(1) as f64;
            measured.took.mul_f64(SLACK * growth.max(1.0))
        };
        let mib = used as f64 / f64::from(1 << 20);
        let by_size = |per_mib: f64| BASE + Duration::from_secs_f64(mib * per_mib / 1000.0);
        Some(match (step, self.counted, self.collected) {
            (Step::Count, Some(counted), _) => again(counted),
            (Step::Count, None, _) => by_size(cost.count),
            (Step::Collect, _, Some(collected)) => again(collected),
            // The same objects on the same machine: the count, which came first, tells how many and
            // how fast.
            (Step::Collect, Some(counted), None) => again(counted).mul_f64(cost.collect / cost.count),
            (Step::Collect, None, None) => by_size(cost.collect),
        })
    }
}

/// Bytes of the Java heap in use, garbage included; where that can't be read the most they may be.
pub fn heap_in_use(jvm: &Jvm) -> u64 {
    let heap = &jvm.heap;
    heap.used_bytes.or(heap.committed_bytes).unwrap_or(heap.max_bytes)
}

/// `"240 ms"`, `"3.6 s"`: a pause as a person reads it.
pub fn in_words(pause: Duration) -> String {
    if pause < Duration::from_secs(1) {
        format!("{} ms", pause.as_millis().max(1))
    } else {
        format!("{:.1} s", pause.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use offheap_model::HeapFigure;

    fn jvm(gc: &str, used_mib: u64, swap: u64) -> Snapshot {
        let heap = HeapFigure { used_bytes: Some(used_mib << 20), ..HeapFigure::default() };
        let mut snapshot =
            Snapshot { jvm: Some(Jvm { gc: gc.into(), heap, ..Jvm::default() }), ..Snapshot::default() };
        snapshot.memory.swap_bytes = swap;
        snapshot
    }

    fn ms(pauses: &Pauses, step: Step, snapshot: &Snapshot) -> u128 {
        pauses.predict(step, snapshot).unwrap().as_millis()
    }

    #[test]
    fn before_anything_was_measured_the_heap_in_use_and_the_collector_decide() {
        let pauses = Pauses::default();
        let serial = |mib| ms(&pauses, Step::Collect, &jvm("Serial", mib, 0));
        assert!(serial(64) < 500 && serial(1024) > 2_000, "{} {}", serial(64), serial(1024));
        assert!(ms(&pauses, Step::Count, &jvm("Serial", 256, 0)) < 500);
        // These two collect while the program runs.
        for gc in ["Z", "Shenandoah"] {
            assert!(ms(&pauses, Step::Collect, &jvm(gc, 4096, 0)) < 500, "{gc}");
        }
        let unknown = ms(&pauses, Step::Collect, &jvm("Later", 512, 0));
        assert!(COSTS.iter().all(|cost| unknown >= ms(&pauses, Step::Collect, &jvm(cost.gc, 512, 0))));
    }

    #[test]
    fn what_was_measured_in_this_very_jvm_decides_from_then_on() {
        let mut pauses = Pauses::default();
        let snapshot = jvm("Serial", 900, 0);
        let blind = ms(&pauses, Step::Collect, &snapshot);
        // Few large objects: the count takes next to nothing, and so will the collection.
        pauses.measured(Step::Count, Duration::from_millis(5), 900 << 20);
        assert!(ms(&pauses, Step::Collect, &snapshot) < blind / 5);
        // Many small ones on a slow machine.
        pauses.measured(Step::Count, Duration::from_millis(240), 900 << 20);
        assert_eq!(ms(&pauses, Step::Collect, &snapshot), 1_800, "five times the count, and the slack");
        pauses.measured(Step::Collect, Duration::from_millis(100), 450 << 20);
        assert_eq!(ms(&pauses, Step::Collect, &snapshot), 300, "twice the heap, and the slack");
    }

    #[test]
    fn nothing_is_predicted_where_nothing_can_be() {
        let pauses = Pauses::default();
        assert_eq!(pauses.predict(Step::Collect, &Snapshot::default()), None, "no JVM");
        assert_eq!(pauses.predict(Step::Count, &jvm("G1", 100, 50 << 20)), None, "half of it swapped out");
        assert!(pauses.predict(Step::Count, &jvm("G1", 100, 4096)).is_some());
    }

    #[test]
    fn pauses_are_said_as_a_person_reads_them() {
        assert_eq!(in_words(Duration::from_micros(200)), "1 ms");
        assert_eq!(in_words(Duration::from_millis(240)), "240 ms");
        assert_eq!(in_words(Duration::from_millis(3_649)), "3.6 s");
    }
}

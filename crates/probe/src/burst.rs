//! One burst: probes are put in place, left for a moment, and taken away again.

use crate::arch::Exit;
use crate::chunks;
use crate::events::{Probe, Return};
use offheap_linux::Memory;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How often what came is looked at.
const LOOK: Duration = Duration::from_millis(1);
/// A probe is gone after so many hits, each of which costs the thread two or three microseconds. With [`LIMIT`] of each of a
/// thread's four, twice a second, that is half a percent of a core at the most.
const LIMIT: i32 = 250;

/// A block that was given out.
pub struct Hit {
    /// What is known of it from where it was returned.
    pub call: Return,
    /// Bytes of its chunk, read within a millisecond or two; `None` where it was gone by then.
    pub bytes: Option<u64>,
    /// How long its probe was armed, and how many hits came for each that was kept.
    pub armed: Duration,
    pub of: f64,
}

/// What came of a burst.
pub struct Burst {
    /// The blocks, in the order of time.
    pub hits: Vec<Hit>,
    /// How many more there were that the kernel had no room for.
    pub lost: u64,
    /// When it began.
    pub began: Instant,
    /// How long it lasted.
    pub lasted: Duration,
}

impl Burst {
    /// Probes the `exits` in the `threads` for `length`, or until one has come by [`LIMIT`] times. Where a
    /// thread ends, or refuses, the others are probed.
    pub fn make(exits: &[Exit], threads: &[i32], length: Duration, memory: &Memory) -> Burst {
        let mut probes: Vec<Probe> = threads
            .iter()
            .flat_map(|tid| exits.iter().map(|exit| (*tid, *exit)))
            .filter_map(|(tid, exit)| Probe::open(tid, exit).ok())
            .collect();
        let mut caught: Vec<Caught> = probes.iter().map(|_| Caught::default()).collect();
        let began = Instant::now();
        for probe in &mut probes {
            // A thread that has just ended.
            let _ = probe.arm(LIMIT);
        }
        let lasted = loop {
            sleep(LOOK);
            let lasted = began.elapsed();
            let over = lasted >= length || caught.iter().any(Caught::is_full);
            if over {
                probes.iter_mut().for_each(Probe::disarm);
            }
            // At once: where a block is freed its place is soon another's.
            memory.forget();
            for (probe, caught) in probes.iter_mut().zip(&mut caught) {
                caught.take(probe, memory);
            }
            if over {
                break lasted;
            }
        };
        let lost = caught.iter().map(|caught| caught.lost).sum();
        let mut hits: Vec<Hit> = caught.into_iter().flat_map(|caught| caught.hits(lasted)).collect();
        // Of two blocks at one address the later one is there, whichever thread and function they are of.
        hits.sort_by_key(|hit| hit.call.time_ns);
        Burst { hits, lost, began, lasted }
    }

    /// Blocks a second.
    pub fn rate(&self) -> f64 {
        self.hits.iter().map(|hit| hit.of / hit.armed.as_secs_f64().max(1e-6)).sum()
    }
}

/// What came by one probe.
#[derive(Default)]
struct Caught {
    calls: Vec<(Return, Option<u64>)>,
    lost: u64,
}

impl Caught {
    fn is_full(&self) -> bool {
        self.calls.len() as u64 + self.lost >= LIMIT as u64
    }

    fn take(&mut self, probe: &mut Probe, memory: &Memory) {
        let calls = &mut self.calls;
        self.lost += probe.drain(|call| {
            let bytes = chunks::size(memory, call.block);
            calls.push((call, bytes));
        });
    }

    fn hits(self, lasted: Duration) -> impl Iterator<Item = Hit> {
        // The kernel has disarmed a full one when it got its last hit.
        let ends = self.calls.first().zip(self.calls.last());
        let between = ends.map_or(0, |(first, last)| last.0.time_ns.saturating_sub(first.0.time_ns));
        let armed = if self.is_full() { lasted.min(Duration::from_nanos(between)) } else { lasted };
        let kept = self.calls.len().max(1) as f64;
        let of = (kept + self.lost as f64) / kept;
        self.calls.into_iter().map(move |(call, bytes)| Hit { call, bytes, armed, of })
    }
}

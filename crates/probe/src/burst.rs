//! One burst: probes are put in place, left for a moment, and taken away again.

use crate::chunks;
use crate::events::{Probe, Return};
use offheap_linux::Memory;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How often what came is looked at.
const LOOK: Duration = Duration::from_millis(1);

/// A block that was given out.
pub struct Hit {
    /// What is known of it from where it was returned.
    pub call: Return,
    /// Bytes of its chunk, read within a millisecond or two; `None` where it was gone by then.
    pub bytes: Option<u64>,
}

/// What came of a burst.
pub struct Burst {
    /// The blocks, in the order of time.
    pub hits: Vec<Hit>,
    /// How many more there were that the kernel had no room for.
    pub lost: u64,
    /// When it began.
    pub began: Instant,
    /// How long the probes were watched.
    pub lasted: Duration,
}

impl Burst {
    /// Probes the functions of `file` at `offsets` in the `threads` for `length`, or until there are `most` blocks. Where a
    /// thread ends, or refuses, the others are probed.
    pub fn make(
        file: &Path,
        offsets: &[u64],
        threads: &[i32],
        length: Duration,
        most: usize,
        memory: &Memory,
    ) -> Burst {
        let mut probes: Vec<Probe> = threads
            .iter()
            .flat_map(|tid| offsets.iter().map(|offset| (*tid, *offset)))
            .filter_map(|(tid, offset)| Probe::open(tid, file, offset).ok())
            .collect();
        // What came while they were put in place, one after the other, is not of this burst.
        for probe in &mut probes {
            probe.drain(drop);
        }
        let began = Instant::now();
        let (mut hits, mut lost) = (Vec::new(), 0);
        loop {
            sleep(LOOK);
            let from = hits.len();
            for probe in &mut probes {
                lost += probe.drain(|call| hits.push(Hit { call, bytes: None }));
            }
            // At once: where a block is freed its place is soon another's.
            memory.forget();
            for hit in hits.iter_mut().skip(from) {
                hit.bytes = chunks::size(memory, hit.call.registers.result);
            }
            let lasted = began.elapsed();
            if lasted >= length || hits.len() as u64 + lost >= most as u64 {
                // Whichever thread and function they are of.
                hits.sort_by_key(|hit| hit.call.time_ns);
                return Burst { hits, lost, began, lasted };
            }
        }
    }

    /// Blocks a second.
    pub fn rate(&self) -> f64 {
        (self.hits.len() as f64 + self.lost as f64) / self.lasted.as_secs_f64().max(1e-3)
    }
}

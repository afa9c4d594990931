//! One burst: probes are put in place, left for a moment, and taken away again.

use crate::arch::Exit;
use crate::chunks;
use crate::events::{Clock, Probe, Return};
use offheap_linux::Target;
use std::collections::HashMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How often what came is looked at.
const BETWEEN_CHECKS: Duration = Duration::from_millis(1);
/// What a burst may cost a thread; with two bursts a second that is one percent of a core. Its
/// probes go at the look that finds so many hits.
const MOST_HELD_UP: Duration = Duration::from_millis(5);
/// However much a thread was held up by its hits, it is taken to have gone on for this share of the
/// time.
const LEAST_LEFT: f64 = 0.05;
/// The kernel itself takes a probe away after so many samples, should we be stopped (SIGSTOP)
/// before we can. If we end, its descriptor does, and the probe with it.
const LIMIT: i32 = 1_000;
/// How long aimed probes are set now and then.
const AIMED: Duration = Duration::from_millis(250);
/// Aimed probes are set each time for this many hits.
const SHOT: i32 = 24;
/// Aimed probes are set each time for at most this long.
const SHOT_LASTS: Duration = Duration::from_micros(400);

/// A block that was given out.
pub struct Hit {
    /// The thread.
    pub tid: i32,
    /// What is known of it from where it was returned.
    pub call: Return,
    /// Bytes of its chunk and whether that has a mapping of its own, read within a millisecond or
    /// two; `None` where it was gone by then.
    pub chunk: Option<(u64, bool)>,
    /// How many hits a second it stands for, had there been no probes.
    pub per_s: f64,
}

/// What came of a burst.
pub struct Burst {
    /// The sampled blocks, in the order of time.
    pub hits: Vec<Hit>,
    /// How many more were to be sampled that the kernel had no room for.
    pub lost: u64,
    /// In how many threads.
    pub threads: usize,
    /// When it began.
    pub began: Instant,
    /// How long it lasted.
    pub lasted: Duration,
    /// Hits a second in these threads.
    pub rate: f64,
    /// How often probes were set. Of a burst of one piece: 1, and 0 where it cost so much that it
    /// had to end early. What it met is then what the threads did first.
    pub shots: u32,
}

impl Burst {
    /// Probes the `exits` in the `threads` for `length`, one of which each hit costs `cost`. A
    /// thread that has ended, or has no room for all the probes, goes without.
    pub fn make(
        exits: &[Exit],
        threads: &[i32],
        length: Duration,
        cost: Duration,
        memory: &dyn Target,
    ) -> Burst {
        let most = MOST_HELD_UP.as_secs_f64() / cost.as_secs_f64().max(1e-9);
        let mut watched: Vec<Watched> = threads.iter().filter_map(|tid| Watched::open(*tid, exits)).collect();
        let mut shots = 1;
        let began = Instant::now();
        for caught in watched.iter_mut().flat_map(|thread| &mut thread.probes) {
            // A thread that has just ended.
            let _ = caught.probe.arm(LIMIT);
        }
        while watched.iter().any(|thread| thread.lasted.is_none()) {
            sleep(BETWEEN_CHECKS);
            let lasted = began.elapsed();
            for thread in watched.iter_mut().filter(|thread| thread.lasted.is_none()) {
                // Where a hit is cheap the kernel stops counting first.
                let too_much = thread.hits() as f64 >= most || thread.is_used_up();
                if lasted >= length || too_much {
                    shots = if too_much && lasted < length { 0 } else { shots };
                    thread.probes.iter_mut().for_each(|caught| caught.probe.disarm());
                    thread.lasted = Some(began.elapsed());
                }
            }
            // At once: where a block is freed its place is soon another's.
            take(watched.iter_mut(), memory);
        }
        let (threads, lasted) = (watched.len(), began.elapsed());
        let mut burst = Burst { hits: Vec::new(), lost: 0, threads, began, lasted, rate: 0.0, shots };
        for mut thread in watched {
            let seconds = thread.lasted.unwrap_or(lasted).as_secs_f64();
            // While a hit is dealt with the thread gets nowhere.
            let held_up = thread.hits() as f64 * cost.as_secs_f64();
            let free = (seconds - held_up).max(LEAST_LEFT * seconds);
            thread.probes.into_iter().for_each(|caught| burst.add(caught, 1.0 / free));
        }
        // Of two blocks at one address the later one is there, whichever thread and function they
        // are of.
        burst.hits.sort_by_key(|hit| hit.call.time_ns);
        burst
    }

    /// Probes the `exits` in the `threads` now and then, for some hits each time: for threads that
    /// allocate so much at once that what comes first would use up all that a burst may cost. When,
    /// is left to the threads' own clocks: each `every` of processor time, so that all that they do
    /// is met alike.
    pub fn aimed(
        exits: &[Exit],
        threads: &[i32],
        every: Duration,
        cost: Duration,
        memory: &dyn Target,
    ) -> Burst {
        let open = |&tid: &i32| Some((Watched::open(tid, exits)?, Clock::open(tid, every).ok()?));
        let (mut watched, mut clocks): (Vec<Watched>, Vec<Clock>) = threads.iter().filter_map(open).unzip();
        let began = Instant::now();
        let mut burst = Burst {
            hits: Vec::new(),
            lost: 0,
            threads: watched.len(),
            began,
            lasted: AIMED,
            rate: 0.0,
            shots: 0,
        };
        // What the probes took of the threads' processor time.
        let mut held_up = Duration::ZERO;
        while began.elapsed() < AIMED && held_up < MOST_HELD_UP && burst.threads > 0 {
            for number in Clock::wait(&mut clocks, AIMED.saturating_sub(began.elapsed())) {
                let (Some(thread), Some(clock)) = (watched.get_mut(number), clocks.get_mut(number)) else {
                    continue;
                };
                let (before, hits) = (clock.time(), thread.hits());
                thread.shoot();
                take(std::iter::once(&mut *thread), memory);
                let probed = clock.time().saturating_sub(before);
                thread.probes.iter_mut().for_each(|caught| caught.end_of_shot(probed));
                held_up += cost * u32::try_from(thread.hits() - hits).unwrap_or(u32::MAX);
                burst.shots += 1;
            }
        }
        burst.lasted = began.elapsed();
        let used: Duration = clocks.iter_mut().map(Clock::time).sum();
        let used = used.saturating_sub(held_up).as_secs_f64();
        let seconds = burst.lasted.as_secs_f64().max(1e-6);
        let mut probed: HashMap<u64, Duration> = HashMap::new();
        for caught in watched.iter().flat_map(|thread| &thread.probes) {
            *probed.entry(caught.exit).or_default() += caught.probed;
        }
        for caught in watched.into_iter().flat_map(|thread| thread.probes) {
            // The hits' own time is in it, which can be nearly all of it: so there were as many at
            // least.
            let time = probed.get(&caught.exit).map_or(0.0, Duration::as_secs_f64);
            burst.add(caught, used / time.max(1e-6) / seconds);
        }
        burst.hits.sort_by_key(|hit| hit.call.time_ns);
        burst
    }

    /// Adds what came by a probe, each hit of which stands for so many a second.
    fn add(&mut self, mut caught: Caught, each_per_s: f64) {
        let (hits, kept, tid) = (caught.probe.hits(), caught.calls.len() as u64, caught.tid);
        self.rate += hits as f64 * each_per_s;
        self.lost += hits.saturating_sub(kept);
        let per_s = hits as f64 / kept.max(1) as f64 * each_per_s;
        self.hits.extend(caught.calls.into_iter().map(|(call, chunk)| Hit { tid, call, chunk, per_s }));
    }
}

/// A thread with its probes.
struct Watched {
    probes: Vec<Caught>,
    /// How long, once they are gone.
    lasted: Option<Duration>,
}

impl Watched {
    fn open(tid: i32, exits: &[Exit]) -> Option<Watched> {
        let probes: Option<_> = exits.iter().map(|exit| Caught::open(tid, *exit)).collect();
        Some(Watched { probes: probes?, lasted: None })
    }

    /// Whether the kernel has taken one of its probes away.
    fn is_used_up(&mut self) -> bool {
        self.probes.iter_mut().any(|caught| caught.probe.hits() >= LIMIT as u64)
    }

    fn hits(&mut self) -> u64 {
        self.probes.iter_mut().map(|caught| caught.probe.hits()).sum()
    }

    /// Sets the probes for some hits.
    fn shoot(&mut self) {
        for caught in &mut self.probes {
            // A thread that has just ended.
            let _ = caught.probe.arm(SHOT);
        }
        // No look before it is over: each interrupts the thread.
        sleep(SHOT_LASTS);
        self.probes.iter_mut().for_each(|caught| caught.probe.disarm());
    }
}

/// A probe and what came by it.
struct Caught {
    probe: Probe,
    tid: i32,
    /// Where the probed function ends.
    exit: u64,
    /// Processor time of the thread while it was set.
    probed: Duration,
    /// How many of the calls came in earlier shots.
    earlier: usize,
    calls: Vec<(Return, Option<(u64, bool)>)>,
    /// Of how many of them the size was looked at.
    measured: usize,
}

impl Caught {
    fn open(tid: i32, exit: Exit) -> Option<Caught> {
        let probe = Probe::open(tid, exit).ok()?;
        let (probed, calls) = (Duration::ZERO, Vec::new());
        Some(Caught { probe, tid, exit: exit.address, probed, earlier: 0, calls, measured: 0 })
    }

    /// A shot is over, in which the thread had so much processor time: if all its hits were used
    /// up, the probe was set from the first to the last of them only.
    fn end_of_shot(&mut self, probed: Duration) {
        let calls = self.calls.get(self.earlier..).unwrap_or_default();
        self.probed += match (calls.first(), calls.last()) {
            (Some((first, _)), Some((last, _))) if calls.len() >= SHOT as usize => {
                Duration::from_nanos(last.time_ns.saturating_sub(first.time_ns)).min(probed)
            }
            _ => probed,
        };
        self.earlier = self.calls.len();
    }

    fn take(&mut self) {
        let calls = &mut self.calls;
        self.probe.drain(|call| calls.push((call, None)));
    }

    fn measure(&mut self, memory: &dyn Target) {
        for (call, chunk) in self.calls.iter_mut().skip(self.measured) {
            *chunk = chunks::size(memory, call.block);
        }
        self.measured = self.calls.len();
    }
}

/// Takes what came by, then reads the sizes: memory that was read before a block was given out has
/// what was there then.
fn take<'a>(threads: impl Iterator<Item = &'a mut Watched>, memory: &dyn Target) {
    let mut all: Vec<&mut Caught> = threads.flat_map(|thread| &mut thread.probes).collect();
    all.iter_mut().for_each(|caught| caught.take());
    memory.forget();
    all.iter_mut().for_each(|caught| caught.measure(memory));
}

//! Page faults of threads, sampled: the code that was first to write to memory, with registers and
//! stack (`perf_event_open(2)`, `PERF_COUNT_SW_PAGE_FAULTS`).

use crate::arch::Registers;
use crate::ring::Ring;
use perf_event::events::Software;
use perf_event::{Builder, Counter, SampleFlag};
use rustix::time::{ClockId, clock_gettime};
use std::collections::HashMap;
use std::io;

/// Samples that are wanted of a thread from one look to the next: they cost it some microseconds
/// each.
const WANTED: u64 = 15;
/// The kernel itself stops sampling after so many, should the thread be quicker than it was; the
/// ring has room for them.
const LIMIT: i32 = 28;
/// Threads followed at once: eight megabytes of buffers. Of more, those that fault, and others each
/// time.
const MAX_THREADS: usize = 32;

/// A page fault.
pub struct Fault {
    /// The address that was written or read.
    pub address: u64,
    /// The registers then.
    pub registers: Registers,
    /// The stack from its pointer up.
    pub stack: Vec<u8>,
}

/// The threads of a process whose page faults are sampled.
pub struct Faults {
    threads: HashMap<i32, Thread>,
    /// How many of them may be followed.
    most: usize,
}

impl Default for Faults {
    fn default() -> Self {
        Faults { threads: HashMap::new(), most: MAX_THREADS }
    }
}

impl Faults {
    /// Follows these threads and no others from now on. Where the kernel refuses, there will be no
    /// faults of that thread.
    pub fn follow(&mut self, threads: &[i32]) {
        let crowded = threads.len() > self.most;
        self.threads.retain(|tid, thread| threads.contains(tid) && !(crowded && thread.is_idle));
        let first = clock_gettime(ClockId::Monotonic).tv_nsec.unsigned_abs() as usize % threads.len().max(1);
        for &tid in threads.iter().cycle().skip(if crowded { first } else { 0 }).take(threads.len()) {
            if self.threads.len() < self.most && !self.threads.contains_key(&tid) {
                self.threads.extend(Thread::open(tid).ok().map(|thread| (tid, thread)));
            }
        }
    }

    /// Whether the thread `tid` is followed.
    pub fn follows(&self, tid: i32) -> bool {
        self.threads.contains_key(&tid)
    }

    /// Follows half as many threads from now on: an unprivileged user's memory for buffers is
    /// limited, and others need some.
    pub fn give_way(&mut self) {
        self.most /= 2;
        let tids: Vec<i32> = self.threads.keys().copied().skip(self.most).collect();
        self.threads.retain(|tid, _| !tids.contains(tid));
    }

    /// Takes what came since the last look, and forgets what it took before where `stays` does not
    /// hold of the address.
    pub fn look(&mut self, stays: impl Fn(u64) -> bool) {
        self.threads.values_mut().for_each(|thread| thread.look(&stays));
    }

    /// Calls `each` with the faults since the last time that were not forgotten, and how many
    /// faults each stands for.
    pub fn take(&mut self, mut each: impl FnMut(Fault, f64)) {
        self.threads.values_mut().for_each(|thread| thread.take(&mut each));
    }
}

/// Of one thread all faults are counted and some are sampled.
struct Thread {
    counter: Counter,
    counted: u64,
    ring: Ring,
    /// Faults from one sample to the next, on average.
    period: u64,
    /// How many samples the kernel may take yet.
    left: i32,
    /// How many samples came since they were taken last, forgotten or not.
    came: i32,
    /// Those that were not forgotten: no more than [`LIMIT`], and one for each look.
    kept: Vec<Fault>,
    /// It had no fault lately.
    is_idle: bool,
}

impl Thread {
    fn open(tid: i32) -> io::Result<Thread> {
        // What read(2) writes to a buffer faults in the kernel; not everybody may see that.
        Thread::open_with(tid, true).or_else(|_| Thread::open_with(tid, false))
    }

    fn open_with(tid: i32, kernel: bool) -> io::Result<Thread> {
        let mut builder = Builder::new(Software::PAGE_FAULTS);
        builder.observe_pid(tid).any_cpu().exclude_kernel(!kernel);
        let mut counter = builder.build()?;
        counter.enable()?;
        let ring = Ring::open(builder.sample_period(1).sample(SampleFlag::ADDR))?;
        let kept = Vec::new();
        let mut thread =
            Thread { counter, counted: 0, ring, period: 1, left: 0, came: 0, kept, is_idle: false };
        thread.allow(LIMIT);
        Ok(thread)
    }

    /// Lets the kernel take so many samples more, at least one: the event is enabled by it.
    fn allow(&mut self, samples: i32) {
        let samples = samples.max(1);
        // It fails where the thread has ended.
        let _ = self.ring.allow(samples);
        self.left += samples;
    }

    /// Has the kernel take a sample after about as many faults as the period says, and `samples` of
    /// them. Not after the same number each time: a program that writes to several things in turn
    /// must not be met at the same one always.
    fn vary(&mut self, samples: i32) {
        let jitter = u64::from(clock_gettime(ClockId::Monotonic).tv_nsec.unsigned_abs() as u32) % self.period;
        let period = if self.period > 1 { self.period / 2 + 1 + jitter } else { 1 };
        self.ring.disable();
        self.ring.set_period(period);
        self.allow(samples);
    }

    fn drain(&mut self) -> i32 {
        let before = self.came;
        let (came, left, kept) = (&mut self.came, &mut self.left, &mut self.kept);
        self.ring.drain(|sample, registers, stack| {
            if let Some(address) = sample.addr() {
                *came += 1;
                *left -= 1;
                kept.push(Fault { address, registers, stack });
            }
        });
        self.came - before
    }

    fn look(&mut self, stays: &impl Fn(u64) -> bool) {
        let came = self.drain();
        self.kept.retain(|fault| stays(fault.address));
        // Where all are used up, the kernel has disabled it until the next turn.
        if came > 0 && self.left > 0 && self.period > 1 {
            self.vary(1);
        }
    }

    fn take(&mut self, each: &mut impl FnMut(Fault, f64)) {
        self.drain();
        let counted = self.counter.read().unwrap_or(self.counted);
        let since = counted.saturating_sub(self.counted);
        self.is_idle = since == 0;
        if self.came > 0 {
            self.counted = counted;
            let weight = since as f64 / f64::from(self.came);
            self.came = 0;
            self.kept.drain(..).for_each(|fault| each(fault, weight));
        }
        if since > 0 {
            // It falls slowly: what comes after a pause must not be met by its first few faults
            // only.
            self.period = (since / WANTED).max(self.period / 2).max(1);
        }
        self.vary(LIMIT - self.left);
    }
}

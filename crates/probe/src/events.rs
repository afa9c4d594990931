//! Breakpoints of the processor that the kernel sets for one thread, with registers and stack when
//! it comes by (`perf_event_open(2)`, `PERF_TYPE_BREAKPOINT`).
//!
//! Nothing is written into the process: neither a breakpoint's instruction nor, as for uretprobes,
//! another return address. Those were tried first. With nine of them it took five seconds until
//! they were in place and gone again in a program that allocates without pause, which did a
//! fiftieth of its work meanwhile; and they end a process with a seccomp filter on Linux 6.11 to
//! 6.13.

use crate::arch::{Exit, Registers};
use crate::ring::Ring;
use perf_event::events::{Breakpoint, Software};
use perf_event::{Builder, SampleFlag, Sampler};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::time::{ClockId, clock_gettime};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

/// How long is waited, in the place of the kernel, where a thread has ended.
const ENDED: Duration = Duration::from_millis(5);
/// Bytes of the ring buffer of a clock.
const RINGS: usize = 4 << 10;

/// A hit's cost is measured in this many rounds, of which the least counts.
const ROUNDS: u32 = 5;
/// How many hits each such round has.
const HITS: u32 = 50;
/// What can't be is not believed.
const LEAST_COST: Duration = Duration::from_nanos(500);
/// The most that a hit is taken to cost, whatever was measured.
const MOST_COST: Duration = Duration::from_micros(50);

/// A thread at the end of a probed function.
pub struct Return {
    /// The block that it was given.
    pub block: u64,
    /// When, nanoseconds of the kernel's clock for samples.
    pub time_ns: u64,
    /// The registers then.
    pub registers: Registers,
    /// The stack from its pointer up.
    pub stack: Vec<u8>,
}

/// A breakpoint at one end of a function, for one thread. It is gone when this is dropped.
pub struct Probe {
    ring: Ring,
    exit: Exit,
}

impl Probe {
    /// Puts it there, not armed yet.
    ///
    /// # Errors
    /// What the kernel says: there are no more than [`PROBES`](crate::arch::PROBES) for a thread.
    pub fn open(tid: i32, exit: Exit) -> io::Result<Probe> {
        let mut builder = Builder::new(Breakpoint::execute(exit.address));
        builder.observe_pid(tid).any_cpu().sample_period(1).sample(SampleFlag::TIME);
        Ok(Probe { ring: Ring::open(&mut builder)?, exit })
    }

    /// Arms it for so many samples; then the kernel itself disarms it, at once.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn arm(&mut self, samples: i32) -> io::Result<()> {
        self.ring.allow(samples)
    }

    /// Disarms it.
    pub fn disarm(&mut self) {
        self.ring.disable();
    }

    /// How often a thread came by while it was armed, sampled or not.
    pub fn hits(&mut self) -> u64 {
        self.ring.count()
    }

    /// Calls `each` with the samples since the last look.
    pub fn drain(&mut self, mut each: impl FnMut(Return)) {
        let exit = self.exit;
        self.ring.drain(|sample, registers, stack| {
            if let Some(time_ns) = sample.time() {
                each(Return { block: registers.result(exit), time_ns, registers, stack });
            }
        });
    }
}

/// A thread's processor time, which says when some more of it has passed while the thread is in its
/// own code (`PERF_COUNT_SW_TASK_CLOCK`). It is gone when this is dropped.
pub struct Clock(Sampler);

impl Clock {
    /// Of the thread `tid`; rings each time that it has used `every` more.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open(tid: i32, every: Duration) -> io::Result<Clock> {
        let mut builder = Builder::new(Software::TASK_CLOCK);
        let period = u64::try_from(every.as_nanos()).unwrap_or(u64::MAX);
        builder.observe_pid(tid).any_cpu().sample_period(period).wakeup_events(1);
        let mut sampler = builder.build()?.sampled(RINGS)?;
        sampler.as_counter_mut().enable()?;
        Ok(Clock(sampler))
    }

    /// Processor time used since it was opened.
    pub fn time(&mut self) -> Duration {
        // It only fails for what is no event.
        Duration::from_nanos(self.0.as_counter_mut().read().unwrap_or(0))
    }

    /// Waits until one of `clocks` rings, at most for `most`; which of them do.
    pub fn wait(clocks: &mut [Clock], most: Duration) -> Vec<usize> {
        let mut rung = Vec::new();
        {
            let open = |clock: &Clock| {
                // SAFETY: the descriptor is open as long as the clock, which is borrowed for longer
                // than this.
                unsafe { BorrowedFd::borrow_raw(clock.0.as_counter().as_raw_fd()) }
            };
            let descriptors: Vec<BorrowedFd<'_>> = clocks.iter().map(open).collect();
            let mut polled: Vec<PollFd<'_>> =
                descriptors.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
            let most = Timespec { tv_sec: most.as_secs() as i64, tv_nsec: i64::from(most.subsec_nanos()) };
            // It only fails when a signal comes.
            if poll(&mut polled, Some(&most)).is_ok() {
                let rings = |fd: &PollFd<'_>| fd.revents().contains(PollFlags::IN);
                rung.extend(polled.iter().enumerate().filter(|(_, fd)| rings(fd)).map(|(number, _)| number));
                if rung.is_empty() && polled.iter().any(|fd| fd.revents().contains(PollFlags::HUP)) {
                    // The clock of a thread that has ended makes each wait end at once.
                    std::thread::sleep(ENDED);
                }
            }
        }
        for &number in &rung {
            // Each ring wrote a record; without room there would be no more of them.
            let clock = clocks.get_mut(number);
            clock.into_iter().for_each(|clock| while clock.0.next_record().is_some() {});
        }
        rung
    }
}

/// What a hit costs the thread that comes by, processor time: one to three microseconds, ten on
/// some virtual machines. Measured at a function of our own.
///
/// # Errors
/// What the kernel says.
pub fn cost() -> io::Result<Duration> {
    #[inline(never)]
    fn here() {
        std::hint::black_box(());
    }
    let time = || {
        let before = clock_gettime(ClockId::ThreadCPUTime);
        for _ in 0..HITS {
            std::hint::black_box(here as fn())();
        }
        let after = clock_gettime(ClockId::ThreadCPUTime);
        let seconds = (after.tv_sec - before.tv_sec) as f64 + (after.tv_nsec - before.tv_nsec) as f64 * 1e-9;
        Duration::from_secs_f64(seconds.max(0.0) / f64::from(HITS))
    };
    let mut counter = Builder::new(Breakpoint::execute(here as fn() as usize as u64)).build()?;
    let least = |time: &dyn Fn() -> Duration| (0..ROUNDS).map(|_| time()).min().unwrap_or_default();
    let without = least(&time);
    counter.enable()?;
    let with = least(&time);
    counter.disable()?;
    Ok(with.saturating_sub(without).clamp(LEAST_COST, MOST_COST))
}

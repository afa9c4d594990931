//! Snapshots at a steady pace: shared by `record`, `watch` and `diagnose`.

use crate::clock::cpu_time;
use offheap_collect::{Collector, Effort, Error};
use offheap_model::Snapshot;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A snapshot may use one part in this many of the time: three percent of a core.
/// Unit: parts.
const TIME_SHARE: u32 = 33;
/// A snapshot may hold the lock of the target's address space in one go for one part in this many
/// of the time: one percent.
/// Unit: parts.
const HELD_SHARE: u32 = 100;
/// Snapshots by which the usual longest hold is judged.
const HOLDS: usize = 4;

/// Set when the user wants to end it (Ctrl-C, SIGTERM), or is gone (the terminal, the reader of
/// what is printed).
#[derive(Debug, Clone)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Catches what ends a tool: SIGINT, SIGTERM, SIGHUP (the terminal or the ssh session is gone)
    /// and SIGPIPE (nobody reads what it prints): whoever has an agent at work in a process must
    /// stop it first. A second SIGINT ends the tool at once.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn catch() -> std::io::Result<Stop> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            // Registered first, so it acts only when the flag was set by an earlier signal.
            signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&flag))?;
            signal_hook::flag::register(signal, Arc::clone(&flag))?;
        }
        if !offheap_linux::is_ignored(signal_hook::consts::SIGHUP) {
            signal_hook::flag::register(signal_hook::consts::SIGHUP, Arc::clone(&flag))?;
        }
        signal_hook::flag::register(signal_hook::consts::SIGPIPE, Arc::clone(&flag))?;
        Ok(Stop(flag))
    }

    /// True once the user wants to end it.
    pub fn is_wanted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Sleeps until `when`, or until the user wants to end it.
    pub fn sleep_until(&self, when: Instant) {
        while !self.is_wanted() {
            let left = when.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(Duration::from_millis(50)));
        }
    }
}

/// Takes snapshots of one process at a steady pace.
#[derive(Debug)]
pub struct Sampler {
    collector: Collector,
    every: Duration,
    slowest: Duration,
    due: Instant,
    /// The longest holds of the latest snapshots.
    holds: [Duration; HOLDS],
}

impl Sampler {
    /// Snapshots of the process `pid`, one each `every`.
    ///
    /// # Errors
    /// As [`Collector::open`].
    pub fn open(pid: i32, every: Duration) -> Result<Sampler, Error> {
        Ok(Sampler {
            collector: Collector::open(pid)?,
            every,
            slowest: Duration::MAX,
            due: Instant::now(),
            holds: [Duration::ZERO; HOLDS],
        })
    }

    /// At least one each `slowest`, whatever they cost: a window that is to be judged needs some.
    pub fn never_slower_than(self, slowest: Duration) -> Sampler {
        Sampler { slowest, ..self }
    }

    /// When the next one is due.
    pub fn due(&self) -> Instant {
        self.due
    }

    /// Takes a snapshot. A large process makes them costly; then the pace is slackened, so that
    /// looking takes no more than three percent of a core, as far as it may be. What counts is the
    /// time on a core: on a busy machine a snapshot that only waits for one costs nothing, and
    /// fewer of them would tell less. The target's mmap and munmap wait while its address space is
    /// read, so that counts too.
    ///
    /// # Errors
    /// As [`Collector::snapshot`].
    pub fn snapshot(&mut self) -> Result<Snapshot, Error> {
        let (begun, spent) = (Instant::now(), cpu_time());
        let snapshot = self.collector.snapshot(Effort::SERIES)?;
        let sparing = (cpu_time().saturating_sub(spent) * TIME_SHARE)
            .max(self.usual_hold() * HELD_SHARE)
            .min(self.slowest);
        let pace = self.every.max(sparing);
        // Kept to a grid where possible; a missed beat is not made up for.
        self.due = (self.due + pace).max(begun + pace / 2);
        Ok(snapshot)
    }

    /// The longest hold that each of the latest snapshots had at least: a call that only waited for
    /// a core on a busy machine is none.
    fn usual_hold(&mut self) -> Duration {
        self.holds.rotate_left(1);
        if let Some(last) = self.holds.last_mut() {
            *last = self.collector.held().longest;
        }
        self.holds.iter().min().copied().unwrap_or_default()
    }

    /// The collector.
    pub fn collector(&self) -> &Collector {
        &self.collector
    }
}

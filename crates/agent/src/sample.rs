//! Decides which allocations are recorded, and records them.
//!
//! Every thread counts allocated bytes down from an exponentially distributed number with the
//! interval as its mean; the allocation that uses it up is a sample. So an allocation of `size`
//! bytes is sampled with probability 1 - exp(-size/interval), whatever came before, and stands for
//! the reciprocal of that many: sizes and counts are unbiased. With an interval of 1 everything is
//! a sample of weight 1.

use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64};

use offheap_live::{Counter, DEFAULT_INTERVAL, LOWEST_ADDRESS, SampleRec, State, stack_flags};

use crate::arch::{self, Thread, page_bytes};
use crate::busy::{self, Busy, Place};
use crate::clock;
use crate::control;
use crate::filter;
use crate::guard;
use crate::lease;
use crate::math;
use crate::store;
use crate::sys;
use crate::table::{self, File};
use crate::tid;
use crate::walk;

/// Raised by every start, stop and change of interval; a thread whose epoch differs draws anew. 0:
/// never started.
pub static EPOCH: AtomicU32 = AtomicU32::new(0);
/// Mean bytes between samples; 0: not sampling.
static INTERVAL: AtomicU64 = AtomicU64::new(0);
/// What it was when something was sampled last.
static LAST: AtomicU64 = AtomicU64::new(DEFAULT_INTERVAL);

/// A byte that is 1 in this process and 0 in a child made by fork, by any means (MADV_WIPEONFORK).
static ALIVE: AtomicPtr<AtomicU8> = AtomicPtr::new(core::ptr::null_mut());
/// Set in a child that libc's fork has made.
static FORKED: AtomicBool = AtomicBool::new(false);
static WIPED: AtomicU32 = AtomicU32::new(0);

/// Prepares the recognition of forked children.
pub fn init() {
    const MADV_WIPEONFORK: usize = 18;
    if ALIVE.load(Relaxed).is_null()
        && let Some(page) = sys::map_anonymous(page_bytes() as usize)
    {
        let args = [page as usize, page_bytes() as usize, MADV_WIPEONFORK, 0, 0, 0];
        // SAFETY: the page was just mapped, nobody else has it.
        let r = unsafe { sys::syscall(libc::SYS_madvise, args) };
        if r == 0 {
            // SAFETY: as above.
            unsafe { page.write(1) };
            ALIVE.store(page.cast(), Relaxed);
        } else {
            // SAFETY: as above.
            unsafe { sys::unmap(page, page_bytes() as usize) };
        }
    }
}

/// This is a forked child.
pub fn forked() {
    FORKED.store(true, Relaxed);
}

/// Whether this is a forked child, which doesn't have the live file. (A vfork child shares all
/// memory and is part of the parent as far as that goes.)
#[inline]
pub fn is_forked_child() -> bool {
    let alive = ALIVE.load(Relaxed);
    let forked = if alive.is_null() {
        FORKED.load(Relaxed) || is_file_gone()
    } else {
        // SAFETY: mapped for ever.
        unsafe { (*alive).load(Relaxed) == 0 }
    };
    if forked {
        wipe();
    }
    forked
}

/// Before Linux 4.14, which can't wipe a page for children: the live file is not mapped in one that
/// was not made by libc's fork.
#[cold]
fn is_file_gone() -> bool {
    let (at, _) = store::range();
    at != 0 && !guard::is_there(at as u64)
}

#[cold]
fn wipe() {
    if WIPED.swap(1, Relaxed) == 0 {
        INTERVAL.store(0, Relaxed);
        filter::clear();
    }
}

/// Sampling as it is now: the interval, 0 while stopped.
pub fn interval() -> u64 {
    INTERVAL.load(Relaxed)
}

/// The interval of the last start.
pub fn last_interval() -> u64 {
    LAST.load(Relaxed)
}

/// Starts, stops (0) or changes the interval. Every thread notices at its next allocation.
pub fn set_interval(interval: u64) {
    INTERVAL.store(interval, Relaxed);
    if interval != 0 {
        LAST.store(interval, Relaxed);
    }
    let next = EPOCH.load(Relaxed).wrapping_add(1).max(1);
    EPOCH.store(next, Relaxed);
    if let Some(file) = table::file() {
        let h = file.header();
        if interval == 0 {
            h.state.store(State::Stopped as u32, Relaxed);
        } else {
            h.interval.store(interval, Relaxed);
            h.started_ns.store(sys::clock_ns(libc::CLOCK_MONOTONIC), Relaxed);
            h.state.store(State::Running as u32, Relaxed);
        }
        table::count(Counter::Changes);
    }
}

/// Draws the next distance.
fn rearm(t: &Thread, interval: u64) {
    t.countdown.set(match interval {
        // A start is noticed by the epoch.
        0 => i64::MAX / 2,
        1 => -1,
        n => math::exponential(t, n),
    });
}

/// What a sample consists of besides its address.
pub struct Taken {
    /// The live file that its stack is in.
    pub file: File,
    pub time_ns: u64,
    pub weight: f64,
    pub stack: u32,
    pub tid: u32,
    pub seq: u32,
}

/// The slow path's first half: is this allocation really a sample? Returns the interval it is one
/// of.
#[inline]
fn due(t: &Thread, place: &Place, size: u64) -> Option<u64> {
    if is_forked_child() {
        t.epoch.set(EPOCH.load(Relaxed));
        t.countdown.set(i64::MAX / 2);
        return None;
    }
    let epoch = EPOCH.load(Relaxed);
    let interval = INTERVAL.load(Relaxed);
    if t.epoch.get() != epoch {
        // The thread's distance was drawn for something else: draw, and count this allocation
        // against it.
        t.epoch.set(epoch);
        rearm(t, interval);
        if interval != 1 {
            let left = t.countdown.get().wrapping_sub(size as i64);
            t.countdown.set(left);
            if left >= 0 {
                return None;
            }
        }
    }
    rearm(t, interval);
    if interval == 0 {
        return None;
    }
    if busy::is_at_work(t, place) {
        table::count(Counter::DropReentrant);
        return None;
    }
    Some(interval)
}

/// Walks the stack and fills in the rest; `None` if this is a call inside another allocator call.
#[inline(always)]
fn record(work: &Busy, file: File, size: u64, interval: u64, flags: u16) -> Option<Taken> {
    let t = work.thread();
    tid::current(t);
    let time_ns = clock::now_ns();
    if lease::has_run_out(time_ns) {
        control::run_out(work);
        return None;
    }
    file.count(if flags & stack_flags::OBJECT == 0 { Counter::Samples } else { Counter::Objects });
    let stack = match walk::current(file, work, flags, time_ns) {
        walk::Outcome::Stack(stack) => stack,
        walk::Outcome::Nested => {
            table::count(Counter::Nested);
            return None;
        }
    };
    let weight =
        if interval == 1 { 1.0 } else { 1.0 / math::one_minus_exp_neg(size.max(1) as f64 / interval as f64) };
    let seq = t.seq.get().wrapping_add(1);
    t.seq.set(seq);
    Some(Taken { file, time_ns, weight, stack, tid: t.tid.get(), seq })
}

/// The slow path of an allocation. Keeps errno: nothing in it touches errno.
#[cold]
#[inline(never)]
pub fn allocated(addr: u64, size: u64) {
    let t = arch::thread();
    let place = Place::new();
    let Some(interval) = due(t, &place, size) else { return };
    if addr < LOWEST_ADDRESS {
        return;
    }
    let Some(file) = table::file() else { return };
    file.prefetch(addr);
    let work = busy::begin(t, &place);
    if let Some(s) = record(&work, file, size, interval, 0) {
        file.add_allocated(s.stack, size, s.weight);
        file.insert(&SampleRec {
            addr,
            size,
            time_ns: s.time_ns,
            weight: s.weight,
            stack: s.stack,
            tid: s.tid,
            seq: s.seq,
            check: 0,
        });
    }
}

/// Counts a mapping's bytes down like any other allocation's; `None` if it is no sample.
pub fn region(size: u64) -> Option<Taken> {
    let t = arch::thread();
    let left = t.countdown.get().wrapping_sub(size as i64);
    t.countdown.set(left);
    if left >= 0 && t.epoch.get() == EPOCH.load(Relaxed) {
        return None;
    }
    let place = Place::new();
    let interval = due(t, &place, size)?;
    record(&busy::begin(t, &place), table::file()?, size, interval, stack_flags::REGION)
}

/// A Java object that the JVM has sampled, by a sampler of the same kind: what it consists of,
/// handed to `keep` while the agent counts as at work on this thread.
pub fn object(size: u64, interval: u64, keep: impl FnOnce(&Thread, &Taken)) {
    let t = arch::thread();
    let Some(file) = table::file() else { return };
    let place = Place::new();
    let work = busy::begin(t, &place);
    if !work.is_outermost() {
        table::count(Counter::DropObjects);
    } else if let Some(taken) = record(&work, file, size, interval, stack_flags::OBJECT) {
        keep(t, &taken);
    }
}

/// Calls into the JVM on the agent's own behalf: what that allocates is no sample.
pub fn unsampled<T>(t: &Thread, call: impl FnOnce() -> T) -> T {
    let (left, epoch) = (t.countdown.replace(i64::MAX / 2), t.epoch.get());
    let result = call();
    // Otherwise a distance was drawn for another interval in between.
    if t.epoch.get() == epoch {
        t.countdown.set(left);
    }
    result
}

/// A sample that was taken out of the live table.
pub struct Out {
    file: File,
    record: SampleRec,
}

/// Takes a block that is about to be freed out of the live table, if it is a sample.
#[cold]
#[inline(never)]
pub fn take(addr: u64) -> Option<Out> {
    if addr < LOWEST_ADDRESS {
        return None;
    }
    let file = table::file()?;
    Some(Out { file, record: file.remove(addr)? })
}

/// The slow path of a free: the filter says that the address may be a sample.
#[cold]
#[inline(never)]
pub fn freed(addr: u64) {
    if addr >= LOWEST_ADDRESS
        && let Some(file) = table::file()
        && let Some(record) = file.remove(addr)
    {
        file.count(Counter::Frees);
        file.add_freed(record.stack, record.size, record.weight);
    }
}

/// Adds a freed sample to the totals.
pub fn account_free(out: &Out) {
    if out.file.is_current() {
        out.file.count(Counter::Frees);
        out.file.add_freed(out.record.stack, out.record.size, out.record.weight);
    }
}

/// Puts a sample back whose realloc failed.
pub fn put_back(out: &Out) {
    out.file.insert(&out.record);
}

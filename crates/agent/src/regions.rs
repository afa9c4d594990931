//! The table of sampled mappings and thread stacks.
//!
//! Mappings can be cut and overlaid, so they are kept as ranges under a small spin lock whose
//! holder does no more than scan a table. Nobody waits for it long: a sample that doesn't get it is
//! dropped, an unmapping is put into a ring and applied by the next holder.

use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize};

use offheap_live::{Counter, RegionKind, RegionRec, region_check};

use crate::arch::{self, page_bytes, page_start};
use crate::busy::{self, Busy};
use crate::clock;
use crate::sample;
use crate::sys;
use crate::table;
use crate::tid;

const MAX_REGIONS: usize = offheap_live::MAX_REGIONS as usize;
/// Frees that can wait.
const RING: usize = 256;
/// Tries before giving up on the lock; now and then its holder gets time to end.
const TRIES: u32 = 2000;
/// Tries after which a writer sleeps.
const TRIES_PER_WAIT: u32 = 100;
/// How long it sleeps then.
const WAIT_US: u32 = 20;

/// When each region was made, on the same clock as the unmappings in the ring.
static TICKS: [AtomicU64; MAX_REGIONS] = [const { AtomicU64::new(0) }; MAX_REGIONS];
/// No place below this one is free.
static FIRST_FREE: AtomicUsize = AtomicUsize::new(0);
static TICK: AtomicU64 = AtomicU64::new(1);

/// The thread that holds the table (below; 0: none), and how many have held it before (above).
static LOCK: AtomicU64 = AtomicU64::new(0);
/// Live regions, so that munmap has nothing to do while there are none.
static LIVE: AtomicU32 = AtomicU32::new(0);

/// An unmapping, or (`end` 0) a thread's end, that could not be applied at once. `tick` is written
/// last; 0: free, 1: being written.
struct Late {
    tick: AtomicU64,
    start: AtomicU64,
    end: AtomicU64,
}
static LATE: [Late; RING] =
    [const { Late { tick: AtomicU64::new(0), start: AtomicU64::new(0), end: AtomicU64::new(0) } }; RING];
static LATE_COUNT: AtomicUsize = AtomicUsize::new(0);

fn kind_of(record: &RegionRec) -> Option<RegionKind> {
    match record.kind {
        1 => Some(RegionKind::Anonymous),
        2 => Some(RegionKind::File),
        3 => Some(RegionKind::ThreadStack),
        _ => None,
    }
}

/// The table, held.
struct Held {
    file: table::File,
    lock: u64,
}

/// Who tries to get the lock in vain, and since when: the lock as it was, and the time in
/// milliseconds.
static WAITED_FOR: AtomicU64 = AtomicU64::new(0);
static WAITED_SINCE: AtomicU64 = AtomicU64::new(0);
/// A holder scans a table. After this time it has ended within (a thread that was cancelled);
/// should it come back after all, two write records at a time, whose checksums tell.
const LEFT_MS: u64 = 2000;

/// Whether who holds the lock, as it is, does not come back.
fn is_left(there: u64) -> bool {
    let now = clock::now_ns() / 1_000_000;
    if WAITED_FOR.swap(there, Relaxed) != there {
        WAITED_SINCE.store(now, Relaxed);
        return false;
    }
    now.saturating_sub(WAITED_SINCE.load(Relaxed)) > LEFT_MS
}

impl Held {
    /// Gets the table for `f`; `None` where others hold it for too long.
    fn with<T>(f: impl FnOnce(&Held) -> T) -> Option<T> {
        let file = table::file()?;
        let place = busy::Place::new();
        let work = busy::begin(arch::thread(), &place);
        let held = Held { file, lock: Held::lock(&work)? };
        held.apply_late();
        Some(f(&held))
    }

    fn lock(work: &Busy) -> Option<u64> {
        let tid = tid::current(work.thread());
        for i in 1..=TRIES {
            let there = LOCK.load(Relaxed);
            let holder = there as u32;
            let own = holder == tid;
            if own && !work.is_outermost() {
                return None; // this is a signal handler, and who it interrupts has the lock
            }
            // Otherwise this thread itself has left it behind (a longjmp out of a signal handler:
            // see `busy`).
            if holder == 0 || own || (i == TRIES && is_left(there)) {
                let lock = ((there >> 32) + 1) << 32 | u64::from(tid);
                if LOCK.compare_exchange(there, lock, Acquire, Relaxed).is_ok() {
                    return Some(lock);
                }
            } else if i.is_multiple_of(TRIES_PER_WAIT) {
                // SAFETY: the lower half of an atomic that stays: its holder.
                let word = unsafe { AtomicU32::from_ptr(LOCK.as_ptr().cast()) };
                sys::wait_while(word, holder, WAIT_US);
            }
            core::hint::spin_loop();
        }
        None
    }

    fn used(&self) -> usize {
        (self.file.regions_used() as usize).min(MAX_REGIONS)
    }

    fn get(&self, i: usize) -> Option<RegionRec> {
        // SAFETY: in bounds, and written only under the lock.
        // What stands there is only calculated with; readers judge it by its checksum.
        self.file.region(i).map(|r| unsafe { r.read_volatile() }).filter(|r| r.kind != 0)
    }

    fn set(&self, i: usize, mut record: RegionRec) {
        record.check = if record.kind == 0 { 0 } else { region_check(&record) };
        if let Some(r) = self.file.region(i) {
            // SAFETY: in bounds and under the lock; a reader that sees half of it is told by the
            // checksum.
            unsafe { r.write_volatile(record) };
        }
    }

    fn clear(&self, i: usize) {
        self.set(i, RegionRec::default());
        FIRST_FREE.fetch_min(i, Relaxed);
        let _ = LIVE.fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1));
    }

    fn tick(&self, i: usize) -> Option<u64> {
        TICKS.get(i).map(|t| t.load(Relaxed))
    }

    /// Stamps a region as made now; false if there is no such place.
    fn stamp(&self, i: usize) -> bool {
        TICKS.get(i).map(|t| t.store(TICK.fetch_add(1, Relaxed), Relaxed)).is_some()
    }

    fn add(&self, record: RegionRec) -> bool {
        let used = self.used();
        let i = (FIRST_FREE.load(Relaxed)..used).find(|&i| self.get(i).is_none()).unwrap_or(used);
        FIRST_FREE.store(i, Relaxed);
        if !self.stamp(i) {
            table::count(Counter::DropRegionsFull);
            return false;
        }
        self.set(i, record);
        LIVE.fetch_add(1, Relaxed);
        if i == used {
            self.file.set_regions_used(used as u64 + 1);
        }
        true
    }

    fn account_free(&self, record: &RegionRec, bytes: u64) {
        // The share of a mapping that is left: weights count whole mappings.
        let share = bytes as f64 / record.size.max(1) as f64;
        self.file.add_freed(record.stack, record.size, record.weight * share);
    }

    /// Takes `start..end` out of every mapping made before `tick`.
    fn cut(&self, start: u64, end: u64, tick: u64) {
        for i in 0..self.used() {
            let Some(r) = self.get(i) else { continue };
            let mapping = matches!(kind_of(&r), Some(RegionKind::Anonymous | RegionKind::File));
            if !mapping || r.end <= start || r.start >= end || self.tick(i).is_none_or(|t| t >= tick) {
                continue;
            }
            let (lo, hi) = (start.max(r.start), end.min(r.end));
            self.account_free(&r, hi.saturating_sub(lo));
            if lo == r.start && hi == r.end {
                self.clear(i);
            } else if lo == r.start {
                self.set(i, RegionRec { start: hi, ..r });
            } else {
                self.set(i, RegionRec { end: lo, ..r });
                if hi != r.end {
                    self.add(RegionRec { start: hi, ..r });
                }
            }
        }
    }

    /// Forgets the stack of a thread that ended at `tick`.
    fn forget_thread(&self, pthread: u64, tick: u64) {
        for i in 0..self.used() {
            let stack = |r: &RegionRec| r.start == pthread && kind_of(r) == Some(RegionKind::ThreadStack);
            if self.tick(i).is_some_and(|t| t < tick)
                && let Some(r) = self.get(i).filter(stack)
            {
                self.account_free(&r, r.size);
                self.clear(i);
            }
        }
    }

    fn apply_late(&self) {
        if LATE_COUNT.load(Acquire) == 0 {
            return;
        }
        for late in &LATE {
            let tick = late.tick.load(Acquire);
            if tick > 1 {
                match (late.start.load(Relaxed), late.end.load(Relaxed)) {
                    (pthread, 0) => self.forget_thread(pthread, tick),
                    (start, end) => self.cut(start, end, tick),
                }
                late.tick.store(0, Release);
                LATE_COUNT.fetch_sub(1, AcqRel);
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Unless somebody has taken it away.
        let free = self.lock >> 32 << 32;
        let _ = LOCK.compare_exchange(self.lock, free, Release, Relaxed);
    }
}

/// Begins with an empty table, in a new live file. Nobody samples yet.
pub fn begin() {
    let reset = || {
        FIRST_FREE.store(0, Relaxed);
        LIVE.store(0, Relaxed);
    };
    if Held::with(|_| reset()).is_none() {
        reset();
    }
}

/// Nothing is followed any more.
pub fn end() {
    LIVE.store(0, Relaxed);
}

fn page_up(len: u64) -> u64 {
    page_start(len.saturating_add(page_bytes() - 1))
}

/// Samples a new mapping.
pub fn mapped(start: u64, len: u64, anonymous: bool) {
    let kind = if anonymous { RegionKind::Anonymous } else { RegionKind::File };
    sample_region(start, start.saturating_add(page_up(len)), len, kind);
}

fn sample_region(start: u64, end: u64, size: u64, kind: RegionKind) {
    let Some(s) = sample::region(size) else { return };
    let record = RegionRec {
        start,
        end,
        size: end - start,
        time_ns: s.time_ns,
        weight: s.weight,
        stack: s.stack,
        tid: s.tid,
        kind: kind as u32,
        check: 0,
    };
    let added = Held::with(|held| {
        if held.file.session() == s.file.session() && held.add(record) {
            held.file.add_allocated(record.stack, record.size, record.weight);
        }
    });
    if added.is_none() {
        table::count(Counter::DropRegionsFull);
    }
}

/// Forgets what is about to be unmapped.
pub fn unmapped(start: u64, len: u64) {
    let end = start.saturating_add(page_up(len));
    if LIVE.load(Relaxed) == 0 || start != page_start(start) || end <= start || sample::is_forked_child() {
        return;
    }
    let tick = TICK.fetch_add(1, Relaxed);
    if Held::with(|held| held.cut(start, end, tick)).is_none() {
        apply_later(start, end, tick);
    }
}

/// Leaves a free to the next holder of the lock: frees are never dropped for want of it.
fn apply_later(start: u64, end: u64, tick: u64) {
    for late in &LATE {
        if late.tick.compare_exchange(0, 1, AcqRel, Relaxed).is_ok() {
            late.start.store(start, Relaxed);
            late.end.store(end, Relaxed);
            LATE_COUNT.fetch_add(1, AcqRel);
            late.tick.store(tick.max(2), Release);
            return;
        }
    }
    table::count(Counter::LostFrees);
}

/// A mapping that was taken out of the table.
pub struct Out {
    file: table::File,
    record: RegionRec,
}

/// Takes out the mapping that mremap is about to move, if it is a sampled one and moves whole.
pub fn take(start: u64, len: u64) -> Option<Out> {
    if LIVE.load(Relaxed) == 0 || sample::is_forked_child() {
        return None;
    }
    let end = start.saturating_add(page_up(len));
    Held::with(|held| {
        let i = (0..held.used()).find(|&i| held.get(i).is_some_and(|r| r.start == start && r.end <= end))?;
        let record = held.get(i)?;
        held.clear(i);
        Some(Out { file: held.file, record })
    })?
}

/// Puts a mapping back at its new place.
pub fn put_back(out: &Out, start: u64, len: u64) {
    if !out.file.is_current() {
        return;
    }
    let record = &out.record;
    let end = start.saturating_add(page_up(len));
    let back = Held::with(|held| {
        let size = (end - start).max(record.size);
        if size > record.size {
            held.file.add_allocated(record.stack, size - record.size, record.weight);
            held.file.add_freed(record.stack, 0, record.weight);
        }
        held.add(RegionRec { start, end, size, ..*record });
    });
    if back.is_none() {
        table::count(Counter::DropRegionsFull);
    }
}

/// Adds a thread's stack; false if there is no room.
pub fn add(record: RegionRec, session: u64) -> bool {
    let added = Held::with(|held| {
        if held.file.session() != session {
            return false; // its stack is in a file that is gone
        }
        // The same stack again, from the C library's cache: its last thread's end went unseen.
        held.forget_thread(record.start, TICK.fetch_add(1, Relaxed));
        let added = held.add(record);
        if added {
            held.file.add_allocated(record.stack, record.size, record.weight);
        }
        added
    });
    added.unwrap_or_else(|| {
        table::count(Counter::DropRegionsFull);
        false
    })
}

/// Forgets the stack of a thread that ends.
pub fn thread_ended(pthread: u64) {
    if sample::is_forked_child() {
        return;
    }
    if LIVE.load(Relaxed) == 0 {
        return;
    }
    let tick = TICK.fetch_add(1, Relaxed);
    if Held::with(|held| held.forget_thread(pthread, tick)).is_none() {
        apply_later(pthread, 0, tick);
    }
}

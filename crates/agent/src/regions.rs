//! The table of sampled mappings and thread stacks.
//!
//! Mappings can be cut and overlaid, so they are kept as ranges under a small spin lock whose holder does no more
//! than scan a table. Nobody waits for it long: a sample that doesn't get it is dropped, an unmapping is put into a
//! ring and applied by the next holder.

use core::cell::UnsafeCell;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize};

use offheap_live::{Counter, RegionKind, RegionRec, region_check};

use crate::arch;
use crate::guard;
use crate::sample;
use crate::sys;
use crate::table;

const MAX_REGIONS: usize = 4096;
/// Frees that can wait.
const RING: usize = 256;
/// Tries before giving up on the lock; now and then the processor is offered to its holder.
const TRIES: u32 = 2000;
const TRIES_PER_YIELD: u32 = 100;

/// When each region was made, on the same clock as the unmappings in the ring.
struct Ticks(UnsafeCell<[u64; MAX_REGIONS]>);
// SAFETY: only touched under LOCK.
unsafe impl Sync for Ticks {}
static TICKS: Ticks = Ticks(UnsafeCell::new([0; MAX_REGIONS]));
/// No place below this one is free.
static FIRST_FREE: AtomicUsize = AtomicUsize::new(0);
static TICK: AtomicU64 = AtomicU64::new(1);

static LOCK: AtomicBool = AtomicBool::new(false);
/// Live regions, so that munmap has nothing to do while there are none.
static LIVE: AtomicU32 = AtomicU32::new(0);

/// An unmapping, or (`end` 0) a thread's end, that could not be applied at once. `tick` is written last; 0: free,
/// 1: being written.
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
}

impl Held {
    fn new() -> Option<Held> {
        let file = table::file()?;
        let t = arch::thread();
        t.busy.set(t.busy.get() + 1);
        for i in 1..=TRIES {
            if LOCK.compare_exchange_weak(false, true, Acquire, Relaxed).is_ok() {
                let held = Held { file };
                held.apply_late();
                return Some(held);
            }
            if i.is_multiple_of(TRIES_PER_YIELD) {
                sys::sched_yield();
            }
            core::hint::spin_loop();
        }
        t.busy.set(t.busy.get() - 1);
        None
    }

    fn used(&self) -> usize {
        (self.file.header().regions_used.load(Relaxed) as usize).min(MAX_REGIONS)
    }

    fn get(&self, i: usize) -> Option<RegionRec> {
        // SAFETY: in bounds, and written only under the lock.
        self.file.region(i).map(|r| unsafe { r.read() }).filter(|r| r.kind != 0)
    }

    fn set(&self, i: usize, mut record: RegionRec) {
        record.check = if record.kind == 0 { 0 } else { region_check(&record) };
        if let Some(r) = self.file.region(i) {
            // SAFETY: in bounds and under the lock; a reader that sees half of it is told by the checksum.
            unsafe { r.write_volatile(record) };
        }
    }

    fn clear(&self, i: usize) {
        self.set(i, RegionRec::default());
        FIRST_FREE.fetch_min(i, Relaxed);
        LIVE.fetch_sub(1, Relaxed);
    }

    fn tick(&self, i: usize) -> Option<u64> {
        // SAFETY: under the lock.
        unsafe { (*TICKS.0.get()).get(i).copied() }
    }

    /// Stamps a region as made now; false if there is no such place.
    fn stamp(&self, i: usize) -> bool {
        // SAFETY: under the lock.
        let place = unsafe { (*TICKS.0.get()).get_mut(i) };
        place.map(|t| *t = TICK.fetch_add(1, Relaxed)).is_some()
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
            self.file.header().regions_used.store(used as u64 + 1, Release);
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
            self.account_free(&r, hi - lo);
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
        LOCK.store(false, Release);
        let t = arch::thread();
        t.busy.set(t.busy.get() - 1);
    }
}

fn page_up(len: u64) -> u64 {
    len.saturating_add(4095) & !4095
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
    match Held::new() {
        Some(held) => {
            if held.add(record) {
                held.file.add_allocated(record.stack, record.size, record.weight);
            }
        }
        None => table::count(Counter::DropRegionsFull),
    }
}

/// Forgets what is about to be unmapped.
pub fn unmapped(start: u64, len: u64) {
    guard::UNMAPS.fetch_add(1, Relaxed);
    let end = start.saturating_add(page_up(len));
    if LIVE.load(Relaxed) == 0 || start & 4095 != 0 || end <= start || sample::is_forked_child() {
        return;
    }
    let tick = TICK.fetch_add(1, Relaxed);
    if let Some(held) = Held::new() {
        held.cut(start, end, tick);
        return;
    }
    apply_later(start, end, tick);
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

/// Takes out the mapping that mremap is about to move, if it is a sampled one and moves whole.
pub fn take(start: u64, len: u64) -> Option<RegionRec> {
    if LIVE.load(Relaxed) == 0 || sample::is_forked_child() {
        return None;
    }
    let held = Held::new()?;
    let end = start.saturating_add(page_up(len));
    let i = (0..held.used()).find(|&i| held.get(i).is_some_and(|r| r.start == start && r.end <= end))?;
    let record = held.get(i)?;
    held.clear(i);
    Some(record)
}

/// Puts a mapping back at its new place.
pub fn put_back(record: &RegionRec, start: u64, len: u64) {
    if let Some(held) = Held::new() {
        let end = start.saturating_add(page_up(len));
        let size = if end - start > record.size { end - start } else { record.size };
        if size > record.size {
            held.file.add_allocated(record.stack, size - record.size, record.weight);
            held.file.add_freed(record.stack, 0, record.weight);
        }
        held.add(RegionRec { start, end, size, ..*record });
    } else {
        table::count(Counter::DropRegionsFull);
    }
}

/// Adds a thread's stack; false if there is no room.
pub fn add(record: RegionRec) -> bool {
    let Some(held) = Held::new() else {
        table::count(Counter::DropRegionsFull);
        return false;
    };
    // The same stack again, from the C library's cache: its last thread's end went unseen.
    held.forget_thread(record.start, TICK.fetch_add(1, Relaxed));
    let added = held.add(record);
    if added {
        held.file.add_allocated(record.stack, record.size, record.weight);
    }
    added
}

/// Forgets the stack of a thread that ends.
pub fn thread_ended(pthread: u64) {
    if sample::is_forked_child() {
        return;
    }
    let tick = TICK.fetch_add(1, Relaxed);
    match Held::new() {
        Some(held) => held.forget_thread(pthread, tick),
        None => apply_later(pthread, 0, tick),
    }
}

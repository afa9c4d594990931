//! The agent's side of the live file: lock-free, bounded, safe to be killed in at any instruction.
//!
//! A slot is claimed by one compare-exchange on its key and becomes believable only when its
//! checksum is written last, so a reader (or another thread) never takes a half-written record for
//! a whole one. Two different records with the same 64-bit key would be taken for one; with 65,536
//! of them that happens once in 10^10 files.

use core::cell::UnsafeCell;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64};

use offheap_live::{
    BUCKET, COUNT_UNIT, COUNTERS, Counter, FrameKind, FrameRec, Header, Layout, MAX_BUCKETS, MAX_PROBES,
    ModuleRec, NO_STACK, OBJECT, RegionRec, SampleRec, Section, StackRec, StrRec, bucket_of, combine,
    frame_check, hash_bytes, mix, module_check, sample_check, stack_check,
};

use crate::arch::prefetch;
use crate::filter;
use crate::sample;

/// A live file's size and where its tables lie: the agent's own, for what the file's header says
/// can be written by others.
struct Plan {
    size: AtomicU64,
    layout: UnsafeCell<Layout>,
}
// SAFETY: a layout is written before its size, by the one who starts the agent, and never again.
unsafe impl Sync for Plan {}

/// Most bytes of a name that are kept.
const MAX_NAME: usize = 4096;
/// One for each size that a live file of this process has had.
const PLANS: usize = 8;
static PLAN: [Plan; PLANS] =
    [const { Plan { size: AtomicU64::new(0), layout: UnsafeCell::new(Layout::NONE) } }; PLANS];

/// Where the live file is mapped; the address stays the same once there was one.
static BASE: AtomicPtr<u8> = AtomicPtr::new(core::ptr::null_mut());
/// The session: its number, and below in a byte its plan's index plus one; 0: the agent is not at
/// work.
static SESSION: AtomicU64 = AtomicU64::new(0);
/// The last session's number.
static SESSIONS: AtomicU32 = AtomicU32::new(0);

/// What of the file is used. Private, and only copied to the header for readers.
struct Used {
    modules: AtomicU64,
    regions: AtomicU64,
    frame_ids: AtomicU64,
    bytes: AtomicU64,
}
static USED: Used = Used {
    modules: AtomicU64::new(0),
    regions: AtomicU64::new(0),
    frame_ids: AtomicU64::new(0),
    bytes: AtomicU64::new(0),
};

/// Counters while there is no file.
static EARLY: [AtomicU64; COUNTERS] = [const { AtomicU64::new(0) }; COUNTERS];
/// Counters of what stays as it is when the agent stops.
const STANDING: [Counter; 6] = [
    Counter::SlotsPatched,
    Counter::SlotsForeign,
    Counter::SlotsLeft,
    Counter::PointersPatched,
    Counter::PagesSkipped,
    Counter::NoUnwindTables,
];

/// Counts an event.
#[cold]
pub fn count(counter: Counter) {
    add(counter, 1);
}

/// Adds to a counter.
pub fn add(counter: Counter, n: u64) {
    let counters = file().map_or(&EARLY, |f| &f.header().counters);
    if let Some(c) = counters.get(counter as usize) {
        c.fetch_add(n, Relaxed);
    }
}

/// The live file, mapped: of the session that it was asked for in.
#[derive(Clone, Copy)]
pub struct File {
    base: *mut u8,
    layout: &'static Layout,
    session: u64,
}

/// The live file, while the agent is at work in this process. Not in a child made by fork, which
/// has none.
#[inline]
pub fn file() -> Option<File> {
    let session = SESSION.load(Acquire);
    if session == 0 || sample::is_forked_child() {
        return None;
    }
    let plan = PLAN.get((session as u8 as usize).checked_sub(1)?)?;
    // SAFETY: complete before the session began, and never changed.
    Some(File { base: BASE.load(Relaxed), layout: unsafe { &*plan.layout.get() }, session })
}

/// Whether the agent was ever started.
pub fn was_started() -> bool {
    SESSIONS.load(Relaxed) != 0
}

/// Finds or makes the plan for a size; `None` after too many different sizes.
fn plan(size: u64) -> Option<u64> {
    let layout = Layout::new(size)?;
    for (i, plan) in (1u64..).zip(&PLAN) {
        if plan.size.load(Relaxed) == 0 {
            // SAFETY: not yet used by anybody; only one thread starts the agent.
            unsafe { plan.layout.get().write(layout) };
            plan.size.store(size, Release);
        }
        if plan.size.load(Relaxed) == size {
            return Some(i);
        }
    }
    None
}

/// Makes the fresh mapping at `base` the live file, of a new session; false if that can't be.
///
/// # Safety
/// The mapping is of `size` zeroes, and its address is the one of all live files of this process,
/// mapped for ever.
pub unsafe fn publish(base: *mut u8, size: u64, write_header: impl FnOnce(&mut Header)) -> bool {
    let Some(plan) = plan(size) else { return false };
    let number = SESSIONS.fetch_add(1, Relaxed).wrapping_add(1);
    // SAFETY: a fresh mapping that nobody else uses; a header of zeroes is valid.
    let header = unsafe { &mut *base.cast::<Header>() };
    header.file_bytes = size;
    header.session = number;
    if let Some(layout) = Layout::new(size) {
        header.layout = layout;
    }
    for used in [&USED.modules, &USED.regions, &USED.frame_ids, &USED.bytes] {
        used.store(0, Relaxed);
    }
    filter::clear();
    write_header(header);
    for (counter, early) in header.counters.iter().zip(&EARLY) {
        counter.store(early.swap(0, Relaxed), Relaxed);
    }
    BASE.store(base, Relaxed);
    SESSION.store(u64::from(number) << 8 | plan, Release);
    true
}

/// Ends the session: whoever asks for the live file from now on finds none. Who has it already
/// writes on, to what is put in its place.
pub fn withdraw() {
    if let Some(file) = file() {
        for counter in STANDING {
            let there = file.header().counters.get(counter as usize).map_or(0, |c| c.load(Relaxed));
            if let Some(early) = EARLY.get(counter as usize) {
                early.store(there, Relaxed);
            }
        }
    }
    SESSION.store(0, Release);
    filter::clear();
}

/// Index of a frame for which there was no room: walks go on, but leave it out.
pub const LOST: u32 = u32::MAX - 1;

/// Result of looking for a place in an interned table.
enum Slot {
    Known(u32),
    Claimed(u32),
    Full,
}

impl File {
    /// The header.
    #[inline]
    pub fn header(&self) -> &'static Header {
        // SAFETY: mapped for ever; only its atomics are used.
        unsafe { &*self.base.cast::<Header>() }
    }

    #[inline]
    fn layout(&self) -> &'static Layout {
        self.layout
    }

    /// Counts an event.
    #[inline]
    pub fn count(&self, counter: Counter) {
        if let Some(c) = self.header().counters.get(counter as usize) {
            c.fetch_add(1, Relaxed);
        }
    }

    /// Number of the session.
    #[inline]
    pub fn session(&self) -> u64 {
        self.session
    }

    /// Whether the session goes on.
    #[inline]
    pub fn is_current(&self) -> bool {
        SESSION.load(Acquire) == self.session
    }

    /// Address of a record. Sections are the agent's own; the callers' indices come from masks,
    /// hashes and bounds of them, never unchecked from the file.
    #[inline]
    fn record<T>(&self, section: Section, index: u64) -> *mut T {
        // SAFETY: index < section.count by the callers; sections lie in the mapping.
        unsafe { self.base.add(section.offset as usize).cast::<T>().add(index as usize) }
    }

    /// Finds `key` or claims a slot for it, in a table of `T`s whose first field is the key.
    fn intern<T>(&self, section: Section, key: u64) -> Slot {
        let mask = section.count - 1;
        let home = mix(key);
        for i in 0..MAX_PROBES as u64 {
            let index = (home + i) & mask;
            // SAFETY: masked; the key is the first field of every interned record.
            let slot = unsafe { &*self.record::<T>(section, index).cast::<AtomicU64>() };
            let mut there = slot.load(Acquire);
            if there == 0 {
                match slot.compare_exchange(0, key, AcqRel, Acquire) {
                    Ok(_) => return Slot::Claimed(index as u32),
                    Err(other) => there = other,
                }
            }
            if there == key {
                return Slot::Known(index as u32);
            }
        }
        Slot::Full
    }

    /// Interns a name; its index plus one, or 0 if there is no room for it.
    pub fn string(&self, name: &[u8]) -> u32 {
        let name = name.get(..name.len().min(MAX_NAME)).unwrap_or(name);
        if name.is_empty() {
            return 0;
        }
        let l = self.layout();
        match self.intern::<StrRec>(l.strings, hash_bytes(name)) {
            Slot::Known(i) => i + 1,
            Slot::Claimed(i) => {
                let len = name.len() as u64;
                let Some(used) = take(&USED.bytes, len, l.bytes.count, &self.header().bytes_used) else {
                    count(Counter::NamesLost);
                    return 0;
                };
                let to: *mut u8 = self.record(l.bytes, used);
                let record: *mut StrRec = self.record(l.strings, u64::from(i));
                // SAFETY: the bytes were just set aside for this name, the record claimed by this
                // thread.
                unsafe {
                    core::ptr::copy_nonoverlapping(name.as_ptr(), to, name.len());
                    (&raw mut (*record).offset).write(used as u32);
                    (*record).len.store(name.len() as u32, Release);
                }
                i + 1
            }
            Slot::Full => {
                count(Counter::NamesLost);
                0
            }
        }
    }

    /// Interns a frame under a key that identifies it; `fill` makes the rest when the frame is new.
    /// [`LOST`] if there is no room.
    pub fn frame(&self, key: u64, fill: impl FnOnce() -> NewFrame) -> u32 {
        let key = key | 1;
        let l = self.layout();
        match self.intern::<FrameRec>(l.frames, key) {
            Slot::Known(i) => i,
            Slot::Claimed(i) => {
                let f = fill();
                let r: *mut FrameRec = self.record(l.frames, u64::from(i));
                let words = [f.module, f.class, f.name, f.file, f.line, f.next];
                // SAFETY: claimed by this thread; readers wait for the checksum.
                unsafe {
                    (&raw mut (*r).pc).write(f.pc);
                    (&raw mut (*r).module).write(f.module);
                    (&raw mut (*r).class).write(f.class);
                    (&raw mut (*r).name).write(f.name);
                    (&raw mut (*r).file).write(f.file);
                    (&raw mut (*r).line).write(f.line);
                    (&raw mut (*r).next).write(f.next);
                    (&raw mut (*r).kind).write(f.kind as u8);
                    (*r).check.store(frame_check(key, f.pc, words, f.kind as u8), Release);
                }
                i
            }
            Slot::Full => {
                count(Counter::FramesFull);
                LOST
            }
        }
    }

    /// Interns a stack; its index, or [`NO_STACK`].
    pub fn stack(&self, frames: &[u32], flags: u16, now: u64) -> u32 {
        let mut key = combine(0x57ac, u64::from(flags));
        for &f in frames {
            key = combine(key, u64::from(f));
        }
        let key = mix(key) | 1;
        let l = self.layout();
        let i = match self.intern::<StackRec>(l.stacks, key) {
            Slot::Known(i) => return i,
            Slot::Claimed(i) => i,
            Slot::Full => {
                count(Counter::DropStacksFull);
                return NO_STACK;
            }
        };
        let n = frames.len() as u64;
        let mut len = frames.len() as u16;
        let used = match take(&USED.frame_ids, n, l.frame_ids.count, &self.header().frame_ids_used) {
            Some(used) => {
                let to: *mut u32 = self.record(l.frame_ids, used);
                // SAFETY: just set aside for this stack.
                unsafe { core::ptr::copy_nonoverlapping(frames.as_ptr(), to, frames.len()) };
                used
            }
            None => {
                count(Counter::FramesFull);
                len = 0;
                0
            }
        };
        let r: *mut StackRec = self.record(l.stacks, u64::from(i));
        // SAFETY: claimed by this thread; readers wait for the checksum. The totals are atomics,
        // and may already have been added to by others.
        unsafe {
            (&raw mut (*r).first).write(used as u32);
            (&raw mut (*r).len).write(len);
            (&raw mut (*r).flags).write(flags);
            (&raw mut (*r).first_ns).write(now);
            (*r).check.store(stack_check(key, used as u32, len, flags), Release);
        }
        i
    }

    fn stack_record(&self, stack: u32) -> Option<&'static StackRec> {
        let section = self.layout().stacks;
        // SAFETY: bounds checked; only its atomics are used.
        (u64::from(stack) < section.count)
            .then(|| unsafe { &*self.record::<StackRec>(section, u64::from(stack)) })
    }

    /// Adds an allocation to its stack's totals.
    pub fn add_allocated(&self, stack: u32, size: u64, weight: f64) {
        if let Some(r) = self.stack_record(stack) {
            r.alloc_bytes.fetch_add((size as f64 * weight + 0.5) as u64, Relaxed);
            r.alloc_count.fetch_add((weight * COUNT_UNIT as f64 + 0.5) as u64, Relaxed);
        }
    }

    /// Adds a free to the totals of the stack that allocated.
    pub fn add_freed(&self, stack: u32, size: u64, weight: f64) {
        if let Some(r) = self.stack_record(stack) {
            r.free_bytes.fetch_add((size as f64 * weight + 0.5) as u64, Relaxed);
            r.free_count.fetch_add((weight * COUNT_UNIT as f64 + 0.5) as u64, Relaxed);
        }
    }

    #[inline]
    fn bucket(&self, index: u64) -> (&'static [AtomicU64; BUCKET], &'static AtomicU32) {
        let l = self.layout();
        // SAFETY: the index is one of `bucket_of`, below the section's count; keys and counters are
        // only ever used as atomics.
        unsafe {
            (&*self.record::<[AtomicU64; BUCKET]>(l.keys, index), &*self.record::<AtomicU32>(l.passed, index))
        }
    }

    /// Fetches what [`File::insert`] will touch: a sample is rare, so all of it has left the
    /// caches.
    #[inline]
    pub fn prefetch(&self, addr: u64) {
        let l = self.layout();
        let home = bucket_of(addr, l.keys.count, 0);
        let sample = self.record::<SampleRec>(l.samples, home * BUCKET as u64);
        for p in [
            self.record::<[AtomicU64; BUCKET]>(l.keys, home).cast::<i8>(),
            sample.cast(),
            self.record::<AtomicU32>(l.passed, home).cast(),
            core::ptr::from_ref(filter::slot_of(addr)).cast_mut().cast(),
        ] {
            prefetch(p);
        }
    }

    /// Puts a live block or Java object into the table. It is still the caller's alone, so nobody
    /// looks for it yet.
    pub fn insert(&self, sample: &SampleRec) -> bool {
        let slots = self.layout().keys.count;
        let place = |b| bucket_of(sample.addr, slots, b);
        if filter::maybe_sampled(sample.addr) && sample.addr < OBJECT && self.remove(sample.addr).is_some() {
            count(Counter::MissedFrees);
        }
        for b in 0..MAX_BUCKETS as u64 {
            let index = place(b);
            let (keys, passed) = self.bucket(index);
            for (i, key) in keys.iter().enumerate() {
                // 1: being written. No address is below a page.
                if key.load(Relaxed) == 0 && key.compare_exchange(0, 1, AcqRel, Relaxed).is_ok() {
                    let at = index * BUCKET as u64 + i as u64;
                    let mut record = *sample;
                    record.check = sample_check(&record);
                    // SAFETY: this thread holds the slot.
                    unsafe { self.record::<SampleRec>(self.layout().samples, at).write(record) };
                    if !self.is_current() {
                        // A stop, and perhaps another start, has overtaken it: what it refers to is
                        // gone.
                        key.store(0, Relaxed);
                        return false;
                    }
                    // Nobody frees an object by its key.
                    if sample.addr < OBJECT {
                        filter::change(sample.addr, 1);
                    }
                    key.store(sample.addr, Release);
                    return true;
                }
            }
            passed.fetch_add(1, Relaxed);
        }
        for b in 0..MAX_BUCKETS as u64 {
            self.bucket(place(b)).1.fetch_sub(1, Relaxed);
        }
        count(Counter::DropTableFull);
        false
    }

    /// Takes a block out of the table, if it is there. The caller owns the block, so nobody else
    /// does the same.
    pub fn remove(&self, addr: u64) -> Option<SampleRec> {
        let slots = self.layout().keys.count;
        let place = |b| bucket_of(addr, slots, b);
        for b in 0..MAX_BUCKETS as u64 {
            let index = place(b);
            let (keys, passed) = self.bucket(index);
            for (i, key) in keys.iter().enumerate() {
                if key.load(Acquire) != addr {
                    continue;
                }
                let at = index * BUCKET as u64 + i as u64;
                // SAFETY: written before the key was; only the owner of the block removes it.
                let mut record = unsafe { self.record::<SampleRec>(self.layout().samples, at).read() };
                record.addr = addr; // whatever stands there
                if key.compare_exchange(addr, 0, AcqRel, Relaxed).is_err() {
                    return None; // a double free: somebody else has it
                }
                for earlier in 0..b {
                    self.bucket(place(earlier)).1.fetch_sub(1, Relaxed);
                }
                if addr < OBJECT {
                    filter::change(addr, -1);
                }
                return Some(record);
            }
            if passed.load(Relaxed) == 0 {
                break;
            }
        }
        None
    }

    /// Records of regions that have ever been used.
    pub fn regions_used(&self) -> u64 {
        USED.regions.load(Relaxed).min(self.layout.regions.count)
    }

    /// As many are used now.
    pub fn set_regions_used(&self, used: u64) {
        USED.regions.store(used, Relaxed);
        self.header().regions_used.store(used, Release);
    }

    /// How many live blocks and objects there is room for.
    pub fn slots(&self) -> u64 {
        self.layout().keys.count
    }

    /// A region's record.
    pub fn region(&self, index: usize) -> Option<*mut RegionRec> {
        let section = self.layout().regions;
        ((index as u64) < section.count).then(|| self.record(section, index as u64))
    }

    /// Records a module, or finds the record of the same one loaded before; index plus one, 0 if
    /// there is no room. Only called under the patch lock.
    pub fn module(&self, start: u64, end: u64, bias: u64, path: &[u8], build_id: &[u8]) -> u32 {
        let l = self.layout();
        let path = self.string(path);
        let check = module_check(start, end, bias, path, build_id);
        let used = USED.modules.load(Relaxed).min(l.modules.count);
        for i in 0..used {
            // SAFETY: in bounds; records are written once, by the holder of the patch lock.
            let r = unsafe { &*self.record::<ModuleRec>(l.modules, i) };
            if r.check.load(Relaxed) == check && r.start == start && r.path == path {
                r.unloaded.store(0, Relaxed);
                return i as u32 + 1;
            }
        }
        if used >= l.modules.count {
            count(Counter::ModulesFull);
            return 0;
        }
        let r: *mut ModuleRec = self.record(l.modules, used);
        // SAFETY: in bounds, not yet published, and the lock is held.
        unsafe {
            (&raw mut (*r).start).write(start);
            (&raw mut (*r).end).write(end);
            (&raw mut (*r).bias).write(bias);
            (&raw mut (*r).path).write(path);
            let len = build_id.len().min(32);
            (&raw mut (*r).build_id_len).write(len as u32);
            core::ptr::copy_nonoverlapping(build_id.as_ptr(), (&raw mut (*r).build_id).cast(), len);
            (*r).check.store(check, Release);
        }
        USED.modules.store(used + 1, Relaxed);
        self.header().modules_used.store(used + 1, Release);
        used as u32 + 1
    }

    /// Marks a module as unloaded.
    pub fn module_unloaded(&self, index_plus_one: u32) {
        let l = self.layout();
        if let Some(i) = u64::from(index_plus_one).checked_sub(1).filter(|&i| i < l.modules.count) {
            // SAFETY: in bounds; an atomic.
            unsafe { (*self.record::<ModuleRec>(l.modules, i)).unloaded.store(1, Relaxed) };
        }
    }
}

/// Sets aside `n` of a table that has room for `count` in all, and tells readers; the first one's
/// index.
fn take(used: &AtomicU64, n: u64, count: u64, shown: &AtomicU64) -> Option<u64> {
    let first = used.fetch_add(n, Relaxed);
    let end = first.saturating_add(n);
    if end > count {
        used.store(count, Relaxed);
        shown.store(count, Relaxed);
        return None;
    }
    shown.store(end, Relaxed);
    Some(first)
}

/// What a new frame consists of; fields as in [`FrameRec`].
#[derive(Clone, Copy)]
pub struct NewFrame {
    pub pc: u64,
    pub module: u32,
    pub class: u32,
    pub name: u32,
    pub file: u32,
    pub line: u32,
    pub next: u32,
    pub kind: FrameKind,
}

impl NewFrame {
    /// A frame of which only place and kind are known.
    pub fn at(kind: FrameKind, pc: u64) -> NewFrame {
        NewFrame { pc, module: 0, class: 0, name: 0, file: 0, line: 0, next: 0, kind }
    }
}

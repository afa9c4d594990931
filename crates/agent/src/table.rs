//! The agent's side of the live file: lock-free, bounded, safe to be killed in at any instruction.
//!
//! A slot is claimed by one compare-exchange on its key and becomes believable only when its checksum is written
//! last, so a reader (or another thread) never takes a half-written record for a whole one. Two different records
//! with the same 64-bit key would be taken for one; with 65,536 of them that happens once in 10^10 files.

use core::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use core::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64};

use offheap_live::{
    BUCKET, COUNT_UNIT, COUNTERS, Counter, FrameKind, FrameRec, Header, Layout, MAX_BUCKETS, MAX_PROBES,
    ModuleRec, NO_STACK, OBJECT, RegionRec, SampleRec, Section, StackRec, StrRec, bucket_of, combine,
    frame_check, hash_bytes, mix, module_check, sample_check, stack_check,
};

/// The mapped live file; null until the agent is started. Never unmapped after that.
static FILE: AtomicPtr<u8> = AtomicPtr::new(core::ptr::null_mut());
/// Counters of the time before there is a file.
static EARLY: [AtomicU64; COUNTERS] = [const { AtomicU64::new(0) }; COUNTERS];

/// Entries of [`FILTER`].
const FILTER_SLOTS: usize = 64 << 10;
/// How many live samples have an address with this hash: 0 says "not sampled" for sure. Private memory, not the
/// file's, so that a forked child has its own. 255 sticks.
static FILTER: [AtomicU8; FILTER_SLOTS] = [const { AtomicU8::new(0) }; FILTER_SLOTS];

#[inline(always)]
fn filter_slot(addr: u64) -> &'static AtomicU8 {
    // Neighbours in memory are neighbours here, so that what a program works on takes little of the first cache: a line
    // stands for 4 KiB, all of the table for 4 MiB, and each 4 MiB begin at another place of it.
    let i = (addr >> 6) ^ ((addr >> 22).wrapping_mul(0x9e37_79b1) >> 12);
    // SAFETY: masked to the table's size.
    unsafe { FILTER.get_unchecked(i as usize & (FILTER_SLOTS - 1)) }
}

/// Whether a block at `addr` may be a live sample. One load.
#[inline(always)]
pub fn maybe_sampled(addr: u64) -> bool {
    filter_slot(addr).load(Relaxed) != 0
}

/// Forgets all samples in this process's own memory (in a forked child).
pub fn clear_filter() {
    for slot in &FILTER {
        if slot.load(Relaxed) != 0 {
            slot.store(0, Relaxed);
        }
    }
}

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

/// The live file, mapped.
#[derive(Clone, Copy)]
pub struct File {
    base: *mut u8,
}

/// The live file, once there is one.
#[inline]
pub fn file() -> Option<File> {
    let base = FILE.load(Acquire);
    (!base.is_null()).then_some(File { base })
}

/// Makes `base` the live file: a zeroed mapping of `layout`'s file, which has no header yet.
///
/// # Safety
/// The mapping is as long as `layout` was planned for and stays for ever.
pub unsafe fn publish(base: *mut u8, write_header: impl FnOnce(&mut Header)) {
    // SAFETY: a fresh mapping that nobody else uses; a header of zeroes is valid.
    let header = unsafe { &mut *base.cast::<Header>() };
    write_header(header);
    for (counter, early) in header.counters.iter().zip(&EARLY) {
        counter.store(early.swap(0, Relaxed), Relaxed);
    }
    FILE.store(base, Release);
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
        // SAFETY: mapped for ever, initialised before publication.
        unsafe { &*self.base.cast::<Header>() }
    }

    #[inline]
    fn layout(&self) -> &'static Layout {
        &self.header().layout
    }

    /// Address of a record. The header is a shared page, so `index` and the section are not believed blindly: the
    /// callers' indices come from masks, hashes and bounds of the same layout, which the agent itself planned.
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
        let name = name.get(..name.len().min(4096)).unwrap_or(name);
        if name.is_empty() {
            return 0;
        }
        let l = self.layout();
        match self.intern::<StrRec>(l.strings, hash_bytes(name)) {
            Slot::Known(i) => i + 1,
            Slot::Claimed(i) => {
                let used = self.header().bytes_used.fetch_add(name.len() as u64, Relaxed);
                if used.saturating_add(name.len() as u64) > l.bytes.count {
                    self.header().bytes_used.store(l.bytes.count, Relaxed);
                    count(Counter::NamesLost);
                    return 0;
                }
                let to: *mut u8 = self.record(l.bytes, used);
                let record: *mut StrRec = self.record(l.strings, u64::from(i));
                // SAFETY: the bytes were just set aside for this name, the record claimed by this thread.
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

    /// Interns a frame under a key that identifies it; `fill` makes the rest when the frame is new. [`LOST`] if there
    /// is no room.
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
        let used = self.header().frame_ids_used.fetch_add(n, Relaxed);
        let mut len = frames.len() as u16;
        if used.saturating_add(n) > l.frame_ids.count {
            self.header().frame_ids_used.store(l.frame_ids.count, Relaxed);
            count(Counter::FramesFull);
            len = 0;
        } else {
            let to: *mut u32 = self.record(l.frame_ids, used);
            // SAFETY: just set aside for this stack.
            unsafe { core::ptr::copy_nonoverlapping(frames.as_ptr(), to, frames.len()) };
        }
        let r: *mut StackRec = self.record(l.stacks, u64::from(i));
        // SAFETY: claimed by this thread; readers wait for the checksum. The totals are atomics, and may already
        // have been added to by others.
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
        // SAFETY: the index is one of `bucket_of`, below the section's count; keys and counters are only ever used as atomics.
        unsafe {
            (&*self.record::<[AtomicU64; BUCKET]>(l.keys, index), &*self.record::<AtomicU32>(l.passed, index))
        }
    }

    /// Fetches what [`File::insert`] will touch: a sample is rare, so all of it has left the caches.
    #[inline]
    pub fn prefetch(&self, addr: u64) {
        let l = self.layout();
        let home = bucket_of(addr, l.keys.count, 0);
        let sample = self.record::<SampleRec>(l.samples, home * BUCKET as u64);
        for p in [
            self.record::<[AtomicU64; BUCKET]>(l.keys, home).cast::<i8>(),
            sample.cast(),
            self.record::<AtomicU32>(l.passed, home).cast(),
            core::ptr::from_ref(filter_slot(addr)).cast_mut().cast(),
        ] {
            // SAFETY: a hint, for which any address will do.
            unsafe { _mm_prefetch::<_MM_HINT_ET0>(p) };
        }
    }

    /// Puts a live block or Java object into the table. It is still the caller's alone, so nobody looks for it yet.
    pub fn insert(&self, sample: &SampleRec) -> bool {
        let slots = self.layout().keys.count;
        let place = |b| bucket_of(sample.addr, slots, b);
        if maybe_sampled(sample.addr) && sample.addr < OBJECT && self.remove(sample.addr).is_some() {
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
                    let filter = filter_slot(sample.addr);
                    // Nobody frees an object by its key.
                    if sample.addr < OBJECT && filter.load(Relaxed) != 255 {
                        filter.fetch_add(1, Relaxed);
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

    /// Takes a block out of the table, if it is there. The caller owns the block, so nobody else does the same.
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
                let record = unsafe { self.record::<SampleRec>(self.layout().samples, at).read() };
                if key.compare_exchange(addr, 0, AcqRel, Relaxed).is_err() {
                    return None; // a double free: somebody else has it
                }
                for earlier in 0..b {
                    self.bucket(place(earlier)).1.fetch_sub(1, Relaxed);
                }
                let filter = filter_slot(addr);
                if addr < OBJECT && filter.load(Relaxed) != 255 {
                    filter.fetch_sub(1, Relaxed);
                }
                return Some(record);
            }
            if passed.load(Relaxed) == 0 {
                break;
            }
        }
        None
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

    /// Records a module, or finds the record of the same one loaded before; index plus one, 0 if there is no room.
    /// Only called under the patch lock.
    pub fn module(&self, start: u64, end: u64, bias: u64, path: &[u8], build_id: &[u8]) -> u32 {
        let l = self.layout();
        let path = self.string(path);
        let check = module_check(start, end, bias, path, build_id);
        let used = self.header().modules_used.load(Relaxed).min(l.modules.count);
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

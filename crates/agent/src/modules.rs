//! The loaded libraries, as walkers need them: sorted, with unwind tables that outlive an unload.
//!
//! Walkers read a published table without locks. A new table replaces it after dlopen and dlclose;
//! the old one, and the unwind tables of libraries that are gone, are released when every walk that
//! could see them has ended (read-copy-update with two epochs). The unwind tables are private
//! mappings of the library's own file, or copies where the file is out of reach: a walk never
//! touches memory that dlclose may take away.

use core::ffi::CStr;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64};

use offheap_live::{Counter, combine, hash_bytes};

use crate::arch::page_start;
use crate::busy::Busy;
use crate::elf::Object;
use crate::memory::Memory;
use crate::sys;
use crate::table::{self, File};
use crate::tid;
use crate::walk::cfi::{self, Rule, Section};

/// Most libraries that are known at a time.
const MAX_MODULES: usize = 4096;
/// Most memory for copied unwind tables.
const MAX_COPIED: usize = 4 << 20;

/// One loaded library.
#[derive(Clone, Copy)]
pub struct Module {
    /// First address.
    pub start: u64,
    /// One past the last.
    pub end: u64,
    /// Index of its record in the live file plus one; 0: none. See [`Guard::record`].
    record: u32,
    /// Dlopen by bare name from here may use its own search path.
    pub runpath: bool,
    /// Import slots still have to be patched (it was being loaded).
    pub unfinished: bool,
    identity: u64,
    hdr: u64,
    section_start: u64,
    image: Image,
}

/// A mapping that the agent made.
#[derive(Clone, Copy)]
struct Image {
    at: *mut u8,
    len: usize,
    /// Where the section begins in it.
    skip: usize,
    copied: bool,
}

impl Image {
    const NONE: Image = Image { at: core::ptr::null_mut(), len: 0, skip: 0, copied: false };

    fn release(self) {
        if !self.at.is_null() {
            // SAFETY: made by this module, and no walk can see it any more.
            unsafe { sys::unmap(self.at, self.len) };
            if self.copied {
                COPIED.fetch_sub(self.len as u64, Relaxed);
            }
        }
    }
}

static COPIED: AtomicU64 = AtomicU64::new(0);

/// A sorted table of modules in memory of its own.
struct Table {
    at: *mut Module,
    len: usize,
    bytes: usize,
    /// Differs from that of every earlier table; part of every cache key.
    generation: u32,
    /// The live file's, that the records are in.
    session: u64,
}

static CURRENT: AtomicPtr<Table> = AtomicPtr::new(core::ptr::null_mut());
/// The current table's generation.
static PUBLISHED: AtomicU32 = AtomicU32::new(0);
static GENERATION: AtomicU32 = AtomicU32::new(0);
/// Raised when some library in the process has a DT_RPATH.
static RPATH_SEEN: AtomicU32 = AtomicU32::new(0);

/// The agent's own address range.
static OWN_START: AtomicU64 = AtomicU64::new(0);
static OWN_END: AtomicU64 = AtomicU64::new(0);

/// Changes whenever the set of libraries does; as [`Guard::generation`] for whoever needs no table.
#[inline]
pub fn generation() -> u32 {
    PUBLISHED.load(Relaxed)
}

/// Tells where the agent itself is; before the first table.
pub fn set_own(start: u64, end: u64) {
    OWN_START.store(start, Relaxed);
    OWN_END.store(end, Relaxed);
}

/// Whether an address is the agent's own.
#[inline]
pub fn is_own(pc: u64) -> bool {
    pc >= OWN_START.load(Relaxed) && pc < OWN_END.load(Relaxed)
}

/// Whether any library brings a search path that its dependents inherit.
pub fn rpath_seen() -> bool {
    RPATH_SEEN.load(Relaxed) != 0
}

/// Walks under way: each has a place, marked with its thread's id (above) and its epoch plus 2
/// (below); 0: free. A place to a cache line.
#[repr(align(64))]
struct Reader(AtomicU64);
static READERS: [Reader; 128] = [const { Reader(AtomicU64::new(0)) }; 128];
/// Places that a walk tries.
const READER_TRIES: usize = 8;
static EPOCH: AtomicU32 = AtomicU32::new(0);

/// Keeps the table it was made from in place.
pub struct Guard {
    table: *const Table,
    reader: &'static AtomicU64,
}

impl Guard {
    /// Begins a walk. `None` before there is a table, while tables change too fast or too many
    /// walk, and within other work.
    pub fn new(work: &Busy) -> Option<Guard> {
        if !work.is_outermost() {
            return None;
        }
        let tid = tid::current(work.thread());
        let near = || (0..READER_TRIES).filter_map(|i| READERS.get((tid as usize + i) % READERS.len()));
        // One that carries this thread's id was left behind by a longjmp: see `busy`.
        let own = near().find(|r| r.0.load(Relaxed) >> 32 == u64::from(tid));
        let mark = |epoch: u32| (u64::from(tid) << 32) | (2 + u64::from(epoch & 1));
        let take = |r: &&Reader| r.0.compare_exchange(0, mark(0), SeqCst, Relaxed).is_ok();
        let Reader(reader) = own.or_else(|| near().find(take))?;
        for _ in 0..4 {
            let epoch = EPOCH.load(SeqCst);
            reader.store(mark(epoch), SeqCst);
            if EPOCH.load(SeqCst) & 1 == epoch & 1 {
                let table = CURRENT.load(SeqCst);
                if !table.is_null() {
                    return Some(Guard { table, reader });
                }
                break;
            }
        }
        reader.store(0, Release);
        None
    }

    fn table(&self) -> &Table {
        // SAFETY: alive while this guard is.
        unsafe { &*self.table }
    }

    /// Changes whenever the set of libraries does.
    #[inline]
    pub fn generation(&self) -> u32 {
        self.table().generation
    }

    /// Index plus one of a library's record in a live file; 0: it has none there.
    #[inline]
    pub fn record(&self, module: &Module, file: File) -> u32 {
        if self.table().session == file.session() { module.record } else { 0 }
    }

    /// The library that `pc` lies in.
    pub fn find(&self, pc: u64) -> Option<&Module> {
        let modules = self.modules();
        let i = modules.partition_point(|m| m.start <= pc);
        modules.get(i.checked_sub(1)?).filter(|m| pc < m.end)
    }

    fn modules(&self) -> &[Module] {
        let t = self.table();
        // SAFETY: as long as this guard, the table stays.
        unsafe { core::slice::from_raw_parts(t.at, t.len) }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.reader.store(0, Release);
    }
}

/// Lets go of what is resident of the unwind tables: pages of files, which come again when they are
/// needed.
pub fn give_back(work: &Busy) {
    let Some(modules) = Guard::new(work) else { return };
    for image in modules.modules().iter().map(|m| m.image).filter(|i| !i.at.is_null() && !i.copied) {
        sys::advise(image.at as usize, image.len, libc::MADV_DONTNEED);
    }
}

/// Whether some walk is under way.
pub fn is_walked() -> bool {
    READERS.iter().any(|reader| reader.0.load(SeqCst) != 0)
}

impl Module {
    /// Unwind rule at an address of this library.
    pub fn rule_at(&self, pc: u64) -> Option<Rule> {
        if self.image.at.is_null() {
            return None;
        }
        // SAFETY: the image lives as long as the table that this module is from.
        let bytes = unsafe {
            core::slice::from_raw_parts(self.image.at.add(self.image.skip), self.image.len - self.image.skip)
        };
        cfi::rule_at(Section { start: self.section_start, bytes }, self.hdr, pc)
    }
}

/// What is waiting for walks to end.
#[derive(Clone, Copy)]
enum Retired {
    Table(*mut Table),
    Image(Image),
}

const MAX_RETIRED: usize = 512;

/// Builds and publishes tables. One at a time: the caller holds the patch lock.
pub struct Builder {
    pending: [Option<Retired>; MAX_RETIRED],
    waiting: [Option<Retired>; MAX_RETIRED],
}

// SAFETY: only used under the patch lock.
unsafe impl Send for Builder {}

/// A table being built.
pub struct Build {
    table: *mut Table,
    file: File,
    changed: bool,
    /// No library is in the live file yet.
    new_file: bool,
}

impl Builder {
    /// With nothing retired.
    pub const fn new() -> Builder {
        Builder { pending: [None; MAX_RETIRED], waiting: [None; MAX_RETIRED] }
    }

    /// Frees what no walk can see any more; false while there is no room to retire more.
    fn collect(&mut self, memory: &Memory) -> bool {
        let old = 3 - (EPOCH.load(SeqCst) & 1);
        let mut busy = false;
        for Reader(reader) in &READERS {
            let mark = reader.load(SeqCst);
            if mark as u32 == old {
                // A thread that has ended (was cancelled) in the middle of a walk.
                busy |= !(memory.has_ended((mark >> 32) as u32)
                    && reader.compare_exchange(mark, 0, SeqCst, Relaxed).is_ok());
            }
        }
        if !busy {
            for r in self.waiting.iter_mut().filter_map(Option::take) {
                match r {
                    Retired::Table(t) => release_table(t),
                    Retired::Image(i) => i.release(),
                }
            }
            core::mem::swap(&mut self.pending, &mut self.waiting);
            EPOCH.fetch_add(1, SeqCst);
        }
        self.pending.iter().filter(|p| p.is_none()).count() > MAX_RETIRED / 2
    }

    fn retire(&mut self, r: Retired) {
        match self.pending.iter_mut().find(|p| p.is_none()) {
            Some(place) => *place = Some(r),
            // Better a leak, of a size that is bounded by the walk that is stuck, than freed memory
            // in use.
            None => table::count(Counter::NoUnwindTables),
        }
    }

    /// Begins a new table; `None` while too much is waiting for walks to end.
    pub fn begin(&mut self, memory: &Memory) -> Option<Build> {
        if !self.collect(memory) {
            return None;
        }
        let file = table::file()?;
        let session = file.session();
        let bytes = size_of::<Table>() + MAX_MODULES * size_of::<Module>();
        let at = sys::map_anonymous(bytes)?;
        let generation = GENERATION.fetch_add(1, Relaxed) + 1;
        let table: *mut Table = at.cast();
        // SAFETY: fresh memory, large enough for both; Module's alignment is Table's.
        unsafe {
            table.write(Table { at: at.add(size_of::<Table>()).cast(), len: 0, bytes, generation, session })
        };
        // SAFETY: the current one can't be retired while the caller holds the patch lock.
        let known = unsafe { CURRENT.load(Acquire).as_ref() }.map_or(0, |t| t.session);
        Some(Build { table, file, changed: session != known, new_file: session != known })
    }

    /// Publishes a table if it differs from the current one, and marks what was unloaded.
    pub fn finish(&mut self, build: Build, memory: &Memory) {
        // SAFETY: only this thread knows the new table; the old one stays while the lock is held.
        unsafe {
            let new = &mut *build.table;
            let modules = core::slice::from_raw_parts_mut(new.at, new.len);
            sort(modules);
            let old = CURRENT.load(Acquire);
            let old_modules = modules_of(old);
            if !build.changed && old_modules.len() == new.len {
                release_table(build.table);
                return;
            }
            CURRENT.store(build.table, SeqCst);
            PUBLISHED.store(new.generation, Relaxed);
            for m in old_modules {
                let kept = modules.iter().find(|n| n.identity == m.identity && n.start == m.start);
                if kept.is_none_or(|n| n.image.at != m.image.at) {
                    self.retire(Retired::Image(m.image));
                }
                if kept.is_none() && !build.new_file {
                    build.file.module_unloaded(m.record);
                }
            }
            if !old.is_null() {
                self.retire(Retired::Table(old));
            }
        }
        self.collect(memory);
    }
}

impl Build {
    /// Adds a loaded object. Returns whether it is new, or was unfinished when last seen; under the
    /// loader's lock.
    pub fn add(&mut self, o: &Object, path: &[u8], runpath: bool, rpath: bool) -> Option<&mut Module> {
        let (start, end) = o.range();
        // SAFETY: only this thread knows the table.
        let t = unsafe { &mut *self.table };
        if t.len >= MAX_MODULES || end <= start {
            return None;
        }
        let build_id = o.build_id();
        let identity =
            combine(combine(combine(hash_bytes(path), start), end), combine(o.bias, hash_bytes(build_id)));
        // SAFETY: the current table can't be retired while the caller holds the patch lock.
        let known = unsafe { modules_of(CURRENT.load(Acquire)) }.iter().find(|m| m.identity == identity);
        let module = match known {
            Some(m) if self.new_file => {
                Module { record: self.file.module(start, end, o.bias, path, build_id), ..*m }
            }
            Some(m) => *m,
            None => {
                self.changed = true;
                if rpath {
                    RPATH_SEEN.store(1, Relaxed);
                }
                let (hdr, section_start, image) = unwind_tables(o, build_id).unwrap_or((0, 0, Image::NONE));
                if image.at.is_null() {
                    table::count(Counter::NoUnwindTables);
                }
                let record = self.file.module(start, end, o.bias, path, build_id);
                Module { start, end, record, runpath, unfinished: true, identity, hdr, section_start, image }
            }
        };
        // SAFETY: there is room for MAX_MODULES.
        unsafe {
            let place = t.at.add(t.len);
            place.write(module);
            t.len += 1;
            Some(&mut *place)
        }
    }

    /// Libraries so far.
    pub fn len(&self) -> usize {
        // SAFETY: only this thread knows the table.
        unsafe { (*self.table).len }
    }

    /// Something differs from the table in use.
    pub fn changed(&mut self) {
        self.changed = true;
    }
}

/// # Safety
/// The table may not be released meanwhile.
unsafe fn modules_of<'a>(table: *const Table) -> &'a [Module] {
    if table.is_null() {
        return &[];
    }
    // SAFETY: by the caller.
    unsafe { core::slice::from_raw_parts((*table).at, (*table).len) }
}

fn release_table(table: *mut Table) {
    // SAFETY: no walk can see it; it lies at the start of its own mapping.
    unsafe { sys::unmap(table.cast(), (*table).bytes) };
}

/// By address; insertion sort, since the loader lists are short and nearly sorted (and std's sort
/// may allocate).
fn sort(modules: &mut [Module]) {
    for i in 1..modules.len() {
        let mut j = i;
        while j > 0 && modules.get(j - 1).zip(modules.get(j)).is_some_and(|(a, b)| a.start > b.start) {
            modules.swap(j - 1, j);
            j -= 1;
        }
    }
}

/// Secures an object's unwind tables: .eh_frame_hdr's address, the section's, and the bytes.
fn unwind_tables(o: &Object, build_id: &[u8]) -> Option<(u64, u64, Image)> {
    let (hdr, hdr_len) = o.eh_frame_hdr()?;
    let (start, len, offset) = o.segment_of(hdr)?;
    if hdr.checked_add(hdr_len)? > start.checked_add(len)? || !o.pages.cover(hdr, hdr_len.max(8)) {
        return None;
    }
    if let Some(image) = map_file(o.name, build_id, start, len, offset, hdr, hdr_len) {
        return Some((hdr, start, image));
    }
    // .eh_frame lies next to its header, before or after it: copy the rest of the segment from the
    // lower one. SAFETY: found readable, eight bytes and more.
    let encoded = unsafe { (hdr as *const [u8; 8]).read_unaligned() };
    let frame = match encoded {
        [1, 0x1b, _, _, a, b, c, d] => {
            (hdr + 4).wrapping_add_signed(i64::from(i32::from_le_bytes([a, b, c, d])))
        }
        _ => return None,
    };
    let from = if frame >= start && frame < hdr { frame } else { hdr };
    let bytes = (start + len - from) as usize;
    if !o.pages.cover(from, bytes as u64) {
        return None;
    }
    if COPIED.fetch_add(bytes as u64, Relaxed) as usize + bytes > MAX_COPIED {
        COPIED.fetch_sub(bytes as u64, Relaxed);
        return None;
    }
    let Some(at) = sys::map_anonymous(bytes) else {
        COPIED.fetch_sub(bytes as u64, Relaxed);
        return None;
    };
    // SAFETY: found readable, and mapped while the loader's lock is held; the target is as long.
    unsafe { core::ptr::copy_nonoverlapping(from as *const u8, at, bytes) };
    Some((hdr, from, Image { at, len: bytes, skip: 0, copied: true }))
}

/// Maps the segment from the object's file, if that is still the file that was loaded.
fn map_file(
    name: &CStr,
    build_id: &[u8],
    start: u64,
    len: u64,
    offset: u64,
    hdr: u64,
    hdr_len: u64,
) -> Option<Image> {
    let path = if name.is_empty() { c"/proc/self/exe" } else { name };
    if !path.to_bytes().starts_with(b"/") {
        return None;
    }
    let fd = sys::open(path.as_ptr().cast(), libc::O_RDONLY, 0)?;
    let page = page_start(offset);
    let skip = (offset - page) as usize;
    let total = skip.checked_add(len as usize);
    let fits = sys::file_size(fd).is_some_and(|n| offset.saturating_add(len) <= n);
    let at = total
        .filter(|_| fits)
        .and_then(|n| sys::map(n, libc::PROT_READ, libc::MAP_PRIVATE, fd, page as usize).map(|at| (at, n)));
    sys::close(fd);
    let (at, total) = at?;
    let image = Image { at, len: total, skip, copied: false };
    // The same file? Then its .eh_frame_hdr, a sorted table of all functions, is the one in memory.
    // A build id proves the loaded object to be a linker's finished work, so that comparing the
    // table's head is enough.
    let compare = if build_id.is_empty() { hdr_len } else { hdr_len.min(16 << 10) } as usize;
    // SAFETY: the one was found readable, the other just mapped; both are inside the segment.
    let same = unsafe {
        let there = core::slice::from_raw_parts(hdr as *const u8, compare);
        let here = core::slice::from_raw_parts(at.add(skip + (hdr - start) as usize), compare);
        there == here
    };
    if !same {
        image.release();
        return None;
    }
    Some(image)
}

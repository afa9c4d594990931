//! Records, sections and checksums, shared by the agent (writer) and the [`crate::Reader`].

use core::ffi::CStr;
use core::sync::atomic::{AtomicI32, AtomicU32, AtomicU64};

/// First eight bytes of a live file.
pub const MAGIC: u64 = u64::from_ne_bytes(*b"OFFHEAPL");
/// Changes whenever a record or a section changes its meaning. 2: Java objects. 3: sessions and
/// leases, no control words.
pub const VERSION: u32 = 3;
/// The oldest version that can still be read as it is: without Java objects, whose words were 0 in
/// it.
pub const OLDEST_VERSION: u32 = 1;
/// What a live file in memory is called, as memfd_create(2) takes it; `/proc` shows `/memfd:`
/// before it.
pub const LIVE_NAME: &CStr = c"offheap-live";
/// And the page that its reader renews the lease in.
pub const LEASE_NAME: &CStr = c"offheap-lease";
/// Lowest key of the live table that is an address: 0 is an empty slot, 1 one that is being filled,
/// and no process has anything at addresses this low.
pub const LOWEST_ADDRESS: u64 = 4096;
/// Bytes before the first section.
pub const HEADER_BYTES: usize = 4096;
/// What the agent takes unless told otherwise.
pub const DEFAULT_FILE_BYTES: u64 = 32 << 20;
/// Smallest file that [`Layout::new`] will plan.
pub const MIN_FILE_BYTES: u64 = 4 << 20;
/// Largest file that [`Layout::new`] will plan.
pub const MAX_FILE_BYTES: u64 = 1 << 30;
/// Default mean distance between samples, in bytes.
pub const DEFAULT_INTERVAL: u64 = 512 << 10;
/// Keys in one bucket of the live table: one cache line.
pub const BUCKET: usize = 8;
/// Buckets that one address may be placed in: see [`bucket_of`].
pub const MAX_BUCKETS: usize = 16;
/// Slots that an interned record may be placed in, counted from its own.
pub const MAX_PROBES: usize = 64;
/// Regions that are kept.
pub const MAX_REGIONS: u64 = 4096;
/// Most frames kept of one stack.
pub const MAX_FRAMES: usize = 256;
/// Most frames inlined into one that are kept.
pub const MAX_INLINED: usize = 64;
/// Unit of [`StackRec::alloc_count`] and [`StackRec::free_count`]: 1/256 of an allocation.
pub const COUNT_UNIT: u64 = 256;
/// Number of [`Header::counters`].
pub const COUNTERS: usize = 32;

/// One table of the file.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Section {
    /// Bytes from the start of the file.
    pub offset: u64,
    /// Number of records.
    pub count: u64,
}

/// Where each table is.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// [`ModuleRec`]s.
    pub modules: Section,
    /// [`RegionRec`]s.
    pub regions: Section,
    /// `u64` addresses, `BUCKET` to a bucket.
    pub keys: Section,
    /// `u32` per bucket.
    pub passed: Section,
    /// [`SampleRec`]s, one per key.
    pub samples: Section,
    /// [`StackRec`]s.
    pub stacks: Section,
    /// `u32` indices of frames.
    pub frame_ids: Section,
    /// [`FrameRec`]s.
    pub frames: Section,
    /// [`StrRec`]s.
    pub strings: Section,
    /// Bytes of all names.
    pub bytes: Section,
}

const fn power_of_two_below(bytes: u64, record: u64) -> u64 {
    let mut n = 64;
    while n * 2 * record <= bytes {
        n *= 2;
    }
    n
}

impl Layout {
    /// Of no file at all.
    pub const NONE: Layout = {
        const NOTHING: Section = Section { offset: 0, count: 0 };
        Layout {
            modules: NOTHING,
            regions: NOTHING,
            keys: NOTHING,
            passed: NOTHING,
            samples: NOTHING,
            stacks: NOTHING,
            frame_ids: NOTHING,
            frames: NOTHING,
            strings: NOTHING,
            bytes: NOTHING,
        }
    };

    /// Plans a file of `file_bytes`; `None` when that is outside
    /// [`MIN_FILE_BYTES`]..=[`MAX_FILE_BYTES`].
    pub const fn new(file_bytes: u64) -> Option<Layout> {
        if file_bytes < MIN_FILE_BYTES || file_bytes > MAX_FILE_BYTES {
            return None;
        }
        let mut at = HEADER_BYTES as u64;
        let modules = section(&mut at, 1024, size_of::<ModuleRec>());
        let regions = section(&mut at, MAX_REGIONS, size_of::<RegionRec>());
        let rest = file_bytes - at - HEADER_BYTES as u64;
        let blocks = power_of_two_below(rest / 2, (8 + size_of::<SampleRec>()) as u64);
        let keys = section(&mut at, blocks, 8);
        let passed = section(&mut at, blocks / BUCKET as u64, 4);
        let samples = section(&mut at, blocks, size_of::<SampleRec>());
        let stacks = section(
            &mut at,
            power_of_two_below(rest / 6, size_of::<StackRec>() as u64),
            size_of::<StackRec>(),
        );
        let frame_ids = section(&mut at, rest / 8 / 4, 4);
        let frames = section(
            &mut at,
            power_of_two_below(rest / 8, size_of::<FrameRec>() as u64),
            size_of::<FrameRec>(),
        );
        let strings =
            section(&mut at, power_of_two_below(rest / 24, size_of::<StrRec>() as u64), size_of::<StrRec>());
        let left = file_bytes - at;
        let bytes = section(&mut at, left & !63, 1);
        Some(Layout { modules, regions, keys, passed, samples, stacks, frame_ids, frames, strings, bytes })
    }
}

const fn section(at: &mut u64, count: u64, record: usize) -> Section {
    let offset = *at;
    *at = (offset + count * record as u64 + 63) & !63;
    Section { offset, count }
}

/// What the agent is doing, as in [`Header::state`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
#[non_exhaustive]
pub enum State {
    /// The file is being made.
    Preparing = 0,
    /// Sampling.
    Running = 1,
    /// Hooks pass through, and the agent has let go of the file: it stays as it was.
    Stopped = 2,
}

/// Indices into [`Header::counters`]. Everything that was not recorded is counted here, by reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
#[non_exhaustive]
pub enum Counter {
    /// Samples taken, recorded or not.
    Samples = 0,
    /// Frees of sampled blocks.
    Frees = 1,
    /// Dropped: no room in the live table near the address's bucket.
    DropTableFull = 2,
    /// Dropped: no room for another stack.
    DropStacksFull = 3,
    /// Dropped: no room for another region, or the table of regions was held for too long by
    /// others.
    DropRegionsFull = 4,
    /// Dropped: the sample fell into the agent's own work (a signal handler that allocates).
    DropReentrant = 5,
    /// Not a loss: an allocator call inside another; the outer one is counted.
    Nested = 6,
    /// A block was handed out again whose free was never seen; the old sample was replaced.
    MissedFrees = 7,
    /// Stacks kept without their frames: the frame table or the list of frame ids was full.
    FramesFull = 8,
    /// Frames kept without a name: the names were full or unreadable.
    NamesLost = 9,
    /// Walks that ended before the thread's first frame.
    Truncated = 10,
    /// Java frames that could not be walked.
    JavaBroken = 11,
    /// Import slots that point to the agent's hooks.
    SlotsPatched = 12,
    /// Import slots left alone because they lead to an allocator that is not the process's.
    SlotsForeign = 13,
    /// Loaded libraries that did not fit into the module table.
    ModulesFull = 14,
    /// Libraries whose unwind tables could not be kept.
    NoUnwindTables = 15,
    /// Allocations that the agent itself made, from its own arena (never from the hooked
    /// allocator).
    AgentHeap = 16,
    /// Frees that could not be applied because of nested signals; their samples stay.
    LostFrees = 17,
    /// Threads whose stack could not be recorded.
    DropThreads = 18,
    /// Function pointers in libraries' data that were redirected to the hooks.
    PointersPatched = 19,
    /// Times that start, stop or a change of interval took effect.
    Changes = 20,
    /// Java objects sampled, recorded or not. They are not among [`Counter::Samples`].
    Objects = 21,
    /// Sampled Java objects that have been found to be freed by a collection.
    ObjectFrees = 22,
    /// Dropped: Java objects that there was no reference for, that came while the agent was at
    /// work, or that were more than half of the live table.
    DropObjects = 23,
    /// Import slots and function pointers that were left alone: they could not be written safely.
    SlotsLeft = 24,
    /// Pages of libraries' data that were not searched for function pointers: somebody handles
    /// their faults (userfaultfd), or nothing could be found out about them (no /proc, filtered
    /// system calls).
    PagesSkipped = 25,
}

/// Whether Java objects are sampled, as in [`Header::objects`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
#[non_exhaustive]
pub enum ObjectState {
    /// Not asked for, or stopped.
    Off = 0,
    /// Sampling.
    On = 1,
    /// Refused: no JVM in this process, or one that is not up yet.
    NoJvm = 2,
    /// Refused: the JVM has no JVMTI 11 (JDK 8 to 10).
    TooOld = 3,
    /// Refused: another agent has the capability, which a JVM gives to one at a time.
    Taken = 4,
    /// Refused: the JVM's error is in [`Header::objects_error`].
    Failed = 5,
}

/// The first page of the file. Written once, except for the atomics. It is for readers: the agent
/// itself believes nothing that stands in the file.
#[repr(C)]
#[derive(Debug)]
pub struct Header {
    /// [`MAGIC`], written last.
    pub magic: AtomicU64,
    /// [`VERSION`].
    pub version: u32,
    /// [`HEADER_BYTES`].
    pub header_bytes: u32,
    /// Size of the whole file.
    pub file_bytes: u64,
    /// Where the tables are.
    pub layout: Layout,
    /// Process id in the target's own pid namespace.
    pub pid: u32,
    /// [`State`].
    pub state: AtomicU32,
    /// CLOCK_REALTIME when the file was made, nanoseconds.
    pub start_realtime_ns: u64,
    /// CLOCK_MONOTONIC at the same moment; the clock of all other times in the file.
    pub start_monotonic_ns: u64,
    /// CLOCK_MONOTONIC of the latest start of sampling.
    pub started_ns: AtomicU64,
    /// Mean bytes between samples; 1 means every allocation.
    pub interval: AtomicU64,
    /// How often the agent has been started in this process: each time it makes a new file.
    pub session: u32,
    /// Seconds after which the agent stops by itself if nobody renews its lease; 0: it does not.
    pub lease_seconds: AtomicU32,
    /// Before version 3: control words.
    pub reserved: u64,
    /// The only word that a reader may write: any change of it renews the lease. Where there is a
    /// file of its own for that ("offheap-lease"), it is the first word there instead.
    pub lease: AtomicU64,
    /// Records used in `modules`.
    pub modules_used: AtomicU64,
    /// Records ever used in `regions`.
    pub regions_used: AtomicU64,
    /// Entries used in `frame_ids`.
    pub frame_ids_used: AtomicU64,
    /// Bytes used in `bytes`.
    pub bytes_used: AtomicU64,
    /// See [`Counter`].
    pub counters: [AtomicU64; COUNTERS],
    /// Mean bytes between samples of Java objects; 1 means every one.
    pub objects_interval: AtomicU64,
    /// CLOCK_MONOTONIC of the latest start of sampling Java objects.
    pub objects_started_ns: AtomicU64,
    /// [`ObjectState`].
    pub objects: AtomicU32,
    /// What the JVM said: an error of JVMTI (jvmti.h, `jvmtiError`) or, below 0, of JNI.
    pub objects_error: AtomicI32,
}

impl Header {
    /// Says how long the lease is.
    pub fn set_lease(&self, seconds: u64) {
        self.lease_seconds.store(seconds.min(u32::MAX.into()) as u32, core::sync::atomic::Ordering::Relaxed);
    }
}

/// The live table's keys of Java objects have this bit; no address in a process does. An object
/// moves, so its address is no key: it gets a number of its own. See [`object_key`].
pub const OBJECT: u64 = 1 << 63;
/// Bits of an object's number. Those above, below [`OBJECT`], are its class.
const OBJECT_NUMBER_BITS: u32 = 40;

/// The key of the `number`th Java object, of the class with this name: an index into `strings` plus
/// one, 0 if unknown.
#[inline]
pub const fn object_key(class: u32, number: u64) -> u64 {
    let class = (class as u64) << OBJECT_NUMBER_BITS;
    // More names than there is room for would take a file beyond MAX_FILE_BYTES.
    let class = if class < OBJECT { class } else { 0 };
    OBJECT | class | number & ((1 << OBJECT_NUMBER_BITS) - 1)
}

/// The class of the object with this key, as given to [`object_key`].
#[inline]
pub const fn class_of_key(key: u64) -> u32 {
    ((key & !OBJECT) >> OBJECT_NUMBER_BITS) as u32
}

/// A live sampled heap block or Java object. Valid when `check` matches and its slot in `keys`
/// holds `addr`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SampleRec {
    /// Address that the allocator returned; of a Java object its [`object_key`].
    pub addr: u64,
    /// Bytes asked for; of a Java object what it takes on the heap.
    pub size: u64,
    /// CLOCK_MONOTONIC, nanoseconds.
    pub time_ns: u64,
    /// How many allocations of this size the sample stands for: 1/(1-exp(-size/interval)).
    pub weight: f64,
    /// Index into `stacks`, or [`NO_STACK`].
    pub stack: u32,
    /// Thread that allocated.
    pub tid: u32,
    /// Per thread sequence number: with `addr`, `tid` and `time_ns` the identity of the allocation.
    pub seq: u32,
    /// [`sample_check`].
    pub check: u32,
}

/// [`SampleRec::stack`] of a sample whose stack could not be kept.
pub const NO_STACK: u32 = u32::MAX;

/// What a [`RegionRec`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
#[non_exhaustive]
pub enum RegionKind {
    /// Anonymous mapping.
    Anonymous = 1,
    /// Mapping of a file or device.
    File = 2,
    /// Stack of a thread made by pthread_create; `start` is its pthread_t, which lies in the
    /// stack's top pages.
    ThreadStack = 3,
}

/// A live sampled mapping. Valid when `check` matches.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RegionRec {
    /// First byte.
    pub start: u64,
    /// One past the last byte; shrinks when parts are unmapped.
    pub end: u64,
    /// Bytes asked for at first.
    pub size: u64,
    /// CLOCK_MONOTONIC, nanoseconds.
    pub time_ns: u64,
    /// How many mappings of this size it stands for.
    pub weight: f64,
    /// Index into `stacks`, or [`NO_STACK`].
    pub stack: u32,
    /// Thread that mapped it; for a thread's stack that thread itself.
    pub tid: u32,
    /// [`RegionKind`].
    pub kind: u32,
    /// [`region_check`].
    pub check: u32,
}

/// An interned stack.
#[repr(C)]
#[derive(Debug)]
pub struct StackRec {
    /// Hash of the frames; 0: free slot.
    pub key: AtomicU64,
    /// First of its entries in `frame_ids`.
    pub first: u32,
    /// Number of entries.
    pub len: u16,
    /// [`stack_flags`].
    pub flags: u16,
    /// [`stack_check`]; until it matches the stack is being written.
    pub check: AtomicU32,
    /// Padding.
    pub reserved: u32,
    /// Estimated bytes allocated here since the file was made.
    pub alloc_bytes: AtomicU64,
    /// Estimated allocations, in [`COUNT_UNIT`]s.
    pub alloc_count: AtomicU64,
    /// Estimated bytes of them that were freed.
    pub free_bytes: AtomicU64,
    /// Estimated frees, in [`COUNT_UNIT`]s.
    pub free_count: AtomicU64,
    /// CLOCK_MONOTONIC when first seen, nanoseconds.
    pub first_ns: u64,
}

/// Bits of [`StackRec::flags`].
pub mod stack_flags {
    /// The outermost frames are missing: unwind information ended.
    pub const TRUNCATED: u16 = 1;
    /// The outermost frames are missing: deeper than [`super::MAX_FRAMES`].
    pub const DEEP: u16 = 2;
    /// Native frames between two Java frames, or below the first, are missing.
    pub const NATIVE_GAP: u16 = 4;
    /// Taken on a Java thread.
    pub const JAVA_THREAD: u16 = 8;
    /// Java frames are missing or doubtful.
    pub const JAVA_BROKEN: u16 = 16;
    /// Ends where a virtual thread was mounted with frames still on the heap.
    pub const VIRTUAL: u16 = 32;
    /// A mapping or thread stack, not a heap block.
    pub const REGION: u16 = 64;
    /// Java objects, not heap blocks. Begins with the Java frame that allocates, if there is one:
    /// the JVM's own frames and stubs below it are left out.
    pub const OBJECT: u16 = 128;
}

/// What a [`FrameRec`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[non_exhaustive]
pub enum FrameKind {
    /// Machine code of a library or the executable; `pc` and `module` say where, names are the
    /// reader's task.
    Native = 1,
    /// Java, interpreted.
    Interpreted = 2,
    /// Java, compiled by C1 (levels 1 to 3).
    C1 = 3,
    /// Java, compiled by C2 or another optimising compiler.
    C2 = 4,
    /// Java, inlined into the next outer frame.
    Inlined = 5,
    /// A Java native method's wrapper.
    JavaNative = 6,
    /// A stub that the JVM generated; `name` is the code blob's.
    Stub = 7,
    /// Not on the stack: the method that a compiler thread is compiling.
    Compiling = 8,
    /// Python; kept for the CPython walker.
    Python = 9,
    /// Machine code outside every known library.
    Unknown = 10,
}

/// An interned frame.
#[repr(C)]
#[derive(Debug)]
pub struct FrameRec {
    /// Hash of what identifies the frame; 0: free slot.
    pub key: AtomicU64,
    /// Native: the return address (stubs: one of them). Java: the bytecode index, `u64::MAX` if
    /// unknown.
    pub pc: u64,
    /// Native: index into `modules` plus one; 0: none.
    pub module: u32,
    /// Java: class, as the JVM spells it with slashes. Index into `strings` plus one; 0: unknown.
    /// So are the next two.
    pub class: u32,
    /// Java: method; stubs: blob name.
    pub name: u32,
    /// Source file.
    pub file: u32,
    /// Source line, 0: unknown.
    pub line: u32,
    /// The frame that this one was inlined into: index into `frames` plus one; 0: a frame of its
    /// own.
    pub next: u32,
    /// [`FrameKind`].
    pub kind: u8,
    /// Padding.
    pub reserved: [u8; 3],
    /// [`frame_check`]; until it matches the frame is being written.
    pub check: AtomicU32,
}

/// An interned name.
#[repr(C)]
#[derive(Debug)]
pub struct StrRec {
    /// [`hash_bytes`] of the name; 0: free slot. Also its checksum.
    pub key: AtomicU64,
    /// Offset into `bytes`.
    pub offset: u32,
    /// Length; 0 until written.
    pub len: AtomicU32,
}

/// A library or executable that was loaded at some time.
#[repr(C)]
#[derive(Debug)]
pub struct ModuleRec {
    /// First address.
    pub start: u64,
    /// One past the last address.
    pub end: u64,
    /// Add to an ELF virtual address to get the run time address.
    pub bias: u64,
    /// Path as the loader knows it: index into `strings` plus one.
    pub path: u32,
    /// 1 once it was unloaded.
    pub unloaded: AtomicU32,
    /// Bytes used in `build_id`.
    pub build_id_len: u32,
    /// [`module_check`].
    pub check: AtomicU32,
    /// GNU build id.
    pub build_id: [u8; 32],
    /// Padding to 80 bytes.
    pub reserved: u64,
}

/// 64-bit mixer (the finaliser of MurmurHash3).
#[inline]
pub const fn mix(mut x: u64) -> u64 {
    x ^= x >> 33;
    x = x.wrapping_mul(0xff51_afd7_ed55_8ccd);
    x ^= x >> 33;
    x = x.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ (x >> 33)
}

/// Combines a running hash with the next word.
#[inline]
pub const fn combine(hash: u64, word: u64) -> u64 {
    (hash.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Folds a hash to a checksum that is never 0.
#[inline]
const fn fold(hash: u64) -> u32 {
    let x = mix(hash);
    (x ^ (x >> 32)) as u32 | 1
}

/// Hash of a name; never 0.
pub const fn hash_bytes(bytes: &[u8]) -> u64 {
    let mut h = 0xcbf2_9ce4_8422_2325u64 ^ bytes.len() as u64;
    let mut i = 0;
    while i < bytes.len() {
        h = (h ^ bytes[i] as u64).wrapping_mul(0x100_0000_01b3);
        i += 1;
    }
    mix(h) | 1
}

/// Checksum of a sample.
#[inline]
pub const fn sample_check(s: &SampleRec) -> u32 {
    let mut h = combine(1, s.addr);
    h = combine(h, s.size);
    h = combine(h, s.time_ns);
    h = combine(h, s.weight.to_bits());
    h = combine(h, (s.stack as u64) << 32 | s.tid as u64);
    fold(combine(h, s.seq as u64))
}

/// Checksum of a region.
#[inline]
pub const fn region_check(r: &RegionRec) -> u32 {
    let mut h = combine(2, r.start);
    h = combine(h, r.end);
    h = combine(h, r.size);
    h = combine(h, r.time_ns);
    h = combine(h, r.weight.to_bits());
    h = combine(h, (r.stack as u64) << 32 | r.tid as u64);
    fold(combine(h, r.kind as u64))
}

/// Checksum of a stack: over its key, its place and flags.
#[inline]
pub const fn stack_check(key: u64, first: u32, len: u16, flags: u16) -> u32 {
    fold(combine(combine(3, key), (first as u64) << 32 | (len as u64) << 16 | flags as u64))
}

/// What [`frame_check`] covers, in order: `pc`, `module`, `class`, `name`, `file`, `line`, `next`,
/// `kind`.
#[inline]
pub const fn frame_check(key: u64, pc: u64, words: [u32; 6], kind: u8) -> u32 {
    let mut h = combine(combine(4, key), pc);
    let mut i = 0;
    while i < words.len() {
        h = combine(h, words[i] as u64);
        i += 1;
    }
    fold(combine(h, kind as u64))
}

/// Checksum of a module.
pub const fn module_check(start: u64, end: u64, bias: u64, path: u32, build_id: &[u8]) -> u32 {
    let mut h = combine(combine(combine(5, start), end), bias);
    h = combine(h, path as u64);
    fold(combine(h, hash_bytes(build_id)))
}

/// One bucket of so many is the first place to be tried for an address. While few blocks are live,
/// all of them so lie close together: in a few pages that stay in the caches, instead of one page
/// each all over the table.
const NEAR: u64 = 16;

/// The bucket to be tried for an address after `before` others, in a table of `slots` keys (a power
/// of two).
#[inline]
pub const fn bucket_of(addr: u64, slots: u64, before: u64) -> u64 {
    let hash = addr.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let buckets = slots / BUCKET as u64;
    let near = if buckets > NEAR { buckets / NEAR } else { 1 };
    if before == 0 {
        return hash & (near - 1);
    }
    let far = buckets.saturating_sub(near);
    let at = ((hash * far) >> 32) + before - 1;
    near + if at >= far { at.saturating_sub(far) } else { at }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_objects_key_tells_its_class_and_is_no_address() {
        let slots = Layout::new(MAX_FILE_BYTES).map_or(0, |l| l.strings.count);
        for class in [0, 1, 77, slots as u32] {
            for number in [0, 1, 1 << 39] {
                let key = object_key(class, number);
                assert!(key >= OBJECT && class_of_key(key) == class, "{class} {number}");
                assert_ne!(key, object_key(class, number + 1));
            }
        }
    }

    #[test]
    fn every_bucket_is_somebodys_and_none_is_outside() {
        let slots = Layout::new(MIN_FILE_BYTES).map_or(0, |l| l.keys.count);
        let buckets = slots / BUCKET as u64;
        let (mut first, mut later) = ([0u32; 1 << 13], [0u32; 1 << 13]);
        for block in 0..1_000_000u64 {
            let addr = 0x7f12_3400_0010 + block * 32;
            first[bucket_of(addr, slots, 0) as usize] += 1;
            later[bucket_of(addr, slots, 1) as usize] += 1;
            assert!((1..MAX_BUCKETS as u64).all(|n| bucket_of(addr, slots, n) < buckets));
            // Different places, one after the other.
            let next = bucket_of(addr, slots, 1) + 1;
            assert!(bucket_of(addr, slots, 2) == next || next == buckets);
        }
        let near = (buckets / NEAR) as usize;
        let (mean, far) = (1_000_000 / near as u32, 1_000_000 / (buckets as usize - near) as u32);
        assert!(first[..near].iter().all(|&n| n > mean / 2 && n < mean * 2));
        assert!(first[near..].iter().all(|&n| n == 0) && later[..near].iter().all(|&n| n == 0));
        assert!(later[near..buckets as usize].iter().all(|&n| n > far / 3 && n < far * 3));
    }
}

//! A snapshot: everything known of one process at one instant.

use crate::{Domain, DomainFigure, Handles, Note, PythonHeld, PythonObjects};
use serde::{Deserialize, Serialize};

/// Everything known of one process at one instant.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Snapshot {
    /// When it was begun, milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// How long it took, microseconds.
    pub took_us: u64,
    /// How long looking held the lock of the process's address space (mmap, munmap, mprotect, brk
    /// and new threads wait for it) in one go, at most; microseconds. `None` where it was not
    /// measured.
    #[serde(default)]
    pub longest_hold_us: Option<u64>,
    /// Whose it is.
    pub process: Process,
    /// The kernel's totals.
    pub memory: MemoryTotals,
    /// The control group the process is limited by.
    pub cgroup: Option<Cgroup>,
    /// The account: one figure a domain (absent where zero), largest first; their `rss_bytes` sum
    /// to `memory.rss_bytes`.
    pub domains: Vec<DomainFigure>,
    /// What is known of the JVM in it.
    pub jvm: Option<Jvm>,
    /// What is known of the C heap.
    pub malloc: Option<Malloc>,
    /// Threads, grouped by the name of their pool, largest resident first.
    pub threads: Vec<ThreadPool>,
    /// Files mapped, largest resident first.
    pub files: Vec<FileFigure>,
    /// What is known of the CPython interpreter in it.
    pub python: Option<Python>,
    /// What the reader must know.
    pub notes: Vec<Note>,
}

impl Snapshot {
    /// Resident bytes of `domain`; zero where the account has none.
    pub fn rss_of(&self, domain: Domain) -> u64 {
        self.domains.iter().find(|figure| figure.domain == domain).map_or(0, |figure| figure.rss_bytes)
    }
}

/// Whose memory it is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Process {
    /// The pid as this tool's pid namespace sees it.
    pub pid: i32,
    /// The pid inside the process's own pid namespace.
    pub inner_pid: i32,
    /// Clock ticks after boot at which it started: with the pid this names one process for good
    /// (proc(5), stat field 22).
    pub start_ticks: u64,
    /// Effective user id.
    pub uid: u32,
    /// The user's name where it is known, else the number.
    pub user: String,
    /// The short name the kernel keeps (`comm`).
    pub name: String,
    /// The command line, arguments separated by spaces, with its secrets masked as `***`.
    pub command: String,
    /// Path of the executable.
    pub exe: String,
    /// Seconds it has been running.
    pub uptime_s: f64,
    /// How many threads it has.
    pub threads: u64,
}

/// The kernel's totals for the process.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct MemoryTotals {
    /// Resident bytes: the sum over its mappings, counted as smaps counts them.
    pub rss_bytes: u64,
    /// Resident bytes, each page divided by the number of times it is mapped; `None` in most
    /// snapshots of a series, and where only root may know it.
    pub pss_bytes: Option<u64>,
    /// Bytes that would be freed if the process ended: private clean and dirty; `None` in most
    /// snapshots of a series.
    pub uss_bytes: Option<u64>,
    /// Swapped-out bytes; of shared memory only where smaps was read.
    pub swap_bytes: u64,
    /// Resident anonymous bytes.
    pub anon_bytes: u64,
    /// Resident bytes of files.
    pub file_bytes: u64,
    /// Resident bytes of shared memory (shmem, memfd).
    pub shmem_bytes: u64,
    /// Bytes in anonymous huge pages; `None` where the kernel doesn't tell them in pieces (before
    /// 6.7).
    pub anon_huge_bytes: Option<u64>,
    /// The address space.
    pub virtual_bytes: u64,
    /// How many mappings there are.
    pub vma_count: u64,
    /// How many there may be (`vm.max_map_count`).
    pub vma_limit: u64,
    /// Highest RSS so far (`VmHWM`).
    pub peak_rss_bytes: u64,
}

/// The control group the process is limited by.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Cgroup {
    /// 1 or 2.
    pub version: u8,
    /// The group's path inside the hierarchy.
    pub path: String,
    /// The limit in force here or in a parent; `None` where there is none.
    pub limit_bytes: Option<u64>,
    /// What the kernel charges to it now.
    pub current_bytes: u64,
    /// Of that, anonymous memory.
    pub anon_bytes: u64,
    /// Of that, page cache.
    pub file_bytes: u64,
    /// Of that, page cache the kernel can drop at once.
    pub inactive_file_bytes: u64,
    /// Of that, shared memory and tmpfs.
    pub shmem_bytes: u64,
    /// Of that, kernel memory (stacks, page tables, slab, sockets).
    pub kernel_bytes: u64,
    /// Of the kernel memory, slab.
    pub slab_bytes: u64,
    /// Until the limit; `None` where there is none.
    pub headroom_bytes: Option<u64>,
    /// How many times the kernel killed a process of the group for memory.
    pub oom_kills: u64,
    /// How many processes are in it.
    pub processes: u64,
}

/// What is known of a JVM.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Jvm {
    /// `"Debian"`, `"Eclipse Adoptium"`, `"OpenJDK"`, `"Eclipse OpenJ9"`.
    pub vendor: String,
    /// The full version: `"17.0.15+6-Debian-1deb12u1"`.
    pub version: String,
    /// Feature release: 8, 11, 17…
    pub feature: u32,
    /// `"Serial"`, `"Parallel"`, `"G1"`, `"Z"`, `"Shenandoah"`, `"ConcMarkSweep"`, `"Epsilon"`;
    /// empty where unknown.
    pub gc: String,
    /// Main class or jar.
    pub main: String,
    /// The Java heap.
    pub heap: HeapFigure,
    /// Metaspace without the class space.
    pub metaspace: SpaceFigure,
    /// The compressed class space.
    pub class_space: SpaceFigure,
    /// All code heaps together.
    pub code_cache: SpaceFigure,
    /// Loaded classes.
    pub classes: Option<u64>,
    /// Classes unloaded since the start.
    pub classes_unloaded: Option<u64>,
    /// Class loaders alive.
    pub class_loaders: Option<u64>,
    /// `java.nio.Bits`.
    pub direct: Option<DirectBuffers>,
    /// Objects on the heap through which garbage gives native memory back (phantom, final and weak
    /// references), garbage included; `None` in most snapshots, since to count them the heap is
    /// read.
    #[serde(default)]
    pub references: Option<u64>,
    /// Which of them are in use; `None` but where nothing else could tell garbage from a leak.
    #[serde(default)]
    pub reach: Option<Reach>,
    /// What JNI code holds: counts with the largest classes and threads; `None` in most snapshots.
    #[serde(default)]
    pub handles: Option<Handles>,
    /// NMT's counters, where it is on.
    pub nmt: Option<NmtCounters>,
    /// NMT's level: `"off"`, `"summary"`, `"detail"`, or empty where unknown.
    pub nmt_level: String,
    /// Young and old collections since the start.
    pub gc_young_count: Option<u64>,
    /// Old or full collections since the start.
    pub gc_old_count: Option<u64>,
    /// Microseconds that the program has stood still for old or full collections since the start,
    /// where the JVM counts them.
    #[serde(default)]
    pub gc_old_us: Option<u64>,
    /// Live Java threads.
    pub java_threads: Option<u64>,
    /// Java threads started since the start.
    pub java_threads_started: Option<u64>,
    /// Flags that matter to a verdict, as written on a command line without `-XX:`:
    /// `("MaxHeapSize", "268435456")`.
    pub flags: Vec<(String, String)>,
}

impl Jvm {
    /// The value of the flag `name`, where it was read.
    pub fn flag(&self, name: &str) -> Option<&str> {
        self.flags.iter().find(|(flag, _)| flag == name).map(|(_, value)| value.as_str())
    }
}

/// Which objects are in use: referred to from static fields, threads, their stacks, and JNI code.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Reach {
    /// Phantom and final references, which Cleaners and finalizers are, that still have their
    /// object, if that is no direct buffer.
    pub owners: u64,
    /// Of these, the ones whose object is in use.
    pub owners_in_use: u64,
    /// What holds most of them.
    #[serde(default)]
    pub owners_holder: Option<Holder>,
    /// Bytes of direct buffers.
    pub direct_bytes: u64,
    /// Of these, the bytes of buffers in use.
    pub direct_in_use_bytes: u64,
    /// What holds most of them.
    #[serde(default)]
    pub direct_holder: Option<Holder>,
    /// Bytes of the heap's objects that are in use.
    pub heap_in_use_bytes: u64,
    /// Global references that JNI code holds, where they were found.
    #[serde(default)]
    pub jni_references: Option<u64>,
    /// Virtual threads that are in use: they wait, or run.
    #[serde(default)]
    pub virtual_threads: u64,
    /// True where all kinds of roots were followed: what was not reached is garbage then.
    pub complete: bool,
}

/// What holds objects on the Java heap.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Holder {
    /// `"static field app.Cache.ENTRIES (java.util.HashMap)"`, `"the stack of thread main"`.
    pub what: String,
    /// How many objects, or how many bytes of buffers.
    pub amount: u64,
}

/// The Java heap in figures.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct HeapFigure {
    /// Address space set aside (about `-Xmx`).
    pub reserved_bytes: u64,
    /// `-Xmx`.
    pub max_bytes: u64,
    /// `-Xms`.
    pub min_bytes: u64,
    /// Committed by the collector; `None` where it can't be read.
    pub committed_bytes: Option<u64>,
    /// In use, garbage included.
    pub used_bytes: Option<u64>,
    /// Of that, in the old generation.
    pub old_used_bytes: Option<u64>,
    /// In the old generation right after the last old collection, where the JVM tells.
    pub old_after_gc_bytes: Option<u64>,
    /// The most that the old generation may become, where the JVM tells; without generations that
    /// is `-Xmx`.
    #[serde(default)]
    pub old_max_bytes: Option<u64>,
    /// Resident; each physical page once.
    pub resident_bytes: u64,
    /// How often each page is mapped (3 with ZGC before 21's generational mode).
    pub mapped_times: u32,
    /// Where the figures come from.
    pub source: String,
}

/// A reserved space that commits as it grows.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct SpaceFigure {
    /// Address space set aside.
    pub reserved_bytes: u64,
    /// Committed; `None` where it can't be read.
    pub committed_bytes: Option<u64>,
    /// In use; `None` where it can't be read.
    pub used_bytes: Option<u64>,
    /// The most it may become; `None` for no limit.
    pub max_bytes: Option<u64>,
}

/// `java.nio.Bits`: direct buffers as the JDK counts them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct DirectBuffers {
    /// How many.
    pub count: u64,
    /// Bytes taken from malloc for them, page alignment included.
    pub reserved_bytes: u64,
    /// Bytes their users asked for.
    pub capacity_bytes: u64,
    /// The limit (`-XX:MaxDirectMemorySize`, else `-Xmx`).
    pub max_bytes: u64,
    /// Bytes of direct buffers that Bits does not count (JDK 25 hides NIO's temporary ones), where
    /// they were found.
    pub hidden_bytes: Option<u64>,
}

/// NMT's counters.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct NmtCounters {
    /// One entry a category that has anything.
    pub categories: Vec<NmtCategory>,
    /// How they were read: `"memory"` or `"attach"`.
    pub source: String,
}

/// One NMT category.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct NmtCategory {
    /// `"Class"`, `"Other"`…, as the JVM names it.
    pub name: String,
    /// Live malloc bytes (without NMT's own headers).
    pub malloc_bytes: u64,
    /// Live malloc blocks.
    pub malloc_count: u64,
    /// Bytes in arenas (malloc'ed as category Arena Chunk, accounted here).
    pub arena_bytes: u64,
    /// mmap reserved.
    pub reserved_bytes: u64,
    /// mmap committed.
    pub committed_bytes: u64,
}

/// The C heap.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Malloc {
    /// Which allocator serves malloc: `"glibc"`, `"jemalloc"`, `"tcmalloc"`, `"mimalloc"`,
    /// `"musl"`; `"unknown"` where it was not recognised.
    pub allocator: String,
    /// Its version or library, where it is known.
    pub allocator_version: String,
    /// False where it was only named: then the byte figures below are 0 or sums of mappings.
    pub walked: bool,
    /// True when every self-check held; otherwise `doubts` says which did not.
    pub exact: bool,
    /// What failed, in words.
    pub doubts: Vec<String>,
    /// Obtained from the system for arenas.
    pub system_bytes: u64,
    /// Live chunks, headers included, without those parked in a tcache and without mmapped ones.
    pub in_use_bytes: u64,
    /// How many live chunks there are.
    pub in_use_count: u64,
    /// Freed but parked in thread caches.
    pub tcache_bytes: u64,
    /// Free in bins and fastbins, without top.
    pub free_bytes: u64,
    /// Free at the top of each arena.
    pub top_bytes: u64,
    /// Of free and top, resident.
    pub free_resident_bytes: u64,
    /// What `malloc_trim(0)` would give back now.
    pub trimmable_bytes: u64,
    /// Large chunks in maps of their own: bytes.
    pub mmapped_bytes: u64,
    /// Large chunks in maps of their own: how many.
    pub mmapped_count: u64,
    /// Arena by arena, largest resident first.
    pub arenas: Vec<Arena>,
    /// Live chunks by size; bounded, the rest is in the class of size 0.
    pub size_classes: Vec<SizeClass>,
}

/// One arena.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Arena {
    /// Address of its `malloc_state`.
    pub address: u64,
    /// The main arena (brk).
    pub main: bool,
    /// Threads attached to it, where the C library counts them.
    pub threads: Option<u64>,
    /// Obtained from the system.
    pub system_bytes: u64,
    /// Resident.
    pub resident_bytes: u64,
    /// Live chunks, without those in a tcache.
    pub in_use_bytes: u64,
    /// How many.
    pub in_use_count: u64,
    /// Parked in thread caches.
    pub tcache_bytes: u64,
    /// Free in bins and fastbins.
    pub free_bytes: u64,
    /// Free at the top.
    pub top_bytes: u64,
    /// What a trim would give back.
    pub trimmable_bytes: u64,
}

/// Live chunks of one size.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct SizeClass {
    /// Chunk size, header included; 0 stands for all sizes not listed.
    pub chunk_bytes: u64,
    /// How many are live.
    pub count: u64,
    /// Their bytes.
    pub total_bytes: u64,
    /// What they hold, where a cheap look could tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<ContentHint>,
}

/// What a sample of chunks of one size seems to hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", tag = "kind", content = "of")]
pub enum ContentHint {
    /// Objects with this vtable: a demangled type name.
    Vtable(String),
    /// Printable text; an excerpt.
    Text(String),
    /// All zero.
    Zero,
    /// The first word points into this library.
    PointerInto(String),
}

/// What kind of thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ThreadKind {
    /// A Java thread.
    Java,
    /// A JIT compiler thread.
    Compiler,
    /// A collector's thread.
    Gc,
    /// Another thread of the VM.
    Vm,
    /// Not the VM's.
    Native,
}

/// Threads whose names differ only in their number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct ThreadPool {
    /// The name with its numbers replaced by `*`.
    pub pool: String,
    /// What kind.
    pub kind: ThreadKind,
    /// How many.
    pub count: u64,
    /// Address space of their stacks.
    pub reserved_bytes: u64,
    /// Resident bytes of their stacks.
    pub resident_bytes: u64,
    /// Of that, in huge pages.
    #[serde(default)]
    pub huge_bytes: u64,
}

/// What kind of file mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum FileKind {
    /// Executable or shared library.
    Library,
    /// CDS archive.
    CdsArchive,
    /// A regular file mapped as data (MappedByteBuffer, jar index, locale archive).
    Data,
    /// memfd.
    Memfd,
    /// tmpfs, System V or POSIX shared memory.
    Shm,
    /// A device.
    Device,
}

/// One mapped file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct FileFigure {
    /// Its path as the kernel shows it, without the ` (deleted)` mark.
    pub path: String,
    /// What kind.
    pub kind: FileKind,
    /// Unlinked, or replaced on disk, but still mapped.
    pub deleted: bool,
    /// How many mappings.
    pub mappings: u64,
    /// Address space.
    pub virtual_bytes: u64,
    /// Resident.
    pub rss_bytes: u64,
    /// Of that, executable.
    pub text_bytes: u64,
    /// Of that, private copies (relocated data, `.data`, `.bss`).
    pub dirty_bytes: u64,
}

/// What is known of a CPython interpreter.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Python {
    /// `"3.11.2"`.
    pub version: String,
    /// True where it is the whole process, false where it is embedded.
    pub main: bool,
    /// Resident bytes of pymalloc's arenas.
    pub arena_bytes: u64,
    /// Blocks in use, where the pools were walked.
    pub blocks: Option<u64>,
    /// Its objects by type, where they were counted at this snapshot.
    #[serde(default)]
    pub objects: Option<PythonObjects>,
    /// Who holds the types that grew, where that was looked for at this snapshot.
    #[serde(default)]
    pub held: Vec<PythonHeld>,
    /// Whether the main interpreter's collector runs by itself, where that can be read.
    #[serde(default)]
    pub collects: Option<bool>,
    /// How many interpreters there are, the main one with them, where they were counted at this
    /// snapshot.
    #[serde(default)]
    pub interpreters: Option<u64>,
}

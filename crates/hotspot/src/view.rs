//! What [`HotSpot::view`](crate::HotSpot::view) gives: one instant of a JVM, as plain values.

use std::ops::Range;

/// How much work a view may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ViewOptions {
    /// Count the class loaders and, where libjvm has no symbols, find metaspace by walking every
    /// class. Without it what was found last time is labelled again.
    pub walk_classes: bool,
    /// Read the names of Java threads from the heap.
    pub thread_names: bool,
}

impl Default for ViewOptions {
    fn default() -> Self {
        ViewOptions { walk_classes: true, thread_names: true }
    }
}

/// One instant of a JVM.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct View {
    /// Who built it: `"Eclipse Adoptium"`, `"Debian"`.
    pub vendor: String,
    /// The full version: `"17.0.15+6-Debian-1deb12u1"`.
    pub version: String,
    /// Feature release: 8, 11, 17…; 0 where it could not be read.
    pub feature: u32,
    /// `"Serial"`, `"Parallel"`, `"G1"`, `"Z"`, `"Shenandoah"`, `"ConcMarkSweep"`, `"Epsilon"`;
    /// empty where unknown.
    pub gc: String,
    /// Main class or jar, with its arguments.
    pub main: String,
    /// Flags that matter to a verdict, as written on a command line without `-XX:`.
    pub flags: Vec<(String, String)>,
    /// `"off"`, `"summary"`, `"detail"`, or empty where unknown.
    pub nmt_level: String,
    /// The Java heap.
    pub heap: Heap,
    /// Metaspace without the class space.
    pub metaspace: Space,
    /// The compressed class space.
    pub class_space: Space,
    /// All code heaps together.
    pub code_cache: Space,
    /// Loaded classes, arrays included (without libjvm's symbols: without arrays).
    pub classes: Option<u64>,
    /// Classes unloaded since the start.
    pub classes_unloaded: Option<u64>,
    /// Class loaders alive (their `ClassLoaderData`, those of hidden classes included).
    pub class_loaders: Option<u64>,
    /// `java.nio.Bits`; `None` where the class is not loaded (no direct buffer was ever made) or
    /// can't be read.
    pub direct: Option<Direct>,
    /// NMT's counters, where it is on and libjvm still has its symbols; one entry for each
    /// category, also the empty ones.
    pub nmt: Option<Vec<NmtCategory>>,
    /// Young collections since the start. Z and Shenandoah count pauses, a few for each collection.
    pub gc_young_count: Option<u64>,
    /// Old or full collections since the start; with Z and Shenandoah pauses as well.
    pub gc_old_count: Option<u64>,
    /// Microseconds that the program has stood still for them since the start.
    pub gc_old_us: Option<u64>,
    /// Live Java threads.
    pub java_threads: Option<u64>,
    /// Java threads started since the start.
    pub java_threads_started: Option<u64>,
    /// Every thread of the process.
    pub threads: Vec<Thread>,
    /// What address ranges are used for; ascending, not overlapping.
    pub labels: Vec<Label>,
    /// How far `labels` can be relied on to be all of the VM's own mappings.
    pub coverage: Coverage,
    /// What could not be read, and why; whole sentences without a full stop.
    pub problems: Vec<String>,
}

/// How far the labels are all there is, so that what stays without a label may be called the
/// program's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Coverage {
    /// Every mapping of the Java heap is labelled.
    pub heap: bool,
    /// Every structure of the collector that has its own mapping is labelled.
    pub gc: bool,
    /// Metaspace and class space are labelled.
    pub classes: bool,
    /// The code cache is labelled.
    pub code: bool,
    /// Every Java, compiler, collector and VM thread's stack is labelled.
    pub threads: bool,
}

impl Coverage {
    /// True where nothing of the VM's own is known to be missing.
    pub fn is_complete(self) -> bool {
        self.heap && self.gc && self.classes && self.code && self.threads
    }
}

/// The Java heap, in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Heap {
    /// Address space set aside.
    pub reserved: u64,
    /// `-Xmx`.
    pub max: u64,
    /// The least the collector keeps (`-Xms`, where given).
    pub min: u64,
    /// Committed by the collector.
    pub committed: Option<u64>,
    /// In use, garbage included.
    pub used: Option<u64>,
    /// Of that, in the old generation; `None` where the collector has no generations or doesn't
    /// tell.
    pub old_used: Option<u64>,
    /// In the old generation right after the last old collection, where the VM tells.
    pub old_after_gc: Option<u64>,
    /// The most that the old generation may become.
    pub old_max: Option<u64>,
    /// How often each page is mapped: 3 with the non-generational ZGC, else 1.
    pub mapped_times: u32,
    /// Where `used` and `committed` come from: `"vmStructs"`, `"hsperfdata"`.
    pub source: &'static str,
}

/// A reserved space that commits as it grows, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Space {
    /// Address space set aside.
    pub reserved: u64,
    /// Committed.
    pub committed: Option<u64>,
    /// In use.
    pub used: Option<u64>,
    /// The most it may become; `None` for no limit.
    pub max: Option<u64>,
}

/// `java.nio.Bits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Direct {
    /// Live direct buffers that were made by `ByteBuffer.allocateDirect` and the like.
    pub count: u64,
    /// Bytes taken from malloc for them, page alignment included.
    pub reserved: u64,
    /// Bytes their users asked for.
    pub capacity: u64,
    /// The limit (`-XX:MaxDirectMemorySize`, else about `-Xmx`).
    pub max: u64,
    /// True where this JDK keeps NIO's temporary buffers out of these figures (25 and later).
    pub hides_temporary: bool,
}

/// One NMT category, in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NmtCategory {
    /// As the JVM names it: `"Java Heap"`, `"Other"`…
    pub name: String,
    /// Live malloc bytes, without NMT's own headers.
    pub malloc_bytes: u64,
    /// Live malloc blocks.
    pub malloc_count: u64,
    /// Bytes of malloc that arenas hold, not counted in `malloc_bytes`.
    pub arena_bytes: u64,
    /// mmap reserved.
    pub reserved_bytes: u64,
    /// mmap committed. Up to JDK 10 and for thread stacks this is not residency; NMT fills it in
    /// for stacks only when asked by jcmd.
    pub committed_bytes: u64,
}

/// What kind of thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ThreadKind {
    /// Runs Java code.
    Java,
    /// A JIT compiler thread.
    Compiler,
    /// A collector's thread.
    Gc,
    /// Another thread of the VM.
    Vm,
    /// Not the VM's: the launcher's first thread, or one of native code that is not attached.
    Native,
}

/// One thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thread {
    /// Its id as the JVM knows it: inside the process's own pid namespace
    /// ([`offheap_linux::Task::inner_tid`]).
    pub tid: i32,
    /// The full Java name, or the kernel's for threads that have none.
    pub name: String,
    /// What kind.
    pub kind: ThreadKind,
    /// Its stack with the guard pages; empty where it was not found.
    pub stack: Range<u64>,
}

/// What an address range is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum What {
    /// The garbage-collected heap.
    JavaHeap,
    /// Class metadata without the class space.
    Metaspace,
    /// The compressed class space.
    ClassSpace,
    /// A class data sharing archive.
    Cds,
    /// Compiled code, stubs, the interpreter, and the map of its segments.
    CodeCache,
    /// A thread's stack.
    ThreadStack,
    /// The collector's own structures.
    Gc,
    /// Other memory of the VM.
    JvmInternal,
}

/// An address range and what it is used for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// What for.
    pub what: What,
    /// Which one: `"card table"`, `"CodeHeap 'profiled nmethods'"`, a thread's name.
    pub name: String,
    /// How it was found: `"vmStructs"`, `"symbols"`, `"maps"`, `"shape"`.
    pub source: &'static str,
}

/// The cheap look that a list of processes takes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Brief {
    /// Who built it.
    pub vendor: String,
    /// The full version.
    pub version: String,
    /// Feature release; 0 where unknown.
    pub feature: u32,
    /// As in [`View::gc`].
    pub gc: String,
    /// Main class or jar, with its arguments.
    pub main: String,
    /// Bytes of the heap in use, as the collector last published them (mostly at the last
    /// collection).
    pub heap_used: Option<u64>,
    /// Bytes of the heap committed.
    pub heap_committed: Option<u64>,
    /// `"hsperfdata"` or `"vmStructs"`.
    pub source: &'static str,
}

/// A direct buffer found in the Java heap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DirectBuffer {
    /// Where its memory is.
    pub address: u64,
    /// Its bytes.
    pub capacity: u64,
}

/// The direct buffers found in the Java heap. Objects that are garbage but not collected yet are
/// among them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DirectBuffers {
    /// Each block of memory once, ascending by address; views (slices, duplicates) are left out.
    pub buffers: Vec<DirectBuffer>,
    /// Bytes of the Java heap that were read.
    pub scanned: u64,
    /// Why not everything was looked at, if so.
    pub incomplete: Option<String>,
}

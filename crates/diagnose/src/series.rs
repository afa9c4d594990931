//! Named series: one figure of the snapshots over time.

use crate::stats::{MIN_POINTS, Point, Trend};
use offheap_model::{Domain, FileKind, LocalReferences, Malloc, Snapshot};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::OnceLock;

/// Which figure of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Key {
    /// Resident bytes of the process.
    Rss,
    /// Resident bytes of a domain.
    Domain(Domain),
    /// Java heap: in use, garbage included.
    HeapUsed,
    /// Java heap: resident.
    HeapResident,
    /// Java heap: what is in use, garbage left out; known of few instants.
    HeapInUse,
    /// Direct buffers that are in use, bytes; known of few instants.
    DirectInUse,
    /// Objects in use that own native memory, beside direct buffers; known of few instants.
    OwnersInUse,
    /// Global references of JNI code; known of few instants.
    JniReferences,
    /// Old generation in use, garbage included.
    OldUsed,
    /// Old generation right after its last collection.
    OldAfterGc,
    /// Bytes that `java.nio.Bits` counts.
    DirectReserved,
    /// Direct buffers that `java.nio.Bits` counts.
    DirectCount,
    /// Direct buffers that `java.nio.Bits` does not count, bytes.
    DirectHidden,
    /// Objects on the heap through which garbage gives native memory back.
    References,
    /// Metaspace and class space in use; committed where use is unknown.
    Metaspace,
    /// Classes loaded.
    Classes,
    /// Class loaders.
    ClassLoaders,
    /// Code cache in use; committed where use is unknown.
    CodeCache,
    /// Live C heap: chunks in arenas and in maps of their own, free chunks not counted.
    MallocLive,
    /// Of [`Key::MallocLive`], what neither `java.nio.Bits` nor NMT accounts for.
    MallocRest,
    /// Live chunks.
    MallocCount,
    /// Live chunks in maps of their own: bytes.
    Mmapped,
    /// Free in the C heap, but resident.
    MallocFree,
    /// What `malloc_trim` would give back.
    Trimmable,
    /// Threads.
    Threads,
    /// Threads of one pool.
    Pool(String),
    /// Address space of files mapped as data.
    FilesVirtual,
    /// Resident bytes of one mapped file.
    File(String),
    /// Bytes in live chunks of one size.
    SizeClass(u64),
    /// Live malloc and arena bytes of an NMT category.
    NmtMalloc(String),
    /// Live malloc, arena and committed bytes of an NMT category.
    Nmt(String),
    /// pymalloc blocks in use.
    PythonBlocks,
    /// Page cache charged to the control group.
    CgroupFile,
    /// Tmpfs and shared memory charged to the control group beside what the process has mapped.
    CgroupTmpfs,
    /// Resident bytes of the code heap for what is no method: stubs and adapters.
    Stubs,
    /// Objects that own native memory and are garbage; known of few instants.
    OwnersGarbage,
    /// Global references of JNI code, as counted among the VM's handles; known of some instants.
    GlobalReferences,
    /// Local references of the threads that hold most; known of some instants.
    LocalReferences,
    /// Frames for local references that the same threads have pushed and not popped.
    PushedFrames,
    /// Virtual threads that wait or run; known of few instants.
    VirtualThreads,
    /// CPython's interpreters; known of some instants.
    PythonInterpreters,
}

/// A figure over time.
#[derive(Debug, Default)]
pub struct Series {
    points: Vec<Point>,
    trend: OnceLock<Trend>,
}

impl Series {
    /// A series of these points.
    pub fn new(points: Vec<Point>) -> Series {
        Series { points, trend: OnceLock::new() }
    }

    /// Its points, in the order of the snapshots.
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// What it does over the window; computed once.
    pub fn trend(&self) -> &Trend {
        self.trend.get_or_init(|| Trend::of(&self.points))
    }

    /// The value at `t`, or the next one after it; `None` where it ends before.
    pub fn at(&self, t: f64) -> Option<f64> {
        self.points.get(self.points.partition_point(|p| p.t < t)).map(|p| p.v)
    }

    /// The last value; 0 of nothing.
    pub fn last(&self) -> f64 {
        self.points.last().map_or(0.0, |p| p.v)
    }

    /// The first value; 0 of nothing.
    pub fn first(&self) -> f64 {
        self.points.first().map_or(0.0, |p| p.v)
    }

    /// The largest value; 0 of nothing.
    pub fn max(&self) -> f64 {
        self.points.iter().map(|p| p.v).fold(0.0, f64::max)
    }

    /// The difference between its largest and smallest value: no growth is more.
    pub fn swing(&self) -> f64 {
        let (low, high) = self
            .points
            .iter()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), p| (low.min(p.v), high.max(p.v)));
        (high - low).max(0.0)
    }

    /// This minus `factor` times the other's growth since its first point, at the instants both
    /// have.
    #[must_use]
    pub fn without(&self, other: &Series, factor: f64) -> Series {
        let begin = other.first();
        let at: HashMap<u64, f64> = other.points.iter().map(|p| (p.t.to_bits(), p.v)).collect();
        let points = self
            .points
            .iter()
            .filter_map(|p| at.get(&p.t.to_bits()).map(|v| Point { t: p.t, v: p.v - factor * (v - begin) }))
            .collect();
        Series::new(points)
    }
}

/// How many pools, files and size classes are followed: those that grew most. A recording may hold
/// thousands.
const FOLLOWED: usize = 24;

/// Inexact walks of the C heap are left out if the exact ones are at least this share.
const EXACT_SHARE: f64 = 0.3;

/// Every series of `snapshots`; `times` are their seconds.
pub(crate) fn collect(snapshots: &[&Snapshot], times: &[f64]) -> BTreeMap<Key, Series> {
    let mut all: BTreeMap<Key, Vec<Point>> = BTreeMap::new();
    let followed = Followed::of(snapshots);
    // A walk whose self-checks failed may have missed a large block: where enough others held, they
    // alone count.
    let walks = |exact: bool| {
        snapshots.iter().filter_map(|s| s.malloc.as_ref()).filter(|m| m.walked && (m.exact || !exact)).count()
    };
    let only_exact = walks(true) >= MIN_POINTS && walks(true) as f64 >= EXACT_SHARE * walks(false) as f64;
    for (snapshot, &t) in snapshots.iter().zip(times) {
        let mut put = |key: Key, v: f64| all.entry(key).or_default().push(Point { t, v });
        process(snapshot, &mut put);
        jvm(snapshot, &mut put);
        if !only_exact || snapshot.malloc.as_ref().is_some_and(|malloc| malloc.exact) {
            malloc(snapshot, &followed, &mut put);
        }
        groups(snapshot, &followed, &mut put);
    }
    all.into_iter().map(|(key, points)| (key, Series::new(points))).collect()
}

/// What the files are called that our own agent keeps in the target (`offheap`, profile/agent.rs):
/// its live file and its library; one that `--live` names has the word in its name if its user read
/// the help. They come in the middle of a window, and the live file fills: that is no growth of the
/// program's.
const OURS: [&str; 2] = ["offheap-live", ".offheap_agent-"];

fn is_ours(path: &str) -> bool {
    path.rsplit('/').next().is_some_and(|name| OURS.iter().any(|ours| name.contains(ours)))
}

fn process(snapshot: &Snapshot, put: &mut impl FnMut(Key, f64)) {
    let ours = |kinds: &[FileKind]| {
        let files = snapshot.files.iter().filter(|file| is_ours(&file.path) && kinds.contains(&file.kind));
        total(files.map(|file| file.rss_bytes))
    };
    let (library, live) = (ours(&[FileKind::Library]), ours(&[FileKind::Data]));
    put(Key::Rss, snapshot.memory.rss_bytes.saturating_sub(library).saturating_sub(live) as f64);
    for domain in Domain::ALL {
        let ours = match domain {
            Domain::MappedFiles => live,
            Domain::Libraries => library,
            _ => 0,
        };
        put(Key::Domain(domain), snapshot.rss_of(domain).saturating_sub(ours) as f64);
    }
    put(Key::Threads, snapshot.process.threads as f64);
    if let Some(blocks) = snapshot.python.as_ref().and_then(|python| python.blocks) {
        put(Key::PythonBlocks, blocks as f64);
    }
    if let Some(count) = snapshot.python.as_ref().and_then(|python| python.interpreters) {
        put(Key::PythonInterpreters, count as f64);
    }
    if let Some(cgroup) = &snapshot.cgroup {
        put(Key::CgroupFile, cgroup.file_bytes as f64);
        put(Key::CgroupTmpfs, cgroup.shmem_bytes.saturating_sub(snapshot.memory.shmem_bytes) as f64);
    }
}

fn jvm(snapshot: &Snapshot, put: &mut impl FnMut(Key, f64)) {
    let Some(jvm) = &snapshot.jvm else { return };
    let mut known = |key: Key, value: Option<u64>| {
        if let Some(value) = value {
            put(key, value as f64);
        }
    };
    known(Key::HeapResident, Some(jvm.heap.resident_bytes));
    known(Key::HeapUsed, jvm.heap.used_bytes);
    known(Key::OldUsed, jvm.heap.old_used_bytes);
    known(Key::OldAfterGc, jvm.heap.old_after_gc_bytes);
    known(Key::Classes, jvm.classes);
    known(Key::ClassLoaders, jvm.class_loaders);
    known(Key::References, jvm.references);
    known(Key::HeapInUse, jvm.reach.as_ref().map(|reach| reach.heap_in_use_bytes));
    known(Key::DirectInUse, jvm.reach.as_ref().map(|reach| reach.direct_in_use_bytes));
    known(Key::VirtualThreads, jvm.reach.as_ref().map(|reach| reach.virtual_threads));
    known(Key::JniReferences, jvm.reach.as_ref().and_then(|reach| reach.jni_references));
    known(
        Key::OwnersGarbage,
        jvm.reach
            .as_ref()
            .filter(|reach| reach.complete)
            .map(|reach| reach.owners.saturating_sub(reach.owners_in_use)),
    );
    if let Some(handles) = &jvm.handles {
        let threads = |count: fn(&LocalReferences) -> u64| handles.threads.iter().flatten().map(count);
        known(Key::GlobalReferences, handles.global.as_ref().map(|global| global.count));
        known(Key::LocalReferences, Some(total(threads(|thread| thread.references.count))));
        known(Key::PushedFrames, Some(total(threads(|thread| thread.pushed_frames))));
    }
    known(Key::Stubs, stubs(snapshot));
    known(Key::OwnersInUse, jvm.reach.as_ref().map(|reach| reach.owners_in_use));
    known(Key::CodeCache, jvm.code_cache.used_bytes.or(jvm.code_cache.committed_bytes));
    // Some JDKs fill the "used" counters only at a collection, or never: what is 0 there is not
    // known.
    let in_use = |pick: fn(&offheap_model::SpaceFigure) -> Option<u64>| {
        let metaspace = pick(&jvm.metaspace).filter(|bytes| *bytes > 0)?;
        Some(metaspace.saturating_add(pick(&jvm.class_space).unwrap_or(0)))
    };
    known(Key::Metaspace, in_use(|space| space.used_bytes).or_else(|| in_use(|space| space.committed_bytes)));
    if let Some(direct) = &jvm.direct {
        known(Key::DirectReserved, Some(direct.reserved_bytes));
        known(Key::DirectCount, Some(direct.count));
        known(Key::DirectHidden, direct.hidden_bytes);
    }
    for category in jvm.nmt.iter().flat_map(|nmt| &nmt.categories) {
        known(Key::NmtMalloc(category.name.clone()), Some(category.in_c_heap()));
        known(Key::Nmt(category.name.clone()), Some(category.bytes()));
    }
}

/// Stubs and adapters have a code heap of their own where the code cache is divided (240 MiB and
/// more).
fn stubs(snapshot: &Snapshot) -> Option<u64> {
    let code = snapshot.domains.iter().find(|figure| figure.domain == Domain::CodeCache)?;
    let heaps = code.detail.iter().filter(|part| part.name.contains("non-nmethods"));
    heaps.map(|part| part.rss_bytes).reduce(u64::saturating_add)
}

fn malloc(snapshot: &Snapshot, followed: &Followed, put: &mut impl FnMut(Key, f64)) {
    let Some(malloc) = snapshot.malloc.as_ref().filter(|malloc| malloc.walked) else { return };
    let live = live_bytes(malloc);
    put(Key::MallocLive, live);
    put(Key::MallocRest, live - accounted_by_jvm(snapshot));
    put(Key::MallocCount, malloc.in_use_count as f64 + malloc.mmapped_count as f64);
    put(Key::Mmapped, malloc.mmapped_bytes as f64);
    put(Key::MallocFree, malloc.free_resident_bytes as f64);
    put(Key::Trimmable, malloc.trimmable_bytes as f64);
    let classes: HashMap<u64, u64> =
        malloc.size_classes.iter().map(|class| (class.chunk_bytes, class.total_bytes)).collect();
    for &size in &followed.sizes {
        put(Key::SizeClass(size), classes.get(&size).copied().unwrap_or(0) as f64);
    }
}

fn live_bytes(malloc: &Malloc) -> f64 {
    malloc.in_use_bytes as f64 + malloc.mmapped_bytes as f64
}

/// What the JVM itself counts of its malloc: all of it with NMT (a block costs 24 bytes more: NMT's
/// header and glibc's), else the direct buffers. Chunks that arenas hold are counted as the
/// arenas', those left under Arena Chunk are free.
fn accounted_by_jvm(snapshot: &Snapshot) -> f64 {
    let Some(jvm) = &snapshot.jvm else { return 0.0 };
    match (&jvm.nmt, &jvm.direct) {
        (Some(nmt), _) => {
            nmt.categories.iter().map(|c| c.in_c_heap() as f64 + 24.0 * c.malloc_count as f64).sum()
        }
        (None, Some(direct)) => direct.reserved_bytes as f64 + direct.hidden_bytes.unwrap_or(0) as f64,
        (None, None) => 0.0,
    }
}

fn groups(snapshot: &Snapshot, followed: &Followed, put: &mut impl FnMut(Key, f64)) {
    let mut pools: HashMap<&str, u64> = HashMap::new();
    for pool in &snapshot.threads {
        let count = pools.entry(pool.pool.as_str()).or_default();
        *count = count.saturating_add(pool.count);
    }
    for pool in &followed.pools {
        put(Key::Pool(pool.clone()), pools.get(pool.as_str()).copied().unwrap_or(0) as f64);
    }
    let mut files: HashMap<&str, u64> = HashMap::new();
    let mut virtual_bytes = 0u64;
    for file in &snapshot.files {
        let bytes = files.entry(file.path.as_str()).or_default();
        *bytes = bytes.saturating_add(file.rss_bytes);
        if is_data(file.kind, &file.path) {
            virtual_bytes = virtual_bytes.saturating_add(file.virtual_bytes);
        }
    }
    for file in &followed.files {
        put(Key::File(file.clone()), files.get(file.as_str()).copied().unwrap_or(0) as f64);
    }
    if !snapshot.files.is_empty() {
        put(Key::FilesVirtual, virtual_bytes as f64);
    }
}

/// The sum, at most `u64::MAX`: figures come from outside.
pub(crate) fn total(values: impl IntoIterator<Item = u64>) -> u64 {
    values.into_iter().fold(0, u64::saturating_add)
}

/// Whether a mapping holds a program's data: ZGC's heap is a memfd too, but not a file to anyone.
pub(crate) fn is_data(kind: FileKind, path: &str) -> bool {
    let data = matches!(kind, FileKind::Data | FileKind::Memfd | FileKind::Shm);
    data && !path.contains("java_heap") && !is_ours(path)
}

/// The pools, files and size classes that grew most between the first and the last snapshot.
struct Followed {
    pools: Vec<String>,
    files: Vec<String>,
    sizes: Vec<u64>,
}

impl Followed {
    fn of(snapshots: &[&Snapshot]) -> Followed {
        let (Some(first), Some(last)) = (snapshots.first(), snapshots.last()) else {
            return Followed { pools: Vec::new(), files: Vec::new(), sizes: Vec::new() };
        };
        let pools = |s: &Snapshot| s.threads.iter().map(|p| (p.pool.clone(), p.count)).collect();
        let files = |s: &Snapshot| {
            s.files
                .iter()
                .filter(|f| is_data(f.kind, &f.path))
                .map(|f| (f.path.clone(), f.rss_bytes))
                .collect()
        };
        let sizes = |s: &Snapshot| {
            s.malloc
                .iter()
                .flat_map(|m| &m.size_classes)
                .filter(|c| c.chunk_bytes > 0)
                .map(|c| (c.chunk_bytes, c.total_bytes))
                .collect()
        };
        Followed {
            pools: grown(pools(first), pools(last)),
            files: grown(files(first), files(last)),
            sizes: grown(sizes(first), sizes(last)),
        }
    }
}

/// The keys whose sum grew most, most first; at most [`FOLLOWED`].
fn grown<K: Clone + Ord + std::hash::Hash>(before: Vec<(K, u64)>, after: Vec<(K, u64)>) -> Vec<K> {
    let mut growth: HashMap<K, i128> = HashMap::new();
    for (key, amount) in after {
        *growth.entry(key).or_default() += i128::from(amount);
    }
    for (key, amount) in before {
        *growth.entry(key).or_default() -= i128::from(amount);
    }
    let mut order: Vec<(i128, K)> = growth.into_iter().map(|(key, amount)| (-amount, key)).collect();
    order.sort();
    order.truncate(FOLLOWED);
    let mut seen = HashSet::new();
    order.into_iter().map(|(_, key)| key).filter(|key| seen.insert(key.clone())).collect()
}

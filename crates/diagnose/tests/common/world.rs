//! A synthetic process: what its memory is made of second by second, and the snapshots that a
//! collector would take of it.
#![allow(dead_code, reason = "each test binary uses its part")]

use super::Random;
use offheap_model::*;

pub const MB: f64 = 1e6;

/// What the process holds at one second; bytes as floats.
#[derive(Clone)]
pub struct State {
    pub heap_resident: f64,
    pub heap_used: f64,
    pub old_used: f64,
    pub old_after_gc: Option<f64>,
    pub old_max: Option<f64>,
    pub young: u64,
    pub old: u64,
    /// Seconds of old collections since the start.
    pub old_s: Option<f64>,
    /// Live C heap beside direct buffers.
    pub malloc: f64,
    /// Of a block in a map of its own, what was not written to yet: allocated and not resident.
    pub untouched: f64,
    pub malloc_free: f64,
    pub trimmable: f64,
    pub direct: f64,
    pub direct_count: f64,
    pub hidden: Option<f64>,
    pub metaspace: f64,
    pub classes: f64,
    pub unloaded: f64,
    pub loaders: f64,
    pub references: Option<f64>,
    pub reach: Option<Reach>,
    pub code: f64,
    pub gc: f64,
    pub internal: f64,
    pub native_mmap: f64,
    pub unattributed: f64,
    pub python: f64,
    pub pools: Vec<(String, f64)>,
    pub stack_each: f64,
    pub stack_huge: f64,
    pub files: Vec<(String, f64, f64, bool)>,
    pub nmt: Option<Vec<(String, f64)>>,
    pub sizes: Vec<(u64, f64)>,
}

pub struct World {
    pub states: Vec<State>,
    pub every_s: f64,
    pub jvm: bool,
    pub gc: String,
    pub heap_max: f64,
    pub mapped_times: u32,
    pub cgroup: Option<Cgroup>,
}

/// A JVM of about 200 MB whose heap has reached its size, under a load that makes garbage and a
/// young collection every `gc_period` seconds: live C heap and RSS wobble, a few direct buffers
/// come and go with the collections.
pub fn jvm(n: usize, gc_period: f64, r: &mut Random) -> World {
    let wobble = super::wander(n, 0.08 * MB, 3.0, r);
    let slow = super::wander(n, 0.15 * MB, 20.0, r);
    let jitter = super::white(n, 0.03 * MB, r);
    let mut phase = gc_period * r.unit();
    let (mut young, mut length) = (12, gc_period * r.between(0.8, 1.2));
    let mut old_used = 40.0 * MB;
    let states = (0..n)
        .map(|i| {
            phase += 1.0;
            if phase >= length {
                phase -= length;
                length = gc_period * r.between(0.8, 1.2);
                young += 1;
                old_used += 0.4 * MB;
            }
            State {
                heap_resident: 120.0 * MB,
                heap_used: old_used + 80.0 * MB * phase / gc_period,
                old_used,
                old_after_gc: None,
                old_max: None,
                young,
                old: 0,
                old_s: None,
                malloc: 30.0 * MB + wobble[i] + slow[i] + jitter[i],
                untouched: 0.0,
                malloc_free: 6.0 * MB - wobble[i],
                trimmable: 2.0 * MB,
                direct: MB + 24e3 * phase,
                direct_count: 40.0 + 3.0 * phase,
                hidden: None,
                metaspace: 14.0 * MB,
                classes: 2500.0,
                unloaded: 0.0,
                loaders: 20.0,
                references: None,
                reach: None,
                code: 8.0 * MB,
                gc: 3.0 * MB,
                internal: 5.0 * MB,
                native_mmap: 2.0 * MB,
                unattributed: 0.3 * MB,
                python: 0.0,
                pools: vec![("service-*".into(), 3.0), ("main".into(), 1.0), ("GC Thread#*".into(), 4.0)],
                stack_each: 90e3,
                stack_huge: 0.0,
                files: vec![("/usr/lib/locale/locale-archive".into(), 3.0 * MB, 0.4 * MB, false)],
                nmt: None,
                sizes: vec![(32, 2.0 * MB), (352, 13e3), (1040, 4.0 * MB)],
            }
        })
        .collect();
    World {
        states,
        every_s: 1.0,
        jvm: true,
        gc: "G1".into(),
        heap_max: 256.0 * MB,
        mapped_times: 1,
        cgroup: None,
    }
}

/// A native program.
pub fn native(n: usize, r: &mut Random) -> World {
    let mut world = jvm(n, 20.0, r);
    world.jvm = false;
    for state in &mut world.states {
        (state.heap_resident, state.metaspace, state.code, state.gc, state.internal, state.direct) =
            (0.0, 0.0, 0.0, 0.0, 0.0, 0.0);
    }
    world
}

impl World {
    /// Changes every second: the function gets seconds and the state.
    pub fn with(mut self, mut change: impl FnMut(f64, &mut State)) -> World {
        let every = self.every_s;
        self.states.iter_mut().enumerate().for_each(|(i, state)| change(i as f64 * every, state));
        self
    }

    /// Adds values, one a second, to a figure.
    pub fn plus(mut self, values: &[f64], mut add: impl FnMut(&mut State, f64)) -> World {
        self.states.iter_mut().zip(values).for_each(|(state, v)| add(state, *v));
        self
    }

    pub fn snapshots(&self) -> Vec<Snapshot> {
        self.states.iter().enumerate().map(|(i, state)| self.snapshot(i, state)).collect()
    }

    fn snapshot(&self, i: usize, s: &State) -> Snapshot {
        let b = |v: f64| v.max(0.0) as u64;
        let threads: f64 = s.pools.iter().map(|p| p.1).sum();
        let stacks = threads.round() * s.stack_each;
        let data: f64 = s.files.iter().map(|f| f.2).sum();
        let nmt_on = s.nmt.is_some();
        let unsafe_bytes: f64 =
            s.nmt.iter().flatten().filter(|c| c.0 == "Other").map(|c| c.1 - s.direct).sum();
        let jvm_malloc: f64 = s.nmt.iter().flatten().filter(|c| c.0 != "Other").map(|c| c.1).sum();
        let mut domains = vec![
            (Domain::JavaHeap, s.heap_resident),
            (Domain::Metaspace, s.metaspace),
            (Domain::CodeCache, s.code),
            (Domain::ThreadStacks, stacks),
            (Domain::Gc, s.gc),
            (Domain::JvmInternal, s.internal + jvm_malloc),
            (Domain::DirectMemory, s.direct + s.hidden.unwrap_or(0.0) + unsafe_bytes),
            (
                if self.jvm && !nmt_on { Domain::Malloc } else { Domain::NativeMalloc },
                s.malloc - jvm_malloc - unsafe_bytes,
            ),
            (Domain::NativeMmap, s.native_mmap),
            (Domain::PythonHeap, s.python),
            (Domain::AllocatorRetention, s.malloc_free),
            (Domain::MappedFiles, data),
            (Domain::Libraries, 20.0 * MB),
            (Domain::Unattributed, s.unattributed),
        ];
        domains.retain(|d| d.1 > 0.0);
        let domains: Vec<DomainFigure> = domains
            .into_iter()
            .map(|(domain, v)| DomainFigure {
                source: "synthetic".into(),
                ..DomainFigure::resident(domain, b(v))
            })
            .collect();
        let rss = domains.iter().map(|d| d.rss_bytes).sum();
        let live = s.malloc + s.direct + s.hidden.unwrap_or(0.0);
        Snapshot {
            time_ms: 1_700_000_000_000 + (i as f64 * self.every_s * 1000.0) as i64,
            process: Process {
                pid: 4711,
                start_ticks: 99,
                name: "app".into(),
                command: if self.jvm { "java -jar app.jar".into() } else { "/usr/bin/app".into() },
                uptime_s: 300.0 + i as f64,
                threads: threads.round() as u64,
                ..Process::default()
            },
            memory: MemoryTotals {
                rss_bytes: rss,
                pss_bytes: Some(rss),
                vma_count: 300,
                ..MemoryTotals::default()
            },
            cgroup: self.cgroup.clone(),
            domains,
            jvm: self.jvm.then(|| Jvm {
                vendor: "OpenJDK".into(),
                version: "17.0.15+6".into(),
                feature: 17,
                gc: self.gc.clone(),
                heap: HeapFigure {
                    max_bytes: b(self.heap_max),
                    min_bytes: b(64.0 * MB),
                    reserved_bytes: b(self.heap_max),
                    used_bytes: Some(b(s.heap_used)),
                    old_used_bytes: Some(b(s.old_used)),
                    old_after_gc_bytes: s.old_after_gc.map(b),
                    old_max_bytes: s.old_max.map(b),
                    resident_bytes: b(s.heap_resident),
                    mapped_times: self.mapped_times,
                    source: "hsperfdata".into(),
                    ..HeapFigure::default()
                },
                metaspace: SpaceFigure { used_bytes: Some(b(s.metaspace)), ..SpaceFigure::default() },
                code_cache: SpaceFigure {
                    used_bytes: Some(b(s.code)),
                    reserved_bytes: 240 << 20,
                    max_bytes: Some(240 << 20),
                    ..SpaceFigure::default()
                },
                classes: Some(b(s.classes)),
                classes_unloaded: Some(b(s.unloaded)),
                class_loaders: Some(b(s.loaders)),
                references: s.references.map(b),
                reach: s.reach.clone(),
                direct: Some(DirectBuffers {
                    count: b(s.direct_count),
                    reserved_bytes: b(s.direct),
                    capacity_bytes: b(s.direct),
                    max_bytes: b(self.heap_max),
                    hidden_bytes: s.hidden.map(b),
                }),
                nmt: s.nmt.as_ref().map(|categories| NmtCounters {
                    categories: categories
                        .iter()
                        .map(|(name, v)| NmtCategory {
                            name: name.clone(),
                            malloc_bytes: b(*v),
                            ..NmtCategory::default()
                        })
                        .collect(),
                    source: "memory".into(),
                }),
                gc_young_count: Some(s.young),
                gc_old_count: Some(s.old),
                gc_old_us: s.old_s.map(|seconds| b(seconds * 1e6)),
                ..Jvm::default()
            }),
            malloc: Some(Malloc {
                allocator: "glibc".to_owned(),
                walked: true,
                exact: true,
                in_use_bytes: b(live),
                mmapped_bytes: b(s.untouched),
                in_use_count: b(live / 200.0),
                free_bytes: b(s.malloc_free),
                free_resident_bytes: b(s.malloc_free),
                trimmable_bytes: b(s.trimmable),
                arenas: (0..8)
                    .map(|k| Arena {
                        address: 0x7f00_0000_0000 + k * 0x400_0000,
                        main: k == 0,
                        free_bytes: b(s.malloc_free / 8.0),
                        trimmable_bytes: b(s.trimmable / 8.0),
                        ..Arena::default()
                    })
                    .collect(),
                size_classes: s
                    .sizes
                    .iter()
                    .map(|(size, v)| SizeClass {
                        chunk_bytes: *size,
                        count: b(*v) / size,
                        total_bytes: b(*v),
                        hint: None,
                    })
                    .collect(),
                ..Malloc::default()
            }),
            threads: s
                .pools
                .iter()
                .map(|(pool, count)| ThreadPool {
                    pool: pool.clone(),
                    kind: ThreadKind::Java,
                    count: count.round() as u64,
                    reserved_bytes: count.round() as u64 * (1 << 20),
                    resident_bytes: b(count.round() * s.stack_each),
                    huge_bytes: b(count.round() * s.stack_huge),
                })
                .collect(),
            files: s
                .files
                .iter()
                .map(|(path, space, rss, deleted)| FileFigure {
                    path: path.clone(),
                    kind: FileKind::Data,
                    deleted: *deleted,
                    mappings: 1,
                    virtual_bytes: b(*space),
                    rss_bytes: b(*rss),
                    text_bytes: 0,
                    dirty_bytes: 0,
                })
                .collect(),
            python: (s.python > 0.0).then(|| Python {
                version: "3.11.2".into(),
                main: true,
                arena_bytes: b(s.python),
                blocks: Some(b(s.python / 60.0)),
                ..Python::default()
            }),
            ..Snapshot::default()
        }
    }
}

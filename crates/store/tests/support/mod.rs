//! Snapshots to record, for the tests and for `examples/day.rs`.

use offheap_model::{
    Arena, Domain, DomainFigure, FileFigure, FileKind, Jvm, Malloc, NmtCategory, NmtCounters, SizeClass,
    Snapshot, ThreadKind, ThreadPool,
};

/// NMT's categories, most of them.
const NMT: [&str; 20] = [
    "Java Heap",
    "Class",
    "Thread",
    "Code",
    "GC",
    "GCCardSet",
    "Compiler",
    "Internal",
    "Other",
    "Symbol",
    "Native Memory Tracking",
    "Shared class space",
    "Arena Chunk",
    "Tracing",
    "Module",
    "Safepoint",
    "Synchronization",
    "Serviceability",
    "Metaspace",
    "String Deduplication",
];

/// A snapshot like a JVM's: 17 domains, 30 pools, 8 arenas, 60 files, 256 chunk
/// sizes, NMT, with noise that differs from second to second.
pub fn snapshot(second: i64, start_ticks: u64) -> Snapshot {
    let mut seed = (second as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ start_ticks;
    let mut noise = |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    let mut snapshot = Snapshot { time_ms: 1_700_000_000_000 + second * 1000, ..Snapshot::default() };
    snapshot.process.pid = 4711;
    snapshot.process.start_ticks = start_ticks;
    snapshot.process.command = "java -jar app.jar".to_owned();
    snapshot.domains = Domain::ALL
        .iter()
        .enumerate()
        .map(|(index, domain)| {
            // One domain grows by 4 KB/s, three wander, the others stay.
            let wander = if index % 5 == 0 { noise(64) * 4096 } else { 0 };
            let growth = if *domain == Domain::Malloc { second.unsigned_abs() * 4096 } else { 0 };
            DomainFigure {
                virtual_bytes: 100 << 20,
                source: "smaps".to_owned(),
                ..DomainFigure::resident(*domain, (10 << 20) + wander + growth)
            }
        })
        .collect();
    snapshot.memory.rss_bytes = snapshot.domains.iter().map(|figure| figure.rss_bytes).sum();
    snapshot.threads = (0..30)
        .map(|pool| ThreadPool {
            pool: format!("pool-{pool}-thread-*"),
            kind: ThreadKind::Java,
            count: 4 + noise(2),
            reserved_bytes: 4 << 20,
            resident_bytes: 400_000 + noise(8) * 4096,
            huge_bytes: 0,
        })
        .collect();
    snapshot.files = (0..60)
        .map(|file| FileFigure {
            path: format!("/usr/lib/jvm/java-17/lib/lib{file}.so"),
            kind: FileKind::Library,
            deleted: false,
            mappings: 5,
            virtual_bytes: 1 << 20,
            rss_bytes: 500_000,
            text_bytes: 400_000,
            dirty_bytes: 4096,
        })
        .collect();
    snapshot.malloc = Some(Malloc {
        walked: true,
        in_use_bytes: 80 << 20,
        arenas: (0..8)
            .map(|arena| Arena {
                address: 0x7f00_0000_0030 + (arena << 26),
                main: arena == 0,
                threads: Some(4),
                system_bytes: 64 << 20,
                resident_bytes: (20 << 20) + noise(16) * 4096,
                in_use_bytes: (15 << 20) + noise(1 << 16),
                in_use_count: 100_000 + noise(1000),
                tcache_bytes: noise(1 << 14),
                free_bytes: noise(1 << 20),
                top_bytes: noise(1 << 17),
                trimmable_bytes: noise(1 << 20) & !4095,
            })
            .collect(),
        size_classes: (0..256)
            .map(|class| {
                let count = 1000 + class + if class % 10 == 0 { noise(50) } else { 0 };
                SizeClass {
                    chunk_bytes: 32 + class * 16,
                    count,
                    total_bytes: count * (32 + class * 16),
                    hint: None,
                }
            })
            .collect(),
        ..Malloc::default()
    });
    let nmt = NmtCounters {
        categories: NMT
            .iter()
            .map(|name| NmtCategory {
                name: (*name).to_owned(),
                malloc_bytes: (1 << 20) + noise(1 << 10),
                malloc_count: 1000 + noise(20),
                arena_bytes: noise(2) << 15,
                reserved_bytes: 10 << 20,
                committed_bytes: 5 << 20,
            })
            .collect(),
        source: "memory".to_owned(),
    };
    snapshot.jvm = Some(Jvm { feature: 17, nmt: Some(nmt), ..Jvm::default() });
    snapshot
}

//! One cause makes several domains grow: the verdict is the root, the others are its consequences.
//! And memory that has a bound is no leak before it has passed it.

mod common;

use common::Random;
use common::world::{MB, World, jvm};
use offheap_diagnose::{Diagnosis, Evidence, diagnose};
use offheap_model::{Domain, Frame, FrameKind, Profile, ProfileSite, Reach, Status};

fn judged(world: &World) -> Diagnosis {
    let snapshots = world.snapshots();
    diagnose(&Evidence::of(&snapshots))
}

fn root(world: &World) -> (String, Vec<String>) {
    let verdict = judged(world).verdict;
    assert_eq!(verdict.status, Status::Leak, "{verdict:#?}");
    (verdict.cause, verdict.explains)
}

#[test]
fn the_c_heap_that_class_loaders_bring_is_theirs_also_where_it_weighs_more() {
    let world = jvm(61, 8.0, &mut Random::new(1)).with(|t, s| {
        s.metaspace += 0.6 * MB * t;
        s.classes += 120.0 * t;
        s.loaders += t;
        s.old = (t / 12.0) as u64;
        s.malloc += 2.0 * MB * t;
    });
    let (cause, explains) = root(&world);
    assert_eq!(cause, "class-loader-leak");
    assert!(explains.contains(&"native-malloc-growth".to_owned()), "{explains:?}");
}

#[test]
fn the_c_heap_that_threads_bring_is_theirs() {
    let world = jvm(61, 8.0, &mut Random::new(2)).with(|t, s| {
        s.pools.push(("worker-*".into(), 4.0 * t));
        s.malloc += 4.0 * 250e3 * t;
    });
    let (cause, explains) = root(&world);
    assert_eq!(cause, "thread-leak");
    assert!(explains.contains(&"native-malloc-growth".to_owned()), "{explains:?}");
}

#[test]
fn what_is_far_too_much_for_the_classes_is_a_leak_of_its_own() {
    let world = jvm(61, 8.0, &mut Random::new(3)).with(|t, s| {
        s.metaspace += 0.1 * MB * t;
        s.classes += 20.0 * t;
        s.loaders += t;
        s.old = (t / 12.0) as u64;
        s.malloc += 3.0 * MB * t;
    });
    assert_eq!(root(&world).0, "native-malloc-growth");
}

fn frame(name: &str, kind: FrameKind, module: Option<&str>) -> Frame {
    Frame { name: name.into(), kind, file: None, line: None, module: module.map(Into::into) }
}

/// A megabyte a second of one stack, in the C heap of a JVM that collects.
fn stays(names: &[(&str, FrameKind, Option<&str>)], owners: Option<fn(f64) -> u64>) -> Diagnosis {
    let world = jvm(61, 8.0, &mut Random::new(4)).with(|t, s| {
        s.malloc += MB * t;
        let reach = |count| Reach { owners: count, owners_in_use: count, complete: true, ..Reach::default() };
        s.reach = owners.filter(|_| t as u64 % 10 == 5).map(|owners| reach(owners(t)));
    });
    let frames: Vec<Frame> = names.iter().map(|(name, kind, module)| frame(name, *kind, *module)).collect();
    let profile = Profile {
        seconds: 60.0,
        sites: vec![ProfileSite {
            stack: (0..frames.len() as u32).collect(),
            live_bytes: 60_000_000,
            live_count: 15_000,
            leak_bytes: 45_000_000,
            allocated_bytes: 60_000_000,
            slope_bytes_per_s: Some(1e6),
            slope_ci95: Some([0.95e6, 1.05e6]),
            ..ProfileSite::default()
        }],
        frames,
        ..Profile::default()
    };
    let snapshots = world.snapshots();
    diagnose(&Evidence::of(&snapshots).with_profile(&profile))
}

const LIB: Option<&str> = Some("/tmp/librocksdbjni.so");

#[test]
fn caches_that_fill_are_no_leak_of_unclosed_objects() {
    let java = FrameKind::Java;
    let native = FrameKind::Native;
    for (function, module, caller) in [
        (
            "rocksdb::BlockBasedTable::MaybeReadBlockAndLoadToCache<rocksdb::Block>(x)",
            LIB,
            "org.rocksdb.RocksDB.get",
        ),
        ("rocksdb::ConcurrentArena::AllocateImpl(unsigned long)", LIB, "org.rocksdb.RocksDB.put"),
        (
            "duckdb::BufferPool::EvictBlocks(long)",
            Some("/tmp/libduckdb_java.so"),
            "org.duckdb.DuckDBNative.query",
        ),
        ("pcache1AllocPage", Some("/tmp/libsqlitejdbc.so"), "org.sqlite.core.NativeDB.step"),
    ] {
        let names = [
            ("malloc", native, None),
            (function, native, module),
            (caller, java, None),
            ("app.Store.find", java, None),
        ];
        let verdict = stays(&names, None).verdict;
        assert_eq!(verdict.status, Status::Inconclusive, "{function}: {verdict:#?}");
        assert!(verdict.summary.contains("whose bound is"), "{}", verdict.summary);
        assert!(verdict.confidence < 0.6);
    }
}

#[test]
fn iterators_that_are_never_closed_are_a_leak_and_so_sure_only_where_they_were_counted() {
    let names = [
        ("malloc", FrameKind::Native, None),
        (
            "rocksdb::NewArenaWrappedDbIterator(rocksdb::Env*, rocksdb::ReadOptions const&)",
            FrameKind::Native,
            LIB,
        ),
        ("org.rocksdb.RocksDB.newIterator", FrameKind::Java, None),
        ("app.OrderStore.find", FrameKind::Java, None),
    ];
    let uncounted = stays(&names, None).verdict;
    assert_eq!((uncounted.status, uncounted.cause.as_str()), (Status::Leak, "unclosed-native-peer"));
    assert!(uncounted.confidence <= 0.8, "{}", uncounted.confidence);
    let counted = stays(&names, Some(|t| (40.0 * t) as u64)).verdict;
    assert!(counted.confidence > 0.8, "{counted:#?}");
    assert!(counted.summary.contains("Ever more of the Java objects"), "{}", counted.summary);
    // The first sentence alone says what and where, in names that can be read; the site has them
    // whole.
    let first = counted.summary.split(". ").next().unwrap();
    assert!(
        first.contains("rocksdb::NewArenaWrappedDbIterator(…)") && first.contains("app.OrderStore.find"),
        "{first}"
    );
    assert!(counted.site.unwrap().frames[1].name.contains("rocksdb::ReadOptions const&"));
    assert_eq!(counted.domain, Some(Domain::NativeMalloc));
}

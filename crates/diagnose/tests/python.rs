//! The rules on Python: each fires where the types, their holders and the domain say so, and its
//! neighbours don't.

mod common;

use common::Random;
use common::world::{MB, native};
use offheap_diagnose::{Diagnosis, Evidence, diagnose, python_suspects};
use offheap_model::{Domain, PythonHeld, PythonHolder, PythonObjects, PythonType, Snapshot, Status};

const N: usize = 61;

/// What a program's objects do: bytes of the type that grows and of free blocks after so many
/// seconds.
struct Objects {
    name: &'static str,
    heap: bool,
    grown: fn(f64) -> f64,
    free: f64,
}

const CARTS: Objects = Objects { name: "str", heap: false, grown: |t| 0.5 * t, free: 1.0 };

fn program(objects: &Objects) -> Vec<Snapshot> {
    let (heap, grown, free) = (objects.heap, objects.grown, objects.free);
    let world = native(N, &mut Random::new(2)).with(move |t, s| {
        s.python = (20.0 + free) * MB + if heap { 0.0 } else { MB * grown(t) };
        s.malloc += if heap { MB * grown(t) } else { 0.0 };
    });
    let mut snapshots = world.snapshots();
    let begin = snapshots[0].time_ms;
    for snapshot in snapshots.iter_mut().step_by(2) {
        let t = (snapshot.time_ms - begin) as f64 / 1000.0;
        let bytes = (MB * (2.0 + grown(t))) as u64;
        let kind = |name: &str, bytes: u64| PythonType {
            name: name.to_owned(),
            count: bytes / 60,
            arena_bytes: if heap { 0 } else { bytes },
            heap_bytes: if heap { bytes } else { 0 },
            gc: false,
        };
        snapshot.python.as_mut().unwrap().objects = Some(PythonObjects {
            types: vec![kind(objects.name, bytes), kind("function", 3 << 20)],
            objects: 100_000,
            free_block_bytes: (MB * free) as u64,
            arenas: 30,
            ..PythonObjects::default()
        });
    }
    snapshots
}

fn held(lonely: u64, holders: &[(&str, &str, u64, &str)]) -> PythonHeld {
    let holder = |(what, kind, objects, container): &(&str, &str, u64, &str)| PythonHolder {
        what: (*what).to_owned(),
        kind: (*kind).to_owned(),
        objects: *objects,
        container: (*container).to_owned(),
        path: vec!["list of 90".to_owned(), "str".to_owned()],
    };
    PythonHeld {
        name: String::new(),
        of: 10_000,
        looked_at: 120,
        lonely,
        holders: holders.iter().map(holder).collect(),
        cut: String::new(),
    }
}

fn judged(objects: &Objects, found: PythonHeld, collects: Option<bool>) -> Diagnosis {
    let mut snapshots = program(objects);
    let wanted = python_suspects(&Evidence::of(&snapshots));
    let python = snapshots.last_mut().unwrap().python.as_mut().unwrap();
    python.collects = collects;
    python.held = wanted.into_iter().map(|name| PythonHeld { name, ..found.clone() }).collect();
    diagnose(&Evidence::of(&snapshots))
}

#[track_caller]
fn decides(diagnosis: &Diagnosis, cause: &str, status: Status, domain: Domain, words: &[&str]) {
    let verdict = &diagnosis.verdict;
    assert_eq!((verdict.cause.as_str(), verdict.status), (cause, status), "{verdict:#?}");
    assert_eq!(verdict.domain, Some(domain));
    for word in words {
        assert!(verdict.summary.contains(word), "{word}: {}", verdict.summary);
    }
    let told = diagnosis.findings.iter().filter(|finding| finding.cause.starts_with("python")).count();
    assert_eq!(told, 1, "one cause is told once: {:#?}", diagnosis.findings);
}

#[test]
fn the_container_that_holds_what_grows_is_named() {
    let found = held(0, &[("`carts` of module shop", "module", 118, "dict of 5203")]);
    let diagnosis = judged(&CARTS, found, Some(true));
    let words = ["It is str objects, held by `carts` of module shop, in a dict of 5203."];
    decides(&diagnosis, "python-container", Status::Leak, Domain::PythonHeap, &words);
    assert!(diagnosis.verdict.fix[0].contains("bound or prune `carts`"), "{:?}", diagnosis.verdict.fix);
    // A holder of a few, or one without a name, is none.
    for few in [
        held(0, &[("`carts` of module shop", "module", 20, "dict of 5203")]),
        held(0, &[("memory of native code", "native", 118, "")]),
    ] {
        let diagnosis = judged(&CARTS, few, Some(true));
        decides(&diagnosis, "python-growth", Status::Leak, Domain::PythonHeap, &["most of them str"]);
    }
}

#[test]
fn nothing_is_said_of_a_container_where_nothing_grows() {
    let still = Objects { grown: |t| 0.5 * t.min(15.0), ..CARTS };
    let found = held(0, &[("`carts` of module shop", "module", 118, "dict of 5203")]);
    assert!(matches!(judged(&still, found, Some(true)).verdict.status, Status::Healthy));
    let flat = Objects { grown: |_| 0.0, ..CARTS };
    assert_eq!(python_suspects(&Evidence::of(&program(&flat))), Vec::<String>::new());
}

#[test]
fn a_cache_with_a_bound_that_fills_is_healthy_and_one_without_is_a_leak() {
    let cache = |bound: &str| format!("the lru_cache of price (maxsize={bound})");
    let bounded = held(0, &[(&cache("16000"), "lru_cache", 120, "dict of 9000")]);
    let diagnosis = judged(&CARTS, bounded, Some(true));
    decides(&diagnosis, "python-container", Status::Healthy, Domain::PythonHeap, &["9000 of 16000 entries"]);
    let unbounded = held(0, &[(&cache("None: without bound"), "lru_cache", 120, "dict of 9000")]);
    let diagnosis = judged(&CARTS, unbounded, Some(true));
    decides(&diagnosis, "python-container", Status::Leak, Domain::PythonHeap, &["lru_cache of price"]);
}

/// The verdict where `share` of what grows is `app.Price` objects, held as `cached` says, and the
/// rest `str`, as `other` says.
fn judged_of_two(share: f64, cached: PythonHeld, other: PythonHeld) -> Diagnosis {
    let mut snapshots = program(&CARTS);
    for objects in snapshots.iter_mut().filter_map(|s| s.python.as_mut()?.objects.as_mut()) {
        let moved = (objects.types[0].arena_bytes as f64 - 2.0 * MB) * share;
        objects.types[0].arena_bytes -= moved as u64;
        let bytes = (1 << 20) + moved as u64;
        objects.types.push(PythonType {
            name: "app.Price".to_owned(),
            count: bytes / 60,
            arena_bytes: bytes,
            ..PythonType::default()
        });
    }
    let python = snapshots.last_mut().unwrap().python.as_mut().unwrap();
    python.held = vec![
        PythonHeld { name: "app.Price".to_owned(), ..cached },
        PythonHeld { name: "str".to_owned(), ..other },
    ];
    diagnose(&Evidence::of(&snapshots))
}

#[test]
fn a_cache_that_fills_hides_no_leak_of_another_type() {
    let cache = |entries: &str| {
        held(
            0,
            &[("the lru_cache of price (maxsize=16000)", "lru_cache", 120, &format!("dict of {entries}"))],
        )
    };
    let carts = held(0, &[("`carts` of module shop", "module", 118, "dict of 5203")]);
    let words = ["objects held by `carts` of module shop, grows", "It is str objects, held by `carts`"];
    for share in [0.3, 0.55] {
        let diagnosis = judged_of_two(share, cache("9000"), carts.clone());
        decides(&diagnosis, "python-container", Status::Leak, Domain::PythonHeap, &words);
    }
    // Nor one that nobody is named for; what the cache holds in several types is the cache's.
    let diagnosis = judged_of_two(0.3, cache("9000"), held(0, &[]));
    decides(&diagnosis, "python-growth", Status::Leak, Domain::PythonHeap, &["most of them str"]);
    let diagnosis = judged_of_two(0.5, cache("9000"), cache("9000"));
    decides(&diagnosis, "python-container", Status::Healthy, Domain::PythonHeap, &["9000 of 16000 entries"]);
}

#[test]
fn a_cache_that_is_full_or_whose_entries_grow_is_no_cache_that_fills() {
    for container in ["list of 90000", "dict of 16000", "deque"] {
        let cache = ("the lru_cache of price (maxsize=16000)", "lru_cache", 120, container);
        let diagnosis = judged(&CARTS, held(0, &[cache]), Some(true));
        let words = ["held by the lru_cache of price (maxsize=16000)"];
        decides(&diagnosis, "python-container", Status::Leak, Domain::PythonHeap, &words);
        assert!(!diagnosis.verdict.fix[0].contains("give it a maxsize"), "{:?}", diagnosis.verdict.fix);
    }
}

#[test]
fn lost_references_are_told_also_of_large_objects() {
    let diagnosis = judged(&CARTS, held(117, &[]), Some(true));
    decides(&diagnosis, "python-lost-references", Status::Leak, Domain::PythonHeap, &["Py_DECREF"]);
    let blobs = Objects { name: "bytes", heap: true, ..CARTS };
    let diagnosis = judged(&blobs, held(117, &[]), Some(true));
    decides(&diagnosis, "python-lost-references", Status::Leak, Domain::NativeMalloc, &["bytes objects"]);
    // A few are always just being made.
    let diagnosis = judged(&CARTS, held(9, &[]), Some(true));
    decides(&diagnosis, "python-growth", Status::Leak, Domain::PythonHeap, &[]);
}

#[test]
fn cycles_stay_only_where_the_collector_is_off() {
    let alone = held(0, &[("a thread's native stack", "stack", 3, "")]);
    let diagnosis = judged(&CARTS, alone.clone(), Some(false));
    decides(&diagnosis, "python-cycles", Status::Leak, Domain::PythonHeap, &["gc.disable"]);
    for collects in [Some(true), None] {
        let diagnosis = judged(&CARTS, alone.clone(), collects);
        decides(&diagnosis, "python-growth", Status::Leak, Domain::PythonHeap, &[]);
    }
    // Nor where native code, or many containers of which none is the main one, hold most of them.
    for others in [
        held(0, &[("memory of native code", "native", 118, "")]),
        held(
            0,
            &[("`a` of module shop", "module", 40, "dict of 50"), ("`b` of module shop", "module", 30, "")],
        ),
        held(40, &[("`a` of module shop", "module", 30, "dict of 50")]),
    ] {
        let diagnosis = judged(&CARTS, others, Some(false));
        decides(&diagnosis, "python-growth", Status::Leak, Domain::PythonHeap, &[]);
    }
    // With the collector off a container may still be the cause.
    let found = held(0, &[("`carts` of module shop", "module", 118, "dict of 5203")]);
    decides(&judged(&CARTS, found, Some(false)), "python-container", Status::Leak, Domain::PythonHeap, &[]);
}

#[test]
fn arenas_that_a_burst_left_are_retention() {
    let burst = Objects { grown: |_| 0.0, free: 60.0, ..CARTS };
    let diagnosis = judged(&burst, held(0, &[]), Some(true));
    decides(
        &diagnosis,
        "python-arenas-kept",
        Status::Retention,
        Domain::PythonHeap,
        &["57.2 MiB free in 30 arenas (", " in all); at the last count "],
    );
    for free in [3.0, 8.0] {
        let usual = Objects { grown: |_| 0.0, free, ..CARTS };
        assert_eq!(judged(&usual, held(0, &[]), Some(true)).verdict.status, Status::Healthy);
    }
}

//! The rules on Python: each fires where the types, their holders and the domain say so, and its
//! neighbours don't.

mod common;

use common::Random;
use common::world::{self, MB};
use offheap_diagnose::{Diagnosis, Evidence, diagnose, python_suspects};
use offheap_model::{
    Domain, Frame, FrameKind, Profile, ProfileSite, PythonHeld, PythonHolder, PythonHolderKind,
    PythonObjects, PythonType, Sampling, Snapshot, Status,
};

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
    let world = world::native(N, &mut Random::new(2)).with(move |t, s| {
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

fn held(lonely: u64, holders: &[(&str, PythonHolderKind, u64, &str)]) -> PythonHeld {
    let holder = |(what, kind, objects, container): &(&str, PythonHolderKind, u64, &str)| PythonHolder {
        what: (*what).to_owned(),
        kind: *kind,
        objects: *objects,
        container: (*container).to_owned(),
        entries: container.rsplit(' ').next().and_then(|count| count.parse().ok()),
        most_entries: what.contains("maxsize=16000").then_some(16_000),
        path: vec!["list of 90".to_owned(), "str".to_owned()],
        ..PythonHolder::default()
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
    let found = held(0, &[("`carts` of module shop", PythonHolderKind::Module, 118, "dict of 5203")]);
    let diagnosis = judged(&CARTS, found, Some(true));
    let words = ["It is str objects, held by `carts` of module shop, in a dict of 5203."];
    decides(&diagnosis, "python-container", Status::Leak, Domain::PythonHeap, &words);
    assert!(diagnosis.verdict.fix[0].contains("bound or prune `carts`"), "{:?}", diagnosis.verdict.fix);
    // A holder of a few, or one without a name, is none.
    for few in [
        held(0, &[("`carts` of module shop", PythonHolderKind::Module, 20, "dict of 5203")]),
        held(0, &[("memory of native code", PythonHolderKind::Native, 118, "")]),
    ] {
        let diagnosis = judged(&CARTS, few, Some(true));
        decides(&diagnosis, "python-growth", Status::Leak, Domain::PythonHeap, &["most of them str"]);
    }
}

#[test]
fn nothing_is_said_of_a_container_where_nothing_grows() {
    let still = Objects { grown: |t| 0.5 * t.min(15.0), ..CARTS };
    let found = held(0, &[("`carts` of module shop", PythonHolderKind::Module, 118, "dict of 5203")]);
    assert!(matches!(judged(&still, found, Some(true)).verdict.status, Status::Healthy));
    let flat = Objects { grown: |_| 0.0, ..CARTS };
    assert_eq!(python_suspects(&Evidence::of(&program(&flat))), Vec::<String>::new());
}

#[test]
fn a_cache_with_a_bound_that_fills_is_healthy_and_one_without_is_a_leak() {
    let cache = |bound: &str| format!("the lru_cache of price (maxsize={bound})");
    let bounded = held(0, &[(&cache("16000"), PythonHolderKind::LruCache, 120, "dict of 9000")]);
    let diagnosis = judged(&CARTS, bounded, Some(true));
    decides(&diagnosis, "python-container", Status::Healthy, Domain::PythonHeap, &["9000 of 16000 entries"]);
    let unbounded =
        held(0, &[(&cache("None: without bound"), PythonHolderKind::LruCache, 120, "dict of 9000")]);
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
            &[(
                "the lru_cache of price (maxsize=16000)",
                PythonHolderKind::LruCache,
                120,
                &format!("dict of {entries}"),
            )],
        )
    };
    let carts = held(0, &[("`carts` of module shop", PythonHolderKind::Module, 118, "dict of 5203")]);
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
        let cache = ("the lru_cache of price (maxsize=16000)", PythonHolderKind::LruCache, 120, container);
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
    let alone = held(0, &[("a thread's native stack", PythonHolderKind::Stack, 3, "")]);
    let diagnosis = judged(&CARTS, alone.clone(), Some(false));
    decides(&diagnosis, "python-cycles", Status::Leak, Domain::PythonHeap, &["gc.disable"]);
    for collects in [Some(true), None] {
        let diagnosis = judged(&CARTS, alone.clone(), collects);
        decides(&diagnosis, "python-growth", Status::Leak, Domain::PythonHeap, &[]);
    }
    // Nor where native code, or many containers of which none is the main one, hold most of them.
    for others in [
        held(0, &[("memory of native code", PythonHolderKind::Native, 118, "")]),
        held(
            0,
            &[
                ("`a` of module shop", PythonHolderKind::Module, 40, "dict of 50"),
                ("`b` of module shop", PythonHolderKind::Module, 30, ""),
            ],
        ),
        held(40, &[("`a` of module shop", PythonHolderKind::Module, 30, "dict of 50")]),
    ] {
        let diagnosis = judged(&CARTS, others, Some(false));
        decides(&diagnosis, "python-growth", Status::Leak, Domain::PythonHeap, &[]);
    }
    // With the collector off a container may still be the cause.
    let found = held(0, &[("`carts` of module shop", PythonHolderKind::Module, 118, "dict of 5203")]);
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

fn function(name: &str, line: u32) -> Frame {
    let file = Some("/srv/app/shop.py".to_owned());
    Frame { name: name.to_owned(), kind: FrameKind::Python, file, line: Some(line), module: None }
}

fn native(name: &str) -> Frame {
    let module = Some("/usr/lib/libpython3.11.so.1.0".to_owned());
    Frame { name: name.to_owned(), kind: FrameKind::Native, file: None, line: None, module }
}

fn java(name: &str) -> Frame {
    Frame { kind: FrameKind::Java, module: None, ..native(name) }
}

/// A record of sites: the stack, its bytes that are live, of all that were allocated.
fn record(sites: Vec<(Vec<Frame>, u64, u64)>) -> Profile {
    let mut profile = Profile {
        seconds: 58.0,
        sampling: Sampling { interval_bytes: 4096, samples: 4000, dropped: 0 },
        ..Profile::default()
    };
    for (stack, live, allocated) in sites {
        let first = profile.frames.len() as u32;
        profile.sites.push(ProfileSite {
            stack: (first..first + stack.len() as u32).collect(),
            live_bytes: live,
            live_count: live / 1000,
            leak_bytes: live / 2,
            allocated_bytes: allocated,
            slope_bytes_per_s: Some(live as f64 / 60.0),
            slope_ci95: Some([live as f64 / 62.0, live as f64 / 58.0]),
            ..ProfileSite::default()
        });
        profile.frames.extend(stack);
    }
    profile
}

/// The verdict on carts that grow, held by what `used` uses and made by `made`, with the record.
fn judged_with(used: &[Frame], made: &[Frame], profile: &Profile) -> Diagnosis {
    let mut snapshots = program(&CARTS);
    let mut found = held(0, &[("`carts` of module shop", PythonHolderKind::Module, 118, "dict of 5203")]);
    found.name = "str".to_owned();
    (found.holders[0].used_by, found.holders[0].made_by) = (used.to_vec(), made.to_vec());
    snapshots.last_mut().unwrap().python.as_mut().unwrap().held = vec![found];
    diagnose(&Evidence::of(&snapshots).with_profile(profile))
}

fn names(diagnosis: &Diagnosis) -> Vec<&str> {
    diagnosis.verdict.site.iter().flat_map(|site| &site.frames).map(|frame| frame.name.as_str()).collect()
}

fn opened_by(java_method: &str, live: u64, allocated: u64) -> (Vec<Frame>, u64, u64) {
    (
        vec![
            native("[mmap]"),
            native("_PyObject_Malloc"),
            native("PyFloat_FromDouble"),
            java("jep.Jep.invoke"),
            java(java_method),
        ],
        live,
        allocated,
    )
}

#[test]
fn the_python_function_is_the_site_and_who_opened_arenas_in_passing_is_not() {
    let add = function("add", 4);
    // A page needs much for a moment, and opens most of the arenas; what a cart keeps lies in
    // blocks of the C heap, too.
    let passing = record(vec![opened_by("app.Pages.render", 24 << 20, 175 << 20)]);
    let diagnosis = judged_with(std::slice::from_ref(&add), &[], &passing);
    assert_eq!(names(&diagnosis), ["add"], "{:#?}", diagnosis.verdict);
    assert!(
        diagnosis.verdict.summary.contains("Its code is add (shop.py:4)."),
        "{}",
        diagnosis.verdict.summary
    );
    let elements = (
        vec![native("malloc"), native("list_resize"), java("jep.Jep.invoke"), java("app.Cart.add")],
        3 << 20,
        3 << 20,
    );
    let both = record(vec![opened_by("app.Pages.render", 24 << 20, 175 << 20), elements]);
    assert_eq!(
        names(&judged_with(std::slice::from_ref(&add), &[], &both)),
        ["add", "jep.Jep.invoke", "app.Cart.add"]
    );
    // Where nobody opens arenas but who makes what stays, that is the way in.
    let alone = record(vec![opened_by("app.Shop.serve", 24 << 20, 25 << 20)]);
    let made = function("score", 9);
    assert_eq!(
        names(&judged_with(&[], std::slice::from_ref(&made), &alone)),
        ["score", "jep.Jep.invoke", "app.Shop.serve"]
    );
    // Two functions, of which either may be: no innocent is named for sure, and both are told.
    let either = judged_with(&[add.clone(), function("remove", 8)], &[], &passing);
    assert_eq!(names(&either), Vec::<&str>::new());
    assert!(
        either.verdict.summary.contains("add (shop.py:4), remove (shop.py:8)"),
        "{}",
        either.verdict.summary
    );
    // The one that makes them, and the one that keeps them.
    assert_eq!(names(&judged_with(&[add], &[made], &passing)), ["score", "add"]);
}

/// The verdict on a Python heap that grows by `each` bytes with each interpreter of the list.
fn with_interpreters(counts: fn(f64) -> u64) -> Diagnosis {
    let mut snapshots = program(&CARTS);
    let begin = snapshots[0].time_ms;
    for snapshot in snapshots.iter_mut().step_by(4) {
        let t = (snapshot.time_ms - begin) as f64 / 1000.0;
        snapshot.python.as_mut().unwrap().interpreters = Some(counts(t));
    }
    diagnose(&Evidence::of(&snapshots))
}

#[test]
fn interpreters_that_are_never_ended_are_the_cause_of_what_they_import() {
    // One and a half in a second, one in six, and a burst that goes on.
    for counts in [|t: f64| 10 + (1.5 * t) as u64, |t| 1 + (t / 6.0) as u64, |t| 3 + (t * 4.0) as u64] {
        let diagnosis = with_interpreters(counts);
        let words = ["interpreters, and none was ended"];
        decides(&diagnosis, "python-interpreters", Status::Leak, Domain::PythonHeap, &words);
        assert!(
            diagnosis.verdict.fix[0].contains("close() every interpreter"),
            "{:?}",
            diagnosis.verdict.fix
        );
    }
    // A pool that is full, one that turns over, and one more: then it is something else.
    for counts in [|_: f64| 16, |t: f64| 8 + (t as u64 / 4) % 3, |t: f64| 1 + u64::from(t > 30.0)] {
        decides(&with_interpreters(counts), "python-growth", Status::Leak, Domain::PythonHeap, &[]);
    }
    // Nor is it told of a program whose heap is still.
    let mut snapshots = program(&Objects { grown: |_| 0.0, ..CARTS });
    for (i, snapshot) in snapshots.iter_mut().enumerate() {
        snapshot.python.as_mut().unwrap().interpreters = Some(1 + i as u64);
    }
    assert_eq!(diagnose(&Evidence::of(&snapshots)).verdict.status, Status::Healthy);
}

#[test]
fn arrays_that_python_keeps_are_named_for_the_buffers_behind_them() {
    let buffers = |arrays: f64, grows: f64| {
        let mut random = Random::new(3);
        let world = world::jvm(N, 12.0, &mut random).with(move |t, s| {
            (s.direct, s.direct_count) = (MB * (1.0 + grows * t), 10.0 + 20.0 * grows * t);
            (s.python, s.old) = (20.0 * MB, s.young / 2);
        });
        let mut snapshots = world.snapshots();
        for (i, snapshot) in snapshots.iter_mut().enumerate().step_by(3) {
            let count = (10.0 + 20.0 * arrays * i as f64) as u64;
            let kind = |name: &str, count: u64| PythonType {
                name: name.to_owned(),
                count,
                arena_bytes: count * 100,
                ..PythonType::default()
            };
            let types = vec![kind("numpy.ndarray", count), kind("str", count), kind("function", 9000)];
            snapshot.python.as_mut().unwrap().objects =
                Some(PythonObjects { types, objects: 20_000, ..PythonObjects::default() });
        }
        let wanted = python_suspects(&Evidence::of(&snapshots));
        let found = held(0, &[("`history` of module frames", PythonHolderKind::Module, 118, "list of 1200")]);
        snapshots.last_mut().unwrap().python.as_mut().unwrap().held =
            wanted.into_iter().map(|name| PythonHeld { name, ..found.clone() }).collect();
        diagnose(&Evidence::of(&snapshots)).verdict
    };
    let kept = buffers(1.0, 1.0);
    assert_eq!((kept.status, kept.domain), (Status::Leak, Some(Domain::DirectMemory)), "{kept:#?}");
    assert!(kept.fix[0].contains("`history` of module frames"), "{:?}", kept.fix);
    // Arrays that do not become more with them, and buffers that do not.
    for (arrays, grows) in [(0.0, 1.0), (8.0, 1.0), (1.0, 0.0)] {
        let verdict = buffers(arrays, grows);
        assert!(!verdict.summary.contains("history"), "{verdict:#?}");
        assert_eq!(verdict.status == Status::Leak, grows > 0.0, "{verdict:#?}");
    }
}

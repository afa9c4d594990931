//! What counts as a collection that tells, and what young ones say.

mod common;

use common::Random;
use common::world::{MB, World, jvm};
use offheap_diagnose::{Collections, Evidence, Next, diagnose};
use offheap_model::{Domain, Holder, Reach, Status};

/// A figure over the seconds.
type Over = fn(f64) -> f64;

fn collections(world: &World) -> Collections {
    let snapshots = world.snapshots();
    Evidence::of(&snapshots).collections().clone()
}

/// Young collections every ten seconds that promote nearly all they find, and free no buffers.
fn promoting() -> World {
    jvm(61, 12.0, &mut Random::new(3)).with(|t, s| {
        s.young = (t / 10.0) as u64;
        s.old_used = 20.0 * MB + 30.0 * MB * (t / 10.0).floor();
        s.heap_used = s.old_used + 3.2 * MB * (t % 10.0);
        s.direct = MB + 24e3 * t;
    })
}

#[test]
fn young_old_and_freeing_collections_are_told_apart() {
    let young = collections(&promoting());
    assert_eq!((young.any.len(), young.old.len(), young.cleaned.len()), (6, 0, 0), "{young:?}");
    assert!(young.known);
    // Marking ends at 30 s: the old generation falls.
    let marked = promoting().with(|t, s| s.old_used -= if t >= 30.0 { 80.0 * MB } else { 0.0 });
    assert_eq!(collections(&marked).old, [30.0]);
    // The buffers that had gathered go at 40 s: whatever collection that was, it freed what is
    // dead.
    let canary = promoting().with(|t, s| s.direct -= if t >= 40.0 { 24e3 * 40.0 } else { 0.0 });
    assert_eq!(collections(&canary).cleaned, [40.0]);
    assert!(collections(&canary).old.is_empty());
    // A mixed collection counts as young and shows in the old pool.
    let mixed = promoting().with(|t, s| s.old_after_gc = (t >= 50.0).then_some(100.0 * MB));
    assert_eq!(collections(&mixed).mixed, [50.0]);
}

#[test]
fn what_is_promoted_is_not_judged_by_young_collections() {
    let leak = |world: World| {
        let snapshots = world.with(|t, s| s.malloc += MB * t).snapshots();
        diagnose(&Evidence::of(&snapshots))
    };
    let undecided = leak(promoting());
    assert_eq!(undecided.verdict.status, Status::Inconclusive, "{:#?}", undecided.verdict);
    assert_eq!(undecided.next, Some(Next::Collect));
    // The same, but a collection at 40 s freed the buffers and not this.
    let canary = promoting().with(|t, s| s.direct -= if t >= 40.0 { 24e3 * 40.0 } else { 0.0 });
    let decided = leak(canary);
    assert_eq!(decided.verdict.status, Status::Leak, "{:#?}", decided.verdict);
    assert_eq!(decided.next, None);
}

#[test]
fn garbage_that_only_old_collections_free_is_no_leak() {
    // Rises through 30 s of young collections, falls with the marking: cut anywhere, it is never
    // called a leak.
    let world = || {
        promoting().with(|t, s| {
            let since = t % 30.0;
            s.old_used = 20.0 * MB + 3.0 * MB * since;
            s.direct = MB + 24e3 * since;
            s.malloc += MB * since;
        })
    };
    for skip in [0, 1, 5, 12, 25, 31] {
        for take in [20, 28, 36, 61] {
            let snapshots = world().snapshots();
            let cut: Vec<_> = snapshots.into_iter().skip(skip).take(take).collect();
            let verdict = diagnose(&Evidence::of(&cut)).verdict;
            assert_ne!(verdict.status, Status::Leak, "{skip} {take}: {verdict:#?}");
        }
    }
}

#[test]
fn a_jvm_that_says_nothing_of_collections_is_not_accused() {
    let mut snapshots = jvm(61, 12.0, &mut Random::new(3)).with(|t, s| s.malloc += MB * t).snapshots();
    for jvm in snapshots.iter_mut().filter_map(|s| s.jvm.as_mut()) {
        (jvm.gc_young_count, jvm.gc_old_count, jvm.heap.used_bytes, jvm.heap.old_used_bytes) =
            (None, None, None, None);
        jvm.direct = None;
    }
    let diagnosis = diagnose(&Evidence::of(&snapshots));
    assert_eq!(diagnosis.verdict.status, Status::Inconclusive, "{:#?}", diagnosis.verdict);
}

#[test]
fn without_a_collection_native_growth_is_a_leak_only_if_no_java_object_could_free_it() {
    let judged = |references: fn(f64) -> Option<f64>| {
        let world = jvm(61, 12.0, &mut Random::new(3)).with(move |t, s| {
            s.malloc += MB * t;
            s.references = references(t);
            s.young = 0;
            (s.old_used, s.heap_used, s.direct) = (12.0 * MB, 20.0 * MB + 0.1 * MB * t, MB);
        });
        let snapshots = world.snapshots();
        assert!(collections(&world).any.is_empty());
        diagnose(&Evidence::of(&snapshots)).verdict
    };
    // Counted each five seconds: nearly none were made.
    let few = |t: f64| (t % 5.0 == 0.0).then_some(3000.0 + (t / 10.0).floor());
    let leak = judged(few);
    assert_eq!(leak.status, Status::Leak, "{leak:#?}");
    let told = |finding: &offheap_model::Finding| {
        finding.evidence.iter().any(|e| e.text.contains("hardly any object"))
    };
    assert!(told(&leak), "{leak:#?}");
    // One each second may own what grows.
    let many = |t: f64| (t % 5.0 == 0.0).then_some(3000.0 + t);
    assert_eq!(judged(many).status, Status::Inconclusive);
    // Not counted, or only at the begin: nothing is known.
    assert_eq!(judged(|_| None).status, Status::Inconclusive);
    assert_eq!(judged(|t| (t < 20.0).then_some(3000.0)).status, Status::Inconclusive);
}

/// A JVM that collects nothing; `grow` says what grows, `reach` what is found in use, at five looks
/// in a minute.
fn looked_at(
    seconds: usize,
    grow: fn(f64, &mut common::world::State),
    reach: impl Fn(f64) -> Reach,
) -> offheap_model::Finding {
    let every = (seconds / 5) as f64;
    let world = jvm(seconds + 1, 12.0, &mut Random::new(3)).with(|t, s| {
        s.young = 0;
        (s.old_used, s.heap_used, s.direct) = (12.0 * MB, 20.0 * MB + 0.1 * MB * t, MB);
        grow(t, s);
        s.reach = (t % every == 0.0 && t > 0.0).then(|| Reach { complete: true, ..reach(t) });
    });
    diagnose(&Evidence::of(&world.snapshots())).verdict
}

#[test]
fn without_a_collection_buffers_are_judged_by_how_many_are_in_use() {
    let judged = |in_use: fn(f64) -> f64| {
        looked_at(
            60,
            |t, s| s.direct = MB * (1.0 + t),
            |t| Reach {
                direct_bytes: (MB * (1.0 + t)) as u64,
                direct_in_use_bytes: (MB * in_use(t)) as u64,
                direct_holder: Some(Holder {
                    what: "static field app.Cache.ENTRIES (java.util.HashMap)".into(),
                    amount: (MB * in_use(t) * 0.9) as u64,
                }),
                owners: 900,
                owners_in_use: 850,
                ..Reach::default()
            },
        )
    };
    let leak = judged(|t| 1.0 + t);
    assert_eq!((leak.status, leak.cause.as_str()), (Status::Leak, "direct-buffers-referenced"), "{leak:#?}");
    assert!(
        leak.summary.contains("by static field app.Cache.ENTRIES (java.util.HashMap)"),
        "{}",
        leak.summary
    );
    assert!(
        leak.evidence.iter().any(|e| e.text.contains("of the buffers are held by static field")),
        "{leak:#?}"
    );
    // Half is dropped: the leak is the other half.
    let half = judged(|t| 1.0 + t / 2.0);
    assert_eq!(half.status, Status::Leak, "{half:#?}");
    assert!((0.45 * MB..0.55 * MB).contains(&half.slope_bytes_per_s), "{}", half.slope_bytes_per_s);
    // All is dropped; it lives for half a minute, or three quarters of one, and is dropped.
    for healthy in [judged(|_| 0.5), judged(|t| t.min(30.0)), judged(|t| t.min(45.0))] {
        assert_eq!(
            (healthy.status, healthy.domain),
            (Status::Healthy, Some(Domain::DirectMemory)),
            "{healthy:#?}"
        );
    }
}

#[test]
fn without_a_collection_native_memory_is_judged_by_its_owners() {
    let judged =
        |grow: fn(f64, &mut common::world::State), in_use: fn(f64) -> f64, garbage: fn(f64) -> f64| {
            let count = |owners: f64| owners as u64;
            looked_at(60, grow, |t| Reach {
                owners: count(900.0 + in_use(t) + garbage(t)),
                owners_in_use: count(900.0 + in_use(t)),
                ..Reach::default()
            })
            .status
        };
    let malloc = |t: f64, s: &mut common::world::State| s.malloc += MB * t;
    assert_eq!(judged(malloc, |_| 0.0, |t| t / 20.0), Status::Leak, "nobody could own it");
    assert_eq!(judged(malloc, |t| 4.0 * t, |_| 0.0), Status::Leak, "its owners are in use");
    assert_eq!(judged(malloc, |_| 0.0, |t| 4.0 * t), Status::Inconclusive, "its owners may be garbage");
    assert_eq!(judged(malloc, |t| 0.5 * t.min(45.0), |t| 0.5 * (t - 45.0).max(0.0)), Status::Inconclusive);
    // Memory of java.lang.foreign is counted with the buffers, and has owners instead.
    let foreign = |t: f64, s: &mut common::world::State| s.direct = MB * (1.0 + t);
    assert_eq!(judged(foreign, |t| 4.0 * t, |_| 0.0), Status::Leak);
    assert_eq!(judged(foreign, |_| 0.0, |t| 4.0 * t), Status::Inconclusive);
}

#[test]
fn a_heap_that_is_not_collected_is_judged_by_what_is_in_use() {
    // The old generation fills with what young collections promote, 3 MB a second; none of the old
    // one comes.
    fn fill(t: f64, s: &mut common::world::State) {
        s.young = (t / 10.0) as u64;
        s.old_used = 20.0 * MB + 3.0 * MB * t;
        s.heap_used = s.old_used + 3.2 * MB * (t % 10.0);
    }
    let judged = |seconds: usize, in_use: fn(f64) -> f64| {
        looked_at(seconds, fill, |t| Reach { heap_in_use_bytes: (MB * in_use(t)) as u64, ..Reach::default() })
    };
    let leak = judged(200, |t| 25.0 + 2.0 * t);
    assert_eq!((leak.status, leak.cause.as_str()), (Status::Leak, "heap-leak"), "{leak:#?}");
    assert!((1.9 * MB..2.1 * MB).contains(&leak.slope_bytes_per_s), "{}", leak.slope_bytes_per_s);
    // JNI code that holds ever more is no cache, nor are the few references of a library.
    let by_jni = |more: f64| {
        looked_at(60, fill, move |t| Reach {
            heap_in_use_bytes: (MB * (25.0 + 2.0 * t)) as u64,
            jni_references: Some(100 + (more * t) as u64),
            ..Reach::default()
        })
    };
    let leak = by_jni(50.0);
    assert_eq!((leak.status, leak.cause.as_str()), (Status::Leak, "heap-leak"), "{leak:#?}");
    assert!(leak.summary.contains("NewGlobalRef without DeleteGlobalRef"), "{}", leak.summary);
    assert_eq!(by_jni(0.5).status, Status::Inconclusive);
    // In a minute a cache fills like that; it fills and stops; it comes and goes; it is garbage.
    assert_eq!(judged(60, |t| 25.0 + 2.0 * t).status, Status::Inconclusive);
    assert_ne!(judged(200, |t| 25.0 + 2.0 * t.min(100.0)).status, Status::Leak);
    assert_ne!(judged(200, |t| 25.0 + 2.0 * t + 150.0 * (t / 40.0 % 2.0)).status, Status::Leak);
    assert_ne!(judged(60, |_| 25.0).cause, "heap-leak");
}

#[test]
fn virtual_threads_that_only_come_are_a_leak_and_a_load_of_them_is_none() {
    // What is in use, and how many virtual threads wait, each tenth second; the old generation
    // fills meanwhile, and no old collection comes.
    let judged = |threads: fn(f64) -> f64, in_use: fn(f64) -> f64| {
        let world = jvm(61, 8.0, &mut Random::new(7)).with(move |t, s| {
            s.old_used = 20.0 * MB + 0.2 * MB * t;
            s.reach = (t as u64 % 10 == 5).then(|| Reach {
                heap_in_use_bytes: (20.0 * MB + in_use(t)) as u64,
                virtual_threads: threads(t) as u64,
                complete: true,
                ..Reach::default()
            });
        });
        let snapshots = world.snapshots();
        diagnose(&Evidence::of(&snapshots)).verdict
    };
    // Two hundred a second with eight KB each, thirty with much, and thousands with next to
    // nothing.
    let kinds: [(Over, Over); 3] = [
        (|t| 500.0 + 200.0 * t, |t| 1.7 * MB * t),
        (|t| 30.0 * t, |t| 2.4 * MB * t),
        (|t| 3000.0 * t, |t| 0.9 * MB * t),
    ];
    for (threads, in_use) in kinds {
        let leak = judged(threads, in_use);
        assert_eq!((leak.status, leak.cause.as_str()), (Status::Leak, "virtual-threads"), "{leak:#?}");
        assert!(leak.domain == Some(Domain::JavaHeap) && leak.fix[0].contains("cancel"), "{:?}", leak.fix);
    }
    // A server with as many as it has requests, one that warms up, and a few that came.
    let healthy: [(Over, Over); 4] = [
        (|t| 4000.0 + 900.0 * (t / 7.0).sin(), |t| 6.0 * MB + 2.0 * MB * (t / 7.0).sin()),
        (|t| 200.0 * t.min(20.0), |t| 0.5 * MB * t.min(20.0)),
        (|t| 2.0 * t, |t| 0.1 * MB * t),
        (|t| 200.0 * t, |_| 0.0),
    ];
    for (number, (threads, in_use)) in healthy.into_iter().enumerate() {
        let verdict = judged(threads, in_use);
        assert_ne!(verdict.status, Status::Leak, "{number}: {verdict:#?}");
        assert_ne!(verdict.cause, "virtual-threads");
    }
}

#[test]
fn a_last_look_right_behind_the_one_before_takes_nothing_back() {
    let judged = |at: &'static [f64], in_use: fn(f64) -> f64| {
        let world = jvm(61, 12.0, &mut Random::new(3)).with(|t, s| {
            s.young = 0;
            (s.old_used, s.heap_used) = (12.0 * MB, 20.0 * MB + 0.1 * MB * t);
            s.direct = MB * (1.0 + t);
            s.reach = at.contains(&t).then(|| Reach {
                direct_bytes: s.direct as u64,
                direct_in_use_bytes: (MB * in_use(t)) as u64,
                complete: true,
                ..Reach::default()
            });
        });
        diagnose(&Evidence::of(&world.snapshots())).verdict.status
    };
    let kept: fn(f64) -> f64 = |t| 1.0 + t;
    for at in [
        &[10.0, 20.0, 30.0, 40.0, 50.0, 54.0],
        &[12.0, 13.0, 31.0, 50.0, 60.0, 60.0],
        &[5.0, 30.0, 45.0, 56.0, 58.0, 60.0],
    ] {
        assert_eq!(judged(at, kept), Status::Leak, "{at:?}");
    }
    // What falls, however soon, or stopped a look ago, does not rise.
    let at = &[10.0, 20.0, 30.0, 40.0, 50.0, 52.0];
    let falls: fn(f64) -> f64 = |t| if t > 51.0 { 2.0 } else { 1.0 + t };
    let stops: fn(f64) -> f64 = |t| 1.0 + t.min(40.0);
    for in_use in [falls, stops] {
        assert_ne!(judged(at, in_use), Status::Leak);
    }
}

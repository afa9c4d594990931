//! What counts as a collection that tells, and what young ones say.

mod common;

use common::Random;
use common::world::{MB, World, jvm};
use offheap_diagnose::{Collections, Evidence, Next, diagnose};
use offheap_model::{Domain, Reach, Status};

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
    // The buffers that had gathered go at 40 s: whatever collection that was, it freed what is dead.
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
    // Rises through 30 s of young collections, falls with the marking: cut anywhere, it is never called a leak.
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

#[test]
fn without_a_collection_what_is_in_use_is_a_leak() {
    let judged = |grow: fn(f64, &mut common::world::State), reach: Reach| {
        let world = jvm(61, 12.0, &mut Random::new(3)).with(move |t, s| {
            s.young = 0;
            (s.old_used, s.heap_used, s.direct) = (12.0 * MB, 20.0 * MB + 0.1 * MB * t, MB);
            grow(t, s);
            s.reach = (t == 60.0).then_some(reach);
        });
        diagnose(&Evidence::of(&world.snapshots())).verdict
    };
    let buffers = |t: f64, s: &mut common::world::State| s.direct = MB * (1.0 + t);
    let of_buffers = |in_use: f64| Reach {
        direct_bytes: 61_000_000,
        direct_in_use_bytes: (in_use * MB) as u64,
        owners: 900,
        owners_in_use: 850,
        heap_in_use_bytes: 0,
        complete: true,
    };
    let leak = judged(buffers, of_buffers(60.0));
    assert_eq!((leak.status, leak.cause.as_str()), (Status::Leak, "direct-buffers-referenced"), "{leak:#?}");
    assert_eq!(judged(buffers, of_buffers(18.0)).status, Status::Inconclusive);
    let garbage = judged(buffers, of_buffers(1.0));
    assert_eq!(
        (garbage.status, garbage.domain),
        (Status::Healthy, Some(Domain::DirectMemory)),
        "{garbage:#?}"
    );
    let unsure = judged(buffers, Reach { complete: false, ..of_buffers(1.0) });
    assert_eq!(unsure.status, Status::Inconclusive);
    // Memory of java.lang.foreign is counted with the buffers, and has owners instead.
    let foreign = |garbage: u64| Reach {
        direct_bytes: 0,
        owners: 900,
        owners_in_use: 900 - garbage,
        ..of_buffers(0.0)
    };
    assert_eq!(judged(buffers, foreign(2)).status, Status::Leak);
    assert_eq!(judged(buffers, foreign(600)).status, Status::Inconclusive);
    // Owners of something else tell nothing of buffers, and the other way round.
    let malloc = |t: f64, s: &mut common::world::State| s.malloc += MB * t;
    let of_owners = |garbage: u64| Reach { owners: 900, owners_in_use: 900 - garbage, ..of_buffers(0.0) };
    assert_eq!(judged(malloc, of_owners(4)).status, Status::Leak);
    assert_eq!(judged(malloc, of_owners(60)).status, Status::Inconclusive);
    assert_eq!(judged(buffers, of_owners(0)).status, Status::Healthy);
}

#[test]
fn a_heap_that_is_not_collected_is_judged_by_what_is_in_use() {
    // The old generation fills with what young collections promote, 3 MB a second; none of the old one comes.
    let judged = |in_use: fn(f64) -> f64| {
        let world = promoting().with(move |t, s| {
            s.old_used = 20.0 * MB + 3.0 * MB * t;
            s.heap_used = s.old_used + 3.2 * MB * (t % 10.0);
            let looked = t % 12.0 == 0.0 && t > 0.0;
            s.reach = looked.then(|| Reach { heap_in_use_bytes: in_use(t) as u64, ..Reach::default() });
        });
        diagnose(&Evidence::of(&world.snapshots())).verdict
    };
    let leak = judged(|t| (25.0 + 2.0 * t) * MB);
    assert_eq!((leak.status, leak.cause.as_str()), (Status::Leak, "heap-leak"), "{leak:#?}");
    assert!((1.9 * MB..2.1 * MB).contains(&leak.slope_bytes_per_s), "{}", leak.slope_bytes_per_s);
    assert_ne!(judged(|_| 25.0 * MB).status, Status::Leak);
    // It fills and stops; it comes and goes.
    assert_ne!(judged(|t| (25.0 + 2.0 * t.min(36.0)) * MB).status, Status::Leak);
    assert_ne!(judged(|t| (25.0 + 2.0 * t + 40.0 * (t / 12.0 % 2.0)) * MB).status, Status::Leak);
}

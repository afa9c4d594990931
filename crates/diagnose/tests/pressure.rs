//! A heap that is full of live objects is never healthy, on any collector; one that is merely used
//! is no trouble.

mod common;

use common::Random;
use common::world::{MB, World, jvm};
use offheap_diagnose::{ClassGrowth, Diagnosis, Evidence, diagnose};
use offheap_model::{Domain, Status};

fn judged(world: &World) -> Diagnosis {
    let snapshots = world.snapshots();
    diagnose(&Evidence::of(&snapshots))
}

fn assert_full(world: &World) -> Diagnosis {
    let diagnosis = judged(world);
    let verdict = &diagnosis.verdict;
    assert_eq!(
        (verdict.status, verdict.domain, verdict.cause.as_str()),
        (Status::DoesNotFit, Some(Domain::JavaHeap), "heap-full"),
        "{verdict:#?}"
    );
    assert_eq!(diagnosis.exit_code(), 4);
    assert!(verdict.fix.iter().any(|step| step.contains("-Xmx")), "{:?}", verdict.fix);
    diagnosis
}

fn assert_not_full(world: &World) {
    let diagnosis = judged(world);
    assert!(diagnosis.findings.iter().all(|f| f.cause != "heap-full"), "{:#?}", diagnosis.verdict);
}

/// G1 that does nothing but full collections, each of a second, which leave 99.8 %.
fn back_to_back() -> World {
    jvm(61, 15.0, &mut Random::new(1)).with(|t, s| {
        (s.heap_resident, s.heap_used, s.old_used) = (256.0 * MB, 255.7 * MB, 255.6 * MB);
        (s.old, s.old_s, s.old_after_gc) = (17 + t as u64, Some(30.0 + 0.9 * t), Some(255.5 * MB));
    })
}

#[test]
fn full_collections_back_to_back_are_a_full_heap() {
    let verdict = assert_full(&back_to_back()).verdict;
    assert!(
        verdict.summary.contains("60 full or old collections stopped it for 54 s"),
        "{}",
        verdict.summary
    );
}

#[test]
fn an_idle_heap_that_is_full_is_still_full() {
    let diagnosis = assert_full(&jvm(61, 15.0, &mut Random::new(2)).with(|_, s| {
        (s.heap_resident, s.heap_used, s.old_used) = (256.0 * MB, 254.0 * MB, 251.0 * MB);
        (s.young, s.old, s.old_after_gc) = (12, 72, Some(250.0 * MB));
    }));
    // Nothing was collected, so nothing is said of what collections do.
    let said = &diagnosis.verdict.summary;
    assert!(
        said.contains("the program is idle. The heap can't grow any more, and the program ends"),
        "{said}"
    );
}

#[test]
fn an_old_generation_of_its_own_size_is_full_below_xmx() {
    // Parallel keeps a third of -Xmx for the young generation.
    assert_full(&jvm(61, 15.0, &mut Random::new(3)).with(|t, s| {
        (s.old_max, s.old_used, s.old_after_gc) = (Some(170.0 * MB), 169.5 * MB, Some(169.0 * MB));
        (s.heap_used, s.old, s.old_s) =
            (169.5 * MB + 60.0 * MB * (t % 5.0) / 5.0, t as u64 / 5, Some(t / 10.0));
    }));
}

#[test]
fn a_heap_without_generations_or_figures_after_collection_is_full_where_it_never_empties() {
    let mut world = jvm(61, 6.0, &mut Random::new(4)).with(|t, s| {
        s.heap_resident = 256.0 * MB;
        s.heap_used = 246.0 * MB + 9.0 * MB * (t % 6.0) / 6.0;
        (s.old_used, s.old_after_gc) = (s.heap_used, None);
    });
    world.gc = "Z".into();
    let said = assert_full(&world).verdict.summary;
    assert!(
        said.contains("collections ran in the window. Collections make no room any more, the heap"),
        "{said}"
    );
}

#[test]
fn time_spent_in_full_collections_tells_too() {
    // Serial: each full collection leaves two thirds, and there is one after the other.
    assert_full(&jvm(61, 15.0, &mut Random::new(5)).with(|t, s| {
        (s.old, s.old_s) = (t as u64 / 2, Some(0.4 * t));
        s.old_used = 165.0 * MB + 2.0 * MB * (t % 2.0);
        s.heap_used = s.old_used + 10.0 * MB * (t % 2.0);
    }));
}

#[test]
fn it_says_what_the_heap_is_full_of() {
    let mut diagnosis = assert_full(&back_to_back());
    let class = |name: &str, after_bytes| ClassGrowth {
        name: name.into(),
        before: 1_200_000,
        after: 1_200_000,
        bytes: 0,
        after_bytes,
    };
    let classes = [class("byte[]", 90 << 20), class("app.Session", 120 << 20), class("app.Odd", 1 << 20)];
    diagnosis.name_classes(&classes, 50.0);
    let text = &diagnosis.verdict.summary;
    assert!(text.contains("full of: 120 MiB app.Session (1200000 objects); 90.0 MiB byte[]"), "{text}");
}

#[test]
fn a_heap_that_collections_empty_is_not_full() {
    // Up to 98 % before each collection, 30 % behind it.
    assert_not_full(&jvm(61, 10.0, &mut Random::new(6)).with(|_, s| {
        s.heap_used = 76.0 * MB + 2.1 * (s.heap_used - s.old_used);
        s.old_after_gc = Some(60.0 * MB);
    }));
}

#[test]
fn a_program_that_calls_system_gc_again_and_again_is_not_full() {
    assert_not_full(&jvm(61, 10.0, &mut Random::new(7)).with(|t, s| {
        (s.old, s.old_s, s.old_after_gc) = (t as u64, Some(0.3 * t), Some(40.0 * MB));
    }));
}

#[test]
fn a_heap_that_was_full_once_and_was_emptied_is_not_full() {
    // The pool still tells of the last collection that counted for it; mixed ones have emptied it
    // since.
    assert_not_full(&jvm(61, 10.0, &mut Random::new(8)).with(|_, s| s.old_after_gc = Some(250.0 * MB)));
}

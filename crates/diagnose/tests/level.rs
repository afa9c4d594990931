//! Why a process is as large as it is, also where nothing grows; and what a healthy verdict is
//! worth.

mod common;

use common::world::{MB, World, jvm, native};
use common::{Random, ramp, wander};
use offheap_diagnose::{Diagnosis, Evidence, Reclaimable, diagnose};
use offheap_model::{Domain, Reach, Status};

fn judged(world: &World) -> Diagnosis {
    let snapshots = world.snapshots();
    diagnose(&Evidence::of(&snapshots))
}

/// What could be given back of `domain`, on the running process.
fn now(diagnosis: &Diagnosis, domain: Domain) -> f64 {
    let parts = diagnosis.level.reclaimable.iter().filter(|part| part.domain == domain && part.now);
    parts.map(|part| part.bytes as f64).sum()
}

#[test]
fn free_memory_that_comes_and_goes_is_retention_by_what_is_free_at_every_moment() {
    // Sixty threads that hold random direct buffers: what is free swings, and 764 MiB of it are
    // always there.
    let mut r = Random::new(1);
    let swing = wander(61, 220.0 * MB, 3.0, &mut r);
    let world = jvm(61, 12.0, &mut r).plus(&swing, |s, v| {
        s.malloc_free = 800.0 * MB + v.abs() * 2.0;
        s.trimmable = 0.96 * s.malloc_free;
        s.direct = 380.0 * MB - v.abs();
    });
    let diagnosis = judged(&world);
    let verdict = &diagnosis.verdict;
    assert_eq!(
        (verdict.status, verdict.domain),
        (Status::Retention, Some(Domain::AllocatorRetention)),
        "{verdict:#?}"
    );
    let trimmed = now(&diagnosis, Domain::AllocatorRetention);
    assert!((760.0 * MB..860.0 * MB).contains(&trimmed), "{trimmed}");
    assert!(
        diagnosis
            .level
            .reclaimable
            .iter()
            .all(|part| !part.remedy.is_empty() && !part.side_effect.is_empty())
    );
}

#[test]
fn an_idle_heap_that_holds_a_third_of_the_process_is_retention() {
    let world = jvm(61, 500.0, &mut Random::new(2)).with(|t, s| {
        (s.heap_resident, s.old_used, s.young) = (230.0 * MB, 30.0 * MB, 12);
        s.heap_used = 37.0 * MB + 5e3 * t;
    });
    let diagnosis = judged(&world);
    assert_eq!(diagnosis.verdict.status, Status::Retention, "{:#?}", diagnosis.verdict);
    // A full collection leaves 70 % free at the most: 37 MB become 123.
    let given = now(&diagnosis, Domain::JavaHeap);
    assert!((100.0 * MB..110.0 * MB).contains(&given), "{given}");
}

#[test]
fn garbage_on_an_idle_heap_is_no_use_of_it() {
    let world = jvm(61, 500.0, &mut Random::new(3)).with(|t, s| {
        (s.heap_resident, s.old_used, s.young) = (230.0 * MB, 30.0 * MB, 12);
        s.heap_used = 190.0 * MB + 5e3 * t;
        let reach = Reach { heap_in_use_bytes: 20_000_000, complete: true, ..Reach::default() };
        s.reach = (t >= 30.0).then_some(reach);
    });
    let given = now(&judged(&world), Domain::JavaHeap);
    assert!((160.0 * MB..170.0 * MB).contains(&given), "{given}");
}

#[test]
fn a_heap_at_work_is_listed_and_no_retention() {
    let world = jvm(61, 12.0, &mut Random::new(4)).with(|_, s| {
        s.heap_resident = 240.0 * MB;
        s.heap_used -= 35.0 * MB;
        s.old_used = 5.0 * MB;
    });
    let diagnosis = judged(&world);
    assert_eq!(diagnosis.verdict.status, Status::Healthy, "{:#?}", diagnosis.verdict);
    let heap = diagnosis.level.reclaimable.iter().find(|part| part.domain == Domain::JavaHeap).unwrap();
    assert!(heap.side_effect.contains("filled again"), "{heap:?}");
}

#[test]
fn minimum_heaps_are_given_back_by_a_restart_only() {
    let mut world = jvm(61, 500.0, &mut Random::new(5)).with(|t, s| {
        (s.heap_resident, s.old_used, s.young) = (64.0 * MB, 4.0 * MB, 12);
        s.heap_used = 6.0 * MB + 5e3 * t;
    });
    world.heap_max = 64.0 * MB;
    let diagnosis = judged(&world);
    assert_eq!(now(&diagnosis, Domain::JavaHeap), 0.0);
    let heap = diagnosis.level.reclaimable.iter().find(|part| part.domain == Domain::JavaHeap).unwrap();
    assert!(heap.remedy.contains("-Xms"), "{heap:?}");
}

#[test]
fn the_sum_is_that_of_the_parts_and_less_than_the_process() {
    let world = jvm(61, 12.0, &mut Random::new(6)).with(|_, s| {
        s.pools.push(("exec-*".into(), 200.0));
        (s.stack_each, s.stack_huge) = (2.0 * MB, 1.8 * MB);
        (s.malloc_free, s.trimmable) = (90.0 * MB, 70.0 * MB);
    });
    let level = judged(&world).level;
    let sum: u64 = level.reclaimable.iter().map(|part| part.bytes).sum();
    assert_eq!(level.reclaimable_bytes, sum);
    assert!(sum <= level.rss_bytes, "{level:#?}");
    for domain in [Domain::AllocatorRetention, Domain::ThreadStacks] {
        assert!(level.reclaimable.iter().any(|part| part.domain == domain), "{domain}");
    }
}

#[test]
fn a_native_program_has_a_level_too() {
    let world =
        native(61, &mut Random::new(7)).with(|_, s| (s.malloc_free, s.trimmable) = (90.0 * MB, 80.0 * MB));
    let diagnosis = judged(&world);
    assert_eq!(diagnosis.verdict.status, Status::Retention, "{:#?}", diagnosis.verdict);
    assert_eq!(now(&diagnosis, Domain::AllocatorRetention), 80.0 * MB);
}

#[test]
fn leaks_of_the_stated_power_are_not_called_healthy() {
    let mut missed = Vec::new();
    for seed in 0..120 {
        let world = |leak: f64| {
            let mut r = Random::new(seed);
            let period = r.between(5.0, 30.0);
            jvm(61, period, &mut r).plus(&ramp(61, leak), |s, v| s.malloc += v)
        };
        let power = judged(&world(0.0)).power;
        let least = power.iter().find(|p| p.domain == Domain::Malloc).unwrap().smallest_leak_bytes_per_s;
        let verdict = judged(&world(least)).verdict;
        if matches!(verdict.status, Status::Healthy | Status::Retention) {
            missed.push(format!("{seed}: {least:.0} B/s {}", verdict.summary));
        }
    }
    assert!(missed.len() <= 6, "{} of 120: {missed:#?}", missed.len());
}

#[test]
fn what_was_not_looked_at_is_said() {
    let said = judged(&jvm(61, 12.0, &mut Random::new(8))).not_looked_at.join("; ");
    for part in ["which Java objects are in use", "which code allocates", "no control group"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn what_could_be_given_back_is_one_line_with_one_stop_after_each_part() {
    for remedy in ["offheap trim 7", "offheap trim 7."] {
        let part = Reclaimable {
            bytes: 12 << 20,
            domain: Domain::AllocatorRetention,
            what: "whole pages".to_owned(),
            remedy: remedy.to_owned(),
            side_effect: "arenas are locked".to_owned(),
            now: true,
        };
        let line = "12.0 MiB allocator-retention: whole pages. offheap trim 7. But: arenas are locked.";
        assert_eq!(part.words(), line);
    }
}

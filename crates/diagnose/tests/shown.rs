//! "Healthy" is said only of what was shown: leaks that an earlier build called healthy, each beside
//! a healthy twin that looks like it.

mod common;

use common::Random;
use common::world::{MB, World, jvm, native};
use offheap_diagnose::{Diagnosis, Evidence, diagnose};
use offheap_model::{Domain, Reach, Status};

fn judged(world: &World) -> Diagnosis {
    let snapshots = world.snapshots();
    diagnose(&Evidence::of(&snapshots))
}

/// A JVM with young collections only, into whose old generation `per_s` bytes a second are promoted.
fn promoting(per_s: f64) -> World {
    let mut world = jvm(61, 4.0, &mut Random::new(7)).with(|t, s| {
        (s.old_used, s.heap_resident) = (45.0 * MB + per_s * t, 120.0 * MB + per_s * t);
        s.heap_used = s.old_used + 20.0 * MB * (t % 4.0) / 4.0;
    });
    world.heap_max = 500.0 * MB;
    world
}

/// With a full collection at each of `at`, which leaves `keeps` of what was promoted.
fn collected(world: World, per_s: f64, at: &[f64], keeps: f64) -> World {
    world.with(|t, s| {
        let past = at.iter().copied().filter(|event| *event <= t);
        let (count, last) = past.fold((0, 0.0), |(count, _), event| (count + 1, event));
        s.old = count;
        let garbage = (1.0 - keeps) * per_s * last;
        (s.old_used, s.heap_used) = (s.old_used - garbage, s.heap_used - garbage);
    })
}

#[test]
fn live_data_that_grows_unseen_by_a_collection_is_open() {
    let fast = judged(&promoting(0.6 * MB));
    assert_eq!(
        (fast.verdict.status, fast.verdict.cause.as_str()),
        (Status::Inconclusive, "heap-leak"),
        "{:#?}",
        fast.verdict
    );
    assert!(fast.next.is_some(), "what would tell is said");
    // As little as healthy programs promote: the heap would take hours to fill.
    let slow = judged(&promoting(0.06 * MB));
    assert_eq!(slow.verdict.status, Status::Healthy, "{:#?}", slow.verdict);
}

#[test]
fn two_collections_tell_live_data_from_garbage() {
    let per_s = 0.6 * MB;
    let two = [16.0, 38.0];
    let live = judged(&collected(promoting(per_s), per_s, &two, 0.9)).verdict;
    assert_eq!((live.status, live.cause.as_str()), (Status::Inconclusive, "heap-leak"), "{live:#?}");
    assert!(live.summary.contains("collections of the whole heap left"), "{}", live.summary);
    let garbage = judged(&collected(promoting(per_s), per_s, &two, 0.05)).verdict;
    assert_eq!(garbage.status, Status::Healthy, "{garbage:#?}");
}

#[test]
fn after_one_collection_it_is_still_open() {
    let per_s = 0.6 * MB;
    let one = judged(&collected(promoting(per_s), per_s, &[20.0], 0.5)).verdict;
    assert_eq!((one.status, one.cause.as_str()), (Status::Inconclusive, "heap-leak"), "{one:#?}");
}

#[test]
fn looks_at_what_is_in_use_decide_without_a_collection() {
    let with_looks = |in_use: fn(f64) -> f64| {
        promoting(0.6 * MB).with(|t, s| {
            if t > 0.0 && t % 10.0 == 0.0 {
                s.reach =
                    Some(Reach { heap_in_use_bytes: in_use(t) as u64, complete: true, ..Reach::default() });
            }
        })
    };
    let live = judged(&with_looks(|t| 40e6 + 0.55e6 * t)).verdict;
    assert_eq!(live.status, Status::Inconclusive, "{live:#?}");
    let garbage = judged(&with_looks(|_| 40e6)).verdict;
    assert_eq!(garbage.status, Status::Healthy, "{garbage:#?}");
}

/// The times of steps that come by chance, `mean` seconds apart, until `until`.
fn arrivals(seed: u64, mean: f64, until: f64) -> Vec<f64> {
    let mut random = Random::new(seed);
    let (mut times, mut t) = (Vec::new(), 0.0);
    loop {
        t += -mean * random.unit().max(1e-9).ln();
        if t > until {
            return times;
        }
        times.push(t);
    }
}

fn steps(times: &[f64], t: f64, each: f64) -> f64 {
    each * times.iter().filter(|at| **at <= t).count() as f64
}

#[test]
fn chunks_that_come_by_chance_are_no_health() {
    let verdicts: Vec<Status> = (0..20)
        .map(|seed| {
            let times = arrivals(seed, 4.5, 60.0);
            let world = native(61, &mut Random::new(seed)).with(|t, s| {
                s.native_mmap += steps(&times, t, 4.0 * MB);
            });
            judged(&world).verdict.status
        })
        .collect();
    let count = |status| verdicts.iter().filter(|verdict| **verdict == status).count();
    // One of twenty may wait so long for the next that it seems to have ended.
    assert!(count(Status::Healthy) <= 1 && count(Status::Leak) >= 10, "{verdicts:?}");
}

#[test]
fn a_pool_that_has_taken_what_it_needs_is_no_leak() {
    for seed in 0..20 {
        let times = arrivals(seed, 2.0, 25.0);
        let world = native(61, &mut Random::new(seed)).with(|t, s| {
            s.native_mmap += steps(&times, t, 4.0 * MB);
        });
        let verdict = judged(&world).verdict;
        assert_ne!(verdict.status, Status::Leak, "{seed}: {verdict:#?}");
    }
}

#[test]
fn a_healthy_verdict_says_what_grew_and_stopped() {
    let filled = native(61, &mut Random::new(3)).with(|t, s| s.native_mmap += 5.0 * MB * t.min(25.0));
    let verdict = judged(&filled).verdict;
    assert_eq!(verdict.status, Status::Healthy, "{verdict:#?}");
    assert!(verdict.summary.contains("native-mmap grew by"), "{}", verdict.summary);
    let teeth = native(61, &mut Random::new(3)).with(|t, s| s.malloc += 2.0 * MB * (t % 22.0));
    let verdict = judged(&teeth).verdict;
    assert!(verdict.summary.contains("native-malloc came and went"), "{}", verdict.summary);
}

#[test]
fn a_heap_that_rises_and_falls_is_not_filling() {
    let soft = jvm(61, 6.0, &mut Random::new(5)).with(|t, s| {
        s.heap_resident = 60.0 * MB + 10.0 * MB * (t % 20.0);
        s.heap_used = s.heap_resident - 5.0 * MB;
    });
    let verdict = judged(&soft).verdict;
    assert_ne!(verdict.cause, "heap-filling", "{verdict:#?}");
}

#[test]
fn a_heap_that_the_program_once_needed_is_held() {
    // 600 MB were needed in the first seconds; it is idle since.
    let mut world = jvm(61, 60.0, &mut Random::new(6)).with(|t, s| {
        s.heap_resident = 560.0 * MB;
        (s.old_used, s.heap_used) = (6.0 * MB, if t < 8.0 { 60.0 * MB * t } else { 7.0 * MB });
        s.young = 12;
    });
    world.heap_max = 1000.0 * MB;
    world.gc = "Parallel".into();
    let diagnosis = judged(&world);
    assert_eq!(diagnosis.verdict.status, Status::Retention, "{:#?}", diagnosis.verdict);
    assert_eq!(diagnosis.verdict.domain, Some(Domain::JavaHeap));
}

#[test]
fn threads_of_a_plain_program_are_not_spoken_of_as_a_jvms() {
    let world = native(61, &mut Random::new(8)).with(|t, s| s.pools.push(("worker-*".into(), 4.0 * t)));
    let verdict = judged(&world).verdict;
    assert_eq!((verdict.status, verdict.cause.as_str()), (Status::Leak, "thread-leak"), "{verdict:#?}");
    let all = format!("{} {:?} {:?}", verdict.summary, verdict.fix, verdict.confirm);
    assert!(["JVM", "jcmd", "-Xss"].iter().all(|word| !all.contains(word)), "{all}");
}

#[test]
fn threads_that_wait_for_children_are_children_that_do_not_end() {
    let world = jvm(61, 12.0, &mut Random::new(9))
        .with(|t, s| s.pools.push(("process reaper (pid *)".into(), 3.0 * t)));
    let verdict = judged(&world).verdict;
    assert_eq!((verdict.status, verdict.cause.as_str()), (Status::Leak, "thread-leak"), "{verdict:#?}");
    assert!(verdict.fix.iter().any(|fix| fix.contains("destroy()")), "{:?}", verdict.fix);
    assert!(verdict.fix.iter().all(|fix| !fix.contains("-Xss")), "{:?}", verdict.fix);
}

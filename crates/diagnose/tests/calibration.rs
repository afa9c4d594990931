//! Monte Carlo over whole processes with known truth: false alarms, power, and what the confidence
//! is worth.
//!
//! Every run draws a JVM of 200 MB (collections every 5 to 40 s, wobbling C heap), then a healthy
//! or leaking behaviour with drawn parameters. The figures that are asserted are those that the
//! tool promises for its real scenarios.

mod common;

use common::world::{MB, State, World, jvm, native};
use common::*;
use offheap_diagnose::{Diagnosis, Evidence, diagnose};
use offheap_model::{Domain, Finding, Status};
use std::collections::BTreeMap;

const RUNS: u64 = 240;

fn judged(world: &World) -> Diagnosis {
    let snapshots = world.snapshots();
    diagnose(&Evidence::of(&snapshots))
}

type Add = fn(&mut State, f64);

fn to_malloc(s: &mut State, v: f64) {
    s.malloc += v;
}
fn to_direct(s: &mut State, v: f64) {
    s.direct += v;
    s.direct_count += v / 1e5;
}
fn to_mmap(s: &mut State, v: f64) {
    s.native_mmap += v;
}

/// A healthy behaviour and its name.
fn healthy(n: usize, r: &mut Random) -> (&'static str, World) {
    let world = jvm(n, r.between(5.0, 40.0), r);
    let place: Add = [to_malloc, to_direct, to_mmap][(r.unit() * 3.0) as usize % 3];
    let height = r.between(5.0, 60.0) * MB;
    let n_s = n as f64;
    match (r.unit() * 12.0) as u32 {
        0 => ("idle", world),
        1 => ("cache that fills and stops", {
            let seconds = r.between(5.0, 0.6 * n_s);
            world.plus(&filling(n, height, seconds), place)
        }),
        2 => ("warm-up", {
            let tau = r.between(3.0, 9.0);
            world.plus(&saturating(n, height, tau), place)
        }),
        3 => ("churn in teeth", {
            let period = r.between(4.0, 0.3 * n_s);
            world.plus(&teeth(n, height, period, r), place)
        }),
        4 => ("freed by the collector", {
            let rate = r.between(0.2, 3.0) * MB;
            let (mut level, mut young) = (0.0, 0);
            world.with(|_, s| {
                level = if s.young > young { 0.0 } else { level + rate };
                young = s.young;
                place(s, level);
            })
        }),
        5 => ("sessions come and go", {
            let memory = r.between(2.0, 8.0);
            world.plus(&wander(n, height / 10.0, memory, r), place)
        }),
        6 => ("one step", {
            let at = r.between(2.0, 0.8 * n_s) as usize;
            world.plus(&step(n, height, at), place)
        }),
        7 => ("heap filling", {
            let rate = r.between(0.5, 4.0) * MB;
            world.with(|t, s| s.heap_resident = (60.0 * MB + rate * t).min(256.0 * MB))
        }),
        8 => ("bounded pool of threads", {
            let (rate, most) = (r.between(1.0, 6.0), r.between(20.0, 100.0));
            let most = most.min(rate * 0.6 * n_s);
            world.with(|t, s| s.pools.push(("exec-*".into(), (rate * t).min(most))))
        }),
        9 => ("classes at the start", {
            let seconds = r.between(4.0, 15.0);
            world.with(|t, s| {
                s.metaspace += 1.2 * MB * t.min(seconds);
                s.classes += 150.0 * t.min(seconds);
                s.malloc += 0.6 * MB * t.min(seconds);
                s.code += 0.4 * MB * t.min(seconds);
            })
        }),
        10 => ("promotion to the old generation", {
            let rate = r.between(0.05, 0.35) * MB;
            world.with(|t, s| s.old_used += rate * t)
        }),
        _ => ("retention in steps", {
            let every = r.between(3.0, 8.0);
            world.with(|t, s| {
                s.malloc_free = 12.0 * MB * (1.0 + (t / every).floor());
                s.trimmable = 0.95 * s.malloc_free;
            })
        }),
    }
}

/// A leak of `per_s` with what it should be called.
fn leaking(n: usize, per_s: f64, r: &mut Random) -> (&'static str, Domain, World) {
    let world = jvm(n, r.between(5.0, 30.0), r);
    match (r.unit() * 8.0) as u32 {
        0 => ("C heap", Domain::Malloc, world.plus(&ramp(n, per_s), to_malloc)),
        1 => ("direct buffers", Domain::DirectMemory, world.plus(&ramp(n, per_s), to_direct)),
        2 => ("maps", Domain::NativeMmap, world.plus(&ramp(n, per_s), to_mmap)),
        3 => ("threads", Domain::ThreadStacks, {
            let per_thread = 90e3;
            world.with(|t, s| {
                let count = (per_s * t / per_thread).floor();
                s.pools.push(("pool-*-thread-*".into(), count));
                s.malloc += 30e3 * count;
            })
        }),
        4 => ("C heap beside garbage", Domain::Malloc, {
            let rate = 0.5 * per_s;
            let (mut level, mut young) = (0.0, 0);
            world.plus(&ramp(n, per_s), to_malloc).with(|_, s| {
                level = if s.young > young { 0.0 } else { level + rate };
                young = s.young;
                s.malloc += level;
            })
        }),
        5 => ("C heap behind a warm-up", Domain::Malloc, {
            let (height, tau) = (r.between(2.0, 20.0) * MB, r.between(2.0, 5.0));
            world.plus(&ramp(n, per_s), to_malloc).plus(&saturating(n, height, tau), to_malloc)
        }),
        6 => ("C heap while the heap fills", Domain::Malloc, {
            world.plus(&ramp(n, per_s), to_malloc).with(|t, s| s.heap_resident = 60.0 * MB + 3.0 * MB * t)
        }),
        _ => ("files", Domain::MappedFiles, {
            let each = per_s * 2.0;
            world.with(|t, s| {
                for i in 0..(t / 2.0) as u64 {
                    s.files.push((format!("/data/segment-{i}"), each, each, false));
                }
            })
        }),
    }
}

#[derive(Default)]
struct Score {
    runs: u64,
    statuses: BTreeMap<&'static str, u64>,
    wrong: Vec<String>,
}

impl Score {
    fn count(&mut self, verdict: &Finding, right: bool, what: &str, seed: u64) {
        self.runs += 1;
        *self.statuses.entry(verdict.status.as_str()).or_default() += 1;
        if !right {
            self.wrong.push(format!(
                "{seed} {what}: {} {} {:?} {:.2}: {}",
                verdict.status, verdict.cause, verdict.domain, verdict.confidence, verdict.summary
            ));
        }
    }

    fn share_right(&self) -> f64 {
        1.0 - self.wrong.len() as f64 / self.runs.max(1) as f64
    }
}

#[test]
fn no_healthy_process_is_called_a_leak() {
    let mut score = Score::default();
    for seed in 0..RUNS {
        let (what, world) = healthy(61, &mut Random::new(seed));
        let verdict = judged(&world).verdict;
        assert_ne!(verdict.status, Status::Leak, "{seed} {what}: {verdict:#?}");
        let right = matches!(verdict.status, Status::Healthy | Status::Retention);
        score.count(&verdict, right, what, seed);
    }
    println!("{:?}\n{}", score.statuses, score.wrong.join("\n"));
    assert!(score.share_right() >= 0.95, "{:.3} healthy or retention", score.share_right());
}

#[test]
fn leaks_of_a_minute_are_found_with_their_domain() {
    let mut score = Score::default();
    for seed in 0..RUNS {
        let mut r = Random::new(1000 + seed);
        let rate = 0.2 * MB * 25f64.powf(r.unit());
        let (what, domain, world) = leaking(61, rate, &mut r);
        let verdict = judged(&world).verdict;
        let right = verdict.status == Status::Leak && verdict.domain == Some(domain);
        score.count(&verdict, right, &format!("{what} {:.2} MB/s", rate / MB), seed);
        if right && what != "C heap beside garbage" {
            let off = (verdict.slope_bytes_per_s - rate).abs() / rate;
            assert!(off < 0.35, "{seed} {what}: {} instead of {rate}", verdict.slope_bytes_per_s);
        }
    }
    println!("{:?}\n{}", score.statuses, score.wrong.join("\n"));
    assert!(score.share_right() >= 0.95, "{:.3} found", score.share_right());
}

#[test]
fn slow_leaks_of_three_minutes_are_found() {
    let mut score = Score::default();
    for seed in 0..RUNS / 4 {
        let mut r = Random::new(5000 + seed);
        let (what, domain, world) = leaking(181, 0.1 * MB, &mut r);
        let verdict = judged(&world).verdict;
        let right = verdict.status == Status::Leak && verdict.domain == Some(domain);
        score.count(&verdict, right, what, seed);
    }
    println!("{:?}\n{}", score.statuses, score.wrong.join("\n"));
    assert!(score.share_right() >= 0.95, "{:.3} found", score.share_right());
}

#[test]
fn a_fast_leak_is_certain_within_twenty_seconds_where_no_collector_is_to_be_asked() {
    let mut found = 0;
    for seed in 0..RUNS / 2 {
        let mut r = Random::new(9000 + seed);
        let world = native(20, &mut r).plus(&ramp(20, 2.0 * MB), to_malloc);
        found += u64::from(judged(&world).verdict.status == Status::Leak);
    }
    assert!(found * 100 >= 95 * (RUNS / 2), "{found} of {}", RUNS / 2);
}

#[test]
fn the_confidence_of_leaks_is_worth_what_it_says() {
    // Half the processes leak at hard-to-see rates, half are healthy; of what is called a leak, the
    // share that is one must not be below the mean confidence by more than a tenth.
    let (mut called, mut true_leaks, mut confidence) = (0.0, 0.0, 0.0);
    for seed in 0..RUNS {
        let mut r = Random::new(20_000 + seed);
        let n = if r.unit() < 0.5 { 31 } else { 61 };
        let leaks = r.unit() < 0.5;
        let world = if leaks {
            let rate = r.between(0.08, 0.4) * MB;
            leaking(n, rate, &mut r).2
        } else {
            healthy(n, &mut r).1
        };
        let verdict = judged(&world).verdict;
        if verdict.status == Status::Leak {
            called += 1.0;
            confidence += verdict.confidence;
            true_leaks += f64::from(u8::from(leaks));
        }
    }
    let (right, said) = (true_leaks / called, confidence / called);
    println!("{called} called leaks, {right:.3} are, {said:.3} said");
    assert!(called > 30.0 && right >= said - 0.1, "{right:.3} right, {said:.3} said");
}

//! Monte Carlo over single series: how often is growth seen where there is none, and missed where
//! there is some?
//!
//! `cargo test -p offheap-diagnose --test shapes -- --nocapture` prints the whole table.

mod common;

use common::*;
use offheap_diagnose::stats::{Point, Shape, Trend};
use std::collections::BTreeMap;

const RUNS: u64 = 200;

fn shapes(make: &dyn Fn(&mut Random) -> Values) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for seed in 0..RUNS {
        let values = make(&mut Random::new(seed));
        let points: Vec<Point> =
            values.iter().enumerate().map(|(i, v)| Point { t: i as f64, v: 200.0 + v }).collect();
        *counts.entry(format!("{:?}", Trend::of(&points).shape)).or_default() += 1;
    }
    counts
}

/// The share of runs in which growth is said to last to the end.
fn lasting(counts: &BTreeMap<String, u64>) -> f64 {
    let of = |shape: Shape| counts.get(&format!("{shape:?}")).copied().unwrap_or(0);
    (of(Shape::Steady) + of(Shape::RisingFloor)) as f64 / RUNS as f64
}

type Case<'a> = (&'a str, f64, Box<dyn Fn(&mut Random) -> Values>);

fn case(name: &str, bound: f64, make: impl Fn(&mut Random) -> Values + 'static) -> Case<'_> {
    (name, bound, Box::new(make))
}

#[test]
fn what_does_not_leak_is_seldom_called_lasting() {
    const N: usize = 60;
    let n = N as f64;
    let cases = [
        case("white noise", 0.005, |r| white(N, 1.0, r)),
        case("wander 2 s", 0.005, |r| wander(N, 1.0, 2.0, r)),
        case("wander 5 s", 0.005, |r| wander(N, 1.0, 5.0, r)),
        case("wander 10 s", 0.015, |r| wander(N, 1.0, 10.0, r)),
        case("wander 30 s", 0.03, |r| wander(N, 1.0, 30.0, r)),
        case("random walk", 0.04, |r| random_walk(N, 1.0, r)),
        case("teeth 5 s", 0.005, |r| teeth(N, 20.0, 5.0, r)),
        case("teeth 13 s", 0.005, |r| teeth(N, 20.0, 13.0, r)),
        case("teeth 30 s", 0.005, |r| teeth(N, 20.0, 30.0, r)),
        case("teeth 45 s", 0.005, |r| teeth(N, 20.0, 45.0, r)),
        case("teeth and wander", 0.005, |r| sum(&[teeth(N, 20.0, 13.0, r), wander(N, 2.0, 8.0, r)])),
        case("a step", 0.005, move |r| {
            let at = r.between(1.0, n) as usize;
            sum(&[step(N, 20.0, at), white(N, 0.5, r)])
        }),
        case("two steps", 0.005, move |r| {
            let (a, b) = (r.between(1.0, n) as usize, r.between(1.0, n) as usize);
            sum(&[step(N, 20.0, a), step(N, 20.0, b), white(N, 0.5, r)])
        }),
        case("fills and stops", 0.005, move |r| {
            let seconds = r.between(5.0, 0.8 * n);
            sum(&[filling(N, 40.0, seconds), white(N, 0.5, r)])
        }),
        case("saturates", 0.01, |r| {
            let tau = r.between(5.0, 60.0);
            sum(&[saturating(N, 40.0, tau), white(N, 0.5, r)])
        }),
    ];
    for (name, bound, make) in cases {
        let counts = shapes(make.as_ref());
        println!("{name:20} {:.3} {counts:?}", lasting(&counts));
        assert!(lasting(&counts) <= bound, "{name}: {:.3} of {counts:?}", lasting(&counts));
    }
}

#[test]
fn leaks_are_seen_through_noise() {
    const N: usize = 60;
    let leak = || ramp(N, 0.2);
    let cases = [
        case("no noise", 1.0, move |_| leak()),
        case("white 0.3", 0.99, move |r| sum(&[leak(), white(N, 0.3, r)])),
        case("white 1", 0.97, move |r| sum(&[leak(), white(N, 1.0, r)])),
        case("white 2", 0.75, move |r| sum(&[leak(), white(N, 2.0, r)])),
        case("wander 2 s", 0.95, move |r| sum(&[leak(), wander(N, 0.5, 2.0, r)])),
        case("wander 10 s", 0.95, move |r| sum(&[leak(), wander(N, 0.3, 10.0, r)])),
        case("teeth 5 s", 0.97, move |r| sum(&[leak(), teeth(N, 2.0, 5.0, r)])),
        case("teeth 13 s", 0.90, move |r| sum(&[leak(), teeth(N, 2.0, 13.0, r)])),
        case("high teeth 13 s", 0.90, move |r| sum(&[leak(), teeth(N, 5.0, 13.0, r)])),
        case("teeth 30 s", 0.95, move |r| sum(&[leak(), teeth(N, 1.0, 30.0, r)])),
        case("warm-up", 0.97, move |r| sum(&[leak(), filling(N, 20.0, 12.0), white(N, 0.2, r)])),
        case("saturating warm-up", 0.95, move |r| sum(&[leak(), saturating(N, 10.0, 5.0), white(N, 0.2, r)])),
    ];
    for (name, bound, make) in cases {
        let counts = shapes(make.as_ref());
        println!("{name:20} {:.3} {counts:?}", lasting(&counts));
        assert!(lasting(&counts) >= bound, "{name}: {:.3} of {counts:?}", lasting(&counts));
    }
}

#[test]
fn short_windows_are_careful() {
    const N: usize = 20;
    let fills = case("saturates", 0.2, |r| {
        let tau = r.between(5.0, 60.0);
        sum(&[saturating(N, 40.0, tau), white(N, 0.1, r)])
    });
    let leaks = case("leak", 0.9, |r| sum(&[ramp(N, 2.0), white(N, 0.5, r)]));
    let (fill, leak) = (lasting(&shapes(fills.2.as_ref())), lasting(&shapes(leaks.2.as_ref())));
    println!("{fill} {leak}");
    assert!(fill <= 0.02 && leak >= 0.97, "{fill} {leak}");
}

#[test]
fn the_interval_holds_the_slope_nineteen_times_in_twenty() {
    for memory in [0.1, 2.0, 5.0] {
        let mut held = 0;
        for seed in 0..RUNS {
            let mut r = Random::new(seed);
            let values = sum(&[ramp(60, 0.3), wander(60, 1.0, memory, &mut r)]);
            let points: Vec<Point> =
                values.iter().enumerate().map(|(i, v)| Point { t: i as f64, v: *v }).collect();
            let [low, high] = Trend::of(&points).slope.ci95;
            held += u64::from(low <= 0.3 && 0.3 <= high);
        }
        assert!(held * 100 >= RUNS * 91, "memory {memory} s: {held} of {RUNS}");
    }
}

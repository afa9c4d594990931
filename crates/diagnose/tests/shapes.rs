//! Monte Carlo over single series: how often is growth seen where there is none, and missed where there is some?

mod common;

use common::*;
use offheap_diagnose::stats::{Point, Shape, Trend};
use std::collections::BTreeMap;

const RUNS: u64 = 200;

fn shapes(make: impl Fn(&mut Random) -> Values) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for seed in 0..RUNS {
        let values = make(&mut Random::new(seed));
        let points: Vec<Point> =
            values.iter().enumerate().map(|(i, v)| Point { t: i as f64, v: 200.0 + v }).collect();
        *counts.entry(format!("{:?}", Trend::of(&points).shape)).or_default() += 1;
    }
    counts
}

fn lasting(counts: &BTreeMap<String, u64>) -> f64 {
    [Shape::Steady, Shape::RisingFloor]
        .iter()
        .map(|s| counts.get(&format!("{s:?}")).copied().unwrap_or(0))
        .sum::<u64>() as f64
        / RUNS as f64
}

type Maker = (&'static str, Box<dyn Fn(&mut Random) -> Values>);
fn maker(name: &'static str, f: impl Fn(&mut Random) -> Values + 'static) -> Maker {
    (name, Box::new(f))
}

#[test]
fn explore() {
    for n in [20usize, 30, 60] {
        println!("== {n} s, healthy");
        let healthy = vec![
            maker("white 1", move |r| white(n, 1.0, r)),
            maker("wander 2s", move |r| wander(n, 1.0, 2.0, r)),
            maker("wander 5s", move |r| wander(n, 1.0, 5.0, r)),
            maker("wander 10s", move |r| wander(n, 1.0, 10.0, r)),
            maker("wander 30s", move |r| wander(n, 1.0, 30.0, r)),
            maker("walk", move |r| random_walk(n, 1.0, r)),
            maker("teeth 5", move |r| teeth(n, 20.0, 5.0, r)),
            maker("teeth 13", move |r| teeth(n, 20.0, 13.0, r)),
            maker("teeth 30", move |r| teeth(n, 20.0, 30.0, r)),
            maker("teeth 45", move |r| teeth(n, 20.0, 45.0, r)),
            maker("teeth 13 + wander", move |r| sum(&[teeth(n, 20.0, 13.0, r), wander(n, 2.0, 8.0, r)])),
            maker("step", move |r| {
                let at = r.between(1.0, n as f64) as usize;
                sum(&[step(n, 20.0, at), white(n, 0.5, r)])
            }),
            maker("two steps", move |r| {
                let at = r.between(1.0, n as f64) as usize;
                let b = r.between(1.0, n as f64) as usize;
                sum(&[step(n, 20.0, at), step(n, 20.0, b), white(n, 0.5, r)])
            }),
            maker("fill", move |r| {
                let s = r.between(5.0, 0.8 * n as f64);
                sum(&[filling(n, 40.0, s), white(n, 0.5, r)])
            }),
            maker("saturate", move |r| {
                let s = r.between(5.0, 60.0);
                sum(&[saturating(n, 40.0, s), white(n, 0.5, r)])
            }),
            maker("saturate .1", move |r| {
                let s = r.between(5.0, 60.0);
                sum(&[saturating(n, 40.0, s), white(n, 0.1, r)])
            }),
        ];
        for (name, make) in healthy {
            let counts = shapes(make);
            println!("{name:20} {:.3} {counts:?}", lasting(&counts));
        }
        println!("== {n} s, leaks of 0.2/s");
        let leaks = vec![
            maker("white .3", move |r| sum(&[ramp(n, 0.2), white(n, 0.3, r)])),
            maker("white 1", move |r| sum(&[ramp(n, 0.2), white(n, 1.0, r)])),
            maker("white 2", move |r| sum(&[ramp(n, 0.2), white(n, 2.0, r)])),
            maker("wander 2s .5", move |r| sum(&[ramp(n, 0.2), wander(n, 0.5, 2.0, r)])),
            maker("wander 10s .3", move |r| sum(&[ramp(n, 0.2), wander(n, 0.3, 10.0, r)])),
            maker("wander 10s .5", move |r| sum(&[ramp(n, 0.2), wander(n, 0.5, 10.0, r)])),
            maker("teeth 5 h2", move |r| sum(&[ramp(n, 0.2), teeth(n, 2.0, 5.0, r)])),
            maker("teeth 13 h2", move |r| sum(&[ramp(n, 0.2), teeth(n, 2.0, 13.0, r)])),
            maker("teeth 13 h5", move |r| sum(&[ramp(n, 0.2), teeth(n, 5.0, 13.0, r)])),
            maker("teeth 30 h1", move |r| sum(&[ramp(n, 0.2), teeth(n, 1.0, 30.0, r)])),
            maker("teeth 30 h2", move |r| sum(&[ramp(n, 0.2), teeth(n, 2.0, 30.0, r)])),
            maker("warm up", move |r| sum(&[ramp(n, 0.2), filling(n, 20.0, 12.0), white(n, 0.2, r)])),
            maker("saturating warm up", move |r| {
                sum(&[ramp(n, 0.2), saturating(n, 10.0, 5.0), white(n, 0.2, r)])
            }),
            maker("5/s, white 10", move |r| sum(&[ramp(n, 5.0), white(n, 10.0, r)])),
        ];
        for (name, make) in leaks {
            let counts = shapes(make);
            println!("{name:20} {:.3} {counts:?}", lasting(&counts));
        }
    }
}

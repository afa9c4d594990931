//! Estimates against the truth: a known mix of sizes, sampled, and at interval 1.

mod common;

use std::process::Command;

use offheap_live::{Counter, MIN_FILE_BYTES, Reader, State};

struct Site {
    size: u64,
    count: f64,
}

const SITES: [Site; 2] = [Site { size: 200, count: 60_000.0 }, Site { size: 600_000, count: 20.0 }];
const PASSING: (u64, f64) = (3000, 20_000.0);

/// Estimated live bytes and count of each site, and estimated bytes allocated at the one that
/// frees.
fn run(program: &std::path::Path, file: &std::path::Path, interval: u64) -> ([(f64, f64); 2], f64) {
    let _ = std::fs::remove_file(file);
    let mut command = Command::new(program);
    command
        .env("LD_PRELOAD", common::agent())
        .env("OFFHEAP_FILE", file)
        // At interval 1 every block needs a place.
        .env("OFFHEAP_SIZE", (if interval == 1 { 16 << 20 } else { 4 << 20 }).to_string())
        .env("OFFHEAP_INTERVAL", interval.to_string());
    let (out, err, code) = common::run(&mut command, 60);
    assert_eq!((out.as_str(), err.as_str(), code), ("", "", Some(0)));
    let bytes = std::fs::read(file).unwrap();
    let r = Reader::new(&bytes).unwrap();
    assert_eq!(r.info().state, Some(State::Running));
    assert_eq!(r.dropped(), 0);
    assert_eq!(r.samples().filter(|s| s.size == PASSING.0).count(), 0, "a freed block is in the table");
    let live = SITES.each_ref().map(|site| {
        let of = |s: &offheap_live::Sample| s.size == site.size;
        (
            r.samples().filter(of).map(|s| s.size as f64 * s.weight).sum(),
            r.samples().filter(of).map(|s| s.weight).sum(),
        )
    });
    let passed = r.stacks().map(|s| (s.alloc_bytes, s.free_bytes)).filter(|(_, f)| *f > 0.0);
    let allocated = passed.map(|(a, _)| a).fold(0.0, f64::max);
    (live, allocated)
}

#[test]
fn exact_at_interval_1() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("mix");
    common::compile("gcc", "c/mix.c", &program, &[]);
    let (live, passed) = run(&program, &dir.path().join("mix.live"), 1);
    assert_eq!(live, SITES.each_ref().map(|s| (s.size as f64 * s.count, s.count)));
    assert_eq!(passed, PASSING.0 as f64 * PASSING.1);
}

/// A table that is too small loses samples, says how many, and still knows what was allocated
/// where.
#[test]
fn a_full_table_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (program, file) = (dir.path().join("mix"), dir.path().join("full.live"));
    common::compile("gcc", "c/mix.c", &program, &[]);
    let mut command = Command::new(&program);
    command.env("LD_PRELOAD", common::agent()).env("OFFHEAP_FILE", &file).env("OFFHEAP_INTERVAL", "1");
    command.env("OFFHEAP_SIZE", MIN_FILE_BYTES.to_string());
    let (out, err, code) = common::run(&mut command, 60);
    assert_eq!((out.as_str(), err.as_str(), code), ("", "", Some(0)));
    let bytes = std::fs::read(&file).unwrap();
    let r = Reader::new(&bytes).unwrap();
    let live = r.samples().filter(|s| s.size == 200 || s.size == 600_000).count() as u64;
    let dropped = r.counter(Counter::DropTableFull);
    assert!(dropped > 10_000 && live > 10_000, "{live} {dropped}");
    assert_eq!(live + dropped, 60_020);
    assert_eq!(r.dropped(), dropped);
    assert_eq!(r.samples().filter(|s| s.size == PASSING.0).count(), 0, "a freed block is in the table");
    let small = r.stacks().filter(|s| (s.alloc_bytes, s.alloc_count) == (12e6, 60_000.0)).count();
    assert_eq!(small, 1, "the site's total");
}

/// Within two standard errors in 95 of 100 runs; asked for here is 85, which a right sampler misses
/// once in 10,000 times, and no bias beyond four standard errors of the mean.
#[test]
fn unbiased_when_sampled() {
    const RUNS: u32 = 100;
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("mix");
    common::compile("gcc", "c/mix.c", &program, &[]);
    for interval in [512 << 10, 64 << 10] {
        let mut within = [0; 2];
        let mut sum = [(0.0, 0.0); 2];
        for _ in 0..RUNS {
            let (live, _) = run(&program, &dir.path().join("mix.live"), interval);
            for (i, (bytes, count)) in live.into_iter().enumerate() {
                let (truth, sigma) = truth(&SITES[i], interval);
                within[i] += u32::from((bytes - truth).abs() <= 2.0 * sigma);
                sum[i].0 += bytes;
                sum[i].1 += count;
            }
        }
        for (i, site) in SITES.iter().enumerate() {
            let (truth, sigma) = truth(site, interval);
            let standard_error = sigma / f64::from(RUNS).sqrt();
            let mean = sum[i].0 / f64::from(RUNS);
            println!(
                "{} B at {interval}: {} of {RUNS} within 2σ, mean {:.3} of the truth",
                site.size,
                within[i],
                mean / truth
            );
            assert!(within[i] >= 85, "{} B at {interval}: {} of {RUNS} within 2σ", site.size, within[i]);
            assert!(
                (mean - truth).abs() <= 4.0 * standard_error,
                "{} B at {interval}: {mean} of {truth}",
                site.size
            );
            let counted = sum[i].1 / f64::from(RUNS);
            assert!((counted - site.count).abs() * site.size as f64 <= 4.0 * standard_error);
        }
    }
}

/// True bytes of a site, and the standard error of their estimate: each allocation is in the sample
/// with probability p = 1-exp(-size/interval) and then counts 1/p times.
fn truth(site: &Site, interval: u64) -> (f64, f64) {
    let size = site.size as f64;
    let p = -(-size / interval as f64).exp_m1();
    (size * site.count, (size * size * site.count * (1.0 - p) / p).sqrt())
}

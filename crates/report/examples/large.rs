//! How long a browser takes over a large report: a day of snapshots every 5 s, 10,000 sites, 12
//! instants.
//!
//! `bench/report/run.sh` runs it; `cargo run -p offheap-report --example large -- FILE` also keeps
//! the page.

#[path = "../tests/common/mod.rs"]
mod common;

use common::Sample;
use common::browser::Browser;
use offheap_model::{Age, Frame, FrameKind, Profile, ProfileSite, Snapshot};
use offheap_report::{Report, render};
use serde_json::json;

const SNAPSHOTS: i64 = 86_400 / 5;
const SITES: u64 = 10_000;
const INSTANTS: i64 = 12;

/// Numbers that look random and are the same each time (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn main() {
    let sample = Sample::read();
    let mut random = Random(42);
    let snapshots = day(&sample.snapshots, &mut random);
    let begin = snapshots.first().map_or(0, |snapshot| snapshot.time_ms);
    let instants: Vec<(i64, Profile)> =
        (1..=INSTANTS).map(|hour| (begin + hour * 7_200_000, profile(begin, hour as u64))).collect();
    let diagnosis = sample.diagnosis();
    let page = render(&Report { snapshots: &snapshots, instants: &instants, ..Report::of(&diagnosis) });
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = std::env::args().nth(1).map_or_else(|| folder.path().join("large.html"), Into::into);
    std::fs::write(&path, &page).expect("the page can be written");
    println!(
        "{} snapshots, {SITES} sites, {INSTANTS} instants: a page of {} KiB",
        snapshots.len(),
        page.len() / 1024
    );
    for (name, width, height) in [("desktop", 1280, 900), ("phone", 390, 844)] {
        measure(&path, name, width, height);
    }
}

/// Opens the page five times, and does to it what a reader does; times are the browser's own, to
/// the next frame drawn.
fn measure(path: &std::path::Path, name: &str, width: u32, height: u32) {
    let mut browser = Browser::start();
    let (mut opened, mut busy) = (Vec::new(), Vec::new());
    // Time on a core, not on the clock: this also tells something on a busy machine.
    browser.call("Performance.enable", json!({"timeDomain": "threadTicks"}));
    for _ in 0..5 {
        browser.open(&format!("file://{}", path.display()), width, height, false);
        opened.push(
            browser.value("Number(document.documentElement.dataset.ready)").as_f64().unwrap_or(f64::NAN),
        );
        busy.push(thread_ms(&mut browser));
    }
    println!("{name}: interactive after {opened:.0?} ms; of that on a core {busy:.0?} ms");
    let actions = [
        ("sort the sites", "document.querySelector('[data-sort=live]').click()"),
        ("scroll to the last site", "document.querySelector('.rows').scrollTop = 1e9"),
        (
            "zoom into the flame graph",
            "(() => { const c = document.querySelector('.flame canvas'), r = c.getBoundingClientRect(); \
         c.dispatchEvent(new MouseEvent('click', { bubbles: true, clientX: r.x + 40, clientY: r.y + 70 })); })()",
        ),
        ("filter by a domain", "document.querySelector('[data-domain=native-malloc]').click()"),
        ("all domains again", "document.querySelector('[data-domain=native-malloc]').click()"),
        ("compare two instants", "document.querySelector('#compare').click()"),
        ("allocator first", "document.querySelector('[data-value=up]').click()"),
        (
            "search",
            "(() => { const f = document.querySelector('.search input'); f.value = 'handler1'; f.dispatchEvent(new Event('input')); })()",
        ),
        ("theme", "document.querySelector('#theme').click()"),
    ];
    for (what, action) in actions {
        let took = browser.value(&format!(
            "(async () => {{ const frame = () => new Promise(done => requestAnimationFrame(() => setTimeout(done))); await frame(); \
             const begun = performance.now(); {action}; await frame(); return performance.now() - begun; }})()"
        ));
        println!("  {what}: {:.0} ms", took.as_f64().unwrap_or(f64::NAN));
    }
    assert!(browser.problems().is_empty(), "{:?}", browser.problems());
}

/// Milliseconds that the page's thread has worked for since the page was asked for.
fn thread_ms(browser: &mut Browser) -> f64 {
    let metrics = browser.call("Performance.getMetrics", json!({}));
    let find = |name: &str| {
        let all = metrics["metrics"].as_array().map_or(&[][..], Vec::as_slice);
        all.iter().find(|metric| metric["name"] == name).and_then(|metric| metric["value"].as_f64())
    };
    1000.0 * find("TaskDuration").unwrap_or(f64::NAN)
}

/// The sample's hundred seconds stretched over a day, with noise.
fn day(sample: &[Snapshot], random: &mut Random) -> Vec<Snapshot> {
    let begin = sample.first().map_or(0, |snapshot| snapshot.time_ms);
    (0..SNAPSHOTS)
        .map(|index| {
            let mut snapshot = sample[(index as usize * sample.len()) / SNAPSHOTS as usize].clone();
            snapshot.time_ms = begin + index * 5000;
            for figure in &mut snapshot.domains {
                figure.rss_bytes += random.below(figure.rss_bytes / 50 + 1) & !4095;
            }
            snapshot.memory.rss_bytes = snapshot.domains.iter().map(|figure| figure.rss_bytes).sum();
            // Only the ends' lists are shown: a day of them need not be in memory here.
            if index != 0 && index + 1 != SNAPSHOTS {
                snapshot.files.clear();
                snapshot.malloc = None;
            }
            snapshot
        })
        .collect()
}

/// Stacks of 20 to 60 frames that share their outer ones, as those of a service do.
fn profile(begin: i64, hour: u64) -> Profile {
    let mut random = Random(7);
    let kinds = [FrameKind::Java, FrameKind::Java, FrameKind::Native, FrameKind::Jvm];
    let frames: Vec<Frame> = (0..6_000u32)
        .map(|number| Frame {
            name: format!(
                "com.example.service.module{}.Component{number}.handler{}",
                number % 40,
                number % 7
            ),
            kind: kinds[number as usize % kinds.len()],
            file: Some(format!("Component{number}.java")),
            line: Some(number % 900),
            module: None,
        })
        .collect();
    let sites = (0..SITES)
        .map(|_| {
            let depth = 20 + random.below(40);
            // The outer the frame, the fewer there are to choose from.
            let stack: Vec<u32> =
                (0..depth).map(|level| random.below(2 + (depth - level).pow(2) * 2) as u32).rev().collect();
            let stack: Vec<u32> = stack.into_iter().rev().map(|frame| frame.min(5_999)).collect();
            let live = (random.below(1 << 20) + 1) * hour;
            ProfileSite {
                stack,
                live_bytes: live,
                live_count: live / 512 + 1,
                leak_bytes: live / 2,
                allocated_bytes: live * 3,
                allocated_count: live / 128,
                slope_bytes_per_s: Some(live as f64 / 1e5),
                slope_ci95: Some([live as f64 / 2e5, live as f64 / 5e4]),
                age_seconds: Some(Age { p50: 100.0 * hour as f64, p90: 700.0 * hour as f64 }),
            }
        })
        .collect();
    Profile { start_ms: begin, seconds: 7200.0 * hour as f64, frames, sites, ..Profile::default() }
}

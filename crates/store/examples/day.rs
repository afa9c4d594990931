//! What a day at one snapshot a second costs: `cargo run --release -p offheap-store --example day`.

#[path = "../tests/support/mod.rs"]
mod support;

use offheap_model::FigureKind;
use offheap_store::{Options, Recorder, Recording};
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("day.offheap");
    let mut recorder = Recorder::create(&path, Options::default())?;
    let seconds = 86_400;
    let (mut spent, mut largest) = (0.0f64, 0u64);
    for second in 0..seconds {
        let snapshot = support::snapshot(second, 7);
        let begun = Instant::now();
        recorder.append(&snapshot)?;
        spent += begun.elapsed().as_secs_f64();
        if second % 600 == 0 {
            largest = largest.max(std::fs::metadata(&path)?.len());
        }
    }
    recorder.finish()?;
    let size = std::fs::metadata(&path)?.len();
    println!("{:.1} MiB after a day, {:.1} MiB at most", mib(size), mib(largest.max(size)));
    println!("{:.3} ms a snapshot, thinning included", spent * 1000.0 / seconds as f64);
    let begun = Instant::now();
    let recording = Recording::open(&path)?;
    let targets = recording.targets()?;
    let domains = recording.figures(targets[0].id, FigureKind::Domain)?;
    let points: usize = domains.iter().map(|figure| figure.points.len()).sum();
    println!(
        "{:.3} s to open, list {} snapshots and read {points} points of {} domains",
        begun.elapsed().as_secs_f64(),
        targets[0].snapshots,
        domains.len()
    );
    let begun = Instant::now();
    let few = recording.snapshots(targets[0].id, 0..=i64::MAX, 400)?;
    println!("{:.3} s for {} whole snapshots spread over the day", begun.elapsed().as_secs_f64(), few.len());
    Ok(())
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}

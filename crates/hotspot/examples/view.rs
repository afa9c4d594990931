//! Prints a view of a JVM: `cargo run --example view -- PID`.
use offheap_hotspot::{HotSpot, ViewOptions};
use offheap_linux::Process;
use std::time::Instant;
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pid = std::env::args().nth(1).ok_or("a pid")?.parse()?;
    let process = Process::open(pid)?;
    let vmas = process.smaps()?;
    let memory = process.memory(&vmas)?;
    let t = Instant::now();
    println!("brief {:?} {:?}", offheap_hotspot::brief(&process), t.elapsed());
    let t = Instant::now();
    let hotspot = HotSpot::open(&process, &memory)?;
    println!("open {:?}", t.elapsed());
    for _ in 0..3 {
        let t = Instant::now();
        let tasks = process.tasks()?;
        print!("tasks {:?} ", t.elapsed());
        let t = Instant::now();
        memory.forget();
        let view = hotspot.view(&memory, &tasks, ViewOptions::default());
        println!("view {:?}", t.elapsed());
        let _ = view;
    }
    let t = Instant::now();
    let b = hotspot.direct_buffers(&memory, 1 << 31);
    println!(
        "buffers {} {} scanned {} {:?} {:?}",
        b.buffers.len(),
        b.buffers.iter().map(|b| b.capacity).sum::<u64>(),
        b.scanned,
        b.incomplete,
        t.elapsed()
    );
    memory.forget();
    let mut view = hotspot.view(&memory, &process.tasks()?, ViewOptions::default());
    let labels = std::mem::take(&mut view.labels);
    let threads = std::mem::take(&mut view.threads);
    let flags = std::mem::take(&mut view.flags);
    let nmt = view.nmt.take();
    println!("{view:#?}");
    println!("{flags:?}");
    for n in nmt.iter().flatten() {
        println!("nmt {n:?}");
    }
    for t in &threads {
        println!(
            "{:?} {} {} {:x}-{:x} {}K",
            t.kind,
            t.tid,
            t.name,
            t.stack.start,
            t.stack.end,
            (t.stack.end - t.stack.start) >> 10
        );
    }
    let present = |a: u64, b: u64| -> u64 {
        memory
            .pagemap()
            .runs(a, b)
            .iter()
            .filter(|r| r.kind == offheap_linux::PageKind::Present)
            .map(|r| r.end - r.start)
            .sum()
    };
    for l in &labels {
        let p = present(l.start, l.end);
        println!(
            "{:x}-{:x} {:?} {} [{}] {}K resident {}K",
            l.start,
            l.end,
            l.what,
            l.name,
            l.source,
            (l.end - l.start) >> 10,
            p >> 10
        );
    }
    println!("--- unlabelled anonymous");
    let rss: u64 = vmas.iter().map(|v| v.rss).sum();
    let mut rest = 0;
    for v in &vmas {
        if !v.path.is_empty() {
            continue;
        }
        let mut at = v.start;
        let mut gaps = vec![];
        while at < v.end {
            if let Some(l) = labels.iter().find(|l| l.start <= at && at < l.end) {
                at = l.end;
                continue;
            }
            let next =
                labels.iter().map(|l| l.start).filter(|s| *s > at).min().unwrap_or(u64::MAX).min(v.end);
            gaps.push((at, next));
            at = next;
        }
        for (a, b) in gaps {
            let p = present(a, b);
            if p > 0 {
                rest += p;
                let near = vmas.iter().find(|x| x.end == v.start).map(|x| x.path.clone()).unwrap_or_default();
                println!(
                    "{a:x}-{b:x} of {:x}-{:x} {}{}{} {}K resident {}K after {near}",
                    v.start,
                    v.end,
                    v.read as u8,
                    v.write as u8,
                    v.exec as u8,
                    (b - a) >> 10,
                    p >> 10
                );
            }
        }
    }
    println!("rss {}K unlabelled {}K {:.2}%", rss >> 10, rest >> 10, 100.0 * rest as f64 / rss as f64);
    Ok(())
}

//! Every version of Java found here, with every collector it has, small and pretouched: how much of
//! the resident memory has no label.

mod support;

use offheap_hotspot::{HotSpot, Label, View, ViewOptions};
use offheap_linux::{Live, PageKind, Process, Reads, Target, Vma};
use support::{Java, Jvm, javas};

/// The collectors' names, and the options that choose them.
const COLLECTORS: [(&str, &str); 7] = [
    ("Serial", "-XX:+UseSerialGC"),
    ("Parallel", "-XX:+UseParallelGC"),
    ("G1", "-XX:+UseG1GC"),
    ("Z", "-XX:+UseZGC"),
    ("Z", "-XX:+UseZGC -XX:+ZGenerational"),
    ("Shenandoah", "-XX:+UseShenandoahGC"),
    ("ConcMarkSweep", "-XX:+UseConcMarkSweepGC"),
];
const CONDITIONS: [(&str, &[&str]); 2] =
    [("small", &["-Xmx256m"]), ("pretouched", &["-Xms1g", "-Xmx1g", "-XX:+AlwaysPreTouch"])];
/// What may stay without a label, in percent of the resident memory.
const LIMIT: f64 = 1.0;

#[test]
fn nearly_all_resident_memory_has_a_label() {
    let mut over = Vec::new();
    let only = std::env::var("OFFHEAP_MATRIX").unwrap_or_default();
    for java in javas() {
        for (collector, flags) in COLLECTORS {
            let flags: Vec<&str> =
                std::iter::once("-XX:+UnlockExperimentalVMOptions").chain(flags.split(' ')).collect();
            // From 23 on the generations are the default and the flag says so with a warning.
            if !java.accepts(&flags) || (flags.len() > 2 && java.feature != 21) {
                continue;
            }
            for (condition, options) in CONDITIONS {
                let cell =
                    format!("{} {} {condition}", java.version, flags[1..].join(" ").replace("-XX:+", ""));
                if !only.split(' ').all(|word| cell.contains(word)) {
                    continue;
                }
                let options = [&flags, options].concat();
                // A JVM that swaps a table at the very moment of the look is looked at again.
                let missed = (0..3).all(|_| {
                    let rest = rest(&java, &options, collector);
                    println!("{cell:42} {}", rest.text);
                    rest.percent > LIMIT || !rest.complete
                });
                if missed {
                    over.push(cell);
                }
            }
        }
    }
    assert!(over.is_empty(), "more than {LIMIT} % without a label: {over:?}");
}

struct Rest {
    percent: f64,
    complete: bool,
    text: String,
}

fn rest(java: &Java, options: &[&str], collector: &str) -> Rest {
    let jvm = Jvm::idle(java, options);
    let process = Process::open(jvm.pid()).unwrap();
    let vmas = process.smaps().unwrap();
    let memory = process.memory(&vmas).unwrap();
    let hotspot = HotSpot::open(&memory).unwrap();
    let view = hotspot.view(&memory, &process.tasks().unwrap(), ViewOptions::default());
    assert_eq!(view.gc, collector);
    assert_eq!(view.feature, java.feature);
    // Z's heap may be mapped three times; each mapping counts.
    let rss: u64 = vmas.iter().map(|vma| vma.rss).sum();
    let gaps = unlabelled(&memory, &vmas, &view);
    let bytes: u64 = gaps.iter().map(|(_, _, resident)| resident).sum();
    let percent = 100.0 * bytes as f64 / rss as f64;
    let mut text = format!(
        "{percent:5.2} % of {} MB, heap used {:?} committed {:?} old {:?} after gc {:?} x{}",
        rss >> 20,
        view.heap.used.map(|b| b >> 10),
        view.heap.committed.map(|b| b >> 10),
        view.heap.old_used.map(|b| b >> 10),
        view.heap.old_after_gc.map(|b| b >> 10),
        view.heap.mapped_times,
    );
    for problem in &view.problems {
        text += &format!("\n    {problem}");
    }
    if percent > LIMIT || std::env::var_os("OFFHEAP_VERBOSE").is_some() {
        for (start, end, resident) in gaps {
            let vma = memory.vma(start).unwrap();
            text += &format!(
                "\n    {start:x}-{end:x} {}K resident {}K in {:x}-{:x}",
                (end - start) >> 10,
                resident >> 10,
                vma.start,
                vma.end
            );
        }
    }
    Rest { percent, complete: view.coverage.is_complete(), text }
}

/// Ranges of anonymous memory that have no label and don't look like the C library's or a library's
/// data.
fn unlabelled(memory: &Live, vmas: &[Vma], view: &View) -> Vec<(u64, u64, u64)> {
    let mut found = Vec::new();
    for (index, vma) in vmas.iter().enumerate() {
        let after_library = index > 0
            && vmas[index - 1].end == vma.start
            && vmas[index - 1].is_file()
            && vmas[index - 1].write;
        if !vma.path.is_empty() || after_library || is_arena(memory, vma) {
            continue;
        }
        for (start, end) in gaps(&view.labels, vma.start, vma.end) {
            let rest = without_chunks(memory, start, end);
            if rest > 0 {
                found.push((start, end, rest));
            }
        }
    }
    found
}

fn gaps(labels: &[Label], start: u64, end: u64) -> Vec<(u64, u64)> {
    let mut gaps = Vec::new();
    let mut at = start;
    for label in labels.iter().filter(|label| label.end > start && label.start < end) {
        if label.start > at {
            gaps.push((at, label.start));
        }
        at = at.max(label.end);
    }
    if at < end {
        gaps.push((at, end));
    }
    gaps
}

/// One of glibc's heaps: aligned to 64 MB, it starts with a pointer to its arena.
fn is_arena(memory: &Live, vma: &Vma) -> bool {
    vma.start.is_multiple_of(64 << 20)
        && vma.write
        && memory.u64(vma.start).is_ok_and(|arena| arena >> 40 == 0x7f)
}

/// Resident bytes without what looks like glibc's mmapped chunks: a chunk's size with its "mapped"
/// bit at a page's start.
fn without_chunks(memory: &Live, start: u64, end: u64) -> u64 {
    let mut rest = 0;
    let mut chunk_end = start;
    for run in memory.runs(start, end).iter().filter(|run| run.kind == PageKind::Present) {
        let mut at = run.start;
        while at < run.end {
            if at >= chunk_end {
                let size = memory.u64(at + 8).unwrap_or(0);
                // From 2.42 on the size is stored without the header.
                let chunk = [size & !7, (size & !7).saturating_add(16)]
                    .into_iter()
                    .find(|bytes| bytes.is_multiple_of(4096));
                match chunk {
                    Some(bytes) if size & 7 == 2 && bytes >= 4096 && bytes <= end - at => {
                        chunk_end = at + bytes
                    }
                    _ => rest += 4096,
                }
            }
            at += 4096;
        }
    }
    rest
}

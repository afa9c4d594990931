//! Walks the heap of a process and prints what it finds: `cargo run -p offheap-heaps --example walk
//! -- PID [TIMES [BUDGET]]`.

use offheap_heaps::{Heap, Options, Walker};
use offheap_linux::Process;
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let pid = arguments.next().ok_or("which process?")?.parse()?;
    let times: u32 = arguments.next().map_or(Ok(1), |word| word.parse())?;
    let budget_bytes = arguments.next().map_or(Ok(u64::MAX), |word| word.parse())?;
    let process = Process::open(pid)?;
    let memory = process.memory(&process.maps()?)?;
    let begun = Instant::now();
    let walker = Walker::open(&memory).ok_or("no allocator was recognised")?;
    println!("{:?} found in {:?}", walker.identity(), begun.elapsed());
    for time in 0..times {
        let memory = process.memory(&process.maps()?)?;
        let begun = Instant::now();
        let heap =
            walker.walk(&memory, &Options { budget_bytes, hints: time + 1 == times, ..Options::default() });
        println!("walked in {:?}; exact {}; {:?}", begun.elapsed(), heap.exact, heap.doubts);
        if time + 1 < times {
            continue;
        }
        for arena in heap.arenas.iter().take(8) {
            println!("{arena:?}");
        }
        for class in heap.size_classes.iter().take(12) {
            println!("{class:?}");
        }
        println!("{} labels, {} classes", heap.labels.len(), heap.size_classes.len());
        println!("{:?}", Heap { arenas: Vec::new(), size_classes: Vec::new(), labels: Vec::new(), ..heap });
    }
    let status = std::fs::read_to_string("/proc/self/status")?;
    println!("own {}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default());
    Ok(())
}

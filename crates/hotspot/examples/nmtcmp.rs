//! temporary
use offheap_hotspot::*;
use offheap_linux::Process;
fn main() {
    let pid = std::env::args().nth(1).unwrap().parse().unwrap();
    let process = Process::open(pid).unwrap();
    let memory = process.memory(&process.maps().unwrap()).unwrap();
    let h = HotSpot::open(&process, &memory).unwrap();
    let v = h.view(&memory, &process.tasks().unwrap(), ViewOptions::default());
    let n = |name: &str| v.nmt.as_ref().unwrap().iter().find(|c| c.name == name).cloned().unwrap_or_default();
    let l = |w: What| v.labels.iter().filter(|l| l.what == w).map(|l| l.end - l.start).sum::<u64>() >> 10;
    let k = |x: u64| x >> 10;
    println!("{} {}", v.version, v.gc);
    let h = n("Java Heap");
    println!(
        "  heap nmt {} / {}  ours {} {:?} labels {}",
        k(h.reserved_bytes),
        k(h.committed_bytes),
        k(v.heap.reserved),
        v.heap.committed.map(k),
        l(What::JavaHeap)
    );
    let h = n("GC");
    println!(
        "  gc nmt {} / {} malloc {} labels {}",
        k(h.reserved_bytes),
        k(h.committed_bytes),
        k(h.malloc_bytes),
        l(What::Gc)
    );
    let h = n("Code");
    println!(
        "  code nmt {} / {}  ours {:?} labels {}",
        k(h.reserved_bytes),
        k(h.committed_bytes),
        v.code_cache.committed.map(k),
        l(What::CodeCache)
    );
    let h = n("Class");
    let m = n("Metaspace");
    println!(
        "  class nmt {} / {} metaspace {}/{} ours class {} {:?} meta {} {:?}  labels {} {}",
        k(h.reserved_bytes),
        k(h.committed_bytes),
        k(m.reserved_bytes),
        k(m.committed_bytes),
        k(v.class_space.reserved),
        v.class_space.committed.map(k),
        k(v.metaspace.reserved),
        v.metaspace.committed.map(k),
        l(What::ClassSpace),
        l(What::Metaspace)
    );
    let t = n("Thread");
    let t2 = n("Thread Stack");
    println!(
        "  thread nmt {} {} ours vm {} all {}",
        k(t.reserved_bytes),
        k(t2.reserved_bytes),
        k(v.threads
            .iter()
            .filter(|t| t.kind != ThreadKind::Native)
            .map(|t| t.stack.end - t.stack.start)
            .sum()),
        l(What::ThreadStack)
    );
    for c in v.nmt.iter().flatten().filter(|c| c.committed_bytes > 0) {
        print!(" {}={}/{}", c.name, k(c.reserved_bytes), k(c.committed_bytes));
    }
    println!();
}

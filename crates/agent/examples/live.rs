//! Prints a live file: `cargo run -p offheap-agent --example live -- FILE [TOP]`. A developer's
//! tool: native frames are shown as module and offset.

use std::collections::HashMap;

use offheap_live::{Counter, Frame, FrameKind, Reader};

fn main() {
    let mut args = std::env::args().skip(1);
    let path = args.next().expect("usage: live FILE [TOP]");
    let top = args.next().and_then(|n| n.parse().ok()).unwrap_or(10);
    let bytes = std::fs::read(path).expect("the file can be read");
    let r = Reader::new(&bytes).expect("a live file");
    println!("{:?}", r.info());
    for (name, counter) in [
        ("samples", Counter::Samples),
        ("frees", Counter::Frees),
        ("nested", Counter::Nested),
        ("missed frees", Counter::MissedFrees),
        ("truncated", Counter::Truncated),
        ("java broken", Counter::JavaBroken),
        ("names lost", Counter::NamesLost),
        ("frames full", Counter::FramesFull),
        ("slots patched", Counter::SlotsPatched),
        ("slots foreign", Counter::SlotsForeign),
        ("pointers patched", Counter::PointersPatched),
        ("no unwind tables", Counter::NoUnwindTables),
        ("agent heap", Counter::AgentHeap),
        ("reentrant", Counter::DropReentrant),
        ("table full", Counter::DropTableFull),
        ("stacks full", Counter::DropStacksFull),
        ("lost frees", Counter::LostFrees),
        ("objects", Counter::Objects),
        ("object frees", Counter::ObjectFrees),
        ("objects dropped", Counter::DropObjects),
    ] {
        print!("{name} {} · ", r.counter(counter));
    }
    println!("dropped {} · modules {}", r.dropped(), r.modules().count());
    let mut sites: HashMap<Option<u32>, (f64, f64, u64)> = HashMap::new();
    for s in r.samples() {
        let site = sites.entry(s.stack).or_default();
        site.0 += s.size as f64 * s.weight;
        site.1 += s.weight;
        site.2 += 1;
    }
    for s in r.regions() {
        let site = sites.entry(s.stack).or_default();
        site.0 += (s.end - s.start) as f64 * s.weight;
        site.1 += s.weight;
        site.2 += 1;
    }
    for s in r.objects() {
        let site = sites.entry(s.stack).or_default();
        site.0 += s.size as f64 * s.weight;
        site.1 += s.weight;
        site.2 += 1;
    }
    let mut sites: Vec<_> = sites.into_iter().collect();
    sites.sort_by(|a, b| b.1.0.total_cmp(&a.1.0));
    for (stack, (bytes, count, samples)) in sites.into_iter().take(top) {
        let Some(stack) = stack.and_then(|s| r.stack(s)) else { continue };
        println!(
            "\n{bytes:.0} B live in {count:.1} ({samples} samples), {:.0} B allocated, flags {:#x}",
            stack.alloc_bytes, stack.flags
        );
        for f in stack.frames() {
            println!("  {}", text(&r, &f));
        }
    }
}

fn text(r: &Reader, f: &Frame) -> String {
    let s = |b: Option<&[u8]>| b.map_or("?".into(), String::from_utf8_lossy).into_owned();
    match f.kind {
        FrameKind::Native | FrameKind::Unknown => match f.module.and_then(|m| r.module(m)) {
            Some(m) => {
                let path = String::from_utf8_lossy(m.path);
                format!("{}+{:#x}", path.rsplit('/').next().unwrap_or(""), f.pc.wrapping_sub(m.bias))
            }
            None => format!("{:#x}", f.pc),
        },
        FrameKind::Stub => format!("[{}]", s(f.name)),
        kind => format!("{}.{} ({}:{}) {kind:?}", s(f.class), s(f.name), s(f.file), f.line.unwrap_or(0)),
    }
}

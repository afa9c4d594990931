//! glibc's heap as seen from outside against what the program itself says.

mod common;

use common::{Target, compiled};
use offheap_heaps::{Heap, Options, Walker};
use std::process::Command;

fn zoo(arguments: &[&str]) -> Target {
    Target::ready(Command::new(compiled("zoo", &[])).args(arguments))
}

fn walk(target: &Target) -> Heap {
    let memory = target.memory();
    let walker = Walker::open(&target.process(), &memory).expect("an allocator is found");
    walker.walk(&memory, &Options::default())
}

/// The heap's figures in the order of `struct mallinfo2`: arena, ordblks, smblks, hblks, hblkhd, fsmblks, uordblks,
/// fordblks.
fn as_mallinfo(heap: &Heap) -> Vec<u64> {
    let sum = |figure: fn(&offheap_heaps::Arena) -> u64| heap.arenas.iter().map(figure).sum::<u64>();
    vec![
        heap.system,
        sum(|arena| arena.free_count) + heap.arenas.len() as u64,
        sum(|arena| arena.fast_count),
        heap.mmapped_count,
        heap.mmapped_bytes,
        sum(|arena| arena.fast),
        heap.system - heap.free - heap.top,
        heap.free + heap.top,
    ]
}

fn compare(arguments: &[&str]) -> Heap {
    let mut target = zoo(arguments);
    let heap = walk(&target);
    let told = target.numbers("info");
    assert_eq!(as_mallinfo(&heap), told[..8], "{arguments:?}: {:?}", heap.doubts);
    assert_eq!(heap.doubts, Vec::<String>::new());
    assert!(heap.exact);
    let given_back = target.numbers("trim")[0];
    assert_eq!(heap.trimmable, given_back, "{arguments:?}");
    heap
}

#[test]
fn a_quiet_heap_is_what_mallinfo_says_and_what_trim_gives_back() {
    for kind in ["mixed", "tiny", "large", "aligned"] {
        let heap = compare(&["12", "20000", kind]);
        if kind == "large" {
            continue;
        }
        let class = |size: u64| heap.size_classes.iter().find(|class| class.chunk_bytes == size);
        assert_eq!(class(40 << 20 | 4096).map(|class| class.count), Some(11));
        assert!(class(3344).is_some_and(|class| class.count >= 777));
    }
}

#[test]
fn where_brk_is_blocked_the_main_arena_is_still_walked_whole() {
    compare(&["4", "20000", "mixed", "blocked"]);
}

#[test]
fn somebody_elses_sbrk_in_between_is_passed_over() {
    compare(&["4", "20000", "mixed", "foreign"]);
}

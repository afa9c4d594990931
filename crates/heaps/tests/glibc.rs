//! glibc's heap as seen from outside against what the program itself says.

mod common;

use common::{Target, compiled};
use offheap_heaps::{ContentHint, Heap, Options, Walker};
use std::process::Command;

fn zoo(arguments: &[&str]) -> Target {
    Target::ready(Command::new(compiled("zoo.c", &[])).args(arguments))
}

fn walk(target: &Target) -> Heap {
    let memory = target.memory();
    let walker = Walker::open(&memory).expect("an allocator is found");
    walker.walk(&memory, &Options::default())
}

/// The heap's figures in the order of `struct mallinfo2`: arena, ordblks, smblks, hblks, hblkhd,
/// fsmblks, uordblks, fordblks.
fn as_mallinfo(heap: &Heap) -> Vec<u64> {
    let sum = |figure: fn(&offheap_heaps::Arena) -> u64| heap.arenas.iter().map(figure).sum::<u64>();
    vec![
        heap.system,
        sum(|arena| arena.free_count) + heap.arenas.len() as u64,
        sum(|arena| arena.fast_count),
        heap.large_count,
        heap.large_bytes,
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
    assert_eq!(heap.returnable, given_back, "{arguments:?}");
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

#[test]
fn eight_threads_that_allocate_on_make_it_approximate_but_never_absurd() {
    let mut target = zoo(&["8", "20000", "mixed"]);
    let memory = target.memory();
    let walker = Walker::open(&memory).unwrap();
    assert_eq!(target.ask("churn"), "churning");
    for round in 0..16 {
        let memory = target.memory();
        let budget_bytes = if round % 4 == 3 { 10 << 20 } else { u64::MAX };
        let heap = walker.walk(&memory, &Options { budget_bytes, hints: true, ..Options::default() });
        assert!(heap.walked);
        let told = heap.in_use + heap.cached + heap.free + heap.top;
        assert!(told <= heap.system + heap.system / 10, "{told} of {}: {:?}", heap.system, heap.doubts);
        // Boundary tags hold while threads go on: nearly all is known.
        assert!(told >= heap.system - heap.system / 10, "{told} of {}: {:?}", heap.system, heap.doubts);
        assert!(heap.large_count >= 11 && heap.in_use_count > 1000);
        let labelled: u64 = heap.labels.iter().map(|label| label.resident).sum();
        let account = heap.page_account;
        assert_eq!(labelled, account.in_use_resident + account.free_resident + account.unwalked_resident);
        assert!(heap.labels.is_sorted_by(|a, b| a.end <= b.start));
    }
    assert_eq!(target.ask("rest"), "resting");
    // It has told its threads; each still finishes what it is at.
    let mut heap = walker.walk(&target.memory(), &Options::default());
    for _ in 0..100 {
        if heap.doubts.is_empty() && as_mallinfo(&heap) == target.numbers("info")[..8] {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
        heap = walker.walk(&target.memory(), &Options::default());
    }
    assert_eq!(as_mallinfo(&heap), target.numbers("info")[..8], "{:?}", heap.doubts);
    assert_eq!(heap.doubts, Vec::<String>::new());
}

#[test]
fn walking_changes_nothing_in_the_target() {
    let mut target = zoo(&["8", "20000", "mixed"]);
    let process = target.process();
    // What the program itself still has to touch, it touches now.
    target.ask("info");
    std::thread::sleep(std::time::Duration::from_millis(300));
    let look = || -> Vec<(u64, u64, u64, u64)> {
        let vmas = process.smaps().unwrap();
        vmas.iter().map(|vma| (vma.start, vma.end, vma.rss, vma.anonymous)).collect()
    };
    let before = look();
    for _ in 0..5 {
        assert!(walk(&target).exact);
    }
    let after = look();
    assert_eq!(before.len(), after.len());
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before, after);
    }
}

#[test]
fn labels_hold_what_is_resident_page_by_page() {
    let target = zoo(&["8", "20000", "mixed"]);
    let heap = walk(&target);
    let memory = target.memory();
    for label in &heap.labels {
        let resident: u64 =
            memory.pagemap().runs(label.start, label.end).iter().map(|run| run.end - run.start).sum();
        assert_eq!(label.resident, resident, "{label:x?}");
        assert!(label.free_resident <= label.resident);
    }
    for arena in &heap.arenas {
        let split = arena.split;
        assert_eq!(arena.resident, split.in_use + split.cached + split.free + split.top);
        assert_eq!(arena.system, arena.in_use + arena.cached + arena.free + arena.top + arena.overhead);
        assert!(arena.returnable <= split.free + split.top);
    }
    assert!(heap.returnable <= heap.page_account.free_resident + (4096 * heap.arenas.len() as u64));
}

#[test]
fn on_a_budget_each_segment_gets_its_turn() {
    let target = zoo(&["8", "20000", "mixed"]);
    let memory = target.memory();
    let walker = Walker::open(&memory).unwrap();
    let whole = walker.walk(&memory, &Options::default());
    let options = Options { budget_bytes: whole.system / 4, ..Options::default() };
    let first = walker.walk(&target.memory(), &options);
    assert_eq!((first.stale, first.in_use), (0, whole.in_use));
    for _ in 0..6 {
        let later = walker.walk(&target.memory(), &options);
        assert!(later.stale > 0 && !later.exact);
        assert_eq!((later.in_use, later.free, later.cached), (whole.in_use, whole.free, whole.cached));
        assert_eq!((later.returnable, &later.size_classes), (whole.returnable, &whole.size_classes));
    }
}

#[test]
fn a_look_into_some_chunks_tells_what_they_hold() {
    let target = Target::ready(&mut Command::new(compiled("kinds.cpp", &[])));
    let memory = target.memory();
    let walker = Walker::open(&memory).unwrap();
    let heap = walker.walk(&memory, &Options { hints: true, ..Options::default() });
    let hint = |size: u64| {
        let class = heap.size_classes.iter().find(|class| class.chunk_bytes == size).unwrap();
        assert_eq!((class.count, class.total_bytes), (500, 500 * size));
        class.hint.clone().unwrap()
    };
    assert_eq!(hint(2016), ContentHint::Vtable("shop::Order".to_owned()));
    let text = hint(3008);
    assert!(matches!(&text, ContentHint::Text(text) if text.starts_with("SELECT * FROM orders")), "{text:?}");
    assert_eq!(hint(4016), ContentHint::Zero);
    assert_eq!(hint(5008), ContentHint::PointerInto("libc.so.6".to_owned()));
}

#[test]
fn a_heap_full_of_garbage_is_survived() {
    use std::os::unix::fs::FileExt;
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..6 {
        let target = zoo(&["4", "10000", if round % 2 == 0 { "mixed" } else { "tiny" }]);
        let memory = target.memory();
        let walker = Walker::open(&memory).unwrap();
        let sound = walker.walk(&memory, &Options::default());
        let places: Vec<(u64, u64)> = sound
            .arenas
            .iter()
            .flat_map(|arena| {
                let state = (arena.address - 0x100, arena.address + 0x890);
                // The states and heap headers are hit as often as all the rest.
                arena.ranges.iter().flat_map(move |range| [*range, state, (range.0, range.0 + 64)])
            })
            .collect();
        // It must not trip over the garbage itself.
        assert!(Command::new("kill").args(["-STOP", &target.pid().to_string()]).status().unwrap().success());
        let mem = std::fs::File::options().write(true).open(format!("/proc/{}/mem", target.pid())).unwrap();
        for _ in 0..400 {
            for _ in 0..20 {
                let (start, end) = places[(next() % places.len() as u64) as usize];
                let word = match next() % 8 {
                    0 => 0,
                    1 => u64::MAX - next() % 64,
                    2 => next() % 4096,
                    3 => next(),
                    4 => 1 << (next() % 64),
                    5 => start + next() % (end - start),
                    _ => (start + next() % (end - start)) & !15,
                };
                let _ = mem.write_at(&word.to_le_bytes(), (start + next() % (end - start)) & !7);
            }
            let options = Options {
                hints: true,
                budget_bytes: [u64::MAX, 1 << 20][(next() % 2) as usize],
                ..Options::default()
            };
            let heap = walker.walk(&target.memory(), &options);
            let labelled: u64 = heap.labels.iter().map(|label| label.resident).sum();
            assert!(labelled <= target.process().status().unwrap().rss_bytes + (1 << 20));
        }
    }
}

#[test]
fn tunables_and_other_shapes_of_heap_are_walked_too() {
    let tunables = [
        "glibc.malloc.hugetlb=1",
        "glibc.malloc.arena_max=1",
        "glibc.malloc.cached_count=0",
        "glibc.malloc.cached_count=200",
        "glibc.malloc.mmap_threshold=8192",
        "glibc.malloc.mmap_max=1000",
        "glibc.malloc.top_pad=10000000",
        "glibc.malloc.trim_threshold=100000000",
        "glibc.malloc.mxfast=0",
    ];
    for tunable in tunables {
        let mut command = Command::new(compiled("zoo.c", &[]));
        command.args(["6", "10000", "mixed"]).env("GLIBC_TUNABLES", tunable);
        let mut target = Target::ready(&mut command);
        let heap = walk(&target);
        assert_eq!(as_mallinfo(&heap), target.numbers("info")[..8], "{tunable}: {:?}", heap.doubts);
        assert_eq!(heap.doubts, Vec::<String>::new(), "{tunable}");
        assert_eq!(heap.returnable, target.numbers("trim")[0], "{tunable}");
    }
}

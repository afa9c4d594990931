//! Heaps laid out by hand as releases of glibc do that are not on this machine, walked in this very
//! process.

use super::Glibc;
use super::layout::{Block, Layout, find_main_arena};
use super::mapped::chunk_at;
use super::tcache::Format;
use crate::{Heap, Options};
use offheap_linux::{Live, Process};
use offheap_target::{Reads, page_bytes};
use std::alloc::{Layout as Space, alloc_zeroed};

const HEAP: u64 = 64 << 20;
const HEAP_SIZE: u64 = 0x21000;
const IN_USE: u64 = 5; // PREV_INUSE and NON_MAIN_ARENA

/// What differs between releases.
#[derive(Debug, Clone, Copy)]
struct Release {
    bins: u64,
    has_attached: bool,
    heap_header: u64,
    format: Format,
    mangled: bool,
    key: u64,
}

const RELEASES: [Release; 4] = [
    // 2.17 (but for the thread caches, which came with 2.26)
    Release {
        bins: 0x68,
        has_attached: false,
        heap_header: 0x20,
        format: Format::Bytes,
        mangled: false,
        key: 0,
    },
    // 2.28: no key yet
    Release {
        bins: 0x70,
        has_attached: true,
        heap_header: 0x20,
        format: Format::Bytes,
        mangled: false,
        key: 0,
    },
    // 2.36
    Release {
        bins: 0x70,
        has_attached: true,
        heap_header: 0x30,
        format: Format::Halves,
        mangled: true,
        key: 0x1234_5678_9abc_def1,
    },
    // 2.43: no fastbins
    Release {
        bins: 0x18,
        has_attached: true,
        heap_header: 0x30,
        format: Format::Slots,
        mangled: true,
        key: 0x1234_5678_9abc_def1,
    },
];

fn space(size: u64, alignment: u64) -> u64 {
    let space = Space::from_size_align(size as usize, alignment as usize).unwrap();
    // SAFETY: the size is not zero. The memory is never given back: the tests end soon.
    let start = unsafe { alloc_zeroed(space) };
    assert!(!start.is_null());
    start as u64
}

fn put(address: u64, word: u64) {
    assert_eq!(address % 8, 0);
    // SAFETY: every address handed in lies in memory from `space`, which nobody else knows of, and
    // is aligned.
    unsafe { (address as *mut u64).write_volatile(word) };
}

fn memory() -> Live {
    let process = Process::open(std::process::id() as i32).unwrap();
    process.memory(&process.maps().unwrap()).unwrap()
}

fn state(address: u64, release: Release, top: Option<u64>, next: u64, system: u64) {
    for bin in 0..127 {
        let header = address + release.bins + bin * 16 - 16;
        put(header + 16, header);
        put(header + 24, header);
    }
    put(address + release.bins - 16, top.unwrap_or(address + release.bins - 16));
    let behind = address + release.bins + 0x800;
    put(behind, next);
    let system_mem = if release.has_attached { 24 } else { 16 };
    if release.has_attached {
        put(behind + 16, 1);
    }
    put(behind + system_mem, system);
}

/// Two empty-handed thread caches' worth of chunks, some free, some in fastbins, and top; gives the
/// main arena.
fn build(release: Release) -> u64 {
    let main = space(0x2000, page_bytes());
    let heap = space(HEAP, HEAP);
    let arena = heap + release.heap_header;
    let state_size = release.bins + 0x800 + if release.has_attached { 40 } else { 32 };
    put(heap, arena);
    put(heap + 16, HEAP_SIZE);
    state(main, release, None, arena, 0);

    let link = |at: u64, to: u64| put(at, if release.mangled { to ^ at >> 12 } else { to });
    let mut at = (arena + state_size).next_multiple_of(16);
    let mut chunk = |size: u64| {
        put(at + 8, size | IN_USE);
        at += size;
        at - size
    };
    let cache = chunk(release.format.chunk()) + 16;
    let [first, second] = [chunk(0x50), chunk(0x50)];
    let fast = [chunk(0x30), chunk(0x30), chunk(0x30)];
    for _ in 0..10 {
        chunk(0x100);
    }
    let free = chunk(0x5000);
    let after = chunk(0x400);
    let top = at;
    put(after + 8, 0x400 | IN_USE & !1);
    put(after, 0x5000);
    put(top + 8, (heap + HEAP_SIZE - top) | 1);
    for page in (free..free + 0x5000).step_by(page_bytes() as usize) {
        put(page + 64, 1);
    }
    state(arena, release, Some(top), main, HEAP_SIZE);

    // Bin 3 holds chunks of 0x50.
    let (numbers, entries) = match release.format {
        Format::Bytes => (cache, cache + 64),
        Format::Halves => (cache, cache + 128),
        Format::Slots => (cache, cache + 152),
    };
    match release.format {
        Format::Bytes => put(numbers, 2 << 24),
        Format::Halves => put(numbers, 2 << 48),
        Format::Slots => {
            for four in 0..19 {
                put(numbers + four * 8, 0x0010_0010_0010_0010);
            }
            put(numbers, 0x000e_0010_0010_0010);
        }
    }
    put(entries + 3 * 8, second + 16);
    link(second + 16, first + 16);
    link(first + 16, 0);
    put(first + 24, release.key);
    put(second + 24, release.key);
    if release.bins > 0x60 {
        put(arena + release.bins - 0x60 + 8, fast[1]);
        link(fast[1] + 16, fast[0]);
        link(fast[0] + 16, 0);
    }
    main
}

fn walk(layout: Layout) -> Heap {
    Glibc::with(layout).walk(&memory(), &Options::default()).0
}

#[test]
fn every_release_is_told_by_its_shape_and_walked() {
    for release in RELEASES {
        let main = build(release);
        let memory = memory();
        let words = (0..0x400).map(|at| memory.u64(main + at * 8).unwrap()).collect();
        let layout =
            find_main_arena(&memory, &Block { start: main, words }).expect("the main arena is found");
        let expected = Layout {
            main_arena: main,
            bins: release.bins,
            has_attached: release.has_attached,
            parameters: None,
        };
        assert_eq!(layout, expected, "{release:?}");

        let heap = walk(layout);
        // mp_ was not built: large chunks can't be checked. All else must be as it is.
        assert_eq!(heap.doubts.len(), 1, "{release:?}: {:?}", heap.doubts);
        let arena = heap.arenas.iter().find(|arena| !arena.main).unwrap();
        let fast = if release.bins > 0x60 { 2 } else { 0 };
        assert_eq!(arena.system, HEAP_SIZE);
        assert_eq!((arena.cached, arena.cached_count), (0xa0, 2), "{release:?}");
        assert_eq!((arena.fast, arena.fast_count), (fast * 0x30, fast), "{release:?}");
        assert_eq!((arena.free, arena.free_count), (0x5000 + fast * 0x30, 1), "{release:?}");
        let in_use = release.format.chunk() + (3 - fast) * 0x30 + 10 * 0x100 + 0x400;
        assert_eq!((arena.in_use, arena.in_use_count), (in_use, 1 + (3 - fast) + 10 + 1), "{release:?}");
        assert_eq!(arena.system, in_use + arena.cached + arena.free + arena.top + arena.overhead);
        assert!(arena.returnable >= 3 * page_bytes(), "{release:?}: {}", arena.returnable);
        assert_eq!(arena.threads, release.has_attached.then_some(1));
    }
}

#[test]
fn large_chunks_of_every_release_are_told_by_their_first_words() {
    let map = space(8 * page_bytes(), page_bytes());
    let look = || chunk_at(&memory(), map, map + 8 * page_bytes());
    let head = |offset: u64, before: u64, word: u64| {
        put(map + offset, before);
        put(map + offset + 8, word);
    };
    head(0, 0, (3 * page_bytes()) | 2);
    assert_eq!(look(), Some(3 * page_bytes()), "up to 2.42");
    head(0, 0, (3 * page_bytes() - 16) | 2);
    assert_eq!(look(), Some(3 * page_bytes()), "from 2.43");
    head(0, 1, (3 * page_bytes() - 16) | 2);
    assert_eq!(look(), Some(3 * page_bytes()), "from 2.43, in huge pages");
    // The header at the start is stale once an aligned chunk was resized.
    head(0x30, 0x30, (5 * page_bytes() - 0x30) | 2);
    assert_eq!(look(), Some(5 * page_bytes()), "aligned, resized");
    head(0x30, 0x30, (5 * page_bytes() - 0x30 - 16) | 2);
    assert_eq!(look(), Some(5 * page_bytes()), "aligned, resized, from 2.43");
    head(0x30, 0, 0);
    // Grown by realloc since the mappings were listed: as long as the mapping was then.
    head(0, 0, (9 * page_bytes()) | 2);
    assert_eq!(look(), Some(8 * page_bytes()), "grown");
    for (before, word) in [
        (0, (17 * page_bytes()) | 2),
        (0, (3 * page_bytes()) | 3),
        (16, (3 * page_bytes()) | 2),
        (0, 2),
        (0, 100 | 2),
    ] {
        head(0, before, word);
        assert_eq!(look(), None, "{before:#x} {word:#x}");
    }
}

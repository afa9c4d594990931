//! Which allocator serves `malloc`, and where the memory is of those that are not walked.

mod common;

use common::{Target, compiled, javas};
use offheap_heaps::{Heap, LabelKind, Options, Walker};
use std::path::Path;
use std::process::Command;

const LIBRARIES: [(&str, &str); 3] = [
    ("libjemalloc.so.2", "jemalloc"),
    ("libtcmalloc_minimal.so.4", "tcmalloc"),
    ("libmimalloc.so.2", "mimalloc"),
];

fn library(name: &str) -> String {
    let path = format!("/usr/lib/x86_64-linux-gnu/{name}");
    assert!(
        Path::new(&path).exists(),
        "{path} is missing: apt-get install libjemalloc2 libtcmalloc-minimal4 libmimalloc2.0"
    );
    path
}

fn walk(target: &Target, exclude: &[(u64, u64)]) -> (Walker, Heap) {
    let memory = target.memory();
    let walker = Walker::open(&memory).expect("an allocator is found");
    let heap = walker.walk(&memory, &Options { exclude, ..Options::default() });
    (walker, heap)
}

#[test]
fn a_preloaded_allocator_is_named_and_its_memory_told_from_others() {
    for (name, allocator) in LIBRARIES {
        let mut target =
            Target::ready(Command::new(compiled("foreign.c", &[])).env("LD_PRELOAD", library(name)));
        let own: Vec<u64> = target.line().split(' ').map(|word| word.parse().unwrap()).collect();
        let (walker, heap) = walk(&target, &[]);
        assert_eq!(walker.identity().allocator.name, allocator, "{name}");
        assert_eq!((heap.allocator, heap.walked, heap.exact), (allocator, false, false));
        assert!(!heap.version.is_empty() && heap.doubts.len() == 1);
        assert!(heap.labels.iter().all(|label| label.kind == LabelKind::UnwalkedHeap));
        let resident = heap.page_account.unwalked_resident;
        assert!((60 << 20..75 << 20).contains(&resident), "{name}: {resident}");
        let overlap: u64 = heap
            .labels
            .iter()
            .map(|label| label.end.min(own[1]).saturating_sub(label.start.max(own[0])))
            .sum();
        assert_eq!(overlap, 0, "{name}: memory the program mapped itself is labelled");
    }
}

#[test]
fn a_library_that_serves_nobody_is_not_taken_for_the_allocator() {
    for (name, _) in LIBRARIES.into_iter().filter(|(_, allocator)| *allocator != "mimalloc") {
        // mimalloc is loaded late by nobody: its thread-local storage is of the static kind, as
        // tcmalloc's may be.
        let target = Target::start(Command::new(compiled("foreign.c", &[])).arg(library(name)));
        let mut target = target;
        if target.line() != "ready" {
            continue;
        }
        let (walker, heap) = walk(&target, &[]);
        assert_eq!(walker.identity().allocator.name, "glibc", "{name}");
        assert!(heap.walked && heap.exact, "{:?}", heap.doubts);
        assert_eq!(heap.version, walker.identity().version);
    }
}

#[test]
fn musls_groups_are_told_from_the_programs_own_maps() {
    if Command::new("musl-gcc").arg("--version").output().is_err() {
        eprintln!("musl-gcc is not there, so musl is not looked at: apt-get install musl-tools");
        return;
    }
    for flag in ["-rdynamic", "-static"] {
        let program = common::compiled_by("musl-gcc", "foreign.c", &[flag]);
        let mut target = Target::ready(&mut Command::new(program));
        let own: Vec<u64> = target.line().split(' ').map(|word| word.parse().unwrap()).collect();
        let (walker, heap) = walk(&target, &[]);
        assert_eq!(walker.identity().allocator.name, "musl", "{flag}");
        assert_eq!((heap.walked, heap.exact), (false, false));
        let resident = heap.page_account.unwalked_resident;
        assert!((60 << 20..75 << 20).contains(&resident), "{flag}: {resident}");
        assert!(heap.labels.iter().all(|label| label.end <= own[0] || label.start >= own[1]), "{flag}");
    }
}

#[test]
fn an_allocator_inside_the_executable_is_named_after_its_symbols() {
    let target = Target::ready(&mut Command::new(compiled("own.c", &["-rdynamic", "-fno-builtin"])));
    let (walker, heap) = walk(&target, &[]);
    assert_eq!(walker.identity().allocator.name, "jemalloc");
    assert!(walker.identity().path.contains("/own"));
    assert!(!heap.walked);
}

#[test]
fn a_static_executable_is_walked_like_any_other() {
    let mut target =
        Target::ready(Command::new(compiled("zoo.c", &["-static"])).args(["4", "20000", "mixed"]));
    let (walker, heap) = walk(&target, &[]);
    assert_eq!(walker.identity().allocator.name, "glibc");
    assert!(heap.exact, "{:?}", heap.doubts);
    let told = target.numbers("info");
    assert_eq!((heap.system, heap.free + heap.top, heap.large_bytes), (told[0], told[7], told[4]));
}

#[test]
fn in_a_jvm_the_preloaded_allocator_holds_the_direct_buffers() {
    let classes = common::java_class("Idle");
    let (name, java) = javas().into_iter().next_back().unwrap();
    for (library_name, allocator) in LIBRARIES {
        let mut command = Command::new(&java);
        command.env("LD_PRELOAD", library(library_name)).args(["-Xmx128m", "-cp"]).arg(&classes).arg("Idle");
        let target = Target::ready(&mut command);
        let (walker, heap) = walk(&target, &[]);
        assert_eq!(walker.identity().allocator.name, allocator, "{name}");
        let resident = heap.page_account.unwalked_resident;
        assert!((50 << 20..90 << 20).contains(&resident), "{name} {library_name}: {resident}");
    }
}

//! What probes say of a real program, held against what it does.

use offheap_probe::{Live, Module, ProbeError, Sampler};
use offheap_testkit::{Program, build_c};
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Keeps two blocks of 700 bytes each millisecond, and between them, in bursts, takes and frees
/// thirty times as many of all sizes: what is kept lies in the holes of what is freed.
const SOURCE: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <pthread.h>

static void *ring[1000];
static unsigned seed = 1;
static void **newest;
static volatile long kept;

__attribute__((noinline)) static void keep(int kind) {
    void **block = kind ? malloc(700) : calloc(1, 700);
    *block = newest;
    newest = block;
    kept++;
}

__attribute__((noinline)) static void churn(void) {
    for (int i = 0; i < 600; i++) {
        seed = seed * 1103515245u + 12345u;
        unsigned at = (seed >> 8) % 1000;
        size_t bytes = 16 + (seed >> 16) % 8000;
        free(ring[at]);
        ring[at] = malloc(bytes);
        memset(ring[at], 1, bytes);
    }
}

static void *work(void *none) {
    for (int tick = 0;; tick++) {
        keep(0);
        keep(1);
        if (tick % 10 == 0) churn();
        usleep(1000);
    }
    return none;
}

int main(void) {
    pthread_t thread;
    pthread_create(&thread, NULL, work, NULL);
    puts("READY");
    fflush(stdout);
    while (getchar() != EOF) {
        printf("%ld\n", kept);
        fflush(stdout);
    }
    return 0;
}
"#;

/// Each millisecond writes to one more page of a block of malloc that is as large as a mapping, and
/// to two of a mapping.
const FILLS: &str = r#"
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static char *block, *map;
static volatile long filled;

__attribute__((noinline)) static void fill_block(long page) { block[4096 * page] = 1; }
__attribute__((noinline)) static void fill_map(long page) { memset(map + 8192 * page, 1, 8192); }

static void *work(void *none) {
    for (;;) {
        fill_block(filled);
        fill_map(filled);
        filled++;
        usleep(1000);
    }
    return none;
}

int main(void) {
    pthread_t thread;
    block = malloc(1L << 30);
    map = mmap(NULL, 1L << 31, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    madvise(block, 1L << 30, MADV_NOHUGEPAGE);
    madvise(map, 1L << 31, MADV_NOHUGEPAGE);
    pthread_create(&thread, NULL, work, NULL);
    puts("READY");
    fflush(stdout);
    while (getchar() != EOF) {
        printf("%ld\n", filled);
        fflush(stdout);
    }
    return 0;
}
"#;

/// True where the kernel has no such probes at all; then that must be said, and is all that can be
/// tested.
fn is_without_probes(pid: i32) -> bool {
    let has = Path::new("/sys/bus/event_source/devices/breakpoint").exists();
    if !has {
        assert!(matches!(Sampler::start(pid), Err(ProbeError::Refused(_))));
    }
    !has
}

/// What is sampled of a program in so many seconds, and how much it has done meanwhile by its own
/// count; the program runs on.
fn watched(name: &str, source: &str, seconds: u64) -> Option<(Program, Sampler, Live, f64)> {
    let mut program = Program::start(&mut Command::new(build_c(name, source, &[])));
    if is_without_probes(program.pid()) {
        return None;
    }
    let count = |program: &mut Program| program.ask("").parse::<f64>().unwrap();
    let before = count(&mut program);
    let mut sampler = Sampler::start(program.pid()).unwrap();
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        sleep(sampler.wait());
        sampler.burst();
    }
    let done = count(&mut program) - before;
    let live = sampler.live();
    Some((program, sampler, live, done))
}

/// The function of the program that an address lies in.
fn function(sampler: &Sampler, address: u64) -> Option<String> {
    let module: &Module = sampler.modules().iter().find(|m| (m.start..m.end).contains(&address))?;
    let wanted = offheap_symbols::Module {
        path: &module.path,
        start: module.start,
        build_id: &module.build_id,
        loaded: None,
    };
    let vmas = sampler.process().maps().ok()?;
    let symbols = offheap_symbols::find(Some(sampler.process()), &vmas, wanted)?;
    Some(symbols.name(address - module.bias - 1)?.to_owned())
}

#[test]
fn the_code_that_keeps_is_told_from_the_code_that_churns() {
    let Some((_program, sampler, live_now, kept)) = watched("probe_me", SOURCE, 10) else { return };
    let stack_of = |name: &str| -> Vec<usize> {
        let stacks = sampler.stacks().iter().enumerate();
        let begins = |stack: &Vec<u64>| function(&sampler, *stack.first()?).filter(|own| own == name);
        stacks.filter(|(_, stack)| begins(stack).is_some()).map(|(number, _)| number).collect()
    };
    let (keep, churn) = (stack_of("keep"), stack_of("churn"));
    // One of its two ways at least: bursts are too few in ten seconds to be sure of both.
    assert!(!keep.is_empty() && !churn.is_empty(), "{keep:?} and {churn:?} of {:?}", sampler.stacks());
    // Unwound to where the thread began.
    for number in keep.iter().chain(&churn) {
        let names: Vec<_> = sampler.stacks()[*number].iter().map(|at| function(&sampler, *at)).collect();
        assert!(names.iter().flatten().any(|name| name == "work"), "{names:?}");
    }
    let live = |numbers: &[usize], from: u64, to: u64| {
        let is_it = |block: &&offheap_probe::Block| {
            numbers.contains(&block.stack) && (from..to).contains(&block.at.as_secs())
        };
        live_now.blocks.iter().filter(is_it).map(|block| block.weight).sum::<f64>()
    };
    // As much as the program itself says, among thirty times as many that come all at once.
    let lives = live(&keep, 0, 60);
    assert!((0.6..1.3).contains(&(lives / kept)), "{lives} of {kept}");
    // Where a block was, another one of its size may lie by chance: a sample or two of some
    // hundred, each with a large weight.
    let old = live(&churn, 0, 5);
    assert!(old < 0.1 * kept, "what is older than some seconds is gone: {old}");
    // 700 bytes take a chunk of 720, or of 736 where what is left of a hole would be too little for
    // another.
    let sizes: Vec<u64> =
        live_now.blocks.iter().filter(|b| keep.contains(&b.stack)).map(|b| b.bytes).collect();
    assert!(sizes.iter().all(|bytes| [720, 736].contains(bytes)), "{sizes:?}");
}

#[test]
fn pages_of_large_blocks_and_of_maps_are_named_by_who_wrote_first() {
    let Some((_program, sampler, live, filled)) = watched("probe_fills", FILLS, 8) else { return };
    let names = |stack: &Vec<u64>| stack.iter().filter_map(|at| function(&sampler, *at)).collect::<Vec<_>>();
    let stacks: Vec<Vec<String>> = sampler.stacks().iter().map(names).collect();
    let pages = live.pages;
    let bytes = |name: &str, is_block: bool| {
        let has_it = |page: &&offheap_probe::Page| stacks[page.stack].iter().any(|own| own == name);
        let of_kind = pages.iter().filter(|page| page.is_block == is_block);
        of_kind.filter(has_it).map(|page| page.bytes).sum::<f64>()
    };
    let (block, map) = (bytes("fill_block", true), bytes("fill_map", false));
    // What came since the latest burst is not among them.
    assert!((0.5..1.5).contains(&(block / (4096.0 * filled))), "{block} of {filled} pages");
    assert!((0.5..1.5).contains(&(map / (8192.0 * filled))), "{map} of {filled} times two pages");
    assert_eq!(bytes("fill_block", false) + bytes("fill_map", true), 0.0);
    assert!(bytes("work", true) >= block, "unwound to where the thread began");
}

#[test]
fn what_can_not_be_probed_is_said() {
    let fixed = "#include <stdio.h>\n#include <unistd.h>\nint main(void) { puts(\"READY\"); fflush(stdout); for (;;) pause(); }";
    let program = Program::start(&mut Command::new(build_c("probe_static", fixed, &["-static"])));
    let error = Sampler::start(program.pid()).unwrap_err();
    assert!(matches!(error, ProbeError::OtherAllocator), "{error}");
    assert!(matches!(Sampler::start(i32::MAX), Err(ProbeError::Process(_))));
}

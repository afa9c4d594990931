//! What probes say of a real program, held against what it does.

use offheap_probe::{Module, ProbeError, Sampler};
use offheap_testkit::{Program, build_c};
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Keeps two blocks of 700 bytes each millisecond, and between them, in bursts, takes and frees thirty times as many of all sizes:
/// what is kept lies in the holes of what is freed.
const SOURCE: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <pthread.h>

static void *ring[1000];
static unsigned seed = 1;
static void **newest;

__attribute__((noinline)) static void keep(int kind) {
    void **block = kind ? malloc(700) : calloc(1, 700);
    *block = newest;
    newest = block;
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
    for (;;) pause();
}
"#;

/// True where the kernel has no such probes at all; then that must be said, and is all that can be tested.
fn is_without_probes(pid: i32) -> bool {
    let has = Path::new("/sys/bus/event_source/devices/breakpoint").exists();
    if !has {
        assert!(matches!(Sampler::start(pid), Err(ProbeError::Refused(_))));
    }
    !has
}

fn watch(pid: i32, seconds: u64) -> Sampler {
    let mut sampler = Sampler::start(pid).unwrap();
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        sleep(sampler.wait());
        sampler.burst();
    }
    sampler
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
    let program = Program::start(&mut Command::new(build_c("probe_me", SOURCE, &[])));
    if is_without_probes(program.pid()) {
        return;
    }
    let sampler = watch(program.pid(), 10);
    let stack_of = |name: &str| -> Vec<usize> {
        let stacks = sampler.stacks().iter().enumerate();
        let begins = |stack: &Vec<u64>| function(&sampler, *stack.first()?).filter(|own| own == name);
        stacks.filter(|(_, stack)| begins(stack).is_some()).map(|(number, _)| number).collect()
    };
    let (keep, churn) = (stack_of("keep"), stack_of("churn"));
    assert!(keep.len() >= 2 && !churn.is_empty(), "malloc and calloc, and the other: {:?}", sampler.stacks());
    // Unwound to where the thread began.
    for number in keep.iter().chain(&churn) {
        let names: Vec<_> = sampler.stacks()[*number].iter().map(|at| function(&sampler, *at)).collect();
        assert!(names.iter().flatten().any(|name| name == "work"), "{names:?}");
    }
    let total = |numbers: &[usize]| numbers.iter().map(|n| sampler.totals()[*n].count).sum::<f64>();
    let live = |numbers: &[usize], from: u64, to: u64| {
        let is_it = |block: &&offheap_probe::Block| {
            numbers.contains(&block.stack) && (from..to).contains(&block.at.as_secs())
        };
        sampler.blocks().iter().filter(is_it).map(|block| block.weight).sum::<f64>()
    };
    // All that is kept is live, and of the other only the ring's thousand at any time.
    let (kept, lives) = (total(&keep), live(&keep, 0, 60));
    assert!(lives > 0.95 * kept && lives <= kept * 1.001, "{lives} of {kept}");
    // Thirty times as many, in which the sampling must not lose itself.
    assert!(total(&churn) > 5.0 * kept, "{} against {kept}", total(&churn));
    // Where a block was, another one of its size may lie by chance: a sample or two of some hundred, each with a large weight.
    let old = live(&churn, 0, 5);
    assert!(old < 0.1 * total(&churn) / 2.0, "what is older than some seconds is gone: {old}");
    // 700 bytes take a chunk of 720, or of 736 where what is left of a hole would be too little for another.
    let sizes: Vec<u64> =
        sampler.blocks().iter().filter(|b| keep.contains(&b.stack)).map(|b| b.bytes).collect();
    assert!(sizes.iter().all(|bytes| [720, 736].contains(bytes)), "{sizes:?}");
}

#[test]
fn what_can_not_be_probed_is_said() {
    let fixed = "#include <stdio.h>\n#include <unistd.h>\nint main(void) { puts(\"READY\"); fflush(stdout); for (;;) pause(); }";
    let program = Program::start(&mut Command::new(build_c("probe_static", fixed, &["-static"])));
    let error = Sampler::start(program.pid()).unwrap_err();
    assert!(matches!(error, ProbeError::OtherAllocator), "{error}");
    assert!(matches!(Sampler::start(i32::MAX), Err(ProbeError::Process(_))));
}

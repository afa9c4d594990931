//! Each rule fires on its signature and stays silent on its healthy twin.

mod common;

use common::world::{MB, World, jvm, native};
use common::*;
use offheap_diagnose::{Diagnosis, Evidence, diagnose};
use offheap_model::{Cgroup, Domain, Status};

const N: usize = 61;

fn judged(world: World) -> Diagnosis {
    let snapshots = world.snapshots();
    diagnose(&Evidence::of(&snapshots))
}

fn base() -> World {
    jvm(N, 12.0, &mut Random::new(7))
}

#[track_caller]
fn fires(world: World, cause: &str, status: Status, domain: Domain) -> Diagnosis {
    let diagnosis = judged(world);
    let finding = diagnosis.findings.iter().find(|f| f.cause == cause);
    let finding = finding.unwrap_or_else(|| panic!("{cause} is silent: {:#?}", diagnosis.findings));
    assert_eq!((finding.status, finding.domain), (status, Some(domain)), "{finding:#?}");
    assert!(finding.summary.contains("4711") && finding.summary.contains("Source:"), "{}", finding.summary);
    assert!(!finding.evidence.is_empty() && !finding.confirm.is_empty(), "{finding:#?}");
    diagnosis
}

/// As [`fires`], and it is the verdict.
#[track_caller]
fn decides(world: World, cause: &str, status: Status, domain: Domain) -> Diagnosis {
    let diagnosis = fires(world, cause, status, domain);
    assert_eq!(diagnosis.verdict.cause, cause, "{:#?}", diagnosis.verdict);
    diagnosis
}

#[track_caller]
fn silent(world: World, cause: &str) {
    let diagnosis = judged(world);
    let found = diagnosis.findings.iter().find(|f| f.cause == cause);
    assert!(found.is_none(), "{found:#?}");
    assert!(
        matches!(diagnosis.verdict.status, Status::Healthy | Status::Retention),
        "the twin is healthy: {:#?}",
        diagnosis.verdict
    );
}

/// Teeth that fall with the collections of the world.
fn collected(world: World, per_s: f64, mut add: impl FnMut(&mut world_state::State, f64)) -> World {
    let (mut level, mut young) = (0.0, 0);
    world.with(move |_, s| {
        level = if s.young > young { 0.0 } else { level + per_s };
        young = s.young;
        add(s, level);
    })
}
use common::world as world_state;

#[test]
fn a_quiet_process_is_healthy() {
    let diagnosis = judged(base());
    assert_eq!(diagnosis.verdict.cause, "no-growth", "{:#?}", diagnosis.verdict);
    assert_eq!(diagnosis.exit_code(), 0);
    assert!(diagnosis.findings.is_empty(), "{:#?}", diagnosis.findings);
}

#[test]
fn heap_filling() {
    let world = || jvm(N, 12.0, &mut Random::new(7));
    decides(
        world().with(|t, s| s.heap_resident += 1.5 * MB * t),
        "heap-filling",
        Status::Healthy,
        Domain::JavaHeap,
    );
    silent(world(), "heap-filling");
}

#[test]
fn heap_committed_empty() {
    let idle = |rate: f64| {
        base().with(move |t, s| {
            s.heap_resident = 500.0 * MB;
            s.heap_used = 60.0 * MB + rate * t;
            s.young = 3;
        })
    };
    decides(idle(20e3), "heap-committed-empty", Status::Retention, Domain::JavaHeap);
    silent(idle(4.0 * MB), "heap-committed-empty");
}

#[test]
fn heap_leak() {
    // An old collection every 15 s: garbage in between, live data growing or not.
    let old = |live: f64| {
        let mut world = base().with(move |t, s| {
            s.old = (t / 15.0) as u64;
            s.old_used = 40.0 * MB + live * t + 1.0 * MB * (t % 15.0);
        });
        world.heap_max = 1000.0 * MB;
        world
    };
    decides(old(2.0 * MB), "heap-leak", Status::Leak, Domain::JavaHeap);
    silent(old(0.0), "heap-leak");
}

#[test]
fn growth_of_the_old_generation_without_old_collections_is_suspect_only_when_large() {
    let promoted = |per_s: f64| {
        let mut world = base();
        world.heap_max = 640.0 * MB;
        world.with(move |t, s| s.old_used += per_s * t)
    };
    fires(promoted(2.5 * MB), "heap-leak", Status::Inconclusive, Domain::JavaHeap);
    silent(promoted(0.3 * MB), "heap-leak");
}

#[test]
fn thread_leak() {
    let pool =
        |count: fn(f64) -> f64| base().with(move |t, s| s.pools.push(("pool-*-thread-*".into(), count(t))));
    let diagnosis = decides(pool(|t| 4.0 + 5.0 * t), "thread-leak", Status::Leak, Domain::ThreadStacks);
    assert!(diagnosis.verdict.summary.contains("pool-*-thread-*"));
    assert!(
        diagnosis.verdict.fix.iter().any(|f| f.contains("ThreadPoolExecutor")),
        "{:?}",
        diagnosis.verdict.fix
    );
    silent(pool(|t| (4.0 * t).min(60.0)), "thread-leak");
    silent(pool(|t| 60.0 * ((t / 7.0) as u64 % 2) as f64), "thread-leak");
}

#[test]
fn the_advice_for_threads_knows_the_pool() {
    for (pool, key) in [
        ("app-pekko.actor.default-dispatcher-*", "pekko.actor.default-dispatcher"),
        ("sys-akka.actor.default-blocking-io-dispatcher-*", "akka.actor.default-blocking-io-dispatcher"),
        ("nioEventLoopGroup-*-*", "io.netty.eventLoopThreads"),
        ("http-nio-8080-exec-*", "server.tomcat.threads.max"),
        ("ForkJoinPool.commonPool-worker-*", "ForkJoinPool.common.parallelism"),
    ] {
        let world = base().with(|t, s| s.pools.push((pool.into(), 4.0 + 3.0 * t)));
        let diagnosis = judged(world);
        assert!(diagnosis.verdict.fix.iter().any(|f| f.contains(key)), "{pool}: {:?}", diagnosis.verdict.fix);
    }
}

#[test]
fn thread_stacks_thp() {
    let huge = |each: f64| {
        base().with(move |_, s| {
            s.pools.push(("exec-*".into(), 200.0));
            s.stack_each = 1.8 * MB;
            s.stack_huge = each;
        })
    };
    decides(huge(1.7 * MB), "thread-stacks-thp", Status::Retention, Domain::ThreadStacks);
    silent(huge(0.1 * MB), "thread-stacks-thp");
}

#[test]
fn class_loader_leak() {
    let classes = |kept: bool| {
        base().with(move |t, s| {
            let in_use = if kept { t } else { t % 20.0 };
            s.metaspace += 0.5 * MB * in_use;
            s.classes += 70.0 * in_use;
            s.loaders += 7.0 * in_use;
            s.unloaded = if kept { 0.0 } else { 70.0 * (t - in_use) };
            s.old = (t / 20.0) as u64;
            s.malloc += 0.4 * MB * in_use;
        })
    };
    let diagnosis = decides(classes(true), "class-loader-leak", Status::Leak, Domain::Metaspace);
    assert!(
        diagnosis.findings.iter().all(|f| f.cause != "native-malloc-growth"),
        "{:#?}",
        diagnosis.findings
    );
    silent(classes(false), "class-loader-leak");
}

#[test]
fn metaspace_that_passes_its_threshold_was_asked() {
    let grown = |begin: f64| base().with(move |t, s| s.metaspace = begin + 0.4 * MB * t);
    fires(grown(14.0 * MB), "class-loader-leak", Status::Leak, Domain::Metaspace);
    // Above the threshold before and far from the next: no class could be unloaded yet.
    fires(grown(90.0 * MB), "class-loader-leak", Status::Inconclusive, Domain::Metaspace);
}

#[test]
fn code_cache_growth() {
    let code = |per_s: f64| base().with(move |t, s| s.code += per_s * t);
    decides(code(0.2 * MB), "code-cache-growth", Status::Healthy, Domain::CodeCache);
    silent(code(0.01 * MB), "code-cache-growth");
}

#[test]
fn direct_buffers_referenced() {
    let kept = base().with(|t, s| {
        s.direct += MB * t;
        s.direct_count += 10.0 * t;
    });
    decides(kept, "direct-buffers-referenced", Status::Leak, Domain::DirectMemory);
    silent(collected(base(), MB, |s, v| s.direct += v), "direct-buffers-referenced");
    silent(base().with(|t, s| s.direct += 2.0 * MB * t.min(12.0)), "direct-buffers-referenced");
}

#[test]
fn without_a_collection_garbage_is_not_a_leak() {
    let never = |n: usize| jvm(n, 900.0, &mut Random::new(3));
    let world = never(N).with(|t, s| {
        s.young = 0;
        s.direct += MB * t;
    });
    let diagnosis = fires(world, "direct-buffers-referenced", Status::Inconclusive, Domain::DirectMemory);
    assert!(diagnosis.verdict.summary.contains("GC.run"), "{}", diagnosis.verdict.summary);
    // Beyond the size of the whole heap it is trouble either way.
    let world = never(400).with(|t, s| {
        s.young = 0;
        s.malloc += MB * t;
    });
    fires(world, "native-malloc-growth", Status::Leak, Domain::Malloc);
}

#[test]
fn netty_pool_arenas() {
    let chunk = f64::from(4 << 20);
    let pool = |leak: bool| {
        base().with(move |t, s| {
            let chunks = if leak { (t / 2.0).floor() } else { (t / 2.0).floor().min(5.0) };
            s.direct = MB + chunk * chunks;
        })
    };
    let diagnosis = decides(pool(true), "netty-pool-arenas", Status::Leak, Domain::DirectMemory);
    assert!(diagnosis.verdict.summary.contains("4.00 MiB"), "{}", diagnosis.verdict.summary);
    assert!(diagnosis.findings.iter().all(|f| f.cause != "direct-buffers-referenced"));
    silent(pool(false), "netty-pool-arenas");
}

fn tracked(world: World, category: &'static str, add: impl Fn(f64) -> f64) -> World {
    world.with(move |t, s| {
        let grown = add(t);
        let base = |name: &str| if name == "Other" { s.direct } else { 2.0 * MB };
        s.nmt = Some(
            ["Other", "Internal", "Symbol", "Compiler", "Arena Chunk", "Tracing", "GC"]
                .iter()
                .map(|name| ((*name).to_owned(), base(name) + if *name == category { grown } else { 0.0 }))
                .collect(),
        );
        s.malloc += 12.0 * MB + grown;
    })
}

#[test]
fn direct_memory_uncounted() {
    decides(
        tracked(base(), "Other", |t| 0.5 * MB * t),
        "direct-memory-uncounted",
        Status::Leak,
        Domain::DirectMemory,
    );
    silent(tracked(base(), "Other", |t| 0.5 * MB * t.min(20.0)), "direct-memory-uncounted");
}

#[test]
fn nio_thread_cache() {
    let hidden = |bytes: f64| base().with(move |_, s| s.hidden = Some(bytes));
    decides(hidden(110.0 * MB), "nio-thread-cache", Status::Retention, Domain::DirectMemory);
    silent(hidden(20.0 * MB), "nio-thread-cache");
}

#[test]
fn glibc_retention() {
    let held = |free: f64| {
        base().with(move |_, s| {
            s.malloc_free = free;
            s.trimmable = 0.98 * free;
        })
    };
    let diagnosis =
        decides(held(150.0 * MB), "glibc-retention", Status::Retention, Domain::AllocatorRetention);
    assert!(diagnosis.verdict.fix.iter().any(|f| f.contains("MALLOC_ARENA_MAX=2")));
    assert!(diagnosis.verdict.fix.iter().any(|f| f.contains("TrimNativeHeapInterval")));
    silent(held(20.0 * MB), "glibc-retention");
    // Steps of retention make RSS climb; nothing in use grows.
    let steps = base().with(|t, s| {
        s.malloc_free = 12.0 * MB * (1.0 + (t / 4.0).floor().min(12.0));
        s.trimmable = 0.98 * s.malloc_free;
    });
    decides(steps, "glibc-retention", Status::Retention, Domain::AllocatorRetention);
}

#[test]
fn mapped_files() {
    let files = |keep: fn(f64) -> f64| {
        base().with(move |t, s| {
            for i in 0..keep(t) as u64 {
                s.files.push((format!("/data/segment-{i}"), 2.0 * MB, 2.0 * MB, i % 2 == 0));
            }
        })
    };
    let diagnosis = decides(files(|t| 1.0 + t), "mapped-files", Status::Leak, Domain::MappedFiles);
    assert!(diagnosis.verdict.summary.contains("deleted"), "{}", diagnosis.verdict.summary);
    silent(files(|t| 1.0 + t % 6.0), "mapped-files");
    let index = base().with(|t, s| s.files.push(("/data/index".into(), 500.0 * MB, 2.0 * MB * t, false)));
    decides(index, "mapped-files", Status::Healthy, Domain::MappedFiles);
}

#[test]
fn string_symbol_tables() {
    let cause = "string-symbol-tables";
    decides(tracked(base(), "Symbol", |t| 0.3 * MB * t), cause, Status::Leak, Domain::JvmInternal);
    silent(tracked(base(), "Symbol", |t| 0.3 * MB * t.min(15.0)), cause);
}

#[test]
fn jvm_internal_growth() {
    let cause = "jvm-internal-growth";
    let diagnosis =
        decides(tracked(base(), "Internal", |t| 0.3 * MB * t), cause, Status::Leak, Domain::JvmInternal);
    assert!(diagnosis.verdict.fix.iter().any(|f| f.contains("DeleteGlobalRef")));
    silent(tracked(base(), "Tracing", |t| 0.3 * MB * (t % 9.0)), cause);
}

#[test]
fn gc_structures() {
    let tables = |own: f64, heap: f64| {
        base().with(move |t, s| {
            s.heap_resident += heap * t;
            s.gc += own * t;
        })
    };
    fires(tables(0.2 * MB, 0.0), "gc-structures", Status::Inconclusive, Domain::Gc);
    silent(tables(0.04 * MB, 2.0 * MB), "gc-structures");
}

#[test]
fn compiler_arenas() {
    let spike = |height: f64| {
        tracked(base(), "Arena Chunk", move |t| if (20.0..26.0).contains(&t) { height } else { 0.0 })
    };
    fires(spike(150.0 * MB), "compiler-arenas", Status::Healthy, Domain::JvmInternal);
    silent(spike(10.0 * MB), "compiler-arenas");
}

#[test]
fn native_malloc_growth() {
    let cause = "native-malloc-growth";
    let leak = base().with(|t, s| {
        s.malloc += 0.3 * MB * t;
        s.sizes[1].1 += 0.3 * MB * t;
    });
    let diagnosis = decides(leak, cause, Status::Leak, Domain::Malloc);
    assert!(diagnosis.verdict.summary.contains("chunks of 352 bytes"), "{}", diagnosis.verdict.summary);
    assert!(diagnosis.verdict.summary.contains("329–344"), "{}", diagnosis.verdict.summary);
    silent(base().with(|t, s| s.malloc += 3.0 * MB * t.min(15.0)), cause);
    silent(collected(base(), 0.8 * MB, |s, v| s.malloc += v), cause);
    // Without a JVM there is no collector to ask, and it is the program's own.
    let program = native(N, &mut Random::new(5)).with(|t, s| s.malloc += 0.3 * MB * t);
    decides(program, cause, Status::Leak, Domain::NativeMalloc);
}

#[test]
fn an_array_that_doubles_is_told_from_a_buffer_that_fills() {
    // What is resident rises in a line; what is allocated is what the size rule says for that much.
    let array = |allocated: fn(f64) -> f64| {
        native(N, &mut Random::new(5)).with(move |t, s| {
            let used = (40.0 + t) * MB;
            s.malloc = used;
            s.untouched = allocated(used) - used;
        })
    };
    let doubles = |used: f64| 2f64.powf((used / (30.0 * MB)).log2().ceil()) * 30.0 * MB;
    let verdict = decides(array(doubles), "native-malloc-growth", Status::Leak, Domain::NativeMalloc).verdict;
    assert!(verdict.evidence.iter().any(|e| e.text.contains("was replaced by")), "{verdict:#?}");
    let fills = diagnose(&Evidence::of(&array(|_| 128.0 * MB).snapshots())).verdict;
    assert_eq!(fills.status, Status::Inconclusive, "{fills:#?}");
}

#[test]
fn a_leak_that_eats_retention_does_not_move_rss_and_is_found() {
    let world = base().with(|t, s| {
        s.malloc += 0.5 * MB * t;
        s.malloc_free = 40.0 * MB - 0.5 * MB * t;
    });
    let diagnosis = decides(world, "native-malloc-growth", Status::Leak, Domain::Malloc);
    assert!(diagnosis.rss.slope_bytes_per_s.abs() < 0.05 * MB);
}

#[test]
fn native_mmap_growth() {
    let maps = |count: fn(f64) -> f64| base().with(move |t, s| s.native_mmap += count(t) * MB);
    decides(maps(|t| 1.5 * t), "native-mmap-growth", Status::Leak, Domain::NativeMmap);
    silent(maps(|t| t % 5.0), "native-mmap-growth");
}

#[test]
fn python_growth() {
    let python = |bytes: fn(f64) -> f64| {
        native(N, &mut Random::new(2)).with(move |t, s| s.python = 18.0 * MB + MB * bytes(t))
    };
    decides(python(|t| 0.5 * t), "python-growth", Status::Leak, Domain::PythonHeap);
    silent(python(|t| 0.5 * t.min(20.0)), "python-growth");
}

#[test]
fn unexplained_growth() {
    let odd = |per_s: f64| base().with(move |t, s| s.unattributed += per_s * t);
    decides(odd(0.4 * MB), "unexplained-growth", Status::Inconclusive, Domain::Unattributed);
    silent(odd(0.0), "unexplained-growth");
}

#[test]
fn zgc_triple_count() {
    let z = |times: u32| {
        let mut world = base();
        world.gc = "Z".into();
        world.mapped_times = times;
        world
    };
    fires(z(3), "zgc-triple-count", Status::Healthy, Domain::JavaHeap);
    silent(z(1), "zgc-triple-count");
}

#[test]
fn cgroup_page_cache() {
    let group = |file: u64| {
        let mut world = base();
        world.cgroup = Some(Cgroup {
            limit_bytes: Some(1 << 30),
            current_bytes: (1 << 30) - (40 << 20),
            file_bytes: file,
            inactive_file_bytes: file,
            headroom_bytes: Some(40 << 20),
            ..Cgroup::default()
        });
        world
    };
    fires(group(700 << 20), "cgroup-page-cache", Status::Healthy, Domain::MappedFiles);
    silent(group(50 << 20), "cgroup-page-cache");
}

#[test]
fn the_heap_that_fills_does_not_hide_the_leak() {
    let world = base().with(|t, s| {
        s.heap_resident += 2.0 * MB * t;
        s.malloc += 0.5 * MB * t;
    });
    decides(world, "native-malloc-growth", Status::Leak, Domain::Malloc);
}

#[test]
fn a_short_window_says_so() {
    let diagnosis = judged(jvm(8, 12.0, &mut Random::new(1)).with(|t, s| s.malloc += 5.0 * MB * t));
    assert_eq!(diagnosis.verdict.cause, "window-too-short");
    assert_eq!(diagnosis.verdict.domain, None);
    assert_eq!(diagnosis.exit_code(), 3);
}

#[test]
fn growth_that_slows_needs_a_longer_window() {
    let world = base().with(|t, s| s.malloc += 40.0 * MB * (1.0 - (-t / 40.0).exp()));
    let diagnosis = judged(world);
    assert_eq!(diagnosis.verdict.status, Status::Inconclusive, "{:#?}", diagnosis.verdict);
    assert!(diagnosis.verdict.summary.contains("slowing"), "{}", diagnosis.verdict.summary);
}

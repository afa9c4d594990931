//! Kinds of leaks that are judged by a measure of their own: stubs, tmpfs, finalizers that do not
//! run, a slow site, and what is returned through a bridge. Each with a healthy twin.

mod common;

use common::Random;
use common::world::{MB, World, jvm, native};
use offheap_diagnose::{Diagnosis, Evidence, Fixed, compare, diagnose};
use offheap_model::{
    Cgroup, ClassCount, Detail, Domain, Finding, Frame, FrameKind, Handles, LocalReferences, Profile,
    ProfileSite, Reach, References, Sampling, Snapshot, Status,
};

/// A figure over the seconds.
type Over = fn(f64) -> f64;

fn base() -> World {
    jvm(61, 12.0, &mut Random::new(11))
}

/// The verdict on `world` with each snapshot changed, at its second.
fn judged(world: &World, change: impl Fn(f64, &mut Snapshot), profile: Option<&Profile>) -> Diagnosis {
    let mut snapshots = world.snapshots();
    for (i, snapshot) in snapshots.iter_mut().enumerate() {
        change(i as f64, snapshot);
    }
    let evidence = Evidence::of(&snapshots);
    diagnose(&match profile {
        Some(profile) => evidence.with_profile(profile),
        None => evidence,
    })
}

fn is_leak(verdict: &Finding, cause: &str, domain: Domain) {
    assert_eq!(
        (verdict.status, verdict.cause.as_str(), verdict.domain),
        (Status::Leak, cause, Some(domain)),
        "{verdict:#?}"
    );
}

/// The code heap for stubs with so much resident, of 5.6 MB.
fn stubs(snapshot: &mut Snapshot, bytes: f64) {
    let code = snapshot.domains.iter_mut().find(|figure| figure.domain == Domain::CodeCache).unwrap();
    code.detail.push(Detail {
        name: "CodeHeap 'non-nmethods'".into(),
        rss_bytes: bytes as u64,
        virtual_bytes: 5_600_000,
        source: "vmStructs".into(),
    });
}

#[test]
fn stubs_that_grow_are_a_leak_and_code_that_the_jit_makes_is_none() {
    let grow = base().with(|t, s| s.code += 0.3 * MB * t);
    // In a heap of their own that fills, or beside one that is full already; few, so that the code
    // cache hardly moves.
    is_leak(
        &judged(&grow, |t, s| stubs(s, 2e6 + 3e4 * t), None).verdict,
        "code-cache-growth",
        Domain::CodeCache,
    );
    is_leak(&judged(&grow, |_, s| stubs(s, 5.5e6), None).verdict, "code-cache-growth", Domain::CodeCache);
    is_leak(
        &judged(&base(), |t, s| stubs(s, 1.5e6 + 4e4 * t), None).verdict,
        "code-cache-growth",
        Domain::CodeCache,
    );
    let jit = judged(&grow, |_, s| stubs(s, 2.6e6), None).verdict;
    assert_eq!(jit.status, Status::Healthy, "{jit:#?}");
}

#[test]
fn tmpfs_that_grows_is_a_leak_of_the_container() {
    let group = |shmem: f64, file: f64| Cgroup {
        version: 2,
        limit_bytes: Some(2 << 30),
        shmem_bytes: shmem as u64,
        file_bytes: (shmem + file) as u64,
        processes: 1,
        ..Cgroup::default()
    };
    let spool = |t: f64| 20.0 * MB + 0.8 * MB * t;
    for world in [base(), native(61, &mut Random::new(5))] {
        let leak = judged(&world, |t, s| s.cgroup = Some(group(spool(t), 0.0)), None);
        is_leak(&leak.verdict, "tmpfs-growth", Domain::Tmpfs);
        assert!(leak.outlook.kill_at.is_some());
        let first = leak.verdict.summary.split(". ").next().unwrap();
        assert!(first.starts_with("Memory of files in tmpfs grows"), "{first}");
        // The group's other processes may have mapped them.
        let said = &leak.verdict.summary;
        assert!(
            said.contains("beside what this process has mapped, grew") && !said.contains("no RSS"),
            "{said}"
        );
    }
    // Asked again with the same growth it is still there, and with none it is gone.
    let snapshots = |group: &dyn Fn(f64) -> Cgroup| {
        let mut snapshots = base().snapshots();
        snapshots.iter_mut().enumerate().for_each(|(i, s)| s.cgroup = Some(group(i as f64)));
        snapshots
    };
    let before = snapshots(&|t| group(spool(t), 0.0));
    for (after, fixed) in
        [(before.clone(), Fixed::Still), (snapshots(&|_| group(20.0 * MB, 0.0)), Fixed::Gone)]
    {
        let comparison = compare(&Evidence::of(&before), &Evidence::of(&after));
        assert_eq!((comparison.fixed, comparison.domain), (fixed, Some(Domain::Tmpfs)), "{comparison:#?}");
    }
    // Page cache can be dropped; what the process has mapped is its own.
    let cache = judged(&base(), |t, s| s.cgroup = Some(group(20.0 * MB, spool(t))), None).verdict;
    assert_eq!(cache.status, Status::Healthy, "{cache:#?}");
    let mapped = judged(
        &base(),
        |t, s| {
            s.cgroup = Some(group(spool(t), 0.0));
            s.memory.shmem_bytes = spool(t) as u64;
        },
        None,
    );
    assert!(mapped.findings.iter().all(|f| f.cause != "tmpfs-growth"), "{:#?}", mapped.findings);
}

#[test]
fn owners_that_gather_as_garbage_across_collections_are_finalizers_that_do_not_run() {
    let looks = |waiting: fn(f64) -> u64| {
        base().with(move |t, s| {
            s.malloc += MB * t;
            (s.old, s.direct) = (s.young / 2, 1.0 * MB);
            let owners = 900 + waiting(t);
            s.reach = (t as u64 % 12 == 6).then(|| Reach {
                owners,
                owners_in_use: 900,
                complete: true,
                ..Reach::default()
            });
        })
    };
    let stuck = judged(&looks(|t| (200.0 * t) as u64), |_, _| (), None);
    is_leak(&stuck.verdict, "finalizers-stuck", Domain::Malloc);
    assert!(
        stuck.verdict.explains.contains(&"native-malloc-growth".to_owned()),
        "{:?}",
        stuck.verdict.explains
    );
    assert!(stuck.verdict.fix.iter().any(|step| step.contains("Finalizer thread")));
    let other = judged(&looks(|_| 40), |_, _| (), None).verdict;
    assert_eq!((other.status, other.cause.as_str()), (Status::Leak, "native-malloc-growth"), "{other:#?}");
}

#[test]
fn buffers_that_collections_left_are_no_garbage_whatever_the_references_said() {
    // JNI local references of a native loop hold them, and those were not found.
    let world = base().with(|t, s| {
        s.direct = MB * (1.0 + t);
        s.direct_count = 10.0 * t;
        s.old = s.young / 2;
        s.reach = (t as u64 % 12 == 6).then(|| Reach {
            direct_bytes: s.direct as u64,
            direct_in_use_bytes: 0,
            owners: 100,
            owners_in_use: 90,
            complete: true,
            ..Reach::default()
        });
    });
    let verdict = judged(&world, |_, _| (), None).verdict;
    assert_eq!((verdict.status, verdict.domain), (Status::Leak, Some(Domain::DirectMemory)), "{verdict:#?}");
    assert!(!verdict.summary.contains("garbage: of"), "{}", verdict.summary);
}

fn frame(name: &str, kind: FrameKind, module: Option<&str>) -> Frame {
    Frame { name: name.into(), kind, file: None, line: None, module: module.map(Into::into) }
}

/// A record of one stack that grows at this rate, within this share of it, of which this share
/// stays.
fn record(frames: Vec<Frame>, per_s: f64, within: f64, stays: f64) -> Profile {
    let live = (per_s * 60.0) as u64;
    Profile {
        seconds: 58.0,
        sampling: Sampling { interval_bytes: 4096, samples: 4000, dropped: 0 },
        sites: vec![ProfileSite {
            stack: (0..frames.len() as u32).collect(),
            live_bytes: live,
            live_count: live / 512,
            leak_bytes: live / 2,
            allocated_bytes: (live as f64 / stays) as u64,
            slope_bytes_per_s: Some(per_s),
            slope_ci95: Some([per_s * (1.0 - within), per_s * (1.0 + within)]),
            ..ProfileSite::default()
        }],
        frames,
        ..Profile::default()
    }
}

fn codec() -> Vec<Frame> {
    vec![
        frame("malloc", FrameKind::Native, Some("/lib/libc.so.6")),
        frame("header_new", FrameKind::Native, Some("/app/libcodec.so")),
        frame("app.Codec.open", FrameKind::Java, None),
    ]
}

#[test]
fn a_slow_leak_is_certain_by_its_own_measure() {
    let world = base().with(|_, s| s.old = s.young / 2);
    let verdict = |per_s, within, stays| {
        judged(&world, |_, _| (), Some(&record(codec(), per_s, within, stays))).verdict
    };
    let leak = verdict(7_700.0, 0.01, 1.0);
    is_leak(&leak, "slow-leak", Domain::NativeMalloc);
    assert!(leak.summary.contains("header_new"), "{}", leak.summary);
    // Not straight, partly freed, or too little to be more than an accident.
    for healthy in [verdict(7_700.0, 0.5, 1.0), verdict(7_700.0, 0.01, 0.6), verdict(900.0, 0.01, 1.0)] {
        assert_eq!(healthy.status, Status::Healthy, "{healthy:#?}");
    }
    // Without a collection the blocks may be those of garbage.
    let idle = judged(
        &base().with(|_, s| (s.young, s.direct) = (3, MB)),
        |_, _| (),
        Some(&record(codec(), 7_700.0, 0.01, 1.0)),
    );
    assert_eq!(idle.verdict.status, Status::Healthy, "{:#?}", idle.verdict);
}

#[test]
fn bridges_and_proxies_do_not_answer_for_what_passes_through_them() {
    let world = base().with(|t, s| s.malloc += MB * t);
    let of = |frames: Vec<Frame>| {
        let verdict = judged(&world, |_, _| (), Some(&record(frames, 1e6, 0.05, 1.0))).verdict;
        let found = (verdict.status, verdict.domain);
        assert_eq!(found, (Status::Leak, Some(Domain::NativeMalloc)), "{verdict:#?}");
        let first = verdict.summary.split(". ").next().unwrap();
        assert!(first.contains("app.Names.get") && !first.contains("ffi"), "{first}");
        verdict
    };
    let called = |function: &str, file: &str, [ffi, in_file]: [&str; 2], entry: &str| {
        vec![
            frame(function, FrameKind::Native, Some(file)),
            frame(ffi, FrameKind::Native, Some(in_file)),
            frame("Java_com_sun_jna_Native_invokePointer", FrameKind::Native, Some(entry)),
            frame("com.sun.jna.Native.invokePointer", FrameKind::Java, None),
            frame("$Proxy0.strdup", FrameKind::Java, None),
            frame("app.Names.get", FrameKind::Java, None),
        ]
    };
    let unpacked = "/root/.cache/JNA/temp/jna1234567890.tmp";
    for entry in ["/tmp/libjnidispatch.so", unpacked] {
        // The distribution's libffi, JNA's own, and that without symbols.
        for ffi in [["ffi_call", "/usr/lib/libffi.so.8"], ["ffi_call", entry], ["jna.tmp+0x6f79", entry]] {
            for (function, file) in [("strdup", "/lib/libc.so.6"), ("names_new", "/app/libnames.so")] {
                let verdict = of(called(function, file, ffi, entry));
                assert!(verdict.fix[0].contains("Native.free"), "{function} by {ffi:?}: {:?}", verdict.fix);
            }
        }
        // JNA's own memory is JNA's, with symbols and without.
        for own in ["Java_com_sun_jna_Native_malloc", "jna1234567890.tmp+0x7f10"] {
            let verdict = of(vec![
                frame("malloc", FrameKind::Native, Some("/lib/libc.so.6")),
                frame(own, FrameKind::Native, Some(entry)),
                frame("com.sun.jna.Native.malloc", FrameKind::Java, None),
                frame("com.sun.jna.Memory.<init>", FrameKind::Java, None),
                frame("app.Names.get", FrameKind::Java, None),
            ]);
            assert!(verdict.fix[0].contains("close() com.sun.jna.Memory"), "{own}: {:?}", verdict.fix);
        }
    }
}

/// What JNI code holds: a number of global references to objects of `class`, local ones of a
/// thread, and frames that it pushed.
fn handles(class: &str, global: f64, local: f64, frames: f64) -> Option<Handles> {
    let references = |count: f64, class: &str| References {
        count: count as u64,
        cleared: 0,
        by_class: vec![ClassCount { class: class.to_owned(), count: count as u64 }],
    };
    let thread = LocalReferences {
        tid: 77,
        thread: "capture".to_owned(),
        pushed_frames: frames as u64,
        blocks: 1,
        references: references(local, "java.nio.DirectByteBuffer"),
    };
    Some(Handles {
        global: Some(references(global, class)),
        threads: Some(vec![thread]),
        ..Handles::default()
    })
}

/// Each fourth second the handles are looked at.
fn each_fourth(t: f64, snapshot: &mut Snapshot, found: Option<Handles>) {
    snapshot.jvm.as_mut().unwrap().handles = found.filter(|_| (t as u64).is_multiple_of(4));
}

#[test]
fn code_with_a_reference_to_a_method_handle_for_each_stub_is_no_code_of_the_jit() {
    let world = base().with(|t, s| {
        s.code += 0.4 * MB * t;
        s.old = s.young / 2;
    });
    let with = |class: &'static str, each_s: f64| {
        judged(&world, move |t, s| each_fourth(t, s, handles(class, 40.0 + each_s * t, 2.0, 0.0)), None)
            .verdict
    };
    // Stubs of several sizes.
    for (class, each_s) in [
        ("java.lang.invoke.BoundMethodHandle$Species_LL", 500.0),
        ("java.lang.invoke.DirectMethodHandle", 1200.0),
        ("java.lang.invoke.BoundMethodHandle$Species_LLI", 150.0),
    ] {
        let leak = with(class, each_s);
        is_leak(&leak, "code-cache-growth", Domain::CodeCache);
        assert!(leak.fix[0].contains("Arena that is closed"), "{:?}", leak.fix);
    }
    // The JIT at work beside references to something else, some, or none.
    for (class, each_s) in
        [("app.Listener", 500.0), ("java.lang.invoke.DirectMethodHandle", 9.0), ("java.lang.Class", 0.0)]
    {
        let jit = with(class, each_s);
        assert_eq!(jit.status, Status::Healthy, "{class}: {jit:#?}");
    }
}

#[test]
fn a_thread_that_gathers_local_references_is_named_for_what_they_hold() {
    let buffers = base().with(|t, s| {
        (s.direct, s.direct_count) = (MB * (1.0 + t), 10.0 + 60.0 * t);
        s.old = s.young / 2;
    });
    let blocks = base().with(|t, s| {
        s.malloc += MB * t;
        s.old = s.young / 2;
    });
    let with = |world: &World, local: fn(f64) -> f64, frames: fn(f64) -> f64| {
        judged(world, |t, s| each_fourth(t, s, handles("java.lang.Class", 40.0, local(t), frames(t))), None)
            .verdict
    };
    let loops = with(&buffers, |t| 60.0 * t, |_| 0.0);
    is_leak(&loops, "direct-buffers-referenced", Domain::DirectMemory);
    assert!(loops.fix[0].contains("DeleteLocalRef") && loops.fix[0].contains("capture"), "{:?}", loops.fix);
    assert!(loops.summary.contains("most of them to java.nio.DirectByteBuffer"), "{}", loops.summary);
    for world in [&blocks, &buffers] {
        let pushed = with(world, |_| 3.0, |t| 40.0 * t);
        assert_eq!(pushed.status, Status::Leak);
        assert!(pushed.fix[0].contains("PopLocalFrame for every PushLocalFrame"), "{:?}", pushed.fix);
    }
    // A native method that makes many at a time and returns, and a few.
    for local in [|t: f64| 4000.0 * f64::from(t as u32 / 4 % 2), |t| 40.0 + t / 4.0, |_| 9000.0] {
        let other = with(&buffers, local, |_| 0.0);
        assert!(!other.summary.contains("local references"), "{}", other.summary);
    }
    let healthy = with(&base(), |t| 60.0 * t, |_| 0.0);
    assert_eq!(healthy.status, Status::Healthy, "{healthy:#?}");
}

/// A native program whose C heap has this many blocks of 112 bytes after that many seconds.
fn of_a_size(count: fn(f64) -> f64, others: fn(f64) -> f64) -> Diagnosis {
    let mut world = native(61, &mut Random::new(4));
    for (t, s) in world.states.iter_mut().enumerate() {
        let t = t as f64;
        s.sizes.push((112, 112.0 * count(t).round()));
        s.malloc = 300e3 + 112.0 * count(t).round() + others(t);
        s.malloc_free = 20e3;
    }
    judged(&world, |_, _| (), None)
}

#[test]
fn a_kilobyte_a_second_is_a_leak_where_its_blocks_only_come() {
    // Ten, three, and thirty-five a second.
    for count in [|t: f64| 50.0 + 10.0 * t, |t| 3.0 * t, |t| 900.0 + 35.0 * t] {
        let diagnosis = of_a_size(count, |_| 0.0);
        is_leak(&diagnosis.verdict, "slow-leak", Domain::NativeMalloc);
        assert!(diagnosis.verdict.summary.contains("blocks of 112 bytes"), "{}", diagnosis.verdict.summary);
    }
    let healthy: [(Over, Over); 7] = [
        // Still; a cache that was filled within the window; one that fills ever more slowly.
        (|_| 600.0, |_| 0.0),
        (|t| 10.0 * t.min(35.0), |_| 0.0),
        (|t| 600.0 * (1.0 - (-t / 25.0).exp()), |_| 0.0),
        // Blocks that go, too: a queue, a table that is swept.
        (|t| 10.0 * t - 80.0 * (t / 10.0).floor(), |_| 0.0),
        (|t| 200.0 + 10.0 * (t % 20.0), |_| 0.0),
        // They take the place of others; or are too few.
        (|t| 10.0 * t, |t| 80e3 - 1120.0 * t),
        (|t| t, |_| 0.0),
    ];
    for (number, (count, others)) in healthy.into_iter().enumerate() {
        let verdict = of_a_size(count, others).verdict;
        assert_eq!(verdict.status, Status::Healthy, "{number}: {verdict:#?}");
    }
}

#[test]
fn buffers_that_are_counted_are_not_too_slow_to_show() {
    let world = base().with(|t, s| {
        (s.direct, s.direct_count) = (MB * (1.0 + 1.5 * t), 10.0 + 25.0 * t);
        s.old = s.young / 2;
    });
    let stack = vec![
        frame("os::malloc", FrameKind::Jvm, Some("/jre/libjvm.so")),
        frame("Unsafe_AllocateMemory0", FrameKind::Jvm, Some("/jre/libjvm.so")),
        frame("java.nio.DirectByteBuffer.<init>", FrameKind::Java, None),
        frame("app.Camera.frame", FrameKind::Java, None),
    ];
    let diagnosis = judged(&world, |_, _| (), Some(&record(stack, 1.5e6, 0.005, 1.0)));
    is_leak(&diagnosis.verdict, "direct-buffers-referenced", Domain::DirectMemory);
    assert!(
        diagnosis.findings.iter().all(|finding| finding.cause != "slow-leak"),
        "{:#?}",
        diagnosis.findings
    );
}

#[test]
fn nobody_is_named_where_no_stack_is_known() {
    let world = native(61, &mut Random::new(6)).with(|t, s| s.malloc += MB * t);
    let unknown = record(vec![frame("[no stack]", FrameKind::Native, None)], 1e6, 0.05, 1.0);
    let verdict = judged(&world, |_, _| (), Some(&unknown)).verdict;
    is_leak(&verdict, "native-malloc-growth", Domain::NativeMalloc);
    assert!(verdict.site.is_none() && !verdict.summary.contains("no stack"), "{}", verdict.summary);
}

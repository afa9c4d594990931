//! Whether a process will fit its limit: the arithmetic, the verdict, and the hour of the kill.

mod common;

use common::world::{MB, World, jvm, native};
use common::{Random, ramp};
use offheap_diagnose::{ClassGrowth, Diagnosis, Evidence, Outlook, Part, diagnose, needs_code};
use offheap_model::{Cgroup, Domain, Status};

const MIB: u64 = 1 << 20;

fn judged(world: &World) -> Diagnosis {
    let snapshots = world.snapshots();
    diagnose(&Evidence::of(&snapshots))
}

/// A JVM of about 250 MB, its heap more than half resident, in a group with this limit and this
/// kernel memory.
fn limited(limit: u64, heap_max: f64, change: impl Fn(f64, &mut common::world::State)) -> World {
    let mut world = jvm(61, 12.0, &mut Random::new(3)).with(|_, s| s.heap_resident = 150.0 * MB).with(change);
    world.heap_max = heap_max;
    world.cgroup = Some(Cgroup {
        version: 2,
        limit_bytes: Some(limit),
        kernel_bytes: 4 * MIB,
        processes: 1,
        ..Cgroup::default()
    });
    world
}

fn part<'a>(outlook: &'a Outlook, domain: &str) -> &'a Part {
    outlook
        .parts
        .iter()
        .find(|part| part.domain.as_str() == domain)
        .unwrap_or_else(|| panic!("{domain}: {outlook:#?}"))
}

fn assert_does_not_fit(world: &World, setting: &str) -> Diagnosis {
    let diagnosis = judged(world);
    let verdict = &diagnosis.verdict;
    assert_eq!(
        (verdict.status, verdict.cause.as_str()),
        (Status::DoesNotFit, "does-not-fit"),
        "{verdict:#?}"
    );
    assert_eq!((diagnosis.exit_code(), diagnosis.outlook.fits), (4, Some(false)));
    assert!(verdict.fix.iter().any(|step| step.contains(setting)), "{setting}: {:?}", verdict.fix);
    diagnosis
}

#[test]
fn a_heap_that_may_grow_past_the_limit_does_not_fit() {
    // MaxRAMPercentage=80 of 320 MiB, and a hundred megabytes beside the heap.
    let diagnosis = assert_does_not_fit(&limited(320 * MIB, 256.0 * MIB as f64, |_, _| ()), "-Xmx");
    let outlook = &diagnosis.outlook;
    let sum: u64 = outlook.parts.iter().map(|part| part.may_grow_to_bytes).sum();
    assert_eq!(outlook.ceiling_bytes, sum);
    assert_eq!(part(outlook, "java-heap").may_grow_to_bytes, 256 * MIB);
    // What the heap holds, and which code filled it, has no part in that.
    let mut named = diagnosis.clone();
    named.name_classes(
        &[ClassGrowth {
            name: "app.Order".to_owned(),
            before: 10,
            after: 2_000_000,
            bytes: 80_000_000,
            after_bytes: 90_000_000,
        }],
        60.0,
    );
    assert_eq!((named.verdict, needs_code(&diagnosis.verdict)), (diagnosis.verdict.clone(), false));
    // What it says to set, fits.
    let xmx: f64 =
        outlook.settings[0].strip_prefix("-Xmx").unwrap().split('m').next().unwrap().parse().unwrap();
    let mended = judged(&limited(320 * MIB, xmx * MIB as f64, |_, _| ()));
    assert_eq!(
        (mended.verdict.status, mended.outlook.fits),
        (Status::Healthy, Some(true)),
        "{:#?}",
        mended.verdict
    );
}

#[test]
fn three_hundred_threads_beside_a_heap_that_fits_alone_do_not() {
    let world = limited(400 * MIB, 256.0 * MIB as f64, |_, s| {
        s.pools.push(("exec-*".into(), 300.0));
        s.stack_each = 180e3;
        s.malloc += 30.0 * MB;
    });
    let diagnosis = assert_does_not_fit(&world, "or a limit of");
    assert!(part(&diagnosis.outlook, "thread-stacks").now_bytes > 50 * MIB);
}

#[test]
fn direct_memory_without_a_limit_of_its_own_may_take_as_much_as_the_heap() {
    // It fills for the first half of the window: no leak, but on its way to -Xmx.
    let world = limited(520 * MIB, 256.0 * MIB as f64, |t, s| {
        s.direct = 40.0 * MB + 1.0 * MB * t.min(30.0);
        s.direct_count = s.direct / 65536.0;
    });
    let diagnosis = assert_does_not_fit(&world, "-XX:MaxDirectMemorySize=");
    assert_eq!(part(&diagnosis.outlook, "direct-memory").may_grow_to_bytes, 256 * MIB);
}

#[test]
fn other_processes_of_the_group_count() {
    let mut world = limited(460 * MIB, 200.0 * MIB as f64, |_, _| ());
    let group = world.cgroup.as_mut().unwrap();
    (group.processes, group.anon_bytes) = (2, 200 * MIB);
    let diagnosis = assert_does_not_fit(&world, "or a limit of");
    assert_eq!(part(&diagnosis.outlook, "other-processes").now_bytes, 200 * MIB);
}

#[test]
fn what_fits_is_healthy_and_clean_files_do_not_count() {
    let diagnosis = judged(&limited(420 * MIB, 256.0 * MIB as f64, |_, _| ()));
    assert_eq!(
        (diagnosis.verdict.status, diagnosis.exit_code()),
        (Status::Healthy, 0),
        "{:#?}",
        diagnosis.verdict
    );
    assert_eq!(part(&diagnosis.outlook, "libraries").may_grow_to_bytes, 0);
    assert!(diagnosis.outlook.kill_at.is_none());
}

#[test]
fn a_heap_that_stays_small_under_load_is_not_expected_at_xmx() {
    let small = |t: f64| {
        let mut world = limited(300 * MIB, 512.0 * MIB as f64, move |_, s| s.heap_resident = 60.0 * MB + t);
        world.heap_max = 512.0 * MIB as f64;
        judged(&world)
    };
    let diagnosis = small(0.0);
    let heap = part(&diagnosis.outlook, "java-heap");
    assert_eq!(
        (diagnosis.verdict.status, heap.bound_bytes),
        (Status::Healthy, Some(512 * MIB)),
        "{diagnosis:#?}"
    );
    assert!(heap.because.contains("collections"), "{heap:?}");
}

#[test]
fn without_a_limit_there_is_a_ceiling_and_no_verdict_of_it() {
    let mut world = limited(MIB, 256.0 * MIB as f64, |_, _| ());
    world.cgroup = None;
    let snapshots = world.snapshots();
    let evidence = Evidence::of(&snapshots);
    let outlook = Outlook::of(&evidence, None);
    assert_eq!((outlook.limit_bytes, outlook.fits), (None, None));
    assert!(outlook.ceiling_bytes > 300 * MIB);
    // One can be asked about.
    assert_eq!(Outlook::of(&evidence, Some(300 * MIB)).fits, Some(false));
    assert_eq!(Outlook::of(&evidence, Some(2048 * MIB)).fits, Some(true));
}

#[test]
fn where_nothing_has_room_to_grow_no_part_is_said_to() {
    let mut world = native(61, &mut Random::new(3));
    world.cgroup = Some(Cgroup { version: 2, limit_bytes: Some(MIB), processes: 1, ..Cgroup::default() });
    let diagnosis = assert_does_not_fit(&world, "a limit of");
    let (verdict, outlook) = (&diagnosis.verdict, &diagnosis.outlook);
    assert!(outlook.parts.iter().all(|part| part.may_grow_to_bytes <= part.now_bytes), "{outlook:#?}");
    assert!(verdict.summary.contains("for the kernel to kill it. "), "{}", verdict.summary);
    assert!(outlook.settings.len() == 1 && outlook.settings[0].starts_with("a limit"), "{outlook:#?}");
    let largest = outlook.parts.iter().map(|part| part.may_grow_to_bytes).max();
    let named = verdict.domain.map(|domain| part(outlook, domain.as_str()).may_grow_to_bytes);
    assert_eq!(named, largest);
}

#[test]
fn a_leak_has_the_hour_of_its_kill() {
    let world = limited(1024 * MIB, 256.0 * MB, |_, _| ()).plus(&ramp(61, MB), |s, v| s.malloc += v);
    let diagnosis = judged(&world);
    assert_eq!(diagnosis.verdict.status, Status::Leak, "{:#?}", diagnosis.verdict);
    let outlook = &diagnosis.outlook;
    let last = world.snapshots().last().unwrap().time_ms;
    let hour = outlook.kill_at.expect("a kill");
    let expected = outlook.headroom_bytes.unwrap() as f64 / MB * 1000.0;
    assert!(((hour - last) as f64 - expected).abs() < 0.05 * expected, "{} ms, {expected}", hour - last);
    let [sooner, later] = outlook.kill_at_ci95.expect("an interval");
    assert!(sooner.unwrap() < hour && later.is_none_or(|later| later > hour));
    let first = diagnosis.verdict.summary.split(". ").next().unwrap();
    assert!(first.contains("the limit of 1.00 GiB is reached at about"), "{first}");
}

#[test]
fn what_leaks_without_a_bound_is_told_from_what_ends_at_its_own() {
    let of = |grow: &dyn Fn(&mut common::world::State, f64)| {
        let diagnosis = judged(&jvm(61, 15.0, &mut Random::new(2)).plus(&ramp(61, MB), |s, v| grow(s, v)));
        assert_eq!(diagnosis.verdict.status, Status::Leak, "{:#?}", diagnosis.verdict);
        (diagnosis.outlook.leaks_unbounded, diagnosis.outlook.words())
    };
    let (unbounded, words) = of(&|s, v| s.malloc += v);
    assert!(
        unbounded && words.contains(" once the leak is stopped; while it leaks, to any size: "),
        "{words}"
    );
    let (unbounded, words) = of(&|s, v| s.direct += v);
    assert!(
        !unbounded && words.starts_with("No limit is set. It may come to ") && !words.contains("any size"),
        "{words}"
    );
}

#[test]
fn a_leak_on_the_java_heap_is_not_killed_for_its_limit() {
    let mut world = limited(4096 * MIB, 1000.0 * MB, |t, s| {
        s.old = (t / 15.0) as u64;
        s.old_used = 40.0 * MB + 2.0 * MB * t + 1.0 * MB * (t % 15.0);
    });
    world.heap_max = 1000.0 * MB;
    let diagnosis = judged(&world);
    assert_eq!(
        (diagnosis.verdict.status, diagnosis.verdict.domain),
        (Status::Leak, Some(Domain::JavaHeap)),
        "{:#?}",
        diagnosis.verdict
    );
    assert!(diagnosis.outlook.kill_at.is_none());
}

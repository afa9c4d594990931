//! Whatever the snapshots say, nothing panics and every figure is a number.

mod common;

use common::Random;
use common::world::{MB, jvm};
use offheap_diagnose::stats::{Point, Trend, theil_sen, thin};
use offheap_diagnose::{
    Evidence, check, diagnose, render_check_junit, render_check_markdown, render_markdown,
};
use offheap_model::{Profile, ProfileSite, Snapshot};
use proptest::prelude::*;

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        3 => -1e3..1e12f64,
        1 => Just(0.0),
        1 => prop::num::f64::ANY,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn trends_of_anything(raw in prop::collection::vec((value(), value()), 0..80)) {
        let points: Vec<Point> = raw.into_iter().map(|(t, v)| Point { t, v }).collect();
        let trend = Trend::of(&points);
        prop_assert!(trend.points <= points.len());
        prop_assert!(!trend.p_up.is_nan() && trend.correlation_time >= 1.0);
        let slope = theil_sen(&thin(&points), 3.0);
        prop_assert!(slope.ci95[0] <= slope.per_s && slope.per_s <= slope.ci95[1], "{slope:?}");
    }

    /// A well-formed JVM, disturbed: figures replaced by extremes, snapshots out of order, doubled,
    /// of another process.
    #[test]
    fn diagnoses_of_disturbed_snapshots(
        seed in 0u64..1000,
        n in 0usize..40,
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0u8..16, prop_oneof![Just(0u64), Just(u64::MAX), any::<u64>()]), 0..24),
    ) {
        let mut snapshots = jvm(n.max(1), 9.0, &mut Random::new(seed)).with(|t, s| s.malloc += MB * t).snapshots();
        snapshots.truncate(n);
        for (at, what, v) in changes {
            if snapshots.is_empty() {
                break;
            }
            let at = at.index(snapshots.len());
            disturb(&mut snapshots[at], what, v);
        }
        let profile = Profile {
            sites: vec![ProfileSite { stack: vec![0, 7, u32::MAX], live_bytes: u64::MAX, ..ProfileSite::default() }],
            ..Profile::default()
        };
        let marks = [(i64::MIN, "a".to_owned()), (i64::MAX, "b|<x>".to_owned())];
        let evidence = Evidence::of(&snapshots).with_profile(&profile).with_marks(&marks);
        let diagnosis = diagnose(&evidence);
        let json = serde_json::to_string(&diagnosis).unwrap();
        let back: offheap_diagnose::Diagnosis = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(back.verdict.status, diagnosis.verdict.status);
        for finding in diagnosis.findings.iter().chain([&diagnosis.verdict]) {
            prop_assert!((0.0..=1.0).contains(&finding.confidence), "{:?}", finding);
            prop_assert!(finding.slope_bytes_per_s.is_finite());
            prop_assert!(!finding.summary.is_empty() && !finding.summary.contains("NaN"), "{}", finding.summary);
        }
        prop_assert!(diagnosis.rss.slope_ci95.iter().all(|v| v.is_finite()));
        prop_assert!(!render_markdown(&diagnosis).contains("NaN"));
        let result = check(&evidence, 300.0, &[]);
        prop_assert!(serde_json::to_string(&result).is_ok());
        render_check_markdown(&result);
        render_check_junit(&result);
    }
}

fn disturb(s: &mut Snapshot, what: u8, v: u64) {
    let jvm = s.jvm.as_mut();
    match (what, jvm) {
        (0, _) => s.time_ms = v as i64,
        (1, _) => s.memory.rss_bytes = v,
        (2, _) => s.process.pid = v as i32,
        (3, _) => s.jvm = None,
        (4, _) => s.malloc = None,
        (5, _) => s.domains.clear(),
        (6, _) => s.process.threads = v,
        (7, Some(jvm)) => jvm.heap.used_bytes = Some(v),
        (8, Some(jvm)) => jvm.heap.max_bytes = v,
        (9, Some(jvm)) => jvm.gc_young_count = Some(v),
        (10, Some(jvm)) => jvm.metaspace.used_bytes = Some(v),
        (11, Some(jvm)) => jvm.direct = None,
        (12, Some(jvm)) => jvm.classes_unloaded = Some(v),
        (13, _) => {
            if let Some(malloc) = &mut s.malloc {
                (malloc.in_use_bytes, malloc.mmapped_bytes) = (v, v);
            }
        }
        (14, _) => {
            if let Some(malloc) = &mut s.malloc {
                (malloc.free_resident_bytes, malloc.trimmable_bytes) = (v, v);
                malloc.arenas.iter_mut().for_each(|a| (a.free_bytes, a.top_bytes) = (v, v));
            }
        }
        _ => {
            s.threads.iter_mut().for_each(|p| (p.count, p.resident_bytes, p.huge_bytes) = (v, v, v));
            s.files.iter_mut().for_each(|f| (f.rss_bytes, f.virtual_bytes, f.mappings) = (v, v, v));
        }
    }
}

#[test]
fn long_recordings_are_thinned() {
    let base = jvm(2, 9.0, &mut Random::new(1)).snapshots().remove(0);
    let snapshots: Vec<Snapshot> =
        (0..20_000).map(|i| Snapshot { time_ms: i * 1000, ..base.clone() }).collect();
    let evidence = Evidence::of(&snapshots);
    assert!(evidence.count() <= 2400, "{}", evidence.count());
    assert_eq!(evidence.last().unwrap().time_ms, 19_999_000);
}

#[test]
fn another_process_in_the_recording_does_not_count() {
    let mut snapshots = jvm(40, 9.0, &mut Random::new(1)).snapshots();
    snapshots.iter_mut().take(20).for_each(|s| {
        s.process.start_ticks = 1;
        s.memory.rss_bytes /= 10;
    });
    let evidence = Evidence::of(&snapshots);
    assert_eq!(evidence.count(), 20);
}

//! The gate: pass, fail and "can't tell", and what it prints.

mod common;

use common::world::{MB, World, jvm};
use common::*;
use offheap_diagnose::{
    CheckResult, Evidence, Outcome, check, diagnose, render_check_junit, render_check_markdown,
    render_markdown,
};
use offheap_model::Domain;

const MB_PER_HOUR: f64 = MB / 3600.0;

fn checked(world: World, limit: f64, domains: &[Domain]) -> CheckResult {
    let snapshots = world.snapshots();
    check(&Evidence::of(&snapshots), limit, domains)
}

fn minutes(minutes: usize) -> World {
    let mut world = jvm(minutes * 12, 6.0, &mut Random::new(4));
    world.every_s = 5.0;
    world
}

#[test]
fn a_flat_process_passes_and_a_leak_fails() {
    // Half an hour of noise of some 100 KB: 5 MB/h is told from nothing.
    let flat = checked(minutes(30), 5.0 * MB_PER_HOUR, &[]);
    assert_eq!((flat.outcome, flat.exit_code()), (Outcome::Pass, 0), "{flat:#?}");
    let leak = minutes(30).with(|t, s| s.malloc += 20.0 * MB_PER_HOUR * t);
    let leak = checked(leak, 5.0 * MB_PER_HOUR, &[]);
    assert_eq!((leak.outcome, leak.exit_code()), (Outcome::Fail, 1), "{leak:#?}");
}

#[test]
fn what_the_interval_does_not_decide_is_inconclusive() {
    let result = checked(jvm(31, 12.0, &mut Random::new(4)), 0.001 * MB_PER_HOUR, &[]);
    assert_eq!((result.outcome, result.exit_code()), (Outcome::Inconclusive, 3), "{result:#?}");
    assert!(result.lines[0].text.contains("needs a longer window"), "{}", result.lines[0].text);
    let short = checked(jvm(5, 12.0, &mut Random::new(4)), MB, &[]);
    assert_eq!(short.outcome, Outcome::Inconclusive);
    assert!(short.lines[0].text.contains("at least a minute"), "{}", short.lines[0].text);
}

#[test]
fn the_heap_counts_only_when_named() {
    let filling = || jvm(61, 12.0, &mut Random::new(4)).with(|t, s| s.heap_resident += 2.0 * MB * t);
    assert_eq!(checked(filling(), 0.2 * MB, &[]).outcome, Outcome::Pass);
    assert_eq!(checked(filling(), 0.2 * MB, &[Domain::JavaHeap]).outcome, Outcome::Fail);
    assert_eq!(checked(filling(), 0.2 * MB, &[Domain::Metaspace]).outcome, Outcome::Pass);
}

#[test]
fn a_warm_up_that_ends_is_not_held_against_it() {
    let world = jvm(61, 12.0, &mut Random::new(4)).with(|t, s| s.malloc += 2.0 * MB * t.min(20.0));
    assert_eq!(checked(world, 0.2 * MB, &[]).outcome, Outcome::Pass);
}

#[test]
fn junit_and_markdown_say_the_same() {
    let world = jvm(61, 12.0, &mut Random::new(4)).with(|t, s| s.native_mmap += MB * t);
    let result = checked(world, 0.2 * MB, &[Domain::NativeMmap, Domain::Metaspace]);
    let junit = render_check_junit(&result);
    assert!(junit.contains("tests=\"2\" failures=\"1\" errors=\"0\""), "{junit}");
    assert!(junit.contains("<testcase classname=\"offheap\" name=\"growth of metaspace\"/>"), "{junit}");
    let markdown = render_check_markdown(&result);
    assert!(markdown.starts_with("## offheap check: fail"), "{markdown}");
    assert!(markdown.contains("| fail | native-mmap |"), "{markdown}");
}

#[test]
fn the_diagnosis_in_markdown_escapes_what_comes_from_the_target() {
    let mut snapshots = jvm(61, 12.0, &mut Random::new(4)).with(|t, s| s.malloc += MB * t).snapshots();
    snapshots.iter_mut().for_each(|s| s.process.command = "java <img src=x> |a| [l](u)\n# h".into());
    let text = render_markdown(&diagnose(&Evidence::of(&snapshots)));
    assert!(text.starts_with("## offheap: leak · malloc · `native-malloc-growth`"), "{text}");
    assert!(!text.contains("<img") && !text.contains("\n# h") && !text.contains(" [l]("), "{text}");
    assert!(text.contains("**Fix**") && text.contains("| java-heap |"), "{text}");
}

#[test]
fn marks_make_phases() {
    let snapshots = jvm(61, 12.0, &mut Random::new(4)).snapshots();
    let begin = snapshots[0].time_ms;
    let marks = [(begin, "load".to_owned()), (begin + 30_000, "idle".to_owned())];
    let diagnosis = diagnose(&Evidence::of(&snapshots).with_marks(&marks));
    let phases: Vec<&str> = diagnosis
        .verdict
        .evidence
        .iter()
        .filter(|e| e.text.starts_with("phase"))
        .map(|e| e.text.as_str())
        .collect();
    assert_eq!(phases.len(), 2, "{phases:?}");
    assert!(phases[0].contains("\"load\" (30 s)") && phases[1].contains("\"idle\" (30 s)"), "{phases:?}");
}

#[test]
fn the_json_is_the_contract() {
    let snapshots = jvm(61, 12.0, &mut Random::new(4)).with(|t, s| s.malloc += MB * t).snapshots();
    let json = serde_json::to_value(diagnose(&Evidence::of(&snapshots))).unwrap();
    assert_eq!(json["schema"], "offheap/diagnose/v1");
    assert_eq!(json["target"]["pid"], 4711);
    assert_eq!(json["target"]["jvm"]["version"], "17.0.15+6");
    assert_eq!(json["window"]["snapshots"], 61);
    assert_eq!(json["rss"]["slope_ci95"].as_array().unwrap().len(), 2);
    assert_eq!(json["verdict"]["status"], "leak");
    assert_eq!(json["verdict"]["domain"], "malloc");
    assert!(json["verdict"]["site"].is_null());
    assert!(json["domains"].as_array().unwrap().iter().any(|d| d["domain"] == "java-heap"));
    assert_eq!(json["findings"][0]["cause"], json["verdict"]["cause"]);
}

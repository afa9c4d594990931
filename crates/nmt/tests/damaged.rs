//! Texts that were cut off or damaged: never a panic, and what was readable is still there.

use std::path::Path;

use offheap_nmt::{RenderOptions, check_sums, diff, parse, render};
use proptest::prelude::*;
use serde_json::Value;

fn text(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples").join(name)).expect("a sample")
}

fn json(text: &[u8]) -> Value {
    serde_json::to_value(parse(text)).expect("JSON")
}

/// Whether `part` says nothing that `whole` doesn't: fields may be missing and lists may end early,
/// of which only the last element may be incomplete.
fn within(part: &Value, whole: &Value) -> bool {
    match (part, whole) {
        (Value::Null, _) => true,
        (Value::Object(part), Value::Object(whole)) => {
            part.iter().all(|(key, value)| whole.get(key).is_some_and(|whole| within(value, whole)))
        }
        (Value::Array(part), Value::Array(whole)) => {
            let Some((last, complete)) = part.split_last() else { return true };
            part.len() <= whole.len()
                && complete.iter().zip(whole).all(|(part, whole)| part == whole)
                && within(last, &whole[part.len() - 1])
        }
        _ => part == whole,
    }
}

/// Cuts at every byte: what is left agrees with the whole, and it only grows.
fn cut_everywhere(name: &str, step: usize) {
    let text = text(name);
    let whole = json(&text);
    let mut known = 0;
    for end in (0..text.len()).step_by(step) {
        let mut part = json(&text[..end]);
        let problems = part["problems"].as_array().expect("problems").len();
        assert!(problems <= 2, "{name} cut at {end}: {}", part["problems"]);
        let map = part.as_object_mut().expect("a report");
        for told_by_the_end in ["problems", "kind"] {
            map.remove(told_by_the_end);
        }
        let size = serde_json::to_string(map).expect("JSON").len();
        // A region counts its committed parts up as they come.
        if let Some(region) = map["regions"].as_array_mut().and_then(|regions| regions.last_mut()) {
            region.as_object_mut().expect("a region").remove("committed_bytes");
        }
        assert!(within(&part, &whole), "{name} cut at {end}: {part}");
        if text[..end].ends_with(b"\n") {
            assert!(size >= known, "{name} cut at {end}: less than before");
            known = size;
        }
    }
}

#[test]
fn summaries_cut_at_every_byte() {
    cut_everywhere("8-summary.txt", 1);
    cut_everywhere("17-summary.txt", 1);
    cut_everywhere("25-summary.txt", 1);
    cut_everywhere("21-statistics.txt", 1);
}

#[test]
fn details_cut_at_many_bytes() {
    // Reading 200 KB at each of its bytes would be quadratic; a prime step meets every place in a
    // line.
    cut_everywhere("11-detail.txt", 499);
    cut_everywhere("25-detail.txt", 997);
}

#[test]
fn diffs_cut_at_every_byte() {
    // Here the beginning may not show yet that it is a diff, so deltas of 0 may be missing, but
    // never another value.
    for name in ["11-summary.diff.txt", "25-summary.diff.txt"] {
        let text = text(name);
        let whole = json(&text);
        for end in 0..text.len() {
            let part = json(&text[..end]);
            for (part, whole) in part["categories"]
                .as_array()
                .expect("a list")
                .iter()
                .zip(whole["categories"].as_array().expect("a list"))
            {
                assert!(within(part, whole), "{name} cut at {end}: {part} {whole}");
            }
        }
    }
}

/// All that can be done with a text.
fn exercise(text: &[u8]) {
    let report = parse(text);
    for check in check_sums(&report) {
        let _ = check.holds();
    }
    let _ = render(&report, &RenderOptions::default());
    let _ = serde_json::to_string(&report).expect("JSON");
    if let Ok(change) = diff(&report, &parse(&text[text.len() / 3..])) {
        let _ = render(&change, &RenderOptions::default());
    }
    if let Ok(same) = diff(&report, &report) {
        let changed =
            same.categories.iter().any(|c| c.mapping.committed_bytes_delta.is_some_and(|delta| delta != 0));
        let mut names: Vec<_> = report.categories.iter().map(|c| &c.name).collect();
        names.sort();
        names.dedup();
        assert!(!changed || names.len() < report.categories.len(), "a report differs from itself");
    }
}

#[test]
fn memory_is_bounded_by_the_size() {
    // Each of these tries to make little text into much: the report's JSON is a measure of what it
    // holds.
    let heading = format!("{}:\n", "h".repeat(100_000));
    let hostile: [(&str, String); 6] = [
        ("statistics", format!("Native Memory Tracking Statistics:\n{heading}{}", "a\n".repeat(50_000))),
        ("categories", format!("Native Memory Tracking:\n{}", "-a (reserved=1, committed=1)\n".repeat(5000))),
        (
            "frames",
            format!("Virtual memory map:\n[0x0 - 0x1] reserved 1 for a from\n{}", "[0x1]\n".repeat(20_000)),
        ),
        ("loose frames", "[0x1]\n".repeat(20_000)),
        ("sites", format!("Details:\n{}", "(malloc=1)\n".repeat(10_000))),
        ("rubbish", "x\n".repeat(100_000)),
    ];
    for (what, text) in hostile {
        let json = serde_json::to_string(&parse(text.as_bytes())).expect("JSON");
        assert!(json.len() < 100 * text.len(), "{what}: {} of {}", json.len(), text.len());
        let shown = render(&parse(text.as_bytes()), &RenderOptions::default());
        assert!(shown.len() < 100 * text.len(), "{what}: {} of {}", shown.len(), text.len());
    }
}

const MUTATED: [&str; 6] = [
    "8-summary.txt",
    "17-summary.diff.txt",
    "21-summary.txt",
    "25-summary.diff.txt",
    "25-statistics.txt",
    "11-detail.diff.txt",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn mutated_samples(
        sample in 0..MUTATED.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..4), 1..40),
    ) {
        let mut text = text(MUTATED[sample]);
        for (place, byte, how) in changes {
            let at = place.index(text.len());
            match how {
                0 => text[at] = byte,
                1 => { text.remove(at); }
                2 => text.insert(at, byte),
                _ => {
                    let end = (at + usize::from(byte)).min(text.len());
                    let copy = text[at..end].to_vec();
                    text.splice(at..at, copy);
                }
            }
        }
        exercise(&text);
    }

    #[test]
    fn lines_in_any_order(order in prop::collection::vec(any::<prop::sample::Index>(), 0..200)) {
        let text = text("25-detail.diff.txt");
        let lines: Vec<&[u8]> = text.split_inclusive(|&byte| byte == b'\n').collect();
        let shuffled: Vec<u8> = order.iter().flat_map(|place| lines[place.index(lines.len())].to_vec()).collect();
        exercise(&shuffled);
    }
}

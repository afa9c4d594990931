//! Any bytes as NMT text: no panic, no runaway memory, and what is done with a report holds too.
#![no_main]

use libfuzzer_sys::fuzz_target;
use offheap_nmt::{RenderOptions, Report, check_sums, diff, parse, render};

fuzz_target!(|text: &[u8]| {
    let report = parse(text);
    assert!(report.problems.len() <= Report::MAX_PROBLEMS);
    for check in check_sums(&report) {
        let _ = check.holds();
    }
    let _ = render(&report, &RenderOptions::default());
    let json = serde_json::to_vec(&report).expect("a report is JSON");
    let back: Report = serde_json::from_slice(&json).expect("JSON is a report");
    assert_eq!(back, report);
    let (early, late) = text.split_at(text.len() / 2);
    for (earlier, later) in [(&parse(early), &parse(late)), (&report, &report), (&parse(early), &report)] {
        if let Ok(change) = diff(earlier, later) {
            let _ = render(&change, &RenderOptions::default());
        }
    }
    // A text that was cut off before its last line says nothing that the whole doesn't.
    if let Some(end) = text[..text.len().saturating_sub(1)].iter().rposition(|&byte| byte == b'\n') {
        let cut = parse(&text[..=end]);
        assert!(cut.categories.len() <= report.categories.len());
        assert!(cut.regions.len() <= report.regions.len());
        assert!(cut.sites.len() <= report.sites.len());
        if let Some((_, complete)) = cut.regions.split_last() {
            assert!(report.regions.starts_with(complete));
        }
    }
});

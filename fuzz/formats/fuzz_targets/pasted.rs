//! Any text to the reader before all readers, and what it finds to theirs: no panic, no runaway memory.
#![no_main]

use offheap_formats::{hs_err, pasted, read_figures, read_profile};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let found = pasted::reports(bytes);
    let out: usize = found.reports.iter().map(|report| report.bytes.len()).sum();
    assert!(out <= 3 * bytes.len() + 1000);
    for report in &found.reports {
        let _ = (read_profile(&report.bytes), read_figures(&report.bytes));
        if let Ok(log) = hs_err::read(&report.bytes) {
            let _ = (log.facts(&[]), log.advice(&[]));
        }
    }
    let _ = pasted::could_be(bytes);
});

//! A saved account: what can be read can be shown and compared, in lines that fit.
#![no_main]

use offheap_present::terminal::{Style, map};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(snapshot) = offheap_present::json::parse_map(data) {
        let _ = map::render(&snapshot, Style { all: true, ..Style::default() });
    }
});

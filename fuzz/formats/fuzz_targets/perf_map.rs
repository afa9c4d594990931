//! Any bytes to the reader: no panic, no runaway memory.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = offheap_formats::perf_map::read(bytes);
});

//! Any bytes, perhaps wrapped in gzip or zstd: never more than the limit.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    const LIMIT: u64 = 1 << 20;
    if let Ok((plain, _)) = offheap_formats::unwrap(bytes, LIMIT) {
        assert!(plain.len() as u64 <= LIMIT.max(bytes.len() as u64));
    }
});

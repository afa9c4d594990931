//! hsperfdata: no panic, and every entry that is listed can be asked for.
#![no_main]

use offheap_hotspot::hsperf::Hsperf;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = Hsperf::used(data);
    if let Ok(counters) = Hsperf::parse(data) {
        for (name, _) in counters.iter() {
            assert!(counters.get(name).is_some());
        }
    }
});

//! The text of `/proc/PID/smaps`: no panic, and every mapping has a size.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    for vma in offheap_linux::parse_smaps(data) {
        assert!(vma.start < vma.end);
    }
});

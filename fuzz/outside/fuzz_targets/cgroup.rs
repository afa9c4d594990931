//! `/proc/PID/cgroup` and mountinfo.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let _ = offheap_linux::parse_cgroup_file(text);
    let _ = offheap_linux::parse_mountinfo(text);
});

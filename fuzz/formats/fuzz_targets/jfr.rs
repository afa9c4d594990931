//! Any bytes to the reader: no panic, no runaway memory, and the same whether it may look anywhere or only go through.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let (anywhere, through) = (offheap_formats::jfr::read(bytes), offheap_formats::jfr::read_from(&mut &bytes[..]));
    assert_eq!(anywhere, through);
});

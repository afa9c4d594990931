//! Any bytes to the readers of what people post, the first byte picks which: no panic, no runaway memory.
#![no_main]

use offheap_formats::*;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((which, bytes)) = bytes.split_first() else { return };
    match which % 20 {
        0 => drop(top::read(bytes)),
        1 => drop(ms_print::read(bytes)),
        2 => drop(heaptrack_print::read(bytes)),
        3 => drop(jfr_text::read_print(bytes)),
        4 => drop(jfr_text::read_view(bytes)),
        5 => drop(proc_status::read(bytes)),
        6 => drop(memory_stat::read(bytes)),
        7 => drop(oom::read(bytes)),
        8 => drop(malloc_stats::read(bytes)),
        9 => drop(jemalloc_stats::read(bytes)),
        10 => drop(tcmalloc_stats::read(bytes)),
        11 => drop(mimalloc_stats::read(bytes)),
        12 => drop(javacore::read(bytes)),
        13 => drop(vmmap::read(bytes)),
        14 => drop(kubectl::read(bytes)),
        15 => drop(docker_stats::read(bytes)),
        16 => drop(speedscope::read(bytes)),
        17 => drop(firefox::read(bytes)),
        18 => drop(symbolised::read(bytes)),
        _ => drop(smaps::read_mapped(bytes)),
    }
});

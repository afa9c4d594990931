//! Damaged unwind tables, read by the agent's interpreter and by gimli: no panic, no end that never comes, and where both understand a
//! row, the same rule.
#![no_main]

use libfuzzer_sys::fuzz_target;
use offheap_testkit::unwind::{BIAS, Section, by_gimli, rule_at};

fuzz_target!(|bytes: &[u8]| {
    // The header comes first, as corpus.py cuts it.
    let section = Section { start: BIAS, bytes };
    for step in 0..64u64 {
        // Code lies before its tables, as in most libraries; and everywhere.
        let pc = match step % 4 {
            0 => BIAS.wrapping_sub(step * 0x35),
            1 => BIAS.wrapping_sub(step << 9),
            2 => BIAS + step * 0x1003,
            _ => BIAS.wrapping_sub(u64::from(bytes.get(step as usize).copied().unwrap_or(0)) << 4),
        };
        let found = rule_at(section, BIAS, pc);
        if let (Some(found), Some(expected)) = (found, by_gimli(bytes, pc)) {
            assert_eq!(found, expected, "at {pc:#x}");
        }
    }
});

//! Libraries whose headers, symbols and relocations are damaged before the agent reads them; many
//! more: `cargo xtask soak --only tables`.

use offheap_testkit::{jdk, tables};

#[test]
fn a_c_program_with_damaged_libraries_survives_the_agent() {
    for seed in 0..12 {
        tables::preloaded(seed).unwrap();
    }
}

#[test]
fn jvms_with_damaged_libraries_survive_the_agent() {
    for seed in 100..104 {
        tables::attached(jdk(17), seed).unwrap();
        tables::attached(jdk(25), seed).unwrap();
    }
}

//! The agent's interpreter of unwind tables against gimli's, over the libraries that JVMs have
//! loaded; over all of the machine's: `cargo xtask soak --only unwind`.

use offheap_testkit::{jdks, unwind};

#[test]
fn every_row_of_every_table_is_as_gimli_reads_it() {
    let mut tally = unwind::Tally::default();
    for jdk in jdks() {
        let java = jdk.java.canonicalize().unwrap();
        let libraries = java.ancestors().nth(2).unwrap().join("lib");
        for path in unwind::libraries(&[libraries.to_str().unwrap()]) {
            unwind::compare(&path, &mut tally);
        }
    }
    for name in ["libc.so.6", "libstdc++.so.6", "libm.so.6", "libgcc_s.so.1", "libcrypto.so.3"] {
        for folder in ["/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu"] {
            unwind::compare(&std::path::Path::new(folder).join(name), &mut tally);
        }
    }
    println!(
        "{} libraries, {} FDEs, {} rows, {} not followed",
        tally.libraries, tally.fdes, tally.rows, tally.declined
    );
    assert!(tally.wrong.is_empty(), "{:#?}", tally.wrong);
    assert!(tally.rows > 1_000_000, "{} rows", tally.rows);
    // Where the stack is one of the forms it knows, it knows the rule.
    assert!(tally.declined * 1000 < tally.rows, "{} of {} rows are not followed", tally.declined, tally.rows);
}

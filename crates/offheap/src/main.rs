//! The `offheap` binary: one file per verb, glue only.
fn main() {}

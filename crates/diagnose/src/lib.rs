//! Statistics and one file per rule: evidence in, findings out. No clock, no I/O.
pub mod stats;

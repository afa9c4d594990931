//! Everything known of a process at one instant: linux, hotspot, cpython and heaps joined into one snapshot.

mod account;
mod claims;
mod files;
mod pools;

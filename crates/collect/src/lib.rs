//! Everything known of a process at one instant: linux, hotspot, cpython and heaps joined into one snapshot.
//!
//! [`Collector`] takes snapshots; [`targets`] says which process is meant and which there are. The way of the data inside:
//! claims (who says what an address range is) → account (resident bytes by claim) → split (the C heap by owner) → figures.

mod account;
mod claims;
mod collector;
mod files;
mod handles;
mod jvm;
mod malloc;
mod names;
mod native;
mod notes;
mod pace;
mod pools;
mod split;
pub mod targets;
mod totals;

pub use collector::{Collector, Effort};
pub use offheap_linux::Error;

/// The id of the note that a snapshot carries when the process ended while it was taken.
pub const ENDED: &str = "ended-half-way";

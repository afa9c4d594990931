//! Everything known of a process at one instant: linux, hotspot, cpython and heaps joined into one
//! snapshot.
//!
//! [`Collector`] takes snapshots; [`targets`] says which process is meant and which there are. The
//! way of the data inside: lenses (one for each kind of knowledge) → claims (who says what an
//! address range is) → account (resident bytes by claim) → split (the C heap by owner) → figures.

mod account;
mod claims;
mod collector;
pub mod corefile;
mod figures;
mod files;
mod handles;
mod jvm;
mod lens;
mod malloc;
mod names;
mod native;
mod notes;
mod pace;
mod pools;
mod python;
mod split;
pub mod targets;
mod totals;

pub use collector::{Collector, Effort};
pub use offheap_linux::Error;

/// How a program has the allocator of this name give back what it holds free; `None` where there is
/// no way.
pub fn gives_back_by(allocator: &str) -> Option<&'static str> {
    offheap_heaps::ALLOCATORS.iter().find(|known| known.name == allocator)?.gives_back_by
}

/// The id of the note that a snapshot carries when the process ended while it was taken.
pub(crate) const ENDED: &str = "ended-half-way";

/// Whether the process ended while this was taken: no point of its series. Another look tells how.
pub fn is_last_words(snapshot: &offheap_model::Snapshot) -> bool {
    snapshot.notes.iter().any(|note| note.id == ENDED)
}

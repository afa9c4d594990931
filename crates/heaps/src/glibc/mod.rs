//! glibc's malloc: arenas, heaps, chunks, thread caches and large chunks in maps of their own.

mod arenas;
mod caches;
mod fastbins;
mod large;
mod layout;
mod mapped;
mod sizes;
#[cfg(test)]
mod synthetic;
mod tally;
mod tcache;
mod walk;
mod window;

pub(crate) use sizes::Sizes;
pub(crate) use walk::Glibc;

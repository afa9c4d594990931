//! Memory allocators seen from outside: which one serves `malloc`, and for glibc every arena, chunk
//! by chunk.
//!
//! Nothing here stops, signals or writes to the target, and no page is read that is not present.
//! The target allocates on while it is looked at, so every figure is gated by self-checks;
//! [`Heap::doubts`] says what fails one.

mod allocator;
mod glibc;
mod heap;
mod hints;
mod identify;
mod jemalloc;
mod mimalloc;
mod musl;
mod named;
mod ranges;
mod tcmalloc;
mod walker;

pub use allocator::{ALLOCATORS, Allocator};
pub use heap::{Arena, ContentHint, Heap, Label, LabelKind, PageAccount, Resident, SizeClass};
pub use identify::{Identity, identify};
pub use walker::{CHUNK_TO_BLOCK, Options, Walker};

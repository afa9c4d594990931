//! Memory allocators seen from outside: which one serves `malloc`, and for glibc every arena, chunk by chunk.
//!
//! Nothing here stops, signals or writes to the target, and no page is read that is not present. The target allocates on
//! while it is looked at, so every figure is gated by self-checks; what fails one is said in [`Heap::doubts`].

mod glibc;
mod heap;
mod hints;
mod identify;
mod unwalked;
mod walker;

pub use heap::{Arena, ContentHint, Heap, Label, LabelKind, PageAccount, Resident, SizeClass};
pub use identify::{Allocator, Identity, identify};
pub use walker::{CHUNK_HEADER, Options, Walker};

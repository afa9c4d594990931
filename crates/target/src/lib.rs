//! The seam between a process and whoever looks at it.
//!
//! [`Memory`] is the bytes of another address space, [`Target`] a process as far as it can be
//! looked at: live (`offheap_linux::Live`), dead in a core file (`offheap_corefile::Core`), or made
//! by a test. HotSpot, the allocators and CPython are read through it and never ask which of them
//! it is; what a target can't know is `None`.

pub mod arch;
mod bounded;
mod cache;
mod elf;
mod memory;
mod pages;
mod synthetic;
mod target;
mod vma;

pub use arch::{page_bytes, page_start};
pub use bounded::{Bounded, ELF_BYTES};
pub use cache::{Page, PageCache, page_of};
pub use elf::{Elf, Symbol, file_segments};
pub use memory::{Memory, ReadError};
pub use pages::{PageKind, Run};
pub use synthetic::Synthetic;
pub use target::{ProcText, Reads, Target, Task};
pub use vma::{Vma, find, image_of};

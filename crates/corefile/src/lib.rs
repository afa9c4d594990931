//! A process that died, read from its ELF core file (core(5)): the kernel's own, or gcore's of a
//! process that lives on.
//!
//! A core has no page tables: an untouched page and one of zeros look alike, and pages of files are
//! mostly left out, since the files have them. So [`Core`] tells which pages it holds bytes of, and
//! never what was resident.
//!
//! Nothing is mapped into memory: pieces are read as they are wanted, and what a header claims is
//! bounded by what the file has. A core that was cut off, as by a limit on its size, is read as far
//! as it goes.

mod arch;
mod arguments;
mod core;
mod elf;
mod headers;
mod held;
mod notes;

pub use crate::core::Core;
pub use headers::{Error, may_be_core};
pub use notes::{Identity, Registers, Thread};

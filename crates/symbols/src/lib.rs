//! Names for addresses of native code: symbol tables, source lines, and what the compilers made of
//! the names in them.
//!
//! [`Symbols`] reads an ELF file's own tables, and its DWARF where it has that; [`find`] finds the
//! file that a process has mapped and the one with its debugging symbols, and believes only what
//! has the right build id; [`demangle()`] spells C++ and Rust names as their authors wrote them.

mod demangle;
mod find;
mod lines;
mod table;

pub use demangle::demangle;
pub use find::{Module, find};
pub use lines::Place;
pub use table::{SymbolError, Symbols};

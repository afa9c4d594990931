//! Names for addresses of native code: symbol tables, and what the compilers made of the names in them.
//!
//! [`Symbols`] reads an ELF file's own tables; [`find`] finds the file that a process has mapped and the one with its
//! debugging symbols, and believes only what has the right build id; [`demangle()`] spells C++ and Rust names as their
//! authors wrote them.

mod demangle;
mod find;
mod table;

pub use demangle::demangle;
pub use find::{Module, find};
pub use table::{SymbolError, Symbols};

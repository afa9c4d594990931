//! A CPython interpreter seen from outside: which version, and how much memory its object arenas
//! hold.
//!
//! Objects of up to 512 bytes live in arenas that CPython maps itself (pymalloc,
//! Objects/obmalloc.c); larger ones come from `malloc` and are the C heap's. Nothing here stops or
//! touches the interpreter.

mod arch;
mod blocks;
mod census;
mod code;
mod holders;
mod interpreter;
mod kinds;
mod lines;
mod names;
mod objects;
mod offsets;
mod pymalloc;
mod stacks;
mod words;

pub use census::{Census, Look, Marks, TypeCount};
pub use code::Code;
pub use holders::{Holder, HolderKind, Holders, Place, Search};
pub use interpreter::Interpreter;
pub use pymalloc::Pymalloc;
pub use stacks::{Frame, SubInterpreter, Thread};

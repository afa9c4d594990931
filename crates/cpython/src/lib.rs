//! A CPython interpreter seen from outside: which version, and how much memory its object arenas hold.
//!
//! Objects of up to 512 bytes live in arenas that CPython maps itself (pymalloc, Objects/obmalloc.c); larger ones come from
//! `malloc` and are the C heap's. Nothing here stops or touches the interpreter.

mod interpreter;
mod pymalloc;

pub use interpreter::Interpreter;
pub use pymalloc::Pymalloc;

//! Views of the model: terminal and JSON (later HTML and web). Values in, text out; no I/O.

pub mod core;
pub mod json;
pub mod terminal;
pub mod watch;

//! The processor: which registers the kernel is asked for, the unwinder that starts from them, and
//! where a function returns.
//!
//! A processor gives, in its own file:
//!
//! - `Unwinder`, `UnwindRegs`, `Cache`: framehop's types for it.
//! - `REGISTERS`: the mask of those that the kernel is asked for with each sample.
//! - `PROBES`: how many breakpoints a thread has.
//! - `Registers`: what came, with what the function returned, where it is and who called it.
//! - `Exit`, `exits`: the instructions at which a function ends.

#[cfg_attr(target_arch = "x86_64", path = "x86_64.rs")]
mod processor;
pub use processor::*;

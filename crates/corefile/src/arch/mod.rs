//! The processor: what a core file has of its registers.
//!
//! A processor gives, in its own file:
//!
//! - `REGISTERS`: words of a thread's registers in an `elf_prstatus` (`pr_reg`).
//! - `STACK_POINTER`: which of them is the stack pointer.
//! - `VSYSCALL`: where the kernel shows a page of its own above all of the program's, if it does.

#[cfg_attr(target_arch = "x86_64", path = "x86_64.rs")]
#[cfg_attr(target_arch = "aarch64", path = "aarch64.rs")]
mod processor;
pub(crate) use processor::*;

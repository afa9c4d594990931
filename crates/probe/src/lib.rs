//! Which code allocates in a process that no agent can be loaded into: one without a JVM that is
//! running already.
//!
//! The kernel sets the processor's breakpoints to where the C library's malloc, calloc and realloc
//! return, for some of the process's threads, counts how often one comes by, and copies the
//! registers and a part of the stack as long as there is room. A hit costs the thread one to three
//! microseconds, and ten on some virtual machines; so the breakpoints are set in short bursts, and
//! taken away from a thread that they have cost five milliseconds. The stacks are unwound here with
//! the tables in the ELF files. Whether a block that was sampled has been freed since is read off
//! the heap itself, from outside.
//!
//! Blocks that have a mapping of their own, and what is mapped without malloc, are met where they
//! come to be resident: page faults are sampled all along.
//!
//! What it can't see: what was there before; other allocators than glibc's.

mod arch;
mod burst;
mod chunks;
mod events;
mod faults;
mod modules;
mod pages;
mod ring;
mod sampler;
mod stacks;

pub use modules::Module;
pub use pages::Page;
pub use sampler::{Block, Live, ProbeError, Sampler, Total};

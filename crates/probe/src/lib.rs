//! Which code allocates in a process that no agent can be loaded into: one without a JVM that is running already.
//!
//! The kernel puts a breakpoint where the C library's malloc, calloc and realloc return (a *uretprobe*, Documentation/trace/
//! uprobetracer.rst, opened with `perf_event_open(2)`), for this process only, and copies the registers and a part of the
//! stack when it is hit. Each hit costs the process one to three microseconds, so the probes are there in short bursts: a
//! hundred blocks, then they are gone again, until the next burst a moment later. The stacks are unwound here with the tables
//! in the ELF files. Whether a block that was sampled has been freed since is read off the heap itself, from outside: a chunk
//! of glibc's tells its size, and the next one whether it is in use.
//!
//! What it can't see: blocks that were there before; memory that is mapped without malloc; other allocators than glibc's.

mod arch;
mod burst;
mod chunks;
mod events;
mod modules;
mod sampler;

pub use modules::Module;
pub use sampler::{Block, ProbeError, Sampler, Total};

//! The processor, as far as it shows in what CPython keeps.
//!
//! A processor gives, in its own file:
//!
//! - `PTHREAD_TID`: where glibc has the id of a thread in its `struct pthread`.

#[cfg_attr(target_arch = "x86_64", path = "x86_64.rs")]
mod processor;
pub(crate) use processor::*;

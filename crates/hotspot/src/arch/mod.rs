//! The processor, as far as HotSpot makes a difference in what lies in memory.
//!
//! A processor gives, in its own file:
//!
//! - `address_in`: the address in a coloured pointer of generational ZGC, whose four bits of
//!   remembering start at `remapped_shift`; 0 for null.

#[cfg_attr(target_arch = "x86_64", path = "x86_64.rs")]
#[cfg_attr(target_arch = "aarch64", path = "aarch64.rs")]
mod processor;
pub(crate) use processor::*;

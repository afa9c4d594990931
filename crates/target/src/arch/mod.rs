//! The processor, as far as it shows in memory: the size of pages, and where addresses end. All
//! processes of a machine have pages of one size; a core file that says another is not read.
//!
//! A processor gives, in its own file:
//!
//! - [`page_bytes`]: bytes of a page.
//! - [`END_OF_ADDRESSES`]: no program has memory at or above this.
//! - [`END_OF_USUAL_ADDRESSES`]: nor at or above this, unless it asks for it.
//! - [`MACHINE`]: `e_machine` of its ELF files.

#[cfg_attr(target_arch = "x86_64", path = "x86_64.rs")]
#[cfg_attr(target_arch = "aarch64", path = "aarch64.rs")]
mod processor;
pub use processor::*;

/// Bytes that are read and kept at once: the smallest page of any processor, so that a page is a
/// whole number of these.
pub const PIECE: usize = 4096;

/// The start of the page that `address` lies in.
#[inline]
pub fn page_start(address: u64) -> u64 {
    address & !(page_bytes() - 1)
}

/// Bytes of a transparent huge page: what a page of page table entries, of eight bytes each, leads
/// to.
#[inline]
pub fn huge_page_bytes() -> u64 {
    page_bytes() / 8 * page_bytes()
}

//! aarch64 (Documentation/arch/arm64/memory.rst).

use std::sync::OnceLock;

/// Bytes of a page, which kernels are built with: 4, 16 or 64 KiB. It is the tool's own, as the
/// kernel tells it in `/proc/self/auxv`.
#[inline]
pub fn page_bytes() -> u64 {
    static BYTES: OnceLock<u64> = OnceLock::new();
    *BYTES.get_or_init(|| {
        /// getauxval(3).
        const AT_PAGESZ: u64 = 6;
        let bytes = std::fs::read("/proc/self/auxv").unwrap_or_default();
        let words: Vec<u64> =
            bytes.as_chunks().0.iter().map(|word: &[u8; 8]| u64::from_ne_bytes(*word)).collect();
        let found = words.chunks_exact(2).find(|pair| pair[0] == AT_PAGESZ).map(|pair| pair[1]);
        found.filter(|bytes| bytes.is_power_of_two() && *bytes >= 4096).unwrap_or(4096)
    })
}

/// What programs get with 52 bits of address.
pub const END_OF_ADDRESSES: u64 = 1 << 52;
/// With 48, which is what mmap gives out unless it is asked for more.
pub const END_OF_USUAL_ADDRESSES: u64 = 1 << 48;
/// `EM_AARCH64`.
pub const MACHINE: u16 = object::elf::EM_AARCH64.0;

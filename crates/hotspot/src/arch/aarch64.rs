//! aarch64.

/// The address always starts above the state (cpu/aarch64/gc/z/zAddress_aarch64.hpp).
#[inline]
pub(crate) fn address_in(pointer: u64, remapped_shift: u32) -> u64 {
    pointer >> (remapped_shift + 4)
}

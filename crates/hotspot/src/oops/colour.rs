//! Coloured pointers of generational ZGC (gc/z/zAddress.hpp): an address shifted to the left, below
//! it sixteen bits of state.
//!
//! Every cycle of the collector takes another colour as the good one, and a reference that was not
//! loaded since keeps its old one. So a pointer is read by the colour that it has itself, not by
//! the one that is good now.

/// Lowest of the four bits of which one says in which cycle the pointer was right
/// (`ZPointerRemappedShift`).
const REMAPPED_SHIFT: u32 = 12;

/// The address in `pointer`; 0 for null, which has a colour too.
///
/// On x86 the address starts right above the bit that is set (`ZPointerLoadShiftTable` in
/// cpu/x86/gc/z/zAddress_x86.hpp): its own three lowest bits, always 0, lie where the other three
/// could be. No bit at all is null.
#[cfg(target_arch = "x86_64")]
pub(super) fn address(pointer: u64) -> u64 {
    match (pointer >> REMAPPED_SHIFT) & 15 {
        0 => 0,
        remapped => pointer >> (REMAPPED_SHIFT + 1 + remapped.trailing_zeros()),
    }
}

/// The address in `pointer`; 0 for null, which has a colour too.
///
/// Elsewhere the address always starts above the state (cpu/aarch64/gc/z/zAddress_aarch64.hpp).
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn address(pointer: u64) -> u64 {
    pointer >> 16
}

/// True where `pointer` was written from an old object to an old one: it has both bits of being
/// remembered (`ZPointerRememberedMask`).
pub(crate) fn is_of_old(pointer: u64) -> bool {
    pointer >> 4 & 3 == 3
}

/// The generations that have moved objects since a reference was written: it may name an old place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stale {
    pub(crate) young: bool,
    pub(crate) old: bool,
}

/// Compares the colour of `pointer` with the one that is `good` now. The four bits stand for the
/// four states of two switches, of which the lower is the young generation's
/// (`ZGlobalsPointers::initialize` in gc/z/zAddress.cpp).
pub(crate) fn stale(pointer: u64, good: u64) -> Stale {
    let state = |word: u64| ((word >> REMAPPED_SHIFT) & 15).trailing_zeros();
    let differs = state(pointer) ^ state(good);
    let known = (good >> REMAPPED_SHIFT) & 15 != 0;
    Stale { young: known && differs & 1 != 0, old: known && differs & 2 != 0 }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_is_read_by_its_own_colour() {
        let object = 0x400_0123_4568_u64;
        for (bit, state) in [(0, 0x0530), (1, 0x0ae0), (2, 0x0530), (3, 0)] {
            let coloured = object << (13 + bit) | 1 << (12 + bit) | state;
            assert_eq!(address(coloured), object, "bit {bit}");
            assert_eq!(address(1 << (12 + bit) | state), 0, "null of bit {bit}");
        }
        assert_eq!(address(0), 0);
    }

    #[test]
    fn a_pointer_is_stale_for_the_generation_that_moved_since() {
        let generations = |pointer: u64, good: u64| {
            let found = stale(1 << (12 + pointer), 1 << (12 + good));
            (found.young, found.old)
        };
        assert_eq!(generations(2, 2), (false, false));
        assert_eq!(generations(2, 3), (true, false));
        assert_eq!(generations(0, 2), (false, true));
        assert_eq!(generations(1, 2), (true, true));
        let unknown = stale(1 << 12, 0);
        assert!(!unknown.young && !unknown.old);
    }
}

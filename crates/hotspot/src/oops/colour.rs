//! Coloured pointers of generational ZGC (gc/z/zAddress.hpp): an address shifted to the left, below
//! it sixteen bits of state.
//!
//! Every cycle of the collector takes another colour as the good one, and a reference that was not
//! loaded since keeps its old one. So a pointer is read by the colour that it has itself, not by
//! the one that is good now.

use crate::arch;

/// Lowest of the four bits of which one says in which cycle the pointer was right
/// (`ZPointerRemappedShift`).
const REMAPPED_SHIFT: u32 = 12;

/// The address in `pointer`; 0 for null, which has a colour too.
pub(super) fn address(pointer: u64) -> u64 {
    arch::address_in(pointer, REMAPPED_SHIFT)
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

#[cfg(test)]
mod tests {
    use super::*;

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

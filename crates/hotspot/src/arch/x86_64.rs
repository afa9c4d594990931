//! x86-64.

/// The address starts right above the bit that is set (`ZPointerLoadShiftTable` in
/// cpu/x86/gc/z/zAddress_x86.hpp): its own three lowest bits, always 0, lie where the other three
/// could be. No bit at all is null.
#[inline]
pub(crate) fn address_in(pointer: u64, remapped_shift: u32) -> u64 {
    match (pointer >> remapped_shift) & 15 {
        0 => 0,
        remapped => pointer >> (remapped_shift + 1 + remapped.trailing_zeros()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_is_read_by_its_own_colour() {
        let object = 0x400_0123_4568_u64;
        for (bit, state) in [(0, 0x0530), (1, 0x0ae0), (2, 0x0530), (3, 0)] {
            let coloured = object << (13 + bit) | 1 << (12 + bit) | state;
            assert_eq!(address_in(coloured, 12), object, "bit {bit}");
            assert_eq!(address_in(1 << (12 + bit) | state, 12), 0, "null of bit {bit}");
        }
        assert_eq!(address_in(0, 12), 0);
    }
}

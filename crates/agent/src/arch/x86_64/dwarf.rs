//! What unwind tables call the registers of x86-64 (psABI, table 3.36).

/// The frame pointer, rbp.
pub const FRAME_POINTER: u64 = 6;
/// The stack pointer, rsp.
pub const STACK_POINTER: u64 = 7;
/// The return address, which is no register but has a number.
pub const RETURN_ADDRESS: u64 = 16;

/// Where a call leaves the return address, counted from the CFA.
const PUSHED_AT: i64 = -8;

/// What to remember of the place of a function's return address, which its tables say to be `at`
/// from the CFA. Here a call has pushed it, so that there is nothing to remember; `None` where the
/// tables say something else.
pub fn remember_return_address(at: i64) -> Option<u32> {
    (at == PUSHED_AT).then_some(0)
}

/// Where the return address lies, counted from the CFA, by what was remembered.
#[inline(always)]
pub fn return_address_at(_remembered: u32) -> i64 {
    PUSHED_AT
}

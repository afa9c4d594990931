//! x86-64.

/// Words of a `user_regs_struct` (arch/x86/include/asm/user_64.h).
pub(crate) const REGISTERS: usize = 27;
/// Its `sp`.
pub(crate) const STACK_POINTER: usize = 19;
/// `VSYSCALL_ADDR` (arch/x86/include/uapi/asm/vsyscall.h).
pub(crate) const VSYSCALL: Option<u64> = Some(0xffff_ffff_ff60_0000);

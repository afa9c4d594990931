//! aarch64.

/// Words of a `user_pt_regs` (arch/arm64/include/uapi/asm/ptrace.h).
pub(crate) const REGISTERS: usize = 34;
/// Its `sp`.
pub(crate) const STACK_POINTER: usize = 31;
/// There is none.
pub(crate) const VSYSCALL: Option<u64> = None;

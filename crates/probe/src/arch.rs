//! What belongs to the processor: which registers the kernel is asked for, and the unwinder that starts from them.

#[cfg(target_arch = "x86_64")]
pub use x86_64::*;

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use framehop::x86_64::{CacheX86_64, UnwindRegsX86_64, UnwinderX86_64};

    /// The rules of all modules.
    pub type Unwinder = UnwinderX86_64<Vec<u8>>;
    /// Rules found lately.
    pub type Cache = CacheX86_64;

    /// `PERF_REG_X86_AX`, `_BP`, `_SP` and `_IP` (arch/x86/include/uapi/asm/perf_regs.h).
    pub const REGISTERS: u64 = 1 | 1 << 6 | 1 << 7 | 1 << 8;

    /// The registers as a function returns.
    #[derive(Debug, Clone, Copy)]
    pub struct Registers {
        /// What it returns.
        pub result: u64,
        bp: u64,
        /// The stack pointer.
        pub sp: u64,
        /// Where it returns to.
        pub ip: u64,
    }

    impl Registers {
        /// From the [`REGISTERS`] in the order of their bits.
        pub fn of(values: &[u64]) -> Option<Registers> {
            match *values {
                [result, bp, sp, ip] => Some(Registers { result, bp, sp, ip }),
                _ => None,
            }
        }

        /// What unwinding starts from.
        pub fn start(&self) -> UnwindRegsX86_64 {
            UnwindRegsX86_64::new(self.ip, self.sp, self.bp)
        }
    }
}

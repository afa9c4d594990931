//! x86-64.

use framehop::x86_64::{CacheX86_64, UnwindRegsX86_64, UnwinderX86_64};
use iced_x86::{Decoder, DecoderOptions, Mnemonic};

/// The rules of all modules.
pub type Unwinder = UnwinderX86_64<Vec<u8>>;
/// What it starts from.
pub type UnwindRegs = UnwindRegsX86_64;
/// Rules found lately.
pub type Cache = CacheX86_64;

/// `PERF_REG_X86_AX`, `_DI`, `_BP`, `_SP` and `_IP` (arch/x86/include/uapi/asm/perf_regs.h).
pub const REGISTERS: u64 = 1 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8;

/// Debug registers of a thread (Intel SDM 3B, 17.2).
pub const PROBES: usize = 4;

/// Where a function ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// The instruction's address.
    pub address: u64,
    /// It is no `ret` but a jump to another function, which then returns in its place.
    pub is_jump: bool,
}

/// The registers at an instruction that is about to be executed.
#[derive(Debug, Clone, Copy)]
pub struct Registers {
    ax: u64,
    di: u64,
    bp: u64,
    /// The stack pointer: at an [`Exit`] the return address lies there.
    pub sp: u64,
    ip: u64,
}

impl Registers {
    /// From the [`REGISTERS`] in the order of their bits.
    pub fn of(values: &[u64]) -> Option<Registers> {
        match *values {
            [ax, di, bp, sp, ip] => Some(Registers { ax, di, bp, sp, ip }),
            _ => None,
        }
    }

    /// What the function returns that ends at `exit`. At a jump, the first argument of the
    /// other: that is what memset returns, the one that calloc ends with.
    pub fn result(&self, exit: Exit) -> u64 {
        if exit.is_jump { self.di } else { self.ax }
    }

    /// Where it is, and what unwinding starts from there.
    pub fn here(&self) -> (u64, UnwindRegs) {
        (self.ip, UnwindRegs::new(self.ip, self.sp, self.bp))
    }

    /// At an [`Exit`]: where it returns to, and what unwinding starts from there; `stack` is
    /// the memory from the stack pointer up.
    pub fn caller(&self, stack: &[u8]) -> Option<(u64, UnwindRegs)> {
        let to = u64::from_le_bytes(*stack.first_chunk()?);
        // All that a function must keep for its caller is back in place at the end, rbp too.
        Some((to, UnwindRegs::new(to, self.sp + 8, self.bp)))
    }
}

/// Where the function ends whose `code` lies at `address`.
pub fn exits(code: &[u8], address: u64) -> Vec<Exit> {
    let inside = address..address.saturating_add(code.len() as u64);
    Decoder::with_ip(64, code, address, DecoderOptions::NONE)
        .iter()
        .filter_map(|instruction| {
            let is_jump = match instruction.mnemonic() {
                Mnemonic::Ret => false,
                Mnemonic::Jmp if !inside.contains(&instruction.near_branch_target()) => true,
                _ => return None,
            };
            Some(Exit { address: instruction.ip(), is_jump })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Exit, exits};

    #[test]
    fn a_return_is_told_from_a_byte_that_looks_like_one_and_a_jump_out_from_one_within() {
        // mov eax, 0xc3c3c3c3; ret; nop; repz ret; jmp to the begin; jmp far away
        let code = b"\xb8\xc3\xc3\xc3\xc3\xc3\x90\xf3\xc3\xeb\xf5\xe9\x00\x10\x00\x00";
        let exit = |address, is_jump| Exit { address, is_jump };
        assert_eq!(exits(code, 0x1000), [exit(0x1005, false), exit(0x1007, false), exit(0x100b, true)]);
    }
}

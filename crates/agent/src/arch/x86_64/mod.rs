//! x86-64. Sources: the System V ABI's x86-64 supplement ("psABI") and glibc's x86-64 port.

mod calls;
pub mod dwarf;
pub mod frame;

use super::{Regs, THREAD_BYTES, Thread};
pub(crate) use calls::{
    function_by_caller, function_followed, function_listed, function_watched, thread_start,
};
use core::arch::{asm, global_asm, x86_64 as instructions};

/// Bytes of the largest page that a kernel may use.
pub const MAX_PAGE_BYTES: usize = 4096;

/// Bytes of the pages of this process. There is only one size here.
#[inline(always)]
pub const fn page_bytes() -> u64 {
    MAX_PAGE_BYTES as u64
}

/// Something that has its pages to itself: they can be given back to the kernel.
#[repr(C, align(4096))]
pub struct PageAligned<T>(pub T);
const _: () = assert!(align_of::<PageAligned<u8>>() == MAX_PAGE_BYTES);

/// Words in which a function gets its first arguments; the others lie on its caller's stack.
pub const ARGUMENT_WORDS: usize = 6;

/// What relocations are called that put the address of a function into a slot (psABI, table 4.9).
pub mod relocation {
    /// `R_X86_64_64`: a pointer in data, with something added.
    pub const ABSOLUTE: u32 = 1;
    /// `R_X86_64_GLOB_DAT`: the import slot of a pointer.
    pub const GLOB_DAT: u32 = 6;
    /// `R_X86_64_JUMP_SLOT`: the import slot of a function that is called.
    pub const JUMP_SLOT: u32 = 7;
}

/// glibc's control block of a thread, which [`thread_pointer`] leads to (nptl/descr.h).
pub mod control_block {
    use core::ops::Range;

    /// Where `struct pthread` has the thread's id, glibc 2.3 to 2.43.
    pub const TID: usize = 720;
    /// Where else the id may be. All of this is inside a `struct pthread` (2304 bytes in glibc
    /// 2.36).
    pub const TID_AREA: Range<usize> = 128..1536;
}

global_asm!(
    ".pushsection .tbss.offheap_thread,\"awT\",@nobits",
    ".p2align 4",
    ".globl offheap_thread",
    ".hidden offheap_thread",
    ".type offheap_thread, @object",
    ".size offheap_thread, {bytes}",
    "offheap_thread: .zero {bytes}",
    ".popsection",
    bytes = const THREAD_BYTES,
);

/// The calling thread's state.
#[inline(always)]
pub fn thread() -> &'static Thread {
    let p: *const Thread;
    // SAFETY: initial-exec TLS: the variable's offset from the GOT plus the thread pointer, which
    // is at fs:0. The reference must not leave the thread; Cell makes it !Sync.
    unsafe {
        asm!("mov {0}, qword ptr [rip + offheap_thread@GOTTPOFF]", "add {0}, qword ptr fs:[0]",
            out(reg) p, options(pure, readonly, nostack));
        &*p
    }
}

/// pthread_self(): glibc's control block of the thread, which for threads of pthread_create lies at
/// the top of their stack.
#[inline(always)]
pub fn thread_pointer() -> u64 {
    let p;
    // SAFETY: fs:0 holds the thread pointer by the x86-64 TLS ABI, and glibc's pthread_t is that.
    unsafe {
        asm!("mov {0}, qword ptr fs:[0]", out(reg) p, options(pure, readonly, nostack, preserves_flags))
    };
    p
}

/// The registers here, in the function this is inlined into.
#[inline(always)]
pub fn registers() -> Regs {
    let (pc, sp, fp);
    // SAFETY: reads registers only.
    unsafe {
        asm!("lea {0}, [rip]", "mov {1}, rsp", "mov {2}, rbp", out(reg) pc, out(reg) sp, out(reg) fp,
            options(nomem, nostack, preserves_flags));
    }
    Regs { pc, sp, fp, fp_at: 0 }
}

/// Issues a system call; the result is the kernel's, `-errno` on failure.
///
/// # Safety
/// As the call itself.
#[inline]
pub unsafe fn syscall(nr: i64, a: [usize; 6]) -> isize {
    let result;
    // SAFETY: the x86-64 calling convention of the kernel; rcx and r11 are lost.
    unsafe {
        asm!("syscall", inlateout("rax") nr as isize => result,
            in("rdi") a[0], in("rsi") a[1], in("rdx") a[2], in("r10") a[3], in("r8") a[4], in("r9") a[5],
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

/// The processor's own clock: counts up steadily, in units of its own.
pub fn counter() -> u64 {
    // SAFETY: reads the time stamp counter.
    unsafe { instructions::_rdtsc() }
}

/// Asks for the cache line at `p`, which is going to be used.
#[inline(always)]
pub fn prefetch(p: *const i8) {
    // SAFETY: a hint, for which any address will do.
    unsafe { instructions::_mm_prefetch::<{ instructions::_MM_HINT_ET0 }>(p) };
}

/// Ends the process as abort() would.
#[cfg(panic = "abort")]
pub fn trap() -> ! {
    loop {
        // SAFETY: ends the process.
        unsafe { asm!("ud2") };
    }
}

// The precompiled core library names the personality of unwinding code, which nothing here ever
// runs. Hidden, so that it can't stand in for another library's under LD_PRELOAD.
#[cfg(panic = "abort")]
global_asm!(
    ".pushsection .text.rust_eh_personality,\"ax\",@progbits",
    ".globl rust_eh_personality",
    ".hidden rust_eh_personality",
    ".type rust_eh_personality, @function",
    "rust_eh_personality: ud2",
    ".popsection",
);

//! What depends on the processor: thread-local state and the registers a walk starts from.

use core::arch::{asm, global_asm};
use core::cell::Cell;

/// The agent's state of one thread: 64 bytes of static TLS, all zero in a new thread.
///
/// Rust's own `thread_local!` would bring destructors and, in a library loaded late, calls to
/// `__tls_get_addr` that may allocate. So the variable is made in assembler and reached by the
/// initial-exec model; 64 bytes fit the surplus that glibc keeps for late libraries (1664 bytes and
/// more).
#[repr(C, align(16))]
pub struct Thread {
    /// Bytes until the next sample; below 0: take the slow path.
    pub countdown: Cell<i64>,
    /// [`crate::sample::EPOCH`] that `countdown` was drawn for.
    pub epoch: Cell<u32>,
    /// Thread id, 0: not asked yet. See [`crate::tid`].
    pub tid: Cell<u32>,
    /// Where the agent's work on this thread began, 0: it is not at work. See [`crate::busy`].
    pub busy: Cell<u64>,
    /// Random state; 0: not seeded.
    pub random: Cell<u64>,
    /// Samples taken.
    pub seq: Cell<u32>,
    /// Room.
    pub reserved: Cell<u32>,
    /// The JVM's Thread* last seen in its thread-specific slot; bit 0: checked, it is a JavaThread.
    pub vm_thread: Cell<u64>,
    /// Pages of the thread's stack that were found readable. See [`crate::guard::Stack`].
    pub stack: Cell<u64>,
    /// [`crate::guard::UNMAPS`] before that was found out.
    pub stack_epoch: Cell<u64>,
}

global_asm!(
    ".pushsection .tbss.offheap_thread,\"awT\",@nobits",
    ".p2align 4",
    ".globl offheap_thread",
    ".hidden offheap_thread",
    ".type offheap_thread, @object",
    ".size offheap_thread, 64",
    "offheap_thread: .zero 64",
    ".popsection",
);
const _: () = assert!(size_of::<Thread>() == 64);

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

/// The registers that unwinding follows.
#[derive(Clone, Copy, Debug)]
pub struct Regs {
    /// Instruction pointer.
    pub pc: u64,
    /// Stack pointer.
    pub sp: u64,
    /// rbp.
    pub fp: u64,
    /// Where `fp` was read from; 0: it still is the register's value at the start.
    pub fp_at: u64,
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

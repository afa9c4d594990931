//! The processor: everything that the agent knows of it is in this folder, one folder below for
//! each. The rest of the agent names no register, instruction or relocation, and no page size.
//!
//! A processor gives, in its `mod.rs`:
//!
//! - [`MAX_PAGE_BYTES`], [`page_bytes`], [`PageAligned`]: its pages.
//! - [`thread`], [`thread_pointer`], [`control_block`]: the state of the calling thread.
//! - [`registers`]: where a walk starts from.
//! - [`syscall`], [`counter`], [`prefetch`], [`trap`]: one instruction each.
//! - [`relocation`]: the kinds of relocations that fill import slots.
//!
//! in `frame.rs`, as [`frame`], where a frame keeps its caller's registers: one with a frame pointer,
//! one that a signal interrupted, the frames of HotSpot.
//!
//! in `dwarf.rs`, as [`dwarf`], what unwind tables call its registers. That file uses nothing of the
//! agent: the tests of crate `offheap-testkit` compile it too.
//!
//! in `calls.rs`, as macros, the functions that Rust can't express, because they hand a call on with
//! its arguments and its return address untouched:
//!
//! - `function_by_caller!`: asks what to do, then jumps to the real function or to another.
//! - `function_watched!`: tells of some calls, then jumps to the real function.
//! - `function_listed!`: a variadic function, laid out in memory.
//! - `function_followed!`: calls the real function, then jumps to another with its result.
//! - `thread_start!`: a thread's first function.
//!
//! What they jump to is a slot of the table `REAL`, by its function's number.

use core::cell::Cell;

// The linker makes these symbols global, the ends of the hooks' section; another copy of the agent
// must not see them.
core::arch::global_asm!(".hidden __start_offheap_hooks", ".hidden __stop_offheap_hooks");

#[cfg_attr(target_arch = "x86_64", path = "x86_64/mod.rs")]
mod processor;
pub use processor::*;

/// The agent's state of one thread: [`THREAD_BYTES`] of static TLS, all zero in a new thread.
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

/// Bytes of a [`Thread`].
pub const THREAD_BYTES: usize = 64;
const _: () = assert!(size_of::<Thread>() == THREAD_BYTES);

/// The registers that unwinding follows.
#[derive(Clone, Copy, Debug)]
pub struct Regs {
    /// The instruction's address.
    pub pc: u64,
    /// Stack pointer.
    pub sp: u64,
    /// Frame pointer, which functions may use for anything else.
    pub fp: u64,
    /// Where `fp` was read from; 0: it still is the register's value at the start.
    pub fp_at: u64,
}

/// The start of the page that `address` lies in.
#[inline(always)]
pub fn page_start(address: u64) -> u64 {
    address & !(page_bytes() - 1)
}

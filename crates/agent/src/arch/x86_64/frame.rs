//! Where frames of x86-64 keep the registers of their callers. All in bytes.

/// A frame whose function has saved the frame pointer in the usual place and set it to there
/// (`push rbp; mov rbp, rsp`): counted from the frame pointer. HotSpot's interpreter and its stubs
/// do so too.
pub mod record {
    /// The return address.
    pub const RETURN_ADDRESS: i64 = 8;
    /// The caller's stack pointer has this value.
    pub const BYTES: u64 = 16;
}

/// The frame that the kernel makes for a signal handler, counted from the stack pointer: its
/// `rt_sigframe` starts with a `ucontext` (arch/x86/include/uapi/asm/sigcontext.h).
pub mod signal {
    /// rbp.
    pub const FP: u64 = 120;
    /// rsp.
    pub const SP: u64 = 160;
    /// rip.
    pub const PC: u64 = 168;
}

/// A frame of code that HotSpot has made, of known size, counted from its end, which is the
/// caller's stack pointer (cpu/x86/frame_x86.hpp).
pub mod compiled {
    /// The return address.
    pub const RETURN_ADDRESS: i64 = -8;
    /// The caller's frame pointer.
    pub const FP: i64 = -16;
}

/// A frame of HotSpot's interpreter, counted from the frame pointer: it is a [`record`] too
/// (cpu/x86/frame_x86.hpp).
pub mod interpreter {
    /// The caller's stack pointer (`interpreter_frame_sender_sp_offset`).
    pub const SENDER_SP: i64 = -8;
    /// The method (`interpreter_frame_method_offset`).
    pub const METHOD: i64 = -24;
    /// The address of the bytecode (`interpreter_frame_bcp_offset`).
    pub const BCP: i64 = -64;
    /// The same in JDK 8.
    pub const BCP_JDK8: i64 = -56;
}

/// Where the return address of a call out of Java lies, counted from the stack pointer that
/// HotSpot's anchor keeps (`JavaFrameAnchor::make_walkable`, cpu/x86/frame_x86.cpp).
pub const LAST_JAVA_PC: i64 = -8;

//! The agent inside the target: hooks → sampler → live table, and the stack walkers.
//!
//! It obeys "the agent's law" (docs/design.md): never harm the target; in a hook no allocation by
//! the hooked allocator, no blocking lock, no JNI, no `dl_*` call, no formatting, no panic;
//! everything bounded; stopping leaves the hooks as pass-throughs. When in doubt a sample is
//! dropped and counted.
//!
//! - [`hooks`]: what the target calls instead of malloc, mmap, dlopen… The fast path is a few instructions.
//! - [`patch`]: redirects the import slots of every loaded library to the hooks.
//! - [`guard`], [`memory`]: reading and writing memory that may be gone, protected or handled by others; without a fault.
//! - [`busy`], [`tid`], [`clock`]: who is at work, and when; without a system call that malloc would not make.
//! - [`sample`]: decides which allocations are recorded (Poisson by bytes) and records them.
//! - [`objects`], [`jvmti`]: Java objects, which the JVM samples itself, and tells the agent of where JNI is allowed.
//! - [`store`], [`lease`]: where the live file lies, and for how long.
//! - [`filter`]: which addresses may be live samples.
//! - [`table`], [`regions`], [`threads`]: the agent's side of the live file (layout: crate `offheap-live`).
//! - [`walk`]: native, HotSpot frames; names.
//! - [`environment`], [`exec`]: that a preloaded agent is not handed on to children, but to what the process becomes.
//! - [`arch`]: the processor: registers, pages, relocations, and what must be written in assembler.
//! - [`control`]: the ways in (attach, -agentpath, LD_PRELOAD) and the commands.
//!
//! Options, comma-separated, as given to `Agent_OnAttach`, `-agentpath:…=` and
//! [`control::command`]:
//!
//! | option | meaning |
//! |---|---|
//! | `file=PATH` | the live file to make, on a local file system; `%p` stands for the pid. Without: in memory, see [`store`] |
//! | `size=BYTES` | its size (default 32 MiB); after a stop at most what the first one had |
//! | `interval=BYTES` | mean bytes between samples (default 524288, later what it was; 1 = every allocation) |
//! | `objects=BYTES` | sample Java objects too, with this mean of allocated bytes between them (1 = every one); 0 = stop that; not given = as it is, at first off |
//! | `lease=SECONDS` | stop by itself when no reader has renewed its lease for so long, see [`lease`] (0 = never; default 60 for a live file in memory of an attach, else 0; at most 3600) |
//! | `cmd=start` | start sampling (default), or change the interval |
//! | `cmd=close` | the reader has opened the live file in memory: close what was kept open for it. Every other command but `status` does so too |
//! | `cmd=stop` | stop sampling, and give all memory back. The live file stays as it was for who has it open; the next start makes a new one |
//! | `cmd=sweep` | take all Java objects out of the live file that collections have freed; before a reading that counts |
//! | `cmd=trim` | no sampling: have glibc give back what is free (malloc_trim), for JVMs that have no command for it |
//! | `cmd=status` | change nothing; succeeds if the agent is running or stopped |
//!
//! Every command renews the lease.
//!
//! That Java objects can't be sampled is no failure, for heap blocks are: whether and why stands in
//! the live file (`offheap_live::Info::objects`).
//!
//! Return codes: 0 done · 100 unreadable options · 102 the named file could not be made (no room,
//! no rights, a limit on file sizes, a file system over a network) · 103 nothing to stop or ask ·
//! 104 no allocator found · 105 another agent is busy starting · 106 no live file could be made in
//! memory (memfd_create and /dev/shm both refused, or a limit on file sizes).
//!
//! Under LD_PRELOAD the same options come from the environment: `OFFHEAP_FILE`, `OFFHEAP_SIZE`,
//! `OFFHEAP_INTERVAL`, `OFFHEAP_LEASE`; without `OFFHEAP_FILE`, or under a file name without
//! `offheap_agent`, the library stays asleep. These variables, and the agent's own place in
//! LD_PRELOAD, are taken out of the environment once it has started, so that the processes that the
//! program starts don't carry the agent; with `OFFHEAP_CHILDREN` they do (then `%p` is needed in
//! the path). A program that replaces itself (any function of the exec family, but not the bare
//! system call) takes the agent along.
//!
//! What it sees, as tests/coverage.rs holds it against glibc, jemalloc and tcmalloc, preloaded and
//! loaded late: malloc, calloc, realloc, reallocarray, posix_memalign, aligned_alloc, memalign,
//! valloc, pvalloc, operator new (also of allocators that bring their own), libc's own calls
//! (strdup), mmap, mremap, thread stacks; from the executable and every library, loaded before or
//! after, by any caller, with RTLD_DEEPBIND or by a search path of the caller's; through pointers
//! in tables, and by dlsym before or after. Not seen: sbrk, direct system calls, other dlmopen
//! namespaces, address space that is only reserved (PROT_NONE with MAP_NORESERVE), allocators
//! linked into the executable (its own calls), constructors of libraries loaded late in attach mode
//! (for mmap also when preloaded), and pointers that were kept in heap memory before the agent
//! came. Left alone and counted (`Counter::SlotsLeft`, `Counter::PagesSkipped`): import slots and
//! stored pointers in pages that the program protects or handles the faults of, and where system
//! calls are filtered whatever can't be written by a store.

// The product is built with panic=abort and without std: no panic machinery in the target, no
// symbol newer than glibc 2.17. Tests and everyday builds keep std, which the test harness needs.
#![cfg_attr(panic = "abort", no_std)]

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!("the agent knows 64-bit Linux only; of a processor it knows what lies in src/arch");

mod arch;
mod busy;
mod clock;
mod control;
mod elf;
mod environment;
mod exec;
mod filter;
mod guard;
#[cfg(not(panic = "abort"))]
mod heap;
mod hooks;
mod jvmti;
mod lease;
mod math;
mod memory;
mod modules;
mod objects;
mod patch;
mod real;
mod regions;
mod sample;
mod store;
mod sys;
mod table;
mod threads;
mod tid;
mod walk;

/// Nothing in the agent panics; if it does after all, the process ends here as it would by abort().
#[cfg(panic = "abort")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    arch::trap()
}

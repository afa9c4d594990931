//! System calls without libc: no errno to save, and none of the agent's own hooks in the way.

use core::mem::MaybeUninit;
use core::sync::atomic::AtomicU32;

pub use crate::arch::syscall;

/// Private anonymous memory, zeroed.
pub fn map_anonymous(bytes: usize) -> Option<*mut u8> {
    map(bytes, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
}

/// mmap at an address of the kernel's choice.
pub fn map(bytes: usize, protection: i32, flags: i32, fd: i32, offset: usize) -> Option<*mut u8> {
    // SAFETY: no fixed address, so nothing existing is replaced.
    let p = unsafe {
        syscall(libc::SYS_mmap, [0, bytes, protection as usize, flags as usize, fd as usize, offset])
    };
    (p > 0).then_some(p as *mut u8)
}

/// mmap at an address; whether it worked.
///
/// # Safety
/// With MAP_FIXED what lies there is replaced: it is the agent's own.
pub unsafe fn map_at(at: usize, bytes: usize, protection: i32, flags: i32, fd: i32) -> bool {
    // SAFETY: by the caller.
    let p =
        unsafe { syscall(libc::SYS_mmap, [at, bytes, protection as usize, flags as usize, fd as usize, 0]) };
    p == at as isize
}

/// madvise on memory of the agent's own.
pub fn advise(at: usize, bytes: usize, advice: i32) {
    // SAFETY: of the advice given here none takes away what anybody still needs; see each place.
    unsafe { syscall(libc::SYS_madvise, [at, bytes, advice as usize, 0, 0, 0]) };
}

/// munmap.
///
/// # Safety
/// Nobody may use the range any more.
pub unsafe fn unmap(p: *const u8, bytes: usize) {
    // SAFETY: by the caller.
    unsafe { syscall(libc::SYS_munmap, [p as usize, bytes, 0, 0, 0, 0]) };
}

/// Opens a NUL-terminated path.
pub fn open(path: *const u8, flags: i32, mode: u32) -> Option<i32> {
    let flags = flags | libc::O_CLOEXEC;
    // SAFETY: the kernel checks the pointer.
    let fd = unsafe {
        syscall(
            libc::SYS_openat,
            [libc::AT_FDCWD as usize, path as usize, flags as usize, mode as usize, 0, 0],
        )
    };
    (fd >= 0).then_some(fd as i32)
}

/// Closes a descriptor.
pub fn close(fd: i32) {
    // SAFETY: the agent closes only what it opened.
    unsafe { syscall(libc::SYS_close, [fd as usize, 0, 0, 0, 0, 0]) };
}

/// Reads on; bytes read, 0 on failure.
pub fn read(fd: i32, buffer: &mut [u8]) -> usize {
    let args = [fd as usize, buffer.as_mut_ptr() as usize, buffer.len(), 0, 0, 0];
    // SAFETY: the buffer is ours.
    unsafe { syscall(libc::SYS_read, args) }.max(0) as usize
}

/// Writes at an offset, all or nothing as far as that can be told.
pub fn write_at(fd: i32, bytes: &[u8], offset: u64) -> bool {
    let args = [fd as usize, bytes.as_ptr() as usize, bytes.len(), offset as usize, 0, 0];
    // SAFETY: the bytes are ours.
    unsafe { syscall(libc::SYS_pwrite64, args) == bytes.len() as isize }
}

/// Reads at an offset; bytes read, 0 on failure.
pub fn read_at(fd: i32, buffer: &mut [u8], offset: u64) -> usize {
    let args = [fd as usize, buffer.as_mut_ptr() as usize, buffer.len(), offset as usize, 0, 0];
    // SAFETY: the buffer is ours.
    unsafe { syscall(libc::SYS_pread64, args) }.max(0) as usize
}

/// What fstat tells of an open file: its device, its number there, and its size.
pub fn stat(fd: i32) -> Option<(u64, u64, u64)> {
    let mut stat = MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: the kernel writes one such structure, which is the same as libc's.
    let r = unsafe { syscall(libc::SYS_fstat, [fd as usize, stat.as_mut_ptr() as usize, 0, 0, 0, 0]) };
    // SAFETY: integers, for which zeroes will do too.
    let stat = unsafe { stat.assume_init() };
    (r == 0).then_some((stat.st_dev, stat.st_ino, stat.st_size as u64))
}

/// Size of an open file.
pub fn file_size(fd: i32) -> Option<u64> {
    stat(fd).map(|(_, _, size)| size)
}

/// The kind of file system that an open file is on: statfs's `f_type`.
pub fn file_system(fd: i32) -> Option<u64> {
    let mut stat = MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: the kernel writes one such structure, which is the same as libc's.
    let r = unsafe { syscall(libc::SYS_fstatfs, [fd as usize, stat.as_mut_ptr() as usize, 0, 0, 0, 0]) };
    // SAFETY: integers, for which zeroes will do too.
    let stat = unsafe { stat.assume_init() };
    (r == 0).then_some(stat.f_type as u64 & 0xffff_ffff)
}

/// This process's soft limit of a resource, `u64::MAX` where there is none.
pub fn limit(resource: i32) -> Option<u64> {
    let mut limits = [0u64; 2];
    let args = [0, resource as usize, 0, limits.as_mut_ptr() as usize, 0, 0];
    // SAFETY: the kernel writes two words there.
    let r = unsafe { syscall(libc::SYS_prlimit64, args) };
    (r == 0).then_some(limits[0])
}

/// Waits while the word is `value`, for so many microseconds at most. By the system call that
/// libc's own malloc waits by.
pub fn wait_while(word: &AtomicU32, value: u32, us: u32) {
    let time = libc::timespec { tv_sec: 0, tv_nsec: i64::from(us) * 1000 };
    let operation = (libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG) as usize;
    let args = [word.as_ptr() as usize, operation, value as usize, &raw const time as usize, 0, 0];
    // SAFETY: the kernel reads the word and the time.
    unsafe { syscall(libc::SYS_futex, args) };
}

/// Whether system calls of this thread are filtered (seccomp), or that can't be told.
pub fn filtered() -> bool {
    let path = [c"/proc/thread-self/status", c"/proc/self/status"];
    let Some(fd) = path.iter().find_map(|p| open(p.as_ptr().cast(), libc::O_RDONLY, 0)) else { return true };
    let mut text = [0u8; 8192];
    let n = read(fd, &mut text);
    close(fd);
    let lines = text.get(..n).unwrap_or(&[]).split(|&b| b == b'\n');
    !lines.filter_map(|line| line.strip_prefix(b"Seccomp:")).any(|mode| mode.trim_ascii() == b"0")
}

/// Keeps signals from this thread while it does something; to be given back to [`unblock_signals`].
pub fn block_signals() -> u64 {
    let (all, mut before) = (u64::MAX, 0u64);
    let args = [libc::SIG_SETMASK as usize, &raw const all as usize, &raw mut before as usize, 8, 0, 0];
    // SAFETY: the kernel reads and writes these masks of 64 bits.
    unsafe { syscall(libc::SYS_rt_sigprocmask, args) };
    before
}

/// Lets the signals come again that came before.
pub fn unblock_signals(before: u64) {
    let args = [libc::SIG_SETMASK as usize, &raw const before as usize, 0, 8, 0, 0];
    // SAFETY: the kernel reads the mask.
    unsafe { syscall(libc::SYS_rt_sigprocmask, args) };
}

/// Sleeps, or less if a signal comes.
pub fn sleep_ms(ms: u32) {
    let time = libc::timespec { tv_sec: i64::from(ms / 1000), tv_nsec: i64::from(ms % 1000) * 1_000_000 };
    // SAFETY: the kernel reads the structure.
    unsafe { syscall(libc::SYS_nanosleep, [&raw const time as usize, 0, 0, 0, 0, 0]) };
}

/// Thread id.
pub fn gettid() -> u32 {
    // SAFETY: no operands.
    unsafe { syscall(libc::SYS_gettid, [0; 6]) as u32 }
}

/// Process id.
pub fn getpid() -> u32 {
    // SAFETY: no operands.
    unsafe { syscall(libc::SYS_getpid, [0; 6]) as u32 }
}

/// A clock, in nanoseconds.
pub fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: libc's function goes through the vdso, takes no lock and, for these clocks, cannot
    // fail.
    unsafe { libc::clock_gettime(clock, &mut t) };
    (t.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(t.tv_nsec as u64)
}

/// Runs `f` and restores errno.
pub fn keeping_errno<T>(f: impl FnOnce() -> T) -> T {
    // SAFETY: errno's address is valid for the calling thread.
    unsafe {
        let errno = libc::__errno_location();
        let saved = *errno;
        let result = f();
        *errno = saved;
        result
    }
}

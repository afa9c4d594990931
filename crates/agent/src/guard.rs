//! Reading memory that may not be there.
//!
//! What is in use by the calling thread, its own stack from the stack pointer to its end, is read
//! as it is, page by page once the kernel has said that it can be. Anything else could be taken
//! away by another thread at any moment: the kernel copies it (process_vm_readv), which can't
//! fault.
//!
//! A program that has filtered its system calls (seccomp) might be ended for that one. Then the
//! kernel is only asked whether a page can be read, by a system call that libc's own malloc makes
//! (futex), and it is read right afterwards: what remains is that another thread takes it away
//! within these few instructions.

use core::cell::Cell;
use core::ffi::{CStr, c_char};
use core::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release,
    Ordering::SeqCst,
};

use crate::arch::{self, page_bytes, page_start};
use crate::sys;

/// Most bytes of a string that is read.
const MAX_TEXT: u64 = 4096;
/// Most pages that one read may add to the known part of a stack.
const MAX_STEP_PAGES: u64 = 256;
/// Most pages of a thread's own stack that are looked at before a walk; of a deeper one those that
/// it comes to.
const MAX_OWN_PAGES: u64 = 64;
/// Between the top of a thread's stack and its control block lies its static TLS: at most so many
/// pages are taken for that.
const TLS_PAGES: u64 = 4;

/// Raised by every munmap, mprotect, mremap and fixed mmap that the agent sees: what was known of a
/// stack may be wrong from then on.
pub static UNMAPS: AtomicU64 = AtomicU64::new(1);

/// A change of mappings by the program, from just before to just after it: what a walk finds out in
/// between is worth nothing.
pub struct Change;

impl Change {
    /// Begins one.
    #[inline]
    pub fn begin() -> Change {
        UNMAPS.fetch_add(1, Relaxed);
        Change
    }
}

impl Drop for Change {
    fn drop(&mut self) {
        UNMAPS.fetch_add(1, Release);
    }
}

static WORKS: AtomicBool = AtomicBool::new(false);
/// Where the main thread's stack ends; 0: not known.
static MAIN_STACK: AtomicU64 = AtomicU64::new(0);

/// A futex that nobody waits for.
static NOBODY: AtomicU32 = AtomicU32::new(0);

/// Whether the word at `addr` can be read. Asks the kernel, about 100 ns.
///
/// FUTEX_CMP_REQUEUE of no waiters at all: the kernel reads the word to compare it, says EFAULT if
/// it can't, and then has nothing to wake or to move, whatever the comparison says. It never
/// sleeps. (kernel/futex/requeue.c, 3.10 to 6.18.)
fn probe(addr: u64) -> bool {
    let operation = (libc::FUTEX_CMP_REQUEUE | libc::FUTEX_PRIVATE_FLAG) as usize;
    let args = [addr as usize & !3, operation, 0, 0, &raw const NOBODY as usize, 0];
    // SAFETY: the kernel checks the address; nothing is written.
    let r = unsafe { sys::syscall(libc::SYS_futex, args) };
    r == 0 || r == -(libc::EAGAIN as isize)
}

/// Whether the word at `addr` can be written at this moment, asked by changing nothing of it:
/// FUTEX_WAKE_OP that ors 0 to the word, atomically, and wakes nobody. Of a page that a userfaultfd
/// protects the kernel would wait for its handler: callers rule that out. Not for use in a hook of
/// malloc.
pub fn writable(addr: u64) -> bool {
    let operation = (libc::FUTEX_WAKE_OP | libc::FUTEX_PRIVATE_FLAG) as usize;
    // FUTEX_OP(FUTEX_OP_OR, 0, FUTEX_OP_CMP_EQ, 0), linux/futex.h.
    let or_nothing = 2 << 28;
    let args = [&raw const NOBODY as usize, operation, 0, 0, addr as usize & !3, or_nothing];
    // SAFETY: the kernel checks the address, and leaves the word's value as it is.
    unsafe { sys::syscall(libc::SYS_futex, args) >= 0 }
}

/// Finds out whether [`probe`] works here. Without it nothing doubtful is read.
pub fn init() {
    let good = 0u64;
    WORKS.store(probe(&raw const good as u64) && !probe(8), Relaxed);
}

/// Finds out whether the kernel copies memory, unless there is a filter. Not for use in a hook.
pub fn init_copying() {
    if sys::filtered() {
        return filter_comes();
    }
    let (good, mut seen, process) = (0x6f66_6668_6561_7021u64, 0u64, sys::getpid());
    let to = (&raw mut seen).cast::<u8>();
    let works = copy_by_kernel(process, &raw const good as u64, to, 8) && seen == good;
    COPY_FROM.store(if works { process } else { 0 }, SeqCst);
}

/// Tells where the main thread's stack ends.
pub fn set_main_stack(end: u64) {
    MAIN_STACK.store(end, Relaxed);
}

/// Whether doubtful memory can be read at all.
pub fn works() -> bool {
    WORKS.load(Relaxed)
}

/// Whether all of `addr..addr+len` can be read.
fn readable(addr: u64, len: u64) -> bool {
    if addr < page_bytes() || !works() || len == 0 || len > 64 * page_bytes() {
        return false;
    }
    let Some(last) = addr.checked_add(len - 1) else { return false };
    let mut page = page_start(addr);
    while page <= last {
        if !probe(page) {
            return false;
        }
        page += page_bytes();
    }
    true
}

/// Whether anything is mapped at an address, as far as the kernel can be asked.
pub fn is_there(addr: u64) -> bool {
    !works() || probe(addr)
}

/// The process, for process_vm_readv; 0: that is not to be used.
static COPY_FROM: AtomicU32 = AtomicU32::new(0);

/// A filter for system calls comes, or may be there: from now on none that malloc does not make
/// itself.
pub fn filter_comes() {
    COPY_FROM.store(0, SeqCst);
}

/// Copies `len` bytes by the kernel.
fn copy_by_kernel(process: u32, from: u64, to: *mut u8, len: usize) -> bool {
    let (here, there) = ([to as usize, len], [from as usize, len]);
    let args = [process as usize, here.as_ptr() as usize, 1, there.as_ptr() as usize, 1, 0];
    // SAFETY: the kernel writes as many bytes to the caller's buffer.
    unsafe { sys::syscall(libc::SYS_process_vm_readv, args) == len as isize }
}

/// Copies memory that may be absent.
///
/// # Safety
/// `to` has room for `len` bytes.
#[inline(never)]
unsafe fn copy(from: u64, to: *mut u8, len: usize) -> bool {
    let process = COPY_FROM.load(SeqCst);
    if process != 0 {
        return from >= page_bytes() && copy_by_kernel(process, from, to, len);
    }
    if !readable(from, len as u64) {
        return false;
    }
    // SAFETY: found readable just now; see this module's page for what remains. (What callers read
    // is mostly in use: a class with a method on the stack is not unloaded, a thread's own Thread
    // not freed.)
    unsafe { core::ptr::copy_nonoverlapping(from as *const u8, to, len) };
    true
}

/// Reads a `T` from memory that may be absent.
pub fn peek<T: Copy>(addr: u64) -> Option<T> {
    let mut value = core::mem::MaybeUninit::<T>::uninit();
    // SAFETY: room for a T; whole afterwards. Only integers and arrays of them are read, for which
    // any bytes will do.
    unsafe { copy(addr, value.as_mut_ptr().cast(), size_of::<T>()).then(|| value.assume_init()) }
}

/// Reads bytes that may be absent.
pub fn peek_bytes(addr: u64, to: &mut [u8]) -> bool {
    // SAFETY: as long as that.
    unsafe { copy(addr, to.as_mut_ptr(), to.len()) }
}

/// Pages that were found readable a moment ago: for reading many words of few pages, as a library's
/// tables while the loader holds it in place.
pub struct Pages {
    known: [Cell<u64>; 16],
}

impl Pages {
    /// With none.
    pub const fn new() -> Pages {
        Pages { known: [const { Cell::new(0) }; 16] }
    }

    /// Whether all of `addr..addr+len` can be read. Where the kernel can't be asked the loader is
    /// believed.
    pub fn cover(&self, addr: u64, len: u64) -> bool {
        let Some(last) = addr.checked_add(len.saturating_sub(1)) else { return false };
        if addr < page_bytes() || last - addr > 64 << 20 {
            return false;
        }
        let mut page = page_start(addr);
        while page <= last {
            let known = self.known.get((page / page_bytes()) as usize % self.known.len());
            if known.is_none_or(|known| known.get() != page) {
                if works() && !probe(page) {
                    return false;
                }
                if let Some(known) = known {
                    known.set(page);
                }
            }
            page += page_bytes();
        }
        true
    }

    /// Reads a `T`.
    #[inline]
    pub fn peek<T: Copy>(&self, addr: u64) -> Option<T> {
        // SAFETY: found readable. What remains: somebody who protects a library's own tables in the
        // very millisecond in which they are looked at; the loader itself would fault in such a
        // library.
        self.cover(addr, size_of::<T>() as u64).then(|| unsafe { (addr as *const T).read_unaligned() })
    }

    /// The string at `addr`, of [`MAX_TEXT`] bytes at most.
    ///
    /// # Safety
    /// It stays for as long as `'a`.
    pub unsafe fn text<'a>(&self, addr: u64) -> Option<&'a CStr> {
        for len in 0..MAX_TEXT {
            if self.peek::<u8>(addr + len)? == 0 {
                // SAFETY: found to end here, readable up to there; by the caller it stays.
                return Some(unsafe { CStr::from_ptr(addr as *const c_char) });
            }
        }
        None
    }
}

/// The current thread's stack, from the page of the stack pointer upwards. (Below the stack pointer
/// nothing is read but in its own page: guard pages may begin there.)
///
/// A thread's own stack is in use up to its end, so its pages stay as they are unless the program
/// changes them, of which [`UNMAPS`] tells: what was found out in one walk is believed in the next.
/// Of any other stack (coroutines, signal stacks) nothing is: but for the page of the stack pointer
/// the kernel copies each word.
pub struct Stack {
    lo: u64,
    /// Up to here words are read as they are.
    sure: Cell<u64>,
    /// Up to here the stack is the thread's own; 0: it is not.
    top: u64,
    /// Up to here pages could be read, each for a moment: that the stack is the thread's own shows
    /// in this.
    hi: Cell<u64>,
    /// [`UNMAPS`] before anything was found out.
    epoch: u64,
}

/// A range of pages in a word: where it ends, and how many.
fn pack(lo: u64, hi: u64) -> u64 {
    (hi / page_bytes()) << 24 | ((hi - lo) / page_bytes()).min(0xff_ffff)
}

fn unpack(word: u64) -> (u64, u64) {
    let hi = (word >> 24) * page_bytes();
    (hi.saturating_sub((word & 0xff_ffff) * page_bytes()), hi)
}

/// Whether a range of pages without holes ends where the thread's own stack does.
fn is_own((lo, hi): (u64, u64)) -> bool {
    let reaches = |end: u64| end >= lo && end < hi.saturating_add(TLS_PAGES * page_bytes());
    reaches(arch::thread_pointer()) || reaches(MAIN_STACK.load(Relaxed))
}

impl Stack {
    /// Starts from what the thread knew last time.
    #[inline]
    pub fn current(sp: u64) -> Stack {
        let t = arch::thread();
        let epoch = UNMAPS.load(Acquire);
        let lo = page_start(sp);
        let (low, top) = unpack(t.stack.get());
        if lo >= low && lo < top && t.stack_epoch.get() == epoch {
            return Stack { lo, sure: Cell::new(top), top, hi: Cell::new(top), epoch };
        }
        Stack::anew(lo, low, top, epoch)
    }

    #[cold]
    fn anew(lo: u64, low: u64, top: u64, epoch: u64) -> Stack {
        // Deeper than before: on the same stack, if everything in between can be read.
        let own = is_own((low, top))
            && lo < top
            && (lo >= low || (low - lo <= MAX_OWN_PAGES * page_bytes() && readable(lo, low - lo)));
        let sure = if own && top - lo <= MAX_OWN_PAGES * page_bytes() && readable(lo, top - lo) {
            top
        } else {
            lo + page_bytes() // in use right now
        };
        Stack { lo, sure: Cell::new(sure), top: if own { top } else { 0 }, hi: Cell::new(sure), epoch }
    }

    /// Whether all words from `low` to `high` can be read as they are.
    #[inline]
    pub fn covers(&self, low: u64, high: u64) -> bool {
        low >= self.lo && (high < self.sure.get() || self.grow(high))
    }

    /// Keeps what was found out for the next walk.
    #[inline]
    pub fn remember(&self) {
        let t = arch::thread();
        if self.top != 0 {
            let (low, _) = unpack(t.stack.get());
            t.stack.set(pack(low.min(self.lo), self.top));
            t.stack_epoch.set(if self.sure.get() >= self.top { self.epoch } else { 0 });
        } else if is_own((self.lo, self.hi.get())) {
            t.stack.set(pack(self.lo, self.hi.get()));
            t.stack_epoch.set(0);
        }
    }

    /// Reads an aligned word of the stack.
    #[inline]
    pub fn read(&self, addr: u64) -> Option<u64> {
        if addr & 7 != 0 || addr < self.lo {
            return None;
        }
        if addr < self.sure.get() {
            // SAFETY: aligned, at or above the page of the stack pointer. In that page, which is in
            // use; or in one of this thread's own stack, which is in use too, that could be read in
            // this walk, or in an earlier one since which no function of libc has unmapped or
            // protected anything.
            return Some(unsafe { (addr as *const u64).read_volatile() });
        }
        self.read_doubtful(addr)
    }

    #[cold]
    fn read_doubtful(&self, addr: u64) -> Option<u64> {
        if self.grow(addr) {
            // SAFETY: as above.
            return Some(unsafe { (addr as *const u64).read_volatile() });
        }
        let (hi, end) = (self.hi.get(), page_start(addr).wrapping_add(page_bytes()));
        if end > hi {
            if end - hi > MAX_STEP_PAGES * page_bytes() || !works() {
                return None;
            }
            probe_up_to(&self.hi, end)?;
        }
        peek(addr)
    }

    /// More of the thread's own stack.
    fn grow(&self, addr: u64) -> bool {
        let sure = self.sure.get();
        let end = page_start(addr).wrapping_add(page_bytes());
        if end <= sure || end > self.top || end - sure > MAX_STEP_PAGES * page_bytes() {
            return end <= sure;
        }
        let grown = probe_up_to(&self.sure, end).is_some();
        self.hi.set(self.hi.get().max(self.sure.get()));
        grown
    }
}

fn probe_up_to(known: &Cell<u64>, end: u64) -> Option<()> {
    while known.get() < end {
        if !probe(known.get()) {
            return None;
        }
        known.set(known.get() + page_bytes());
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn protect(at: u64, protection: i32) {
        let args = [at as usize, 4096, protection as usize, 0, 0, 0];
        // SAFETY: a page of the test's own.
        assert_eq!(unsafe { sys::syscall(libc::SYS_mprotect, args) }, 0);
    }

    #[test]
    fn tells_present_from_absent() {
        init();
        let p = sys::map_anonymous(3 * 4096).unwrap() as u64;
        // SAFETY: the page was just mapped for this test.
        unsafe { sys::unmap((p + 4096) as *const u8, 4096) };
        assert_eq!(peek::<u64>(p + 4088), Some(0));
        assert_eq!(peek::<u64>(p + 4096), None);
        assert_eq!(peek::<u64>(p + 4092), None);
        assert!(!readable(p, 3 * 4096));
        assert!(readable(p + 8192, 4096));
        assert_eq!(peek::<u8>(0), None);
    }

    #[test]
    fn tells_what_can_be_written_and_changes_nothing() {
        init();
        let p = sys::map_anonymous(4096).unwrap() as u64;
        // SAFETY: mapped for this test.
        unsafe { (p as *mut u64).write(0x0123_4567_89ab_cdef) };
        for (protection, reads, writes) in [
            (libc::PROT_READ, true, false),
            (libc::PROT_NONE, false, false),
            (libc::PROT_READ | libc::PROT_WRITE, true, true),
        ] {
            protect(p, protection);
            assert_eq!((readable(p, 8), writable(p)), (reads, writes), "{protection}");
        }
        assert_eq!(peek::<u64>(p), Some(0x0123_4567_89ab_cdef));
        assert!(!writable(8));
    }

    #[test]
    fn follows_the_stack_up_but_not_beyond() {
        init();
        let here = 7u64;
        let sp = arch::registers().sp;
        let stack = Stack::current(sp);
        assert_eq!(stack.read(&raw const here as u64), Some(7));
        assert_eq!(stack.read(sp & !7), stack.read(sp & !7));
        assert_eq!(stack.read((sp & !7).wrapping_add(1 << 40)), None);
        assert_eq!(stack.read(8), None);
    }

    /// A stack that is not the thread's own: a page that could be read in the last walk is not
    /// believed in the next.
    #[test]
    fn nothing_is_believed_of_a_foreign_stack() {
        init();
        for copying in [false, true] {
            if copying {
                init_copying();
            }
            let p = sys::map_anonymous(4 * 4096).unwrap() as u64;
            let stack = Stack::current(p + 64);
            assert_eq!(stack.read(p + 3 * 4096), Some(0));
            stack.remember();
            protect(p + 8192, libc::PROT_NONE);
            // Also within a walk.
            assert_eq!(stack.read(p + 8192), None);
            let stack = Stack::current(p + 64);
            assert_eq!(stack.read(p + 8192), None);
            assert_eq!(stack.read(p + 3 * 4096), None);
            assert!(stack.covers(p, p + 4088) && !stack.covers(p, p + 4096));
        }
        assert_eq!(unpack(pack(0x7fff_1234_5000, 0x7fff_1234_9000)), (0x7fff_1234_5000, 0x7fff_1234_9000));
    }

    #[test]
    fn the_own_stack_is_believed_until_something_changes() {
        init();
        std::thread::spawn(|| {
            let sp = arch::registers().sp;
            let walk = || {
                let stack = Stack::current(sp);
                let sure = stack.covers(sp, arch::thread_pointer());
                stack.read(arch::thread_pointer() & !7);
                stack.remember();
                sure
            };
            assert_eq!([walk(), walk()], [false, true], "it reaches the thread's control block");
            // A walk on another stack in between changes nothing.
            let p = sys::map_anonymous(4096).unwrap() as u64;
            Stack::current(p + 64).remember();
            assert!(walk());
            let epoch = arch::thread().stack_epoch.get();
            drop(Change::begin());
            assert!(walk() && arch::thread().stack_epoch.get() > epoch, "looked at again");
        })
        .join()
        .unwrap();
    }
}

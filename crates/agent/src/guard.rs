//! Reading memory that may not be there.

use core::cell::Cell;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use crate::arch;
use crate::sys;

const PAGE: u64 = 4096;
/// Most pages that one read may add to the known part of a stack.
const MAX_STEP_PAGES: u64 = 256;

/// Raised by every munmap that the agent sees: what was known of coroutine stacks may be wrong from then on.
pub static UNMAPS: AtomicU64 = AtomicU64::new(1);

static WORKS: AtomicBool = AtomicBool::new(false);

/// Whether the eight bytes at `addr` can be read. Asks the kernel, about 60 ns.
///
/// rt_sigprocmask copies the new mask in before it looks at `how`, so with an impossible `how` it changes nothing
/// and tells EFAULT from EINVAL. No seccomp profile denies it, unlike process_vm_readv.
fn probe(addr: u64) -> bool {
    const NO_SUCH_HOW: usize = 0x7fff_ffff;
    // SAFETY: the kernel checks the address; nothing is written.
    let r = unsafe { sys::syscall(libc::SYS_rt_sigprocmask, [NO_SUCH_HOW, addr as usize, 0, 8, 0, 0]) };
    r == -(libc::EINVAL as isize)
}

/// Finds out whether [`probe`] works here. Without it nothing doubtful is read.
pub fn init() {
    let good = 0u64;
    WORKS.store(probe(&raw const good as u64) && !probe(8), Relaxed);
}

/// Whether all of `addr..addr+len` can be read.
pub fn readable(addr: u64, len: u64) -> bool {
    if addr < PAGE || !WORKS.load(Relaxed) || len == 0 || len > 64 * PAGE {
        return false;
    }
    let Some(last) = addr.checked_add(len - 1) else { return false };
    // Eight bytes are probed: keep them within the page they ask about.
    let mut page = addr & !(PAGE - 1);
    while page <= last {
        if !probe(page) {
            return false;
        }
        page += PAGE;
    }
    true
}

/// Reads a `T` from memory that may be absent.
pub fn peek<T: Copy>(addr: u64) -> Option<T> {
    // SAFETY: found readable just now; memory of the JVM that vanishes in between belongs to code that is not on
    // this thread's stack, which callers rule out. Unaligned, so any address will do.
    readable(addr, size_of::<T>() as u64).then(|| unsafe { (addr as *const T).read_unaligned() })
}

/// The part of the current thread's stack that is known to be readable; grows as a walk needs it.
pub struct Stack {
    lo: Cell<u64>,
    hi: Cell<u64>,
}

impl Stack {
    /// Starts from what the thread knew last time.
    pub fn current(sp: u64) -> Stack {
        let t = arch::thread();
        let page = sp & !(PAGE - 1);
        let (lo, hi) = t.stack.get();
        // A thread's own stack, at whose top its control block lies, stays as it is. Others (coroutines) come and go,
        // and not every unmapping is seen: then at least the top must still be there.
        let home = arch::thread_pointer();
        let own = home >= lo && home < hi.saturating_add(2 * PAGE);
        let known = t.stack_epoch.get() == UNMAPS.load(Relaxed) || own;
        if known && sp >= lo && sp < hi && (own || readable(hi - PAGE, 8)) {
            return Stack { lo: Cell::new(lo), hi: Cell::new(hi) };
        }
        // Deeper than before on the same stack: everything in between must be readable.
        if known && sp < lo && lo - page <= MAX_STEP_PAGES / 4 * PAGE && readable(page, lo - page) {
            return Stack { lo: Cell::new(page), hi: Cell::new(hi) };
        }
        // The page of sp itself is in use right now.
        Stack { lo: Cell::new(page), hi: Cell::new(page + PAGE) }
    }

    /// Whether all words from `low` to `high` are known to be readable.
    #[inline]
    pub fn knows(&self, low: u64, high: u64) -> bool {
        low >= self.lo.get() && high < self.hi.get()
    }

    /// Keeps what was found out for the next walk.
    pub fn remember(&self) {
        let t = arch::thread();
        t.stack.set((self.lo.get(), self.hi.get()));
        t.stack_epoch.set(UNMAPS.load(Relaxed));
    }

    /// Reads an aligned word of the stack.
    #[inline]
    pub fn read(&self, addr: u64) -> Option<u64> {
        if addr & 7 != 0 || addr < self.lo.get() {
            return None;
        }
        if addr >= self.hi.get() && !self.extend(addr) {
            return None;
        }
        // SAFETY: in the readable part of this thread's own stack, and aligned.
        Some(unsafe { (addr as *const u64).read_volatile() })
    }

    #[cold]
    fn extend(&self, addr: u64) -> bool {
        let hi = self.hi.get();
        let want = (addr & !(PAGE - 1)).wrapping_add(PAGE);
        if want <= hi || want - hi > MAX_STEP_PAGES * PAGE || !WORKS.load(Relaxed) {
            return false;
        }
        let mut at = hi;
        while at < want {
            if !probe(at) {
                return false;
            }
            at += PAGE;
            self.hi.set(at);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}

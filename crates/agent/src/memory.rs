//! This process's own memory as a file.
//!
//! Reading and writing /proc/self/mem can't fault, whatever anybody does to the protection of a
//! page or with its mapping at that moment, and never waits for a handler of userfaultfd: the
//! kernel fails such an access (`access_remote_vm` in mm/memory.c does not let the lock go, and
//! without that `handle_userfault` refuses). An aligned word is copied at once: the kernel copies
//! eight bytes within a page by a move of eight bytes (`memcpy`).
//!
//! A write is forced into pages that are read-only, as a debugger's would be. Import slots may be
//! there; stored pointers are only written where the program could write too, see
//! [`Memory::exchange`].

use core::cell::Cell;
use core::ffi::CStr;
use core::sync::atomic::{AtomicU64, Ordering::Release};

use crate::arch::{page_bytes, page_start};
use crate::guard::{self, Pages};
use crate::sys;
use crate::tid;

/// Bits of /proc/PID/pagemap (Documentation/admin-guide/mm/pagemap.rst): present, swapped, of a
/// file or shared, write-protected by userfaultfd.
const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
const OF_FILE: u64 = 1 << 61;
const PROTECTED: u64 = 1 << 57;

/// A file that is opened when it is first needed, or not at all.
struct Lazy {
    path: &'static CStr,
    how: i32,
    /// `None`: not tried yet; -1: can't be opened.
    fd: Cell<Option<i32>>,
}

impl Lazy {
    fn get(&self) -> Option<i32> {
        let fd =
            self.fd.get().unwrap_or_else(|| sys::open(self.path.as_ptr().cast(), self.how, 0).unwrap_or(-1));
        self.fd.set(Some(fd));
        (fd >= 0).then_some(fd)
    }
}

impl Drop for Lazy {
    fn drop(&mut self) {
        if let Some(fd) = self.fd.get().filter(|&fd| fd >= 0) {
            sys::close(fd);
        }
    }
}

/// See above.
pub struct Memory {
    filtered: bool,
    mem: Lazy,
    pagemap: Lazy,
}

impl Memory {
    /// Where system calls are filtered there is nothing to open: a filter may kill for pread and
    /// pwrite.
    pub fn new() -> Memory {
        let filtered = sys::filtered();
        let lazy = |path, how| Lazy { path, how, fd: Cell::new(filtered.then_some(-1)) };
        Memory {
            filtered,
            mem: lazy(c"/proc/self/mem", libc::O_RDWR),
            pagemap: lazy(c"/proc/self/pagemap", libc::O_RDONLY),
        }
    }

    /// Whether system calls are filtered, or that can't be told.
    pub fn filtered(&self) -> bool {
        self.filtered
    }

    /// Whether the thread of this id has ended; false where that can't be told.
    pub fn has_ended(&self, tid: u32) -> bool {
        if self.filtered || !tid::is_real(tid) {
            return false;
        }
        let mut path = *b"/proc/self/task/0000000000\0";
        let there = |tid: u32, path: &mut [u8; 27]| {
            let mut rest = tid;
            // Leading zeroes are no number to the kernel: the digits are put at the end, and
            // slashes before them.
            for place in path.iter_mut().skip(16).take(10).rev() {
                *place = if rest == 0 { b'/' } else { b'0' + (rest % 10) as u8 };
                rest /= 10;
            }
            sys::open(path.as_ptr(), libc::O_PATH, 0).map(sys::close).is_some()
        };
        // A /proc of another pid namespace has other numbers: this thread's own must be known
        // there.
        there(sys::gettid(), &mut path) && is_own_proc() && !there(tid, &mut path)
    }

    /// A word.
    pub fn word(&self, pages: &Pages, at: u64) -> Option<u64> {
        let Some(mem) = self.mem.get() else { return pages.peek(at) };
        let mut word = [0; 8];
        (sys::read_at(mem, &mut word, at) == 8).then(|| u64::from_ne_bytes(word))
    }

    /// A page, as words.
    pub fn read_page(&self, at: u64, page: &mut [u64]) -> bool {
        let len = size_of_val(page);
        // SAFETY: as many bytes as words of eight.
        let bytes = unsafe { core::slice::from_raw_parts_mut(page.as_mut_ptr().cast::<u8>(), len) };
        self.mem.get().is_some_and(|mem| sys::read_at(mem, bytes, at) == len)
    }

    /// What the kernel says of the pages from `at` on. Asking makes none of them present.
    pub fn describe(&self, at: u64, entries: &mut [u64]) -> bool {
        let len = size_of_val(entries);
        // SAFETY: as many bytes as words of eight.
        let bytes = unsafe { core::slice::from_raw_parts_mut(entries.as_mut_ptr().cast::<u8>(), len) };
        self.pagemap.get().is_some_and(|fd| sys::read_at(fd, bytes, at / page_bytes() * 8) == len)
    }

    /// Whether a page has ever been used.
    pub fn is_used(entry: u64) -> bool {
        entry & (PRESENT | SWAPPED) != 0
    }

    /// Whether somebody handles its faults.
    pub fn is_protected(entry: u64) -> bool {
        entry & PROTECTED != 0
    }

    /// Whether it is the process's own, with contents of its own, and nobody handles its faults.
    pub fn is_private_and_plain(entry: u64) -> bool {
        Memory::is_used(entry) && entry & (OF_FILE | PROTECTED) == 0
    }

    /// Writes an import slot, also into read-only pages.
    ///
    /// Without /proc/self/mem only where the page can be written now, by a store; and where the
    /// loader itself has made the page read-only (`relro`), it is made writable for the moment:
    /// nobody else changes such pages of a relocated library. What remains there: a page that
    /// another thread protects between the question and the store.
    pub fn write(&self, at: u64, value: u64, relro: bool) -> bool {
        if let Some(mem) = self.mem.get() {
            if sys::write_at(mem, &value.to_ne_bytes(), at) {
                return true;
            }
            // The system forbids to force it (proc_mem.force_override), or a userfaultfd protects
            // it: then nobody may touch it.
            let mut entry = [0];
            if !self.describe(at, &mut entry) || entry[0] & PROTECTED != 0 {
                return false;
            }
        }
        // SAFETY: an aligned slot of a loaded library, writable now.
        let store = || unsafe { AtomicU64::from_ptr(at as *mut u64).store(value, Release) };
        if guard::writable(at) {
            store();
            return true;
        }
        let (page, len) = (page_start(at) as usize, page_bytes() as usize);
        let protect = |protection: i32| {
            // SAFETY: a page of import slots of a library that is loaded and relocated.
            unsafe { sys::syscall(libc::SYS_mprotect, [page, len, protection as usize, 0, 0, 0]) == 0 }
        };
        if !relro || !protect(libc::PROT_READ | libc::PROT_WRITE) {
            return false;
        }
        store();
        protect(libc::PROT_READ);
        true
    }

    /// Replaces a stored pointer, if it is still `old` and the program could write it now.
    ///
    /// No store of ours: another thread may protect the page at any moment, and a fault would end
    /// the program. What remains: if the program itself protects the page within the microsecond
    /// after it was asked for, the pointer is replaced all the same (it leads to the same function
    /// by way of the hook); and if it stores something else there within the microsecond after it
    /// was read, that is lost.
    pub fn exchange(&self, at: u64, old: u64, new: u64) -> bool {
        let Some(mem) = self.mem.get() else { return false };
        let mut word = [0; 8];
        guard::writable(at)
            && sys::read_at(mem, &mut word, at) == 8
            && u64::from_ne_bytes(word) == old
            && sys::write_at(mem, &new.to_ne_bytes(), at)
    }
}

/// Whether /proc numbers threads as the kernel does for this process: its link to this thread says
/// so.
fn is_own_proc() -> bool {
    let mut link = [0u8; 64];
    let args = [
        libc::AT_FDCWD as usize,
        c"/proc/thread-self".as_ptr() as usize,
        link.as_mut_ptr() as usize,
        link.len(),
        0,
        0,
    ];
    // SAFETY: the buffer is as long as said.
    let n = unsafe { sys::syscall(libc::SYS_readlinkat, args) }.max(0) as usize;
    let digits = link.get(..n).and_then(|link| link.rsplit(|&b| b == b'/').next()).unwrap_or(b"");
    let number =
        digits.iter().fold(0u32, |n, &b| n.wrapping_mul(10).wrapping_add(u32::from(b.wrapping_sub(b'0'))));
    number == sys::gettid()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(protection: i32) -> u64 {
        let at = sys::map_anonymous(4096).unwrap() as u64;
        // SAFETY: mapped for the test.
        unsafe { (at as *mut u64).write(7) };
        let args = [at as usize, 4096, protection as usize, 0, 0, 0];
        // SAFETY: a page of the test's own.
        assert_eq!(unsafe { sys::syscall(libc::SYS_mprotect, args) }, 0);
        at
    }

    #[test]
    fn stored_pointers_are_never_forced_into_a_page() {
        guard::init();
        let memory = Memory::new();
        let (plain, readable, none) =
            (page(libc::PROT_READ | libc::PROT_WRITE), page(libc::PROT_READ), page(libc::PROT_NONE));
        let pages = Pages::new();
        assert!(memory.exchange(plain, 7, 8) && !memory.exchange(plain, 7, 9));
        assert_eq!(memory.word(&pages, plain), Some(8));
        for at in [readable, none] {
            assert!(!memory.exchange(at, 7, 8));
            assert_eq!(memory.word(&pages, at), Some(7));
        }
        // Import slots may be.
        assert!(memory.write(readable, 8, false));
        assert_eq!(memory.word(&pages, readable), Some(8));
        assert!(!memory.write(4096, 8, false));
        assert_eq!(memory.word(&pages, 4096), None);
    }

    /// As where system calls are filtered: by stores into what can be written.
    #[test]
    fn without_the_file_only_what_can_be_written_is() {
        guard::init();
        let memory = Memory {
            filtered: true,
            mem: Lazy { path: c"", how: 0, fd: Cell::new(Some(-1)) },
            pagemap: Lazy { path: c"", how: 0, fd: Cell::new(Some(-1)) },
        };
        let (plain, readable) = (page(libc::PROT_READ | libc::PROT_WRITE), page(libc::PROT_READ));
        assert!(memory.write(plain, 8, false) && !memory.write(readable, 8, false));
        assert!(memory.write(readable, 8, true), "of the loader's making");
        assert!(!guard::writable(readable), "as it was");
        assert!(!memory.exchange(plain, 8, 9));
        assert_eq!((guard::peek(plain), guard::peek(readable)), (Some(8u64), Some(8u64)));
    }

    #[test]
    fn threads_that_have_ended_are_known() {
        let memory = Memory::new();
        let ended = std::thread::spawn(sys::gettid).join().unwrap();
        assert!(!memory.has_ended(sys::gettid()));
        for _ in 0..1000 {
            if memory.has_ended(ended) {
                return;
            }
            sys::sleep_ms(1);
        }
        panic!("{ended} has not ended");
    }
}

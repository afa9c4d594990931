//! Which pages of a file that lives in memory (tmpfs, memfd_create) are in memory, and not in swap.
//!
//! A read of such a page in swap would wait for the swap's disk, and bring it back into the memory
//! of the group that owns it: of a target that is short of memory, the last thing to do. Its page
//! table can't tell it from a page of the file that it has never touched; mincore(2) of a mapping
//! of our own can, and brings nothing in.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::os::fd::AsRawFd;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use crate::page_bytes;

/// Bytes of a file that are asked for at once: three system calls.
const WINDOW: u64 = 2 << 20;

/// Where a page of such a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whereabouts {
    /// In memory, or the kernel doesn't say.
    Memory,
    /// In swap.
    Swap,
    /// Nowhere: nothing was ever written there.
    Hole,
}

/// What is known of one file.
#[derive(Debug)]
pub(crate) struct InCore {
    /// By the window's start in the file: of each page where it is.
    windows: RefCell<HashMap<u64, Vec<Whereabouts>>>,
}

/// Whether anything at all is in swap on this machine. If not, nobody needs to be asked.
pub(crate) fn anything_swapped() -> bool {
    let system = rustix::system::sysinfo();
    system.freeswap < system.totalswap
}

impl InCore {
    /// Of a file that lives in memory; none of any other, which is read from its disk.
    pub fn of(file: &File) -> Option<InCore> {
        let on = rustix::fs::fstatfs(file).ok()?;
        (on.f_type == libc::TMPFS_MAGIC).then(|| InCore { windows: RefCell::default() })
    }

    /// Where the page at `offset` of `file` is. mincore(2) says it to everybody before Linux 5.2,
    /// since then to who may write the file.
    pub fn page(&self, file: &File, offset: u64) -> Whereabouts {
        let start = offset / WINDOW * WINDOW;
        let mut windows = self.windows.borrow_mut();
        let pages = windows.entry(start).or_insert_with(|| ask(file, start));
        pages.get(((offset - start) / page_bytes()) as usize).copied().unwrap_or(Whereabouts::Memory)
    }

    /// Asks again from now on.
    pub fn forget(&self) {
        self.windows.borrow_mut().clear();
    }
}

/// Of each page of the window at `start` where it is; empty where the kernel doesn't say.
fn ask(file: &File, start: u64) -> Vec<Whereabouts> {
    // In this order: what is written meanwhile is in memory then, and not taken for swapped.
    let Some(written) = written(file, start) else { return Vec::new() };
    let Some(in_memory) = in_memory(file, start) else { return Vec::new() };
    let whereabouts = |(in_memory, written)| match (in_memory, written) {
        (true, _) => Whereabouts::Memory,
        (false, true) => Whereabouts::Swap,
        (false, false) => Whereabouts::Hole,
    };
    in_memory.into_iter().zip(written).map(whereabouts).collect()
}

/// Of each page of the window at `start` whether the file has it, in memory or in swap.
fn written(file: &File, start: u64) -> Option<Vec<bool>> {
    let mut pages = vec![false; (WINDOW / page_bytes()) as usize];
    let (mut at, end) = (start, start + WINDOW);
    while at < end {
        let from = match seek(file, SeekFrom::Data(at)) {
            Ok(from) => from,
            // No more data.
            Err(Errno::NXIO) => break,
            Err(_) => return None,
        };
        let to = seek(file, SeekFrom::Hole(from)).ok()?.min(end);
        let page = |offset: u64| ((offset.clamp(start, end) - start) / page_bytes()) as usize;
        pages.get_mut(page(from)..page(to.next_multiple_of(page_bytes())))?.fill(true);
        at = to.max(at + page_bytes());
    }
    Some(pages)
}

/// Of each page of the window at `start` whether it is in memory.
fn in_memory(file: &File, start: u64) -> Option<Vec<bool>> {
    let mut pages = vec![0u8; (WINDOW / page_bytes()) as usize];
    let offset = i64::try_from(start).ok()?;
    // SAFETY: a mapping of our own at an address of the kernel's choice, which nobody touches:
    // mincore writes a byte a page to `pages`, which has room for all, and it is unmapped again.
    let done = unsafe {
        let at = libc::mmap(
            std::ptr::null_mut(),
            WINDOW as usize,
            libc::PROT_READ,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            offset,
        );
        if at == libc::MAP_FAILED {
            return None;
        }
        let done = libc::mincore(at, WINDOW as usize, pages.as_mut_ptr()) == 0;
        libc::munmap(at, WINDOW as usize);
        done
    };
    done.then(|| pages.into_iter().map(|page| page & 1 == 1).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    /// Pages of a file in memory, of which every third is written.
    fn file() -> File {
        let fd = rustix::fs::memfd_create("offheap-test", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let file = File::from(fd);
        file.set_len(2 * WINDOW).unwrap();
        for page in (0..2 * WINDOW / page_bytes()).step_by(3) {
            file.write_all_at(&[7; 16], page * page_bytes()).unwrap();
        }
        file
    }

    #[test]
    fn what_was_never_written_is_a_hole() {
        let file = file();
        let in_core = InCore::of(&file).unwrap();
        for page in 0..2 * WINDOW / page_bytes() {
            let expected = if page % 3 == 0 { Whereabouts::Memory } else { Whereabouts::Hole };
            assert_eq!(in_core.page(&file, page * page_bytes()), expected, "{page}");
        }
        let on_disk = File::open("/proc/self/exe").unwrap();
        assert!(InCore::of(&on_disk).is_none() || !on_disk.metadata().unwrap().is_file());
    }
}

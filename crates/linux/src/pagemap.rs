//! Which pages of a process are present (Documentation/admin-guide/mm/pagemap.rst).
//!
//! Kernels from 6.7 answer for a range in one call (`PAGEMAP_SCAN`), which makes a terabyte of reserved address space as
//! cheap as what is resident in it; older ones are read eight bytes a page.

use crate::PAGE;
use std::cell::Cell;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

/// What a run of pages is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageKind {
    /// Mapped by the process; counted in its RSS.
    Present,
    /// In swap.
    Swapped,
}

/// Neighbouring pages of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// What they are.
    pub kind: PageKind,
}

/// Reads which pages are present.
#[derive(Debug)]
pub struct Pagemap {
    file: File,
    scan_works: Cell<bool>,
}

/// `struct pm_scan_arg` of include/uapi/linux/fs.h.
#[repr(C)]
#[derive(Default)]
struct ScanArgument {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

/// `struct page_region` of include/uapi/linux/fs.h.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct PageRegion {
    start: u64,
    end: u64,
    categories: u64,
}

/// `_IOWR('f', 16, struct pm_scan_arg)`.
const PAGEMAP_SCAN: libc::Ioctl = 0xc060_6610u32 as libc::Ioctl;
const IS_PRESENT: u64 = 1 << 3;
const IS_SWAPPED: u64 = 1 << 4;
const IS_ZERO_PAGE: u64 = 1 << 5;

/// Bits of a pagemap entry.
const ENTRY_PRESENT: u64 = 1 << 63;
const ENTRY_SWAPPED: u64 = 1 << 62;

impl Pagemap {
    pub(crate) fn new(file: File) -> Self {
        Pagemap { file, scan_works: Cell::new(true) }
    }

    /// The runs of present and swapped pages in `[start, end)`, ascending.
    ///
    /// The shared zero page is left out where the kernel tells it (from 6.7): it is mapped, but in nobody's RSS. What
    /// can't be read (the kernel's own range, a process that ended) counts as not present.
    pub fn runs(&self, start: u64, end: u64) -> Vec<Run> {
        let mut runs = Vec::new();
        if !(self.scan_works.get() && self.scan(start, end, &mut runs)) {
            runs.clear();
            self.read(start, end, &mut runs);
        }
        runs
    }

    /// True where the page at `address` is present.
    pub fn is_present(&self, address: u64) -> bool {
        self.entry(address) & ENTRY_PRESENT != 0
    }

    /// True where the page at `address` is in swap.
    pub fn is_swapped(&self, address: u64) -> bool {
        self.entry(address) & ENTRY_SWAPPED != 0
    }

    fn entry(&self, address: u64) -> u64 {
        let mut bytes = [0; 8];
        match self.file.read_exact_at(&mut bytes, address / PAGE * 8) {
            Ok(()) => u64::from_le_bytes(bytes),
            Err(_) => 0,
        }
    }

    /// `PAGEMAP_SCAN`; false where the kernel doesn't know it.
    fn scan(&self, start: u64, end: u64, runs: &mut Vec<Run>) -> bool {
        let mut regions = [PageRegion::default(); 512];
        let mut argument = ScanArgument {
            size: size_of::<ScanArgument>() as u64,
            start,
            end,
            vec: regions.as_mut_ptr() as u64,
            vec_len: regions.len() as u64,
            category_anyof_mask: IS_PRESENT | IS_SWAPPED,
            return_mask: IS_PRESENT | IS_SWAPPED | IS_ZERO_PAGE,
            ..ScanArgument::default()
        };
        while argument.start < end {
            // SAFETY: the argument is of the size it names, and `vec` points to `vec_len` regions that live and are
            // borrowed by nobody else during the call; without a write flag the call changes nothing in the target.
            let found = unsafe { libc::ioctl(self.file.as_raw_fd(), PAGEMAP_SCAN, &raw mut argument) };
            let Ok(found) = usize::try_from(found) else {
                // Kernels before 6.7 know no call on this file at all. Any other refusal is about the range (beyond user
                // space) or the process (gone), and reading entry by entry would fare no better.
                let unknown = std::io::Error::last_os_error().raw_os_error() == Some(libc::ENOTTY);
                if unknown {
                    self.scan_works.set(false);
                    return false;
                }
                return true;
            };
            for region in regions.iter().take(found) {
                if region.categories & IS_ZERO_PAGE == 0 {
                    let swapped = region.categories & IS_PRESENT == 0;
                    push(
                        runs,
                        region.start,
                        region.end,
                        if swapped { PageKind::Swapped } else { PageKind::Present },
                    );
                }
            }
            if argument.walk_end <= argument.start {
                break;
            }
            argument.start = argument.walk_end;
        }
        true
    }

    /// Eight bytes a page.
    fn read(&self, start: u64, end: u64, runs: &mut Vec<Run>) {
        let mut buffer = vec![0u8; 8 * 8192];
        let (mut page, last) = (start / PAGE, end.div_ceil(PAGE));
        while page < last {
            let wanted = ((last - page).saturating_mul(8)).min(buffer.len() as u64) as usize;
            let got = match self.file.read_at(&mut buffer[..wanted], page.saturating_mul(8)) {
                Ok(got) if got >= 8 => got / 8,
                _ => return,
            };
            for entry in buffer[..got * 8].chunks_exact(8) {
                let entry = entry.try_into().map_or(0, u64::from_le_bytes);
                let kind = if entry & ENTRY_PRESENT != 0 {
                    Some(PageKind::Present)
                } else if entry & ENTRY_SWAPPED != 0 {
                    Some(PageKind::Swapped)
                } else {
                    None
                };
                if let Some(kind) = kind {
                    push(runs, page * PAGE, (page + 1) * PAGE, kind);
                }
                page += 1;
            }
        }
    }
}

/// Appends a run, joined to the last one where they touch.
fn push(runs: &mut Vec<Run>, start: u64, end: u64, kind: PageKind) {
    match runs.last_mut() {
        Some(last) if last.end == start && last.kind == kind => last.end = end,
        _ => runs.push(Run { start, end, kind }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Process;

    /// Sixteen pages of which the given ones are written to.
    fn touched(pages: &[usize]) -> (u64, memmap::Map) {
        let map = memmap::Map::new(16 * PAGE as usize);
        for page in pages {
            map.touch(page * PAGE as usize);
        }
        (map.address(), map)
    }

    mod memmap {
        pub struct Map(*mut u8, usize);
        impl Map {
            pub fn new(len: usize) -> Self {
                // SAFETY: a fresh anonymous mapping at an address of the kernel's choice touches nobody's memory.
                let at = unsafe {
                    libc::mmap(
                        std::ptr::null_mut(),
                        len,
                        libc::PROT_READ | libc::PROT_WRITE,
                        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                        -1,
                        0,
                    )
                };
                assert_ne!(at, libc::MAP_FAILED);
                Map(at.cast(), len)
            }
            pub fn address(&self) -> u64 {
                self.0 as u64
            }
            pub fn touch(&self, offset: usize) {
                assert!(offset < self.1);
                // SAFETY: the offset lies inside the mapping, which is writable.
                unsafe { self.0.add(offset).write_volatile(1) }
            }
            pub fn look(&self, offset: usize) -> u8 {
                assert!(offset < self.1);
                // SAFETY: the offset lies inside the mapping, which is readable.
                unsafe { self.0.add(offset).read_volatile() }
            }
        }
        impl Drop for Map {
            fn drop(&mut self) {
                // SAFETY: the mapping is ours and nothing borrows from it.
                unsafe { libc::munmap(self.0.cast(), self.1) };
            }
        }
    }

    #[test]
    fn both_ways_of_reading_see_the_touched_pages() {
        let (at, _map) = touched(&[1, 2, 7]);
        let pagemap = Process::open(std::process::id() as i32).unwrap().pagemap().unwrap();
        let expected = [(1, 3), (7, 8)].map(|(from, to)| Run {
            start: at + from * PAGE,
            end: at + to * PAGE,
            kind: PageKind::Present,
        });
        assert_eq!(pagemap.runs(at, at + 16 * PAGE), expected);
        pagemap.scan_works.set(false);
        assert_eq!(pagemap.runs(at, at + 16 * PAGE), expected);
        assert!(pagemap.is_present(at + PAGE) && !pagemap.is_present(at));
    }

    #[test]
    fn a_page_that_was_only_read_is_the_zero_page_and_not_resident() {
        let (at, map) = touched(&[3]);
        assert_eq!(map.look(0), 0);
        let pagemap = Process::open(std::process::id() as i32).unwrap().pagemap().unwrap();
        let runs = pagemap.runs(at, at + 16 * PAGE);
        if pagemap.scan_works.get() {
            assert_eq!(runs.len(), 1);
            assert_eq!(runs[0].start, at + 3 * PAGE);
        }
    }
}

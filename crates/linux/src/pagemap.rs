//! Which pages of a process are present (Documentation/admin-guide/mm/pagemap.rst).
//!
//! Kernels from 6.7 answer for a range in one call (`PAGEMAP_SCAN`), which makes a terabyte of
//! reserved address space as cheap as what is resident in it; older ones are read eight bytes a
//! page. Either way the target's mmap lock is held while they do, so a range is read in pieces,
//! with pauses.

use crate::holds::{Holds, SPELL};
use crate::{PageKind, Run, page_bytes};
use std::cell::Cell;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// Reads which pages are present.
#[derive(Debug)]
pub struct Pagemap {
    file: File,
    holds: Holds,
    scan_works: Cell<bool>,
    /// Whether the kernel tells guard regions, which from 6.13 look swapped (`PAGE_IS_GUARD`, from
    /// 6.15).
    guard_is_told: Cell<bool>,
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

/// Neighbouring pages of the same categories: `struct page_region` of include/uapi/linux/fs.h.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Region {
    pub start: u64,
    pub end: u64,
    pub categories: u64,
}

/// `_IOWR('f', 16, struct pm_scan_arg)`.
const PAGEMAP_SCAN: libc::Ioctl = 0xc060_6610u32 as libc::Ioctl;

/// The page belongs to a file or to shared memory, and is one of those that the kernel counts.
pub(crate) const IS_FILE: u64 = 1 << 2;
pub(crate) const IS_PRESENT: u64 = 1 << 3;
pub(crate) const IS_SWAPPED: u64 = 1 << 4;
/// The zero page, small or huge, that all share.
pub(crate) const IS_ZERO_PAGE: u64 = 1 << 5;
/// Mapped as a huge page.
pub(crate) const IS_HUGE: u64 = 1 << 6;
/// `MADV_GUARD_INSTALL`: nothing is there.
pub(crate) const IS_GUARD: u64 = 1 << 8;
/// Not the kernel's: an entry read one by one that says neither that a file is behind it nor that
/// nobody else maps it. It is the zero page, a page shared after a fork, or one that was merged.
pub(crate) const IS_DOUBTFUL: u64 = 1 << 63;

/// Bits of a pagemap entry.
const ENTRY_PRESENT: u64 = 1 << 63;
const ENTRY_SWAPPED: u64 = 1 << 62;
const ENTRY_FILE: u64 = 1 << 61;
const ENTRY_GUARD: u64 = 1 << 58;
const ENTRY_EXCLUSIVE: u64 = 1 << 56;
/// Of a present page, for those who may know it: the number of its frame.
const ENTRY_FRAME: u64 = (1 << 55) - 1;

/// Pages in use that one call looks at; about 0.04 ms at 18 ns each (Linux 6.18).
const PAGES_A_CALL: u64 = 2048;
/// Bytes of address space that the first call looks at: twice as much where it took no time, since
/// little of it was in use, …
const FIRST_STEP: u64 = 32 << 20;
/// … and at most this. Page tables that are there but empty cost about 1 ns a page: 2 ms for all of
/// it.
const LONGEST_STEP: u64 = 8 << 30;
/// No time.
const QUICK: Duration = Duration::from_micros(15);
/// Entries read by one call: 4 MiB of address space, of which the kernel reads 2 MiB at a time
/// under the lock.
const ENTRIES_A_CALL: usize = 1024;

impl Pagemap {
    pub(crate) fn new(file: File, holds: Holds) -> Self {
        Pagemap { file, holds, scan_works: Cell::new(true), guard_is_told: Cell::new(true) }
    }

    /// The runs of present and swapped pages in `[start, end)`, ascending.
    ///
    /// The shared zero page is left out where the kernel tells it (from 6.7): it is mapped, but in
    /// nobody's RSS. What can't be read (the kernel's own range, a process that ended) counts as
    /// not present.
    pub fn runs(&self, start: u64, end: u64) -> Vec<Run> {
        let mut runs = Vec::new();
        self.visit(start, end, 0, &mut |region| {
            if region.categories & (IS_ZERO_PAGE | IS_GUARD) == 0 {
                let swapped = region.categories & IS_PRESENT == 0;
                push(
                    &mut runs,
                    region.start,
                    region.end,
                    if swapped { PageKind::Swapped } else { PageKind::Present },
                );
            }
        });
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

    /// Whether the kernel scans ranges (from 6.7).
    pub(crate) fn scans(&self) -> bool {
        // One page of nothing, to know.
        self.scan_works.get() && self.scan(0, page_bytes(), 0, &mut |_| {})
    }

    /// Shows `each` the present and swapped pages in `[start, end)`, ascending. [`IS_FILE`] costs
    /// more than twice the time, so only those who say so in `also` are told.
    pub(crate) fn visit(&self, start: u64, end: u64, also: u64, each: &mut dyn FnMut(Region)) {
        if !(self.scan_works.get() && self.scan(start, end, also, each)) {
            self.read(start, end, each);
        }
    }

    fn entry(&self, address: u64) -> u64 {
        let mut bytes = [0; 8];
        match self.holds.page_by_page(|| self.file.read_exact_at(&mut bytes, address / page_bytes() * 8)) {
            Ok(()) => u64::from_le_bytes(bytes),
            Err(_) => 0,
        }
    }

    /// `PAGEMAP_SCAN`; false where the kernel doesn't know it.
    fn scan(&self, start: u64, end: u64, also: u64, each: &mut dyn FnMut(Region)) -> bool {
        let mut regions = [Region::default(); 512];
        let mut argument = ScanArgument {
            size: size_of::<ScanArgument>() as u64,
            start,
            vec: regions.as_mut_ptr() as u64,
            vec_len: regions.len() as u64,
            max_pages: PAGES_A_CALL,
            category_anyof_mask: IS_PRESENT | IS_SWAPPED,
            return_mask: IS_PRESENT | IS_SWAPPED | IS_ZERO_PAGE | IS_HUGE | IS_GUARD | also,
            ..ScanArgument::default()
        };
        let mut step = FIRST_STEP;
        while argument.start < end {
            argument.end = argument.start.saturating_add(step).min(end);
            if !self.guard_is_told.get() {
                argument.return_mask &= !IS_GUARD;
            }
            // SAFETY: the argument is of the size it names, and `vec` points to `vec_len` regions
            // that live and are borrowed by nobody else during the call; without a write flag the
            // call changes nothing in the target.
            let mut ask = || unsafe { libc::ioctl(self.file.as_raw_fd(), PAGEMAP_SCAN, &raw mut argument) };
            let call = || usize::try_from(ask()).map_err(|_| std::io::Error::last_os_error().raw_os_error());
            let (found, took) = self.holds.during(call);
            let found = match found {
                Ok(found) => found,
                // Kernels before 6.7 know no call on this file at all.
                Err(Some(libc::ENOTTY)) => {
                    self.scan_works.set(false);
                    return false;
                }
                Err(Some(libc::EINVAL)) if self.guard_is_told.replace(false) => continue,
                // Any other refusal is about the range (beyond user space) or the process (gone),
                // and reading entry by entry would fare no better.
                Err(_) => return true,
            };
            regions.iter().take(found).for_each(|region| each(*region));
            if argument.walk_end <= argument.start {
                break;
            }
            argument.start = argument.walk_end;
            step = if took < QUICK {
                (step * 2).min(LONGEST_STEP)
            } else if took > SPELL {
                (step / 2).max(FIRST_STEP)
            } else {
                step
            };
        }
        true
    }

    /// Eight bytes a page.
    pub(crate) fn read(&self, start: u64, end: u64, each: &mut dyn FnMut(Region)) {
        let mut last = Region::default();
        self.entries(start, end, &mut |address, entry| {
            let Some(categories) = categories(entry) else { return };
            if last.end == address && last.categories == categories {
                last.end += page_bytes();
                return;
            }
            if last.start < last.end {
                each(last);
            }
            last = Region { start: address, end: address + page_bytes(), categories };
        });
        if last.start < last.end {
            each(last);
        }
    }

    /// Shows `each` of the present pages in `[start, end)`: whether it is a file's, whether it is
    /// mapped only once, and the number of its frame for those who may know it.
    pub(crate) fn mappers(&self, start: u64, end: u64, each: &mut dyn FnMut(u64, bool, bool, Option<u64>)) {
        self.entries(start, end, &mut |address, entry| {
            if entry & ENTRY_PRESENT != 0 {
                let frame = Some(entry & ENTRY_FRAME).filter(|frame| *frame != 0);
                each(address, entry & ENTRY_FILE != 0, entry & ENTRY_EXCLUSIVE != 0, frame);
            }
        });
    }

    /// The entries of all pages in `[start, end)`.
    fn entries(&self, start: u64, end: u64, each: &mut dyn FnMut(u64, u64)) {
        let mut buffer = vec![0u8; 8 * ENTRIES_A_CALL];
        let (mut page, last) = (start / page_bytes(), end.div_ceil(page_bytes()));
        while page < last {
            let wanted = ((last - page).saturating_mul(8)).min(buffer.len() as u64) as usize;
            let call = || self.file.read_at(&mut buffer[..wanted], page.saturating_mul(8));
            let got = match self.holds.during(call).0 {
                Ok(got) if got >= 8 => got / 8,
                _ => return,
            };
            for entry in buffer[..got * 8].chunks_exact(8) {
                each(page * page_bytes(), entry.try_into().map_or(0, u64::from_le_bytes));
                page += 1;
            }
        }
    }
}

/// What an entry says in the words of a scan.
fn categories(entry: u64) -> Option<u64> {
    if entry & ENTRY_PRESENT != 0 {
        Some(match (entry & ENTRY_FILE != 0, entry & ENTRY_EXCLUSIVE != 0) {
            (true, _) => IS_PRESENT | IS_FILE,
            (false, true) => IS_PRESENT,
            (false, false) => IS_PRESENT | IS_DOUBTFUL,
        })
    } else if entry & ENTRY_SWAPPED != 0 {
        Some(if entry & ENTRY_GUARD == 0 { IS_SWAPPED } else { IS_SWAPPED | IS_GUARD })
    } else {
        None
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
        let map = memmap::Map::new(16 * page_bytes() as usize);
        for page in pages {
            map.touch(page * page_bytes() as usize);
        }
        (map.address(), map)
    }

    mod memmap {
        pub struct Map(*mut u8, usize);
        impl Map {
            pub fn new(len: usize) -> Self {
                // SAFETY: a fresh anonymous mapping at an address of the kernel's choice touches
                // nobody's memory.
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
            start: at + from * page_bytes(),
            end: at + to * page_bytes(),
            kind: PageKind::Present,
        });
        assert_eq!(pagemap.runs(at, at + 16 * page_bytes()), expected);
        pagemap.scan_works.set(false);
        assert_eq!(pagemap.runs(at, at + 16 * page_bytes()), expected);
        assert!(pagemap.is_present(at + page_bytes()) && !pagemap.is_present(at));
    }

    #[test]
    fn no_call_looks_at_more_than_its_share() {
        const PAGES: u64 = 3 * PAGES_A_CALL;
        let map = memmap::Map::new((PAGES * page_bytes()) as usize);
        (0..PAGES).for_each(|page| map.touch((page * page_bytes()) as usize));
        let process = Process::open(std::process::id() as i32).unwrap();
        let pagemap = process.pagemap().unwrap();
        let calls = |scans: bool| {
            pagemap.scan_works.set(scans);
            process.held();
            let present: u64 =
                pagemap.runs(map.address(), map.address() + PAGES * page_bytes()).iter().map(length).sum();
            assert_eq!(present, PAGES * page_bytes());
            process.held().calls
        };
        assert!(calls(false) >= PAGES / ENTRIES_A_CALL as u64);
        if pagemap.scan(0, page_bytes(), 0, &mut |_| {}) {
            assert!(calls(true) >= PAGES / PAGES_A_CALL);
            // The whole address space in one go is still found, and in few calls where nothing is.
            process.held();
            let runs = pagemap.runs(0, 1 << 47);
            assert!(runs.iter().map(length).sum::<u64>() >= PAGES * page_bytes());
            assert!(process.held().calls < 100_000);
        }
    }

    fn length(run: &Run) -> u64 {
        run.end - run.start
    }

    #[test]
    fn a_page_that_was_only_read_is_the_zero_page_and_not_resident() {
        let (at, map) = touched(&[3]);
        assert_eq!(map.look(0), 0);
        let pagemap = Process::open(std::process::id() as i32).unwrap().pagemap().unwrap();
        let runs = pagemap.runs(at, at + 16 * page_bytes());
        if pagemap.scan_works.get() {
            assert_eq!(runs.len(), 1);
            assert_eq!(runs[0].start, at + 3 * page_bytes());
        }
    }
}

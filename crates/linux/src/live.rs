//! A running process as a target: its memory is read through `/proc/PID/mem` without disturbing it.
//!
//! Only pages that are present are read there: a read of an untouched page would map or allocate it
//! (`process_vm_readv` would even unshare copy-on-write pages). An untouched page of a private file
//! mapping still has the file's contents, so that is read from the file.

use crate::foreign::Expect;
use crate::incore::{InCore, Whereabouts, anything_swapped};
use crate::{
    Memory, PageKind, Pagemap, ProcText, Process, ReadError, Run, Target, Task, Vma, page_bytes, page_start,
};
use offheap_target::arch::PIECE;
use offheap_target::{Page, PageCache, page_of};
use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Bytes that one call reads at most: 32 pages, for each of which the kernel takes the target's
/// mmap lock; 0.07 ms.
const BULK: usize = 128 << 10;

/// A running process, read without disturbing it.
///
/// Small reads go through a cache of pages: within one [`Live`] a page is read once. It is a view
/// of one instant or close to it, not for watching a value change; [`Memory::forget`] starts
/// afresh.
#[derive(Debug)]
pub struct Live {
    mem: File,
    pagemap: Pagemap,
    vmas: Vec<Vma>,
    process: Process,
    pages: PageCache,
    files: RefCell<HashMap<u64, Option<Mapped>>>,
    /// Whether anything is in swap on this machine.
    swaps: bool,
}

/// A file that is mapped.
#[derive(Debug)]
struct Mapped {
    file: File,
    in_core: Option<InCore>,
}

impl Mapped {
    /// Where the page at `offset` is, if that makes a difference.
    fn page(&self, offset: u64) -> Whereabouts {
        self.in_core.as_ref().map_or(Whereabouts::Memory, |in_core| in_core.page(&self.file, offset))
    }
}

impl Live {
    pub(crate) fn open(process: &Process, vmas: &[Vma]) -> Result<Self, crate::Error> {
        Ok(Live {
            mem: process.file("mem")?,
            pagemap: process.pagemap()?,
            vmas: vmas.to_vec(),
            process: process.try_clone().map_err(|error| process.explain("its directory", error))?,
            pages: PageCache::default(),
            files: RefCell::default(),
            swaps: anything_swapped(),
        })
    }

    /// Which pages are present.
    pub fn pagemap(&self) -> &Pagemap {
        &self.pagemap
    }

    fn load(&self, page: u64) -> Result<Page, ReadError> {
        if self.pagemap.is_present(page) {
            let mut bytes = Box::new([0; PIECE]);
            return match self.process.holds().page_by_page(|| self.mem.read_exact_at(&mut bytes[..], page)) {
                Ok(()) => Ok(bytes),
                Err(_) => Err(ReadError::Failed(page)),
            };
        }
        let vma = offheap_target::find(&self.vmas, page).ok_or(ReadError::NotMapped(page))?;
        if !vma.is_file() || self.pagemap.is_swapped(page) {
            return Err(ReadError::NotPresent(page));
        }
        // Read through the file, a page brings nothing into the target's page tables.
        self.with_file(vma, |mapped| match mapped.page(page - vma.start + vma.offset) {
            Whereabouts::Swap => Err(ReadError::NotPresent(page)),
            _ => {
                page_of(&mapped.file, page - vma.start + vma.offset).map_err(|_| ReadError::NotPresent(page))
            }
        })
        .unwrap_or(Err(ReadError::NotPresent(page)))
    }

    /// Gives `look` the file that is mapped at `vma`; `None` where it can't be opened.
    fn with_file<T>(&self, vma: &Vma, look: impl FnOnce(&Mapped) -> T) -> Option<T> {
        let mut files = self.files.borrow_mut();
        let mapped = files.entry(vma.start).or_insert_with(|| {
            let file = self.open(vma)?;
            Some(Mapped { in_core: self.swaps.then(|| InCore::of(&file)).flatten(), file })
        });
        mapped.as_ref().map(look)
    }

    /// Adds the pages in swap between `start` and `end` of files in memory (memfd_create): no page
    /// table tells them.
    fn add_swapped(&self, start: u64, end: u64, runs: &mut Vec<Run>) {
        let told = runs.clone();
        for vma in &self.vmas {
            let (from, to) = (start.max(vma.start), end.min(vma.end));
            if from >= to || !vma.path.starts_with("/memfd:") {
                continue;
            }
            self.with_file(vma, |mapped| {
                let mut at = page_start(from);
                let mut next = told.partition_point(|run| run.end <= at);
                while at < to {
                    if let Some(run) = told.get(next).filter(|run| run.start <= at) {
                        (at, next) = (run.end, next + 1);
                        continue;
                    }
                    if mapped.page(at - vma.start + vma.offset) == Whereabouts::Swap {
                        match runs.last_mut() {
                            Some(last) if last.end == at && last.kind == PageKind::Swapped => {
                                last.end += page_bytes();
                            }
                            _ => {
                                runs.push(Run { start: at, end: at + page_bytes(), kind: PageKind::Swapped })
                            }
                        }
                    }
                    at += page_bytes();
                }
            });
        }
        runs.sort_by_key(|run| run.start);
    }
}

impl Memory for Live {
    fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        self.pages.read(address, buffer, |page| self.load(page))
    }

    /// Past the cache.
    fn read_bulk(&self, address: u64, buffer: &mut [u8]) -> usize {
        let mut done = 0;
        while done < buffer.len() {
            let piece = (buffer.len() - done).min(BULK);
            let call = || self.mem.read_at(&mut buffer[done..done + piece], address + done as u64);
            match self.process.holds().page_by_page(call) {
                Ok(count) if count > 0 => done += count,
                _ => break,
            }
        }
        done
    }

    fn forget(&self) {
        self.pages.forget();
        let files = self.files.borrow();
        files.values().flatten().filter_map(|mapped| mapped.in_core.as_ref()).for_each(InCore::forget);
    }
}

impl Target for Live {
    fn pid(&self) -> i32 {
        self.process.pid()
    }

    fn vmas(&self) -> &[Vma] {
        &self.vmas
    }

    fn runs(&self, start: u64, end: u64) -> Vec<Run> {
        let mut runs = self.pagemap.runs(start, end);
        if self.swaps {
            self.add_swapped(start, end, &mut runs);
        }
        runs
    }

    fn is_present(&self, address: u64) -> bool {
        self.pagemap.is_present(address)
    }

    fn knows_residency(&self) -> bool {
        true
    }

    /// Through `/proc/PID/map_files`, so that it is the very file, also when it was replaced on
    /// disk.
    fn open(&self, vma: &Vma) -> Option<File> {
        if vma.path.starts_with("/dev/") {
            return None;
        }
        self.process.mapped_file(vma, &Expect::LIBRARY).ok()
    }

    fn tasks(&self) -> Option<Vec<Task>> {
        self.process.tasks().ok()
    }

    fn text(&self, text: ProcText) -> Option<Vec<u8>> {
        let file = match text {
            ProcText::Exe => return Some(self.process.exe().ok()?.into_bytes()),
            ProcText::CommandLine => "cmdline",
            ProcText::Environment => "environ",
        };
        self.process.bytes(file).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reads;

    fn own() -> Live {
        let process = Process::open(std::process::id() as i32).unwrap();
        let vmas = process.maps().unwrap();
        process.memory(&vmas).unwrap()
    }

    #[test]
    fn a_word_and_a_string_are_read_where_they_are() {
        static WORD: u64 = 0x1122_3344_5566_7788;
        let text = std::ffi::CString::new("hello".repeat(2000)).unwrap();
        let memory = own();
        assert_eq!(memory.u64(&raw const WORD as u64), Ok(WORD));
        assert_eq!(memory.c_string(text.as_ptr() as u64, 20_000).unwrap().len(), 10_000);
        assert_eq!(memory.c_string(text.as_ptr() as u64, 7).unwrap(), "hellohe");
    }

    #[test]
    fn much_is_read_by_many_calls() {
        let bytes = vec![7u8; 10 * BULK];
        let process = Process::open(std::process::id() as i32).unwrap();
        let memory = process.memory(&process.maps().unwrap()).unwrap();
        process.held();
        let mut read = vec![0; bytes.len()];
        assert_eq!(memory.read_bulk(bytes.as_ptr() as u64, &mut read), bytes.len());
        assert!(read == bytes && process.held().calls >= 10);
    }

    #[test]
    fn what_is_not_there_is_refused_and_stays_untouched() {
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice touches nobody's
        // memory.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                1 << 20,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        } as u64;
        let memory = own();
        assert_eq!(memory.u64(at + 8 * page_bytes()), Err(ReadError::NotPresent(at + 8 * page_bytes())));
        assert!(!memory.pagemap().is_present(at + 8 * page_bytes()));
        assert!(memory.u64(0x10).is_err() && memory.u64(u64::MAX - 4).is_err());
    }

    #[test]
    fn a_page_of_a_file_in_memory_is_read_through_the_file() {
        use std::io::Write;
        // SAFETY: makes a file in memory, which the File owns.
        let mut file = unsafe {
            let fd = libc::memfd_create(c"offheap-test".as_ptr(), libc::MFD_CLOEXEC);
            <File as std::os::fd::FromRawFd>::from_raw_fd(fd)
        };
        file.write_all(&[7; page_bytes() as usize]).unwrap();
        file.set_len(4 << 20).unwrap();
        // SAFETY: as in the test above; what is mapped is the test's own.
        let at = unsafe {
            use std::os::fd::AsRawFd;
            let (fd, protection) = (file.as_raw_fd(), libc::PROT_READ | libc::PROT_WRITE);
            libc::mmap(std::ptr::null_mut(), 4 << 20, protection, libc::MAP_SHARED, fd, 0)
        } as u64;
        let memory = own();
        assert!(!memory.pagemap().is_present(at));
        assert_eq!(memory.array::<4>(at), Ok([7; 4]));
        assert_eq!(memory.u64(at + page_bytes()), Ok(0), "a hole");
        // Written since; seen once what was read is forgotten.
        FileExt::write_all_at(&file, &[9; 8], page_bytes()).unwrap();
        memory.forget();
        assert_eq!(memory.array::<4>(at + page_bytes()), Ok([9; 4]));
    }

    #[test]
    fn an_untouched_page_of_a_file_has_the_files_bytes() {
        let memory = own();
        let libc_text = memory
            .vmas()
            .iter()
            .find(|vma| vma.path.contains("libc.so.6") && vma.offset == 0)
            .expect("the C library is mapped");
        assert_eq!(memory.array::<4>(libc_text.start).unwrap(), *b"\x7fELF");
        let elf = memory.elf_at(libc_text.start).unwrap();
        assert!(elf.symbol("malloc").is_some());
    }
}

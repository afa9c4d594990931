//! The memory of a process, read through `/proc/PID/mem` without disturbing it.
//!
//! Only pages that are present are read there: a read of an untouched page would map or allocate it (`process_vm_readv`
//! would even unshare copy-on-write pages). An untouched page of a private file mapping still has the file's contents, so
//! that is read from the file.

use crate::foreign::Expect;
use crate::{Elf, PAGE, Pagemap, Process, Vma, maps};
use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Pages kept at the most: 16 MiB. Walking structures touches the same few pages again and again.
const CACHED_PAGES: usize = 4096;

/// Bytes that one call reads at most: 32 pages, for each of which the kernel takes the target's mmap lock; 0.07 ms.
const BULK: usize = 128 << 10;

/// Why an address could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// No mapping holds it, or not all of it.
    #[error("address {0:#x} is not mapped")]
    NotMapped(u64),
    /// Reading it would make it resident.
    #[error("the page of address {0:#x} is not present, so it was not read")]
    NotPresent(u64),
    /// The kernel refused, or the process ended.
    #[error("address {0:#x} could not be read")]
    Failed(u64),
}

/// Reads the memory of a process without disturbing it.
///
/// Small reads go through a cache of pages: within one [`Memory`] a page is read once. It is a view of one instant or
/// close to it, not for watching a value change; [`Memory::forget`] starts afresh.
#[derive(Debug)]
pub struct Memory {
    mem: File,
    pagemap: Pagemap,
    vmas: Vec<Vma>,
    process: Process,
    pages: RefCell<HashMap<u64, Option<Box<[u8; PAGE as usize]>>>>,
    files: RefCell<HashMap<u64, Option<File>>>,
}

impl Memory {
    pub(crate) fn open(process: &Process, vmas: &[Vma]) -> Result<Self, crate::Error> {
        Ok(Memory {
            mem: process.file("mem")?,
            pagemap: process.pagemap()?,
            vmas: vmas.to_vec(),
            process: process.try_clone().map_err(|error| process.explain("its directory", error))?,
            pages: RefCell::default(),
            files: RefCell::default(),
        })
    }

    /// The mappings it was opened with, ascending.
    pub fn vmas(&self) -> &[Vma] {
        &self.vmas
    }

    /// The mapping that holds `address`.
    pub fn vma(&self, address: u64) -> Option<&Vma> {
        maps::find(&self.vmas, address)
    }

    /// Which pages are present.
    pub fn pagemap(&self) -> &Pagemap {
        &self.pagemap
    }

    /// Forgets what was read, so that the next reads see the memory as it is then.
    pub fn forget(&self) {
        self.pages.borrow_mut().clear();
    }

    /// Reads `buffer.len()` bytes at `address`, through the cache. For structures; large ranges go faster by
    /// [`Memory::read_bulk`].
    ///
    /// # Errors
    /// Where a byte of the range is not mapped, not present or can't be read; the buffer is then in no particular state.
    pub fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let mut at = address;
        let mut rest = buffer;
        while !rest.is_empty() {
            let inside = (at % PAGE) as usize;
            let count = rest.len().min(PAGE as usize - inside);
            let (head, tail) = rest.split_at_mut(count);
            self.with_page(at - inside as u64, |page| head.copy_from_slice(&page[inside..inside + count]))?;
            at = at.checked_add(count as u64).ok_or(ReadError::NotMapped(address))?;
            rest = tail;
        }
        Ok(())
    }

    /// Reads present memory in one go, past the cache. The caller has made sure with [`Pagemap::runs`] that every page is
    /// present; returns how many bytes were read, which is less than the buffer where the memory was unmapped meanwhile.
    pub fn read_bulk(&self, address: u64, buffer: &mut [u8]) -> usize {
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

    /// `N` bytes at `address`.
    ///
    /// # Errors
    /// As [`Memory::read`].
    pub fn array<const N: usize>(&self, address: u64) -> Result<[u8; N], ReadError> {
        let mut bytes = [0; N];
        self.read(address, &mut bytes)?;
        Ok(bytes)
    }

    /// The 64-bit word at `address`.
    ///
    /// # Errors
    /// As [`Memory::read`].
    pub fn u64(&self, address: u64) -> Result<u64, ReadError> {
        self.array(address).map(u64::from_le_bytes)
    }

    /// The 32-bit word at `address`.
    ///
    /// # Errors
    /// As [`Memory::read`].
    pub fn u32(&self, address: u64) -> Result<u32, ReadError> {
        self.array(address).map(u32::from_le_bytes)
    }

    /// The signed 32-bit word at `address`.
    ///
    /// # Errors
    /// As [`Memory::read`].
    pub fn i32(&self, address: u64) -> Result<i32, ReadError> {
        self.array(address).map(i32::from_le_bytes)
    }

    /// The 16-bit word at `address`.
    ///
    /// # Errors
    /// As [`Memory::read`].
    pub fn u16(&self, address: u64) -> Result<u16, ReadError> {
        self.array(address).map(u16::from_le_bytes)
    }

    /// The byte at `address`.
    ///
    /// # Errors
    /// As [`Memory::read`].
    pub fn u8(&self, address: u64) -> Result<u8, ReadError> {
        self.array::<1>(address).map(|[byte]| byte)
    }

    /// The text that starts at `address` and ends with a NUL, or after `limit` bytes; what is not UTF-8 is replaced.
    ///
    /// # Errors
    /// As [`Memory::read`].
    pub fn c_string(&self, address: u64, limit: usize) -> Result<String, ReadError> {
        let mut text = Vec::new();
        let mut at = address;
        while text.len() < limit {
            let inside = (at % PAGE) as usize;
            let ended = self.with_page(at - inside as u64, |page| {
                let tail = &page[inside..];
                let end = tail.iter().position(|byte| *byte == 0);
                text.extend_from_slice(&tail[..end.unwrap_or(tail.len())]);
                end.is_some()
            })?;
            if ended {
                break;
            }
            at = (at - inside as u64).checked_add(PAGE).ok_or(ReadError::NotMapped(address))?;
        }
        text.truncate(limit);
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// Opens the ELF file mapped at `address`, through `/proc/PID/map_files` so that it is the very file, also when it was
    /// replaced on disk. `None` where no file is mapped there or it can't be opened.
    pub fn elf_at(&self, address: u64) -> Option<Elf> {
        self.elf_at_wanted(address, |_| true)
    }

    /// As [`Memory::elf_at`], keeping only the symbols whose names `wanted` takes.
    pub fn elf_at_wanted(&self, address: u64, wanted: impl Fn(&str) -> bool) -> Option<Elf> {
        let vma = self.vma(address)?;
        Elf::parse_wanted(self.open_file(vma)?, wanted).ok()
    }

    /// How many bytes of memory the image of the ELF file mapped at `address` takes from its first byte to the end of its
    /// `.bss`. `None` where no ELF file is mapped there or it can't be opened.
    pub fn image_bytes_at(&self, address: u64) -> Option<u64> {
        crate::elf::image_bytes(&self.open_file(self.vma(address)?)?)
    }

    /// The addresses of the image that begins with the mapping `first`; all above it where its size is not known.
    pub fn image_range(&self, first: &Vma) -> std::ops::Range<u64> {
        first.start..first.start.saturating_add(self.image_bytes_at(first.start).unwrap_or(u64::MAX))
    }

    fn with_page<T>(&self, page: u64, look: impl FnOnce(&[u8; PAGE as usize]) -> T) -> Result<T, ReadError> {
        let mut pages = self.pages.borrow_mut();
        if pages.len() >= CACHED_PAGES && !pages.contains_key(&page) {
            pages.clear();
        }
        if let Some(known) = pages.get(&page) {
            return known.as_deref().map(look).ok_or(ReadError::NotPresent(page));
        }
        let read = self.load(page);
        let result = match &read {
            Ok(bytes) => Ok(look(bytes)),
            Err(error) => Err(*error),
        };
        // A failed read is remembered too: walkers follow the same stale pointer many times.
        pages.insert(page, read.ok());
        result
    }

    fn load(&self, page: u64) -> Result<Box<[u8; PAGE as usize]>, ReadError> {
        let mut bytes = Box::new([0; PAGE as usize]);
        if self.pagemap.is_present(page) {
            return match self.process.holds().page_by_page(|| self.mem.read_exact_at(&mut bytes[..], page)) {
                Ok(()) => Ok(bytes),
                Err(_) => Err(ReadError::Failed(page)),
            };
        }
        let vma = self.vma(page).ok_or(ReadError::NotMapped(page))?;
        if !vma.is_file() || self.pagemap.is_swapped(page) {
            return Err(ReadError::NotPresent(page));
        }
        // Read through the file, a page brings nothing into the target's page tables.
        let mut files = self.files.borrow_mut();
        let file = files.entry(vma.start).or_insert_with(|| self.open_file(vma));
        let file = file.as_ref().ok_or(ReadError::NotPresent(page))?;
        let offset = page - vma.start + vma.offset;
        let mut done = 0;
        while done < bytes.len() {
            match file.read_at(&mut bytes[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(_) => return Err(ReadError::NotPresent(page)),
            }
        }
        Ok(bytes)
    }

    fn open_file(&self, vma: &Vma) -> Option<File> {
        if vma.path.starts_with("/dev/") {
            return None;
        }
        self.process.mapped_file(vma, &Expect::LIBRARY).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Memory {
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
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice touches nobody's memory.
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
        assert_eq!(memory.u64(at + 8 * PAGE), Err(ReadError::NotPresent(at + 8 * PAGE)));
        assert!(!memory.pagemap().is_present(at + 8 * PAGE));
        assert!(memory.u64(0x10).is_err() && memory.u64(u64::MAX - 4).is_err());
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

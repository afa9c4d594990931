//! A process as far as it can be looked at.

use crate::{Elf, Memory, PageKind, ReadError, Run, Vma, elf, find, page_bytes, page_start};
use std::fs::File;
use std::ops::Range;

/// One thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Its id as this tool sees it.
    pub tid: i32,
    /// Its id inside the process's own pid namespace, as the process itself knows it.
    pub inner_tid: i32,
    /// The name the kernel keeps: at most 15 bytes.
    pub name: String,
    /// Its stack pointer: of a live process only while it waits in the kernel.
    pub stack_pointer: Option<u64>,
}

/// A text that `/proc/PID` has of a process, and of which a core file may have a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProcText {
    /// Path of the executable.
    Exe,
    /// Its arguments, each ended by a NUL.
    CommandLine,
    /// Its environment when it was started, each entry ended by a NUL.
    Environment,
}

/// A process as far as it can be looked at: live, dead in a core file, or made by a test.
///
/// What a target can't know is `None`, never zero.
pub trait Target: Memory {
    /// Its process id, as this tool sees it.
    fn pid(&self) -> i32;

    /// The mappings, ascending by address.
    fn vmas(&self) -> &[Vma];

    /// The pages in a range that hold something: in a live process those that are present or
    /// swapped out, in a core file those that it has bytes of.
    fn runs(&self, start: u64, end: u64) -> Vec<Run>;

    /// True where the page at `address` is among [`Target::runs`] and can be read.
    fn is_present(&self, address: u64) -> bool {
        let page = page_start(address);
        self.runs(page, page.saturating_add(page_bytes())).iter().any(|run| run.kind == PageKind::Present)
    }

    /// True where [`Target::runs`] are the pages that count in the RSS. A core file doesn't tell an
    /// untouched page from one of zeros, nor which pages of files were resident.
    fn knows_residency(&self) -> bool;

    /// False where mappings that nobody may read, write or execute may be missing from
    /// [`Target::vmas`], as gcore leaves them out.
    fn lists_reservations(&self) -> bool {
        true
    }

    /// Opens the file that is mapped at `vma`, if it is that very file. `None` where no file is
    /// mapped there or it can't be opened.
    fn open(&self, vma: &Vma) -> Option<File>;

    /// Its threads, where they are known.
    fn tasks(&self) -> Option<Vec<Task>>;

    /// One of the texts of `/proc`, where it is known.
    fn text(&self, text: ProcText) -> Option<Vec<u8>>;

    /// Path of the executable, where it is known.
    fn exe(&self) -> Option<String> {
        Some(String::from_utf8_lossy(&self.text(ProcText::Exe)?).into_owned())
    }
}

/// Structures, texts and images in a [`Target`].
pub trait Reads: Target {
    /// `N` bytes at `address`.
    ///
    /// # Errors
    /// As [`Memory::read`].
    fn array<const N: usize>(&self, address: u64) -> Result<[u8; N], ReadError> {
        let mut bytes = [0; N];
        self.read(address, &mut bytes)?;
        Ok(bytes)
    }

    /// The 64-bit word at `address`.
    ///
    /// # Errors
    /// As [`Memory::read`].
    fn u64(&self, address: u64) -> Result<u64, ReadError> {
        self.array(address).map(u64::from_le_bytes)
    }

    /// The 32-bit word at `address`.
    ///
    /// # Errors
    /// As [`Memory::read`].
    fn u32(&self, address: u64) -> Result<u32, ReadError> {
        self.array(address).map(u32::from_le_bytes)
    }

    /// The signed 32-bit word at `address`.
    ///
    /// # Errors
    /// As [`Memory::read`].
    fn i32(&self, address: u64) -> Result<i32, ReadError> {
        self.array(address).map(i32::from_le_bytes)
    }

    /// The 16-bit word at `address`.
    ///
    /// # Errors
    /// As [`Memory::read`].
    fn u16(&self, address: u64) -> Result<u16, ReadError> {
        self.array(address).map(u16::from_le_bytes)
    }

    /// The byte at `address`.
    ///
    /// # Errors
    /// As [`Memory::read`].
    fn u8(&self, address: u64) -> Result<u8, ReadError> {
        self.array::<1>(address).map(|[byte]| byte)
    }

    /// The text that starts at `address` and ends with a NUL, or after `limit` bytes; what is not
    /// UTF-8 is replaced.
    ///
    /// # Errors
    /// As [`Memory::read`].
    fn c_string(&self, address: u64, limit: usize) -> Result<String, ReadError> {
        const PIECE: u64 = 64;
        let mut text = Vec::new();
        let mut at = address;
        while text.len() < limit {
            let mut piece = [0u8; PIECE as usize];
            let len = ((PIECE - at % PIECE) as usize).min(limit - text.len());
            let piece = &mut piece[..len];
            self.read(at, piece)?;
            let end = piece.iter().position(|byte| *byte == 0);
            text.extend_from_slice(&piece[..end.unwrap_or(len)]);
            if end.is_some() {
                break;
            }
            at = at.checked_add(len as u64).ok_or(ReadError::NotMapped(address))?;
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// The mapping that holds `address`.
    fn vma(&self, address: u64) -> Option<&Vma> {
        find(self.vmas(), address)
    }

    /// Reads the ELF file that is mapped at `address`. `None` where none is, or it can't be opened.
    fn elf_at(&self, address: u64) -> Option<Elf> {
        self.elf_at_wanted(address, |_| true)
    }

    /// As [`Reads::elf_at`], keeping only the symbols whose names `wanted` takes.
    fn elf_at_wanted(&self, address: u64, wanted: impl Fn(&str) -> bool) -> Option<Elf> {
        Elf::parse_wanted(self.open(self.vma(address)?)?, wanted).ok()
    }

    /// How many bytes of memory the image of the ELF file mapped at `address` takes from its first
    /// byte to the end of its `.bss`. `None` where no ELF file is mapped there or it can't be
    /// opened.
    fn image_bytes_at(&self, address: u64) -> Option<u64> {
        elf::image_bytes(&self.open(self.vma(address)?)?)
    }

    /// The addresses of the image that starts with the mapping `first`; all above it where its size
    /// is not known.
    fn image_range(&self, first: &Vma) -> Range<u64> {
        first.start..first.start.saturating_add(self.image_bytes_at(first.start).unwrap_or(u64::MAX))
    }
}

impl<T: Target + ?Sized> Reads for T {}

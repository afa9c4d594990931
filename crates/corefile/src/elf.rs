//! The numbers of ELF that a core file is read by, as plain integers.

use object::elf;

pub(crate) const MAGIC: [u8; 4] = elf::ELFMAG;
pub(crate) const CLASS_64: u8 = elf::ELFCLASS64.0;
pub(crate) const LITTLE_ENDIAN: u8 = elf::ELFDATA2LSB.0;
pub(crate) const CORE: u16 = elf::ET_CORE.0;
/// The number of program headers stands elsewhere.
pub(crate) const MANY_HEADERS: u16 = elf::PN_XNUM;

pub(crate) const LOAD: u32 = elf::PT_LOAD.0;
pub(crate) const NOTE: u32 = elf::PT_NOTE.0;

pub(crate) const READ: u32 = elf::PF_R.0;
pub(crate) const WRITE: u32 = elf::PF_W.0;
pub(crate) const EXECUTE: u32 = elf::PF_X.0;

pub(crate) const NT_PRSTATUS: u32 = elf::NT_PRSTATUS.0;
pub(crate) const NT_PRPSINFO: u32 = elf::NT_PRPSINFO.0;
pub(crate) const NT_AUXV: u32 = elf::NT_AUXV.0;
pub(crate) const NT_FILE: u32 = elf::NT_FILE.0;

/// Entries of the auxiliary vector (getauxval(3)).
pub(crate) const AT_PHDR: u64 = libc::AT_PHDR;
pub(crate) const AT_PAGESZ: u64 = libc::AT_PAGESZ;
pub(crate) const AT_RANDOM: u64 = libc::AT_RANDOM;
pub(crate) const AT_EXECFN: u64 = libc::AT_EXECFN;
pub(crate) const AT_SYSINFO_EHDR: u64 = libc::AT_SYSINFO_EHDR;

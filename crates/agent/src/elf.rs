//! Loaded libraries as the dynamic loader shows them: program headers, symbols, relocations.
//!
//! Everything here is read from the library's own mapped, loader-checked tables, and only while the
//! loader holds it in place (inside `dl_iterate_phdr`). A program may have protected or unmapped
//! them since all the same: what can't be read is not there. Layouts: the System V gABI; the
//! kinds of relocations are the processor's.

use core::ffi::{CStr, c_int, c_void};

use libc::{Elf64_Phdr, Elf64_Rela, Elf64_Sym, dl_phdr_info};

use crate::arch::page_start;
use crate::guard::Pages;

const DT_PLTRELSZ: u64 = 2;
const DT_HASH: u64 = 4;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
const DT_RELA: u64 = 7;
const DT_RELASZ: u64 = 8;
const DT_STRSZ: u64 = 10;
const DT_RPATH: u64 = 15;
const DT_JMPREL: u64 = 23;
const DT_RUNPATH: u64 = 29;
const DT_GNU_HASH: u64 = 0x6fff_fef5;
const DT_VERSYM: u64 = 0x6fff_fff0;
const PT_GNU_EH_FRAME: u32 = 0x6474_e550;
const PT_GNU_RELRO: u32 = 0x6474_e552;
const NT_GNU_BUILD_ID: u32 = 3;
/// Most bytes of notes that are searched for the build id.
const MAX_NOTES: u64 = 4096;

/// A loaded object, borrowed from `dl_iterate_phdr`.
pub struct Object<'a> {
    /// Run time address minus ELF virtual address.
    pub bias: u64,
    /// Name as the loader keeps it; empty for the executable.
    pub name: &'a CStr,
    phdrs: &'a [Elf64_Phdr],
    /// Its pages that are known to be readable.
    pub pages: Pages,
}

/// Its dynamic section; addresses are run time ones, 0 where absent.
#[derive(Clone, Copy, Default)]
pub struct Dynamic {
    symtab: u64,
    strtab: u64,
    strsz: u64,
    versym: u64,
    gnu_hash: u64,
    hash: u64,
    rela: u64,
    relasz: u64,
    jmprel: u64,
    pltrelsz: u64,
    /// Has a DT_RUNPATH or DT_RPATH: dlopen by bare name depends on who calls.
    pub runpath: bool,
    /// Has a DT_RPATH, which its dependents inherit.
    pub rpath: bool,
}

/// Calls `f` for every loaded object, in load order, under the loader's lock. Not for use in a hook
/// of malloc.
pub fn for_each(mut f: impl FnMut(&Object)) {
    unsafe extern "C" fn visit<F: FnMut(&Object)>(
        info: *mut dl_phdr_info,
        _: libc::size_t,
        f: *mut c_void,
    ) -> c_int {
        // SAFETY: the loader hands out a valid record for the time of this call, and `f` is the
        // closure below.
        unsafe {
            let info = &*info;
            let (pages, len) = (Pages::new(), usize::from(info.dlpi_phnum));
            if info.dlpi_phdr.is_null()
                || !pages.cover(info.dlpi_phdr as u64, (len * size_of::<Elf64_Phdr>()) as u64)
            {
                return 0;
            }
            let phdrs = core::slice::from_raw_parts(info.dlpi_phdr, len);
            let name = if info.dlpi_name.is_null() { c"" } else { CStr::from_ptr(info.dlpi_name) };
            (*f.cast::<F>())(&Object { bias: info.dlpi_addr, name, phdrs, pages });
        }
        0
    }
    fn with<F: FnMut(&Object)>(f: &mut F) {
        // SAFETY: the closure outlives the call.
        unsafe { libc::dl_iterate_phdr(Some(visit::<F>), core::ptr::from_mut(f).cast()) };
    }
    with(&mut f);
}

impl Object<'_> {
    fn segments(&self, kind: u32) -> impl Iterator<Item = &Elf64_Phdr> {
        self.phdrs.iter().filter(move |p| p.p_type == kind)
    }

    /// First address and one past the last.
    pub fn range(&self) -> (u64, u64) {
        let lo = self.segments(libc::PT_LOAD).map(|p| page_start(p.p_vaddr)).min().unwrap_or(0);
        let hi = self.segments(libc::PT_LOAD).map(|p| p.p_vaddr.wrapping_add(p.p_memsz)).max().unwrap_or(0);
        (self.bias.wrapping_add(lo), self.bias.wrapping_add(hi))
    }

    /// The loaded segment that holds `addr`: run time start, length in the file, offset in the
    /// file.
    pub fn segment_of(&self, addr: u64) -> Option<(u64, u64, u64)> {
        let p = self.segments(libc::PT_LOAD).find(|p| {
            let start = self.bias.wrapping_add(p.p_vaddr);
            addr >= start && addr - start < p.p_filesz
        })?;
        Some((self.bias.wrapping_add(p.p_vaddr), p.p_filesz, p.p_offset))
    }

    /// Writable segments: run time ranges, without what the loader made read-only after relocation.
    pub fn writable(&self) -> impl Iterator<Item = (u64, u64)> {
        let (_, relro_end) = self.relro();
        self.segments(libc::PT_LOAD).filter(|p| p.p_flags & libc::PF_W != 0).map(move |p| {
            let start = self.bias.wrapping_add(p.p_vaddr);
            let end = start.wrapping_add(p.p_memsz);
            (if relro_end > start && relro_end < end { relro_end } else { start }, end)
        })
    }

    /// Pages that the loader made read-only after relocation.
    pub fn relro(&self) -> (u64, u64) {
        self.segments(PT_GNU_RELRO).next().map_or((0, 0), |p| {
            let start = self.bias.wrapping_add(p.p_vaddr);
            (page_start(start), page_start(start.wrapping_add(p.p_memsz)))
        })
    }

    /// Run time address of .eh_frame_hdr and its size.
    pub fn eh_frame_hdr(&self) -> Option<(u64, u64)> {
        self.segments(PT_GNU_EH_FRAME).next().map(|p| (self.bias.wrapping_add(p.p_vaddr), p.p_memsz))
    }

    /// GNU build id; empty if there is none.
    pub fn build_id(&self) -> &[u8] {
        for p in self.segments(libc::PT_NOTE) {
            let (mut at, end) = (0u64, p.p_memsz.min(MAX_NOTES));
            while at + 12 <= end {
                let note = self.bias.wrapping_add(p.p_vaddr).wrapping_add(at);
                let Some([name_len, len, kind]) = self.pages.peek::<[u32; 3]>(note) else { break };
                let name_end = 12 + ((u64::from(name_len) + 3) & !3);
                let next = name_end + ((u64::from(len) + 3) & !3);
                if at + next > end {
                    break;
                }
                let len = u64::from(len.min(32));
                if kind == NT_GNU_BUILD_ID
                    && name_len == 4
                    && self.pages.peek::<[u8; 4]>(note + 12) == Some(*b"GNU\0")
                    && self.pages.cover(note + name_end, len)
                {
                    // SAFETY: found readable, and within a note segment of a loaded object.
                    return unsafe {
                        core::slice::from_raw_parts((note + name_end) as *const u8, len as usize)
                    };
                }
                at += next;
            }
        }
        &[]
    }

    /// Parses the dynamic section.
    pub fn dynamic(&self) -> Option<Dynamic> {
        let segment = self.segments(libc::PT_DYNAMIC).next()?;
        let start = self.range().0;
        // glibc has added the bias to the addresses in place, except in objects with a read-only
        // section (vdso).
        let address = |v: u64| if v < start { v.wrapping_add(self.bias) } else { v };
        let mut d = Dynamic::default();
        let table = self.bias.wrapping_add(segment.p_vaddr);
        for i in 0..segment.p_memsz / 16 {
            let [tag, value] = self.pages.peek::<[u64; 2]>(table.wrapping_add(16 * i))?;
            match tag {
                0 => break,
                DT_SYMTAB => d.symtab = address(value),
                DT_STRTAB => d.strtab = address(value),
                DT_STRSZ => d.strsz = value,
                DT_VERSYM => d.versym = address(value),
                DT_GNU_HASH => d.gnu_hash = address(value),
                DT_HASH => d.hash = address(value),
                DT_RELA => d.rela = address(value),
                DT_RELASZ => d.relasz = value,
                DT_JMPREL => d.jmprel = address(value),
                DT_PLTRELSZ => d.pltrelsz = value,
                DT_RPATH => (d.rpath, d.runpath) = (true, true),
                DT_RUNPATH => d.runpath = true,
                _ => {}
            }
        }
        (d.symtab != 0 && d.strtab != 0).then_some(d)
    }

    /// Run time address of a symbol that this object defines for others (default version, functions
    /// and data).
    pub fn lookup(&self, d: &Dynamic, name: &CStr) -> Option<u64> {
        let index = if d.gnu_hash != 0 { self.gnu_lookup(d, name) } else { self.sysv_lookup(d, name) }?;
        let sym = self.symbol_at(d, index)?;
        let kind = sym.st_info & 15;
        // STT_FUNC and STT_OBJECT; an indirect function (10) would have to be resolved first.
        (kind == 1 || kind == 2).then(|| self.bias.wrapping_add(sym.st_value))
    }

    fn symbol_at(&self, d: &Dynamic, index: u32) -> Option<Elf64_Sym> {
        self.pages.peek(d.symtab.wrapping_add(u64::from(index) * size_of::<Elf64_Sym>() as u64))
    }

    /// The name of a symbol.
    fn name_of(&self, d: &Dynamic, sym: &Elf64_Sym) -> Option<&CStr> {
        let offset = u64::from(sym.st_name);
        // SAFETY: of a loaded object's table of strings, which stays as long as the object is
        // borrowed.
        (offset < d.strsz).then(|| unsafe { self.pages.text(d.strtab.wrapping_add(offset)) })?
    }

    /// Symbol `index`: name and whether the object itself defines it.
    pub fn symbol(&self, d: &Dynamic, index: u32) -> Option<(&CStr, u64)> {
        let sym = self.symbol_at(d, index)?;
        Some((self.name_of(d, &sym)?, if sym.st_shndx == 0 { 0 } else { sym.st_value }))
    }

    /// The object's relocations with addend: data and GOT first, then the PLT's.
    pub fn relocations(&self, d: &Dynamic) -> impl Iterator<Item = Elf64_Rela> {
        const BYTES: u64 = size_of::<Elf64_Rela>() as u64;
        let table = |at: u64, bytes: u64| {
            let n = if at == 0 { 0 } else { bytes / BYTES };
            (0..n).map_while(move |i| self.pages.peek::<Elf64_Rela>(at.wrapping_add(BYTES * i)))
        };
        table(d.rela, d.relasz).chain(table(d.jmprel, d.pltrelsz))
    }

    fn matches(&self, d: &Dynamic, index: u32, name: &CStr) -> bool {
        let Some(sym) = self.symbol_at(d, index) else { return false };
        // A hidden version (bit 15) is an old one kept for old programs: malloc users get the
        // default.
        let version = d.versym.wrapping_add(2 * u64::from(index));
        let hidden = d.versym != 0 && self.pages.peek::<u16>(version).is_none_or(|v| v & 0x8000 != 0);
        sym.st_shndx != 0 && !hidden && sym.st_info >> 4 != 0 && self.name_of(d, &sym) == Some(name)
    }

    fn gnu_lookup(&self, d: &Dynamic, name: &CStr) -> Option<u32> {
        let hash =
            name.to_bytes().iter().fold(5381u32, |h, &b| h.wrapping_mul(33).wrapping_add(u32::from(b)));
        let word = |at: u64| self.pages.peek::<u32>(at);
        let [buckets, first, bloom] = self.pages.peek::<[u32; 3]>(d.gnu_hash)?;
        let table = d.gnu_hash.wrapping_add(16 + 8 * u64::from(bloom));
        let mut i = word(table.wrapping_add(4 * u64::from(hash.checked_rem(buckets)?)))?;
        if i < first {
            return None;
        }
        let chain = table.wrapping_add(4 * u64::from(buckets));
        let end = i.saturating_add(100_000);
        while i < end {
            let h = word(chain.wrapping_add(4 * u64::from(i - first)))?;
            if (h | 1) == (hash | 1) && self.matches(d, i, name) {
                return Some(i);
            }
            if h & 1 != 0 {
                break;
            }
            i += 1;
        }
        None
    }

    fn sysv_lookup(&self, d: &Dynamic, name: &CStr) -> Option<u32> {
        if d.hash == 0 {
            return None;
        }
        let mut h = 0u32;
        for &b in name.to_bytes() {
            h = (h << 4).wrapping_add(u32::from(b));
            h = (h ^ ((h & 0xf000_0000) >> 24)) & !(h & 0xf000_0000);
        }
        let word = |i: u64| self.pages.peek::<u32>(d.hash.wrapping_add(4 * i));
        let (buckets, chains) = (word(0)?, word(1)?);
        let mut i = word(2 + u64::from(h.checked_rem(buckets)?))?;
        for _ in 0..100_000 {
            if i == 0 || i >= chains {
                break;
            }
            if self.matches(d, i, name) {
                return Some(i);
            }
            i = word(2 + u64::from(buckets) + u64::from(i))?;
        }
        None
    }
}

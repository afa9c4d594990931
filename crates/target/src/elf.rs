//! Symbols of an ELF file (elf(5)), found through the `object` crate.

use crate::bounded::{Bounded, ELF_BYTES};
use crate::page_start;
use object::read::{ReadCache, ReadRef};
use object::{Object, ObjectSection, ObjectSegment, ObjectSymbol};
use std::cell::Cell;
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;

/// Files up to this size are read whole.
const IN_MEMORY: u64 = 32 << 20;

/// A symbol's place in the file's own address space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Symbol {
    /// Address before relocation.
    pub address: u64,
    /// Bytes; 0 where the file doesn't say.
    pub size: u64,
}

/// A part of an ELF file that is mapped.
struct Load {
    offset: u64,
    file_bytes: u64,
    address: u64,
    memory_bytes: u64,
    flags: u32,
}

/// What `file`'s program headers say is mapped; `None` for a file that is no ELF file.
fn loads(file: &File) -> Option<Vec<Load>> {
    use object::read::elf::{FileHeader, ProgramHeader};
    let cache = ReadCache::new(file);
    let header = object::elf::FileHeader64::<object::Endianness>::parse(&cache).ok()?;
    let endian = header.endian().ok()?;
    let headers = header.program_headers(endian, &cache).ok()?.iter();
    let load = |segment: &object::elf::ProgramHeader64<object::Endianness>| Load {
        offset: segment.p_offset(endian),
        file_bytes: segment.p_filesz(endian),
        address: segment.p_vaddr(endian),
        memory_bytes: segment.p_memsz(endian),
        flags: segment.p_flags(endian).0,
    };
    Some(headers.filter(|segment| segment.p_type(endian) == object::elf::PT_LOAD).map(load).collect())
}

/// The parts of the ELF file `file` that are mapped: place in the file, bytes there, and `PF_R`,
/// `PF_W`, `PF_X`. None at all for a file that is no ELF file.
pub fn file_segments(file: &File) -> Vec<(u64, u64, u32)> {
    let loads = loads(file).unwrap_or_default();
    loads.iter().map(|load| (load.offset, load.file_bytes, load.flags)).collect()
}

/// Where the image of the ELF file `file` ends in memory, counted from where its first byte is
/// mapped: `.bss` included, of which the file holds nothing. `None` for a file that is no ELF file.
pub fn image_bytes(file: &File) -> Option<u64> {
    let loads = loads(file)?;
    let spans =
        loads.iter().map(|load| (page_start(load.address), load.address.saturating_add(load.memory_bytes)));
    let (first, end) = spans.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))?;
    Some(end.saturating_sub(first))
}

/// What was read of an ELF file.
#[derive(Debug, Clone, Default)]
pub struct Elf {
    symbols: HashMap<String, Symbol>,
    build_id: Vec<u8>,
    first_address: u64,
    is_pie: bool,
    /// Address and size of each section by name.
    sections: HashMap<String, (u64, u64)>,
}

impl Elf {
    /// Reads the symbols of `file`: `.dynsym` and, where it was not stripped, `.symtab`.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn parse(file: File) -> Result<Self, object::Error> {
        Self::parse_wanted(file, |_| true)
    }

    /// As [`Elf::parse`], keeping only the symbols whose names `wanted` takes: libjvm has a hundred
    /// thousand.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn parse_wanted(file: File, wanted: impl Fn(&str) -> bool) -> Result<Self, object::Error> {
        // In memory a symbol is found ten times as fast as through the cache, but a library with
        // all of its debugging information would fill it.
        let length = file.metadata().map_or(u64::MAX, |file| file.len());
        if length <= IN_MEMORY {
            let mut bytes = Vec::with_capacity(length as usize);
            let _ = (&file).take(IN_MEMORY).read_to_end(&mut bytes);
            Self::read(bytes.as_slice(), wanted)
        } else {
            Self::read(&ReadCache::new(file), wanted)
        }
    }

    fn read<'data>(data: impl ReadRef<'data>, wanted: impl Fn(&str) -> bool) -> Result<Self, object::Error> {
        let left = Cell::new(ELF_BYTES);
        let object = object::File::parse(Bounded::new(data, &left))?;
        let mut symbols = HashMap::new();
        for symbol in object.dynamic_symbols().chain(object.symbols()) {
            if symbol.is_undefined() || symbol.address() == 0 {
                continue;
            }
            if let Ok(name) = symbol.name()
                && wanted(name)
            {
                symbols
                    .entry(name.to_owned())
                    .or_insert(Symbol { address: symbol.address(), size: symbol.size() });
            }
        }
        let sections = object
            .sections()
            .filter_map(|section| {
                Some((section.name().ok()?.to_owned(), (section.address(), section.size())))
            })
            .collect();
        Ok(Elf {
            symbols,
            build_id: object.build_id().ok().flatten().unwrap_or_default().to_vec(),
            first_address: object.segments().map(|segment| segment.address()).min().unwrap_or(0),
            is_pie: matches!(object.kind(), object::ObjectKind::Dynamic),
            sections,
        })
    }

    /// The symbol `name` as it is mangled in the file.
    pub fn symbol(&self, name: &str) -> Option<Symbol> {
        self.symbols.get(name).copied()
    }

    /// Every symbol, in no particular order.
    pub fn symbols(&self) -> impl Iterator<Item = (&str, Symbol)> {
        self.symbols.iter().map(|(name, symbol)| (name.as_str(), *symbol))
    }

    /// The GNU build id; empty where there is none.
    pub fn build_id(&self) -> &[u8] {
        &self.build_id
    }

    /// Address and size of the section `name`.
    pub fn section(&self, name: &str) -> Option<(u64, u64)> {
        self.sections.get(name).copied()
    }

    /// What to add to a symbol's address, given where the file's first segment is mapped: 0 for an
    /// executable that is not position independent.
    pub fn load_bias(&self, first_mapped: u64) -> u64 {
        if self.is_pie { first_mapped.wrapping_sub(page_start(self.first_address)) } else { 0 }
    }
}

//! The symbols of one ELF file, by address.

use crate::demangle;
use crate::lines::{Lines, Place};
use object::read::{ReadCache, ReadRef};
use object::{Object, ObjectSymbol, SymbolKind};
use offheap_linux::{Bounded, ELF_BYTES};
use std::cell::Cell;
use std::fs::File;

/// Symbols of one file that are kept; libjvm with its debugging symbols has a quarter of a million.
const MAX_SYMBOLS: usize = 8 << 20;

/// Why a file gives no symbols.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SymbolError {
    /// It is no ELF file, or a damaged one.
    #[error("not a readable ELF file: {0}")]
    Elf(#[from] object::Error),
    /// It is not the file the process runs.
    #[error("its build id is {found}, not {wanted}: the file was replaced since the process started")]
    OtherBuild {
        /// The one looked for, hexadecimal.
        wanted: String,
        /// The file's, hexadecimal; empty where it has none.
        found: String,
    },
}

/// Functions of an ELF file, sorted by address.
#[derive(Debug, Default)]
pub struct Symbols {
    /// Address, end (equal to the address where the size is unknown), name as in the file.
    functions: Vec<(u64, u64, Box<str>)>,
    lines: Option<Lines>,
}

impl Symbols {
    /// Reads `.symtab` and `.dynsym` of `file`. With a `build_id` that is not empty the file must
    /// have it.
    ///
    /// # Errors
    /// It is no ELF file, or another build.
    pub fn read(file: &File, build_id: &[u8]) -> Result<Symbols, SymbolError> {
        // Read piece by piece: debugging information may be a hundred times as large as the
        // symbols.
        Self::parse(&ReadCache::new(file), build_id)
    }

    fn parse<'data>(data: impl ReadRef<'data>, build_id: &[u8]) -> Result<Symbols, SymbolError> {
        let left = Cell::new(ELF_BYTES);
        let object = object::File::parse(Bounded::new(data, &left))?;
        let found = object.build_id()?.unwrap_or_default();
        if !build_id.is_empty() && found != build_id {
            return Err(SymbolError::OtherBuild { wanted: hex(build_id), found: hex(found) });
        }
        let mut functions: Vec<(u64, u64, Box<str>)> = object
            .symbols()
            .chain(object.dynamic_symbols())
            .filter(|symbol| symbol.kind() == SymbolKind::Text && !symbol.is_undefined())
            .filter_map(|symbol| {
                let name = symbol.name().ok().filter(|name| !name.is_empty())?;
                Some((symbol.address(), symbol.address().saturating_add(symbol.size()), name.into()))
            })
            .take(MAX_SYMBOLS)
            .collect();
        // Of several names for one address the one that covers most of it, then the shortest.
        functions.sort_by(|a, b| (a.0, b.1, a.2.len(), &a.2).cmp(&(b.0, a.1, b.2.len(), &b.2)));
        functions.dedup_by_key(|function| function.0);
        Ok(Symbols { functions, lines: Lines::read(&object) })
    }

    /// The function that `address`, one of the file's own addresses, lies in; its name as in the
    /// file. `None` for code that the tables don't cover: a stripped function must not get its
    /// neighbour's name.
    pub fn name(&self, address: u64) -> Option<&str> {
        let after = self.functions.partition_point(|function| function.0 <= address);
        let (start, end, name) = self.functions.get(after.checked_sub(1)?)?;
        (address < *end || start == end).then_some(name)
    }

    /// What `address` is in the source: functions inlined there, innermost first, and last the one
    /// that has the code, which the symbol table names. Without DWARF only that; nothing where
    /// neither knows the address.
    pub fn places(&self, address: u64) -> Vec<Place> {
        let mut places = self.lines.as_ref().map(|lines| lines.places(address)).unwrap_or_default();
        let name = self.name(address).map(demangle);
        match places.last_mut() {
            Some(outermost) => outermost.function = name.or(outermost.function.take()),
            None => places.extend(name.map(|name| Place { function: Some(name), ..Place::default() })),
        }
        places
    }

    /// True where the file had none.
    pub fn is_empty(&self) -> bool {
        self.functions.is_empty()
    }
}

/// `bytes` in hexadecimal, as build ids are written.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table of 2 GiB that is nothing but a hole, in a file that says so in its headers.
    #[test]
    fn a_table_without_an_end_is_refused() {
        let mut bytes = std::fs::read("/proc/self/exe").unwrap();
        let header = |at: usize| u64::from_le_bytes(*bytes[at..].first_chunk().unwrap()) as usize;
        let (sections, size, count) =
            (header(0x28), bytes[0x3a] as usize, usize::from(bytes[0x3c]) | usize::from(bytes[0x3d]) << 8);
        // SHT_SYMTAB is 2; offset and size of a section stand at 0x18 and 0x20.
        let table =
            (0..count).map(|n| sections + n * size).find(|at| bytes[at + 4] == 2).expect("not stripped");
        let end = (bytes.len() as u64).next_multiple_of(4096);
        bytes[table + 0x18..table + 0x20].copy_from_slice(&end.to_le_bytes());
        bytes[table + 0x20..table + 0x28].copy_from_slice(&(2_u64 << 30).to_le_bytes());
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, &bytes).unwrap();
        file.set_len(end + (2 << 30)).unwrap();
        assert!(Symbols::read(&file, &[]).is_err());
    }

    #[test]
    fn an_address_gets_the_function_it_lies_in_and_no_other() {
        let functions = vec![(0x10, 0x20, "a".into()), (0x30, 0x30, "asm".into()), (0x40, 0x48, "b".into())];
        let symbols = Symbols { functions, lines: None };
        let names = [0xf, 0x10, 0x1f, 0x20, 0x35, 0x47, 0x48].map(|address| symbols.name(address));
        assert_eq!(names, [None, Some("a"), Some("a"), None, Some("asm"), Some("b"), None]);
    }

    #[test]
    fn the_own_executable_names_its_functions_and_damage_is_an_error() {
        let path = std::env::current_exe().unwrap();
        let symbols = Symbols::read(&File::open(&path).unwrap(), &[]).unwrap();
        let own = symbols.functions.iter().find(|(_, _, name)| name.contains("the_own_executable_names"));
        let places = symbols.places(own.unwrap().0);
        assert!(places.last().unwrap().function.as_ref().unwrap().contains("the_own_executable_names"));
        assert!(places.last().unwrap().file.as_ref().unwrap().ends_with("table.rs"), "{places:?}");
        assert!(places.last().unwrap().line.is_some());
        let wrong = Symbols::read(&File::open(&path).unwrap(), &[1, 2, 3]);
        assert!(matches!(wrong, Err(SymbolError::OtherBuild { .. })));
        let bytes = std::fs::read(&path).unwrap();
        for cut in [0, 4, 16, 63, 64, 100, 1000, bytes.len() / 2] {
            let _ = Symbols::parse(&bytes[..cut], &[]);
        }
        assert!(Symbols::parse(&b"#!/bin/sh"[..], &[]).is_err());
    }
}

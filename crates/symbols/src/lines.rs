//! Source lines and inlined functions, from a file's DWARF.

use crate::demangle;
use addr2line::Context;
use gimli::{EndianRcSlice, RunTimeEndian, SectionId};
use object::{Object, ObjectSection, read::ReadRef};
use std::fmt;
use std::rc::Rc;

/// Unpacked sections of one file at the most: those of a libjvm with all of its debugging
/// information take 150 MB.
const LIMIT: u64 = 512 << 20;
/// Functions inlined into each other at one address that are told of.
const MAX_INLINED: usize = 64;

/// A place in the source.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place {
    /// The function, demangled, where it is known.
    pub function: Option<String>,
    /// Its source file as the compiler was given it.
    pub file: Option<String>,
    /// Its line.
    pub line: Option<u32>,
}

/// The line tables of one file.
pub(crate) struct Lines(Context<EndianRcSlice<RunTimeEndian>>);

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lines")
    }
}

impl Lines {
    /// Reads the debugging sections of `object`. `None` where it has none, or too large or damaged
    /// ones.
    pub(crate) fn read<'data>(object: &object::File<'data, impl ReadRef<'data>>) -> Option<Lines> {
        object.section_by_name(".debug_line")?;
        let debugging = object.sections().filter(|section| {
            section.name().is_ok_and(|name| name.starts_with(".debug_") || name.starts_with(".zdebug_"))
        });
        // The size before compression, as the file states it: what lies about it is found out while
        // unpacking.
        let size = debugging
            .map(|section| section.compressed_data().map_or(section.size(), |data| data.uncompressed_size));
        if size.fold(0, u64::saturating_add) > LIMIT {
            return None;
        }
        let endian = if object.is_little_endian() { RunTimeEndian::Little } else { RunTimeEndian::Big };
        let load = |id: SectionId| {
            let data = object.section_by_name(id.name()).and_then(|section| section.uncompressed_data().ok());
            Ok::<_, gimli::Error>(EndianRcSlice::new(Rc::from(data.unwrap_or_default().as_ref()), endian))
        };
        Context::from_dwarf(gimli::Dwarf::load(load).ok()?).ok().map(Lines)
    }

    /// What the address is in the source: functions inlined there, innermost first, and last the
    /// one that has the code.
    pub(crate) fn places(&self, address: u64) -> Vec<Place> {
        let mut places = Vec::new();
        // Split DWARF (.dwo) is not looked for.
        let Ok(mut frames) = self.0.find_frames(address).skip_all_loads() else { return places };
        while let Ok(Some(frame)) = frames.next()
            && places.len() < MAX_INLINED
        {
            let name = frame.function.as_ref().and_then(|function| function.raw_name().ok());
            let location = frame.location.as_ref();
            places.push(Place {
                function: name.map(|name| demangle(&name)),
                file: location.and_then(|place| place.file).map(str::to_owned),
                line: location.and_then(|place| place.line).filter(|line| *line > 0),
            });
        }
        places
    }
}

//! The `vmStructs` tables (src/hotspot/share/runtime/vmStructs.hpp): HotSpot's own description of its types, fields and
//! constants, made for debuggers that read its memory. The symbols `gHotSpotVM*` say where the tables are and how an entry
//! is laid out; every build exports them.

use crate::target::{Target, word};
use std::collections::HashMap;

/// More entries than any table has: JDK 8 to 26 have at most 3,000.
const MAX_ENTRIES: usize = 20_000;
/// Longer than any name in them.
const MAX_NAME: usize = 256;
/// Longer than any chain of superclasses.
const MAX_SUPERCLASSES: usize = 16;

/// A non-static field.
#[derive(Debug, Clone)]
struct Field {
    offset: u64,
    type_name: String,
}

/// A type.
#[derive(Debug, Clone)]
struct Type {
    superclass: String,
    size: u64,
}

/// The tables, read once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tables {
    fields: HashMap<String, HashMap<String, Field>>,
    statics: HashMap<String, HashMap<String, u64>>,
    types: HashMap<String, Type>,
    constants: HashMap<String, i64>,
}

/// Where the tables are: the value of the exported variable `gHotSpotVM…`, given the rest of its name.
pub(crate) trait Exports {
    fn value(&self, name: &str) -> Option<u64>;
}

impl<F: Fn(&str) -> Option<u64>> Exports for F {
    fn value(&self, name: &str) -> Option<u64> {
        self(name)
    }
}

impl Tables {
    /// Reads the tables.
    ///
    /// # Errors
    /// What is missing or makes no sense.
    pub(crate) fn read(target: &dyn Target, exports: &dyn Exports) -> Result<Tables, String> {
        let mut tables = Tables::default();
        tables.read_structs(target, exports)?;
        tables.read_types(target, exports)?;
        for (kind, size) in [("Int", 4), ("Long", 8)] {
            tables.read_constants(target, exports, kind, size)?;
        }
        Ok(tables)
    }

    fn read_structs(&mut self, target: &dyn Target, exports: &dyn Exports) -> Result<(), String> {
        let offset = |name: &str| export(exports, &format!("StructEntry{name}Offset"));
        let [type_name, field_name, type_string] =
            [offset("TypeName")?, offset("FieldName")?, offset("TypeString")?];
        let [is_static, field_offset, address] = [offset("IsStatic")?, offset("Offset")?, offset("Address")?];
        each_entry(target, exports, "Structs", "StructEntry", type_name, |entry| {
            let owner = name_at(target, entry.word(type_name)?)?;
            let field = name_at(target, entry.word(field_name)?)?;
            if entry.word(is_static)? as u32 != 0 {
                self.statics.entry(owner).or_default().insert(field, entry.word(address)?);
            } else {
                let type_name = name_at(target, entry.word(type_string)?).unwrap_or_default();
                let field_entry = Field { offset: entry.word(field_offset)?, type_name };
                self.fields.entry(owner).or_default().insert(field, field_entry);
            }
            Some(())
        })
    }

    fn read_types(&mut self, target: &dyn Target, exports: &dyn Exports) -> Result<(), String> {
        let offset = |name: &str| export(exports, &format!("TypeEntry{name}Offset"));
        let [type_name, superclass, size] = [offset("TypeName")?, offset("SuperclassName")?, offset("Size")?];
        each_entry(target, exports, "Types", "TypeEntry", type_name, |entry| {
            let name = name_at(target, entry.word(type_name)?)?;
            let superclass = name_at(target, entry.word(superclass)?).unwrap_or_default();
            self.types.insert(name, Type { superclass, size: entry.word(size)? });
            Some(())
        })
    }

    fn read_constants(
        &mut self,
        target: &dyn Target,
        exports: &dyn Exports,
        kind: &str,
        size: usize,
    ) -> Result<(), String> {
        let offset = |name: &str| export(exports, &format!("{kind}ConstantEntry{name}Offset"));
        let [name, value] = [offset("Name")?, offset("Value")?];
        let (table, entry) = (format!("{kind}Constants"), format!("{kind}ConstantEntry"));
        each_entry(target, exports, &table, &entry, name, |entry| {
            let raw = entry.word(value)?;
            let value = if size == 4 { i64::from(raw as u32 as i32) } else { raw as i64 };
            self.constants.insert(name_at(target, entry.word(name)?)?, value);
            Some(())
        })
    }

    /// Offset of the field of `owner` or of a superclass of it.
    pub(crate) fn offset(&self, owner: &str, field: &str) -> Option<u64> {
        self.field(owner, field).map(|field| field.offset)
    }

    /// The declared C++ type of a field.
    pub(crate) fn type_of(&self, owner: &str, field: &str) -> Option<&str> {
        self.field(owner, field).map(|field| field.type_name.as_str())
    }

    fn field(&self, owner: &str, field: &str) -> Option<&Field> {
        let mut owner = owner;
        for _ in 0..MAX_SUPERCLASSES {
            if let Some(found) = self.fields.get(owner).and_then(|fields| fields.get(field)) {
                return Some(found);
            }
            owner = self.types.get(owner)?.superclass.as_str();
        }
        None
    }

    /// Address of a static field.
    pub(crate) fn address(&self, owner: &str, field: &str) -> Option<u64> {
        self.statics.get(owner)?.get(field).copied().filter(|address| *address != 0)
    }

    /// `sizeof` a type.
    pub(crate) fn size_of(&self, name: &str) -> Option<u64> {
        self.types.get(name).map(|found| found.size).filter(|size| *size != 0)
    }

    /// A constant of HotSpot's.
    pub(crate) fn constant(&self, name: &str) -> Option<i64> {
        self.constants.get(name).copied()
    }

    /// True where no table had anything.
    pub(crate) fn is_empty(&self) -> bool {
        self.fields.is_empty() || self.statics.is_empty() || self.types.is_empty()
    }
}

fn export(exports: &dyn Exports, name: &str) -> Result<u64, String> {
    exports.value(name).ok_or_else(|| format!("gHotSpotVM{name} is missing"))
}

fn name_at(target: &dyn Target, address: u64) -> Option<String> {
    if address == 0 { None } else { target.c_string(address, MAX_NAME) }
}

/// The bytes of one entry.
struct Entry<'a>(&'a [u8]);

impl Entry<'_> {
    /// The eight bytes at `offset`, as much of them as there is.
    fn word(&self, offset: u64) -> Option<u64> {
        let tail = self.0.get(usize::try_from(offset).ok()?..)?;
        let mut bytes = [0; 8];
        let len = tail.len().min(8);
        bytes.get_mut(..len)?.copy_from_slice(tail.get(..len)?);
        Some(word(&bytes))
    }
}

/// Calls `look` for each entry up to the one whose name is null. An entry that can't be read is passed over.
fn each_entry(
    target: &dyn Target,
    exports: &dyn Exports,
    table: &str,
    entry: &str,
    name_offset: u64,
    mut look: impl FnMut(&Entry<'_>) -> Option<()>,
) -> Result<(), String> {
    let start = export(exports, table)?;
    let stride = export(exports, &format!("{entry}ArrayStride"))?;
    if !(16..=256).contains(&stride) || name_offset > stride - 8 {
        return Err(format!("an entry of gHotSpotVM{table} cannot be {stride} bytes long"));
    }
    for index in 0..MAX_ENTRIES as u64 {
        let at = start.wrapping_add(index * stride);
        let Some(bytes) = target.bytes(at, stride as usize) else {
            return Err(format!("gHotSpotVM{table} can't be read at {at:#x}"));
        };
        let entry = Entry(&bytes);
        if entry.word(name_offset) == Some(0) {
            return Ok(());
        }
        look(&entry);
    }
    Err(format!("gHotSpotVM{table} has no end"))
}

//! The `vmStructs` tables (src/hotspot/share/runtime/vmStructs.hpp): HotSpot's own description of
//! its types, fields and constants, made for debuggers that read its memory. The symbols
//! `gHotSpotVM*` say where the tables are and how an entry is laid out; every build exports them.

use crate::target::{Peek, Target, word};
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

/// Where the tables are: the value of the exported variable `gHotSpotVM…`, given the rest of its
/// name.
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

/// Calls `look` for each entry up to the one whose name is null. An entry that can't be read is
/// passed over.
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

#[cfg(test)]
mod tests {
    use super::*;
    use offheap_target::Synthetic;

    const BASE: u64 = 0x7f00_0000_0000;

    /// Bytes at [`BASE`] and nothing else.
    struct Image(Vec<u8>);

    impl Image {
        fn text(&mut self, text: &str) -> u64 {
            self.words(&[]);
            let at = BASE + self.0.len() as u64;
            self.0.extend(text.as_bytes());
            self.0.extend([0; 256]);
            at
        }

        /// Appends words, aligned; gives where they start.
        fn words(&mut self, words: &[u64]) -> u64 {
            self.0.resize(self.0.len().next_multiple_of(8), 0);
            let at = BASE + self.0.len() as u64;
            self.0.extend(words.iter().flat_map(|word| word.to_le_bytes()));
            at
        }
    }

    /// A table of each kind, as a JVM lays them out.
    fn image() -> (Image, HashMap<String, u64>) {
        let mut image = Image(Vec::new());
        let [thread, java_thread, base, list, pointer, zombie] =
            ["Thread", "JavaThread", "_stack_base", "_thread_list", "address", "ZOMBIE"]
                .map(|text| image.text(text));
        let structs = image.words(
            &[[thread, base, pointer, 0, 640, 0], [thread, list, pointer, 1, 0, BASE + 8], [0; 6]].concat(),
        );
        let types =
            image.words(&[[thread, 0, 0, 0, 784], [java_thread, thread, 0, 0, 1200], [0; 5]].concat());
        let ints = image.words(&[[zombie, u64::MAX << 32 | u64::from(u32::MAX)], [0; 2]].concat());
        let longs = image.words(&[[zombie, 8], [0; 2]].concat());
        let exports = [
            ("Structs", structs),
            ("StructEntryArrayStride", 48),
            ("StructEntryTypeNameOffset", 0),
            ("StructEntryFieldNameOffset", 8),
            ("StructEntryTypeStringOffset", 16),
            ("StructEntryIsStaticOffset", 24),
            ("StructEntryOffsetOffset", 32),
            ("StructEntryAddressOffset", 40),
            ("Types", types),
            ("TypeEntryArrayStride", 40),
            ("TypeEntryTypeNameOffset", 0),
            ("TypeEntrySuperclassNameOffset", 8),
            ("TypeEntrySizeOffset", 32),
            ("IntConstants", ints),
            ("IntConstantEntryArrayStride", 16),
            ("IntConstantEntryNameOffset", 0),
            ("IntConstantEntryValueOffset", 8),
            ("LongConstants", longs),
            ("LongConstantEntryArrayStride", 16),
            ("LongConstantEntryNameOffset", 0),
            ("LongConstantEntryValueOffset", 8),
        ];
        (image, exports.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    fn read(image: &Image, exports: &HashMap<String, u64>) -> Result<Tables, String> {
        let mut target = Synthetic::default();
        target.anonymous(BASE, image.0.clone());
        Tables::read(&target, &|name: &str| exports.get(name).copied())
    }

    #[test]
    fn fields_are_found_in_superclasses_too() {
        let (image, mut exports) = image();
        let tables = read(&image, &exports).unwrap();
        assert_eq!(tables.offset("JavaThread", "_stack_base"), Some(640));
        assert_eq!(tables.type_of("JavaThread", "_stack_base"), Some("address"));
        assert_eq!(tables.address("Thread", "_thread_list"), Some(BASE + 8));
        assert_eq!(tables.size_of("JavaThread"), Some(1200));
        assert_eq!(tables.offset("Thread", "_thread_list"), None);
        assert_eq!(tables.constant("ZOMBIE"), Some(8));
        assert!(!tables.is_empty());
        exports.remove("Types");
        assert_eq!(read(&image, &exports).unwrap_err(), "gHotSpotVMTypes is missing");
    }

    #[test]
    fn a_class_that_is_its_own_superclass_ends_the_search() {
        let (mut image, exports) = image();
        let own = exports["Types"] - BASE;
        let name: [u8; 8] = image.0[own as usize..][..8].try_into().unwrap();
        image.0[own as usize + 8..][..8].copy_from_slice(&name);
        assert_eq!(read(&image, &exports).unwrap().offset("JavaThread", "_none"), None);
    }

    proptest::proptest! {
        #[test]
        fn no_tables_make_it_panic(
            changes in proptest::collection::vec((0..4000usize, proptest::num::u8::ANY), 0..12),
            export in 0..21usize,
            value: Option<u64>,
        ) {
            let (mut image, mut exports) = image();
            for (at, byte) in changes {
                if let Some(place) = image.0.get_mut(at) {
                    *place = byte;
                }
            }
            if let Some(value) = value {
                let name = exports.keys().nth(export).unwrap().clone();
                exports.insert(name, value);
            }
            if let Ok(tables) = read(&image, &exports) {
                let _ = (tables.offset("JavaThread", "_stack_base"), tables.constant("ZOMBIE"));
            }
        }
    }
}

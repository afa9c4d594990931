//! Objects read from outside: types and their names, texts, dicts.
//!
//! Everything read is taken for what it seems to be only after its type was looked at, and is
//! bounded: the interpreter runs on meanwhile.

use crate::offsets::Offsets;
use crate::words::{Words, word_in};
use offheap_target::arch::END_OF_USUAL_ADDRESSES;
use offheap_target::page_bytes;
use std::cell::RefCell;
use std::collections::HashMap;

/// Characters of a text that are read at the most.
const MOST_TEXT: u64 = 300;
/// Entries of a dict that are looked through for a key at the most.
const MOST_ENTRIES: u64 = 1 << 20;
/// Types, and what was taken for one and is none, that are remembered.
const MOST_TYPES: usize = 1 << 17;

/// Fields of a `PyTypeObject` (the same from 3.8 to 3.14 in builds with the GIL), behind an
/// object's head of 16 bytes.
const TP_NAME: u64 = 0x18;
const TP_BASICSIZE: u64 = 0x20;
const TP_ITEMSIZE: u64 = 0x28;
const TP_FLAGS: u64 = 0xa8;
const TP_BASE: u64 = 0x100;
pub(crate) const TP_DICT: u64 = 0x108;
/// `Py_TPFLAGS_HEAPTYPE`: made while the program runs, as by `class`.
const HEAP_TYPE: u64 = 1 << 9;
/// `Py_TPFLAGS_HAVE_GC`.
const HAVE_GC: u64 = 1 << 14;

/// A type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Type {
    /// `"dict"`, `"collections.deque"`, `"shop.Cart"`.
    pub name: String,
    pub basic: u64,
    pub item: u64,
    pub gc: bool,
}

/// Reads objects of one interpreter.
pub(crate) struct Objects<'a> {
    pub words: &'a dyn Words,
    pub offsets: Offsets,
    /// Address of `PyType_Type`.
    type_type: u64,
    types: RefCell<HashMap<u64, Option<Type>>>,
}

impl<'a> Objects<'a> {
    pub(crate) fn new(words: &'a dyn Words, offsets: Offsets, type_type: u64) -> Objects<'a> {
        Objects { words, offsets, type_type, types: RefCell::default() }
    }

    /// What `address` is as a type; `None` where it is none.
    pub(crate) fn as_type(&self, address: u64) -> Option<Type> {
        if let Some(known) = self.types.borrow().get(&address) {
            return known.clone();
        }
        let found = self.read_type(address);
        let mut types = self.types.borrow_mut();
        if types.len() < MOST_TYPES {
            types.insert(address, found.clone());
        }
        found
    }

    fn read_type(&self, address: u64) -> Option<Type> {
        if !address.is_multiple_of(8) || address < page_bytes() || address >= END_OF_USUAL_ADDRESSES {
            return None;
        }
        let at = |field: u64| address.checked_add(field + self.offsets.object_type - 8);
        let meta = self.words.word(address + self.offsets.object_type)?;
        // A metaclass's own type is `type`.
        let is_type = meta == self.type_type
            || meta.is_multiple_of(8)
                && self.words.word(meta.checked_add(self.offsets.object_type)?)? == self.type_type;
        if !is_type {
            return None;
        }
        let basic = self.words.word(at(TP_BASICSIZE)?)?;
        let item = self.words.word(at(TP_ITEMSIZE)?)?;
        let flags = self.words.word(at(TP_FLAGS)?)?;
        let mut name = self.c_text(self.words.word(at(TP_NAME)?)?)?;
        if basic > 1 << 20 || item > 1 << 20 {
            return None;
        }
        if flags & HEAP_TYPE != 0
            && !name.contains('.')
            && let Some(module) = self.words.word(at(TP_DICT)?).and_then(|dict| self.module_of(dict))
            && module != "builtins"
        {
            name = format!("{module}.{name}");
        }
        Some(Type { name, basic, item, gc: flags & HAVE_GC != 0 })
    }

    /// What a class's dict says its module is.
    fn module_of(&self, dict: u64) -> Option<String> {
        let mut module = None;
        self.entries(dict, 1 << 12, |key, value| {
            if module.is_none() && self.text(key).is_some_and(|key| key == "__module__") {
                module = self.text(value);
            }
            module.is_none()
        });
        module
    }

    /// A printable text that ends with a NUL.
    fn c_text(&self, address: u64) -> Option<String> {
        let mut text = String::new();
        for at in 0..MOST_TEXT {
            match self.words.byte(address.checked_add(at)?)? {
                0 => return (!text.is_empty()).then_some(text),
                byte @ 0x20..=0x7e => text.push(char::from(byte)),
                // A name that is not ASCII.
                _ => text.push('?'),
            }
        }
        None
    }

    /// The type that the type at `address` derives from; 0 for `object`.
    pub(crate) fn base_of(&self, address: u64) -> Option<u64> {
        self.words.word(address.checked_add(TP_BASE + self.offsets.object_type - 8)?)
    }

    /// The address of `type`.
    pub(crate) fn type_type(&self) -> u64 {
        self.type_type
    }

    /// The address of an object's type.
    pub(crate) fn type_address(&self, object: u64) -> Option<u64> {
        self.words.word(object.checked_add(self.offsets.object_type)?)
    }

    /// The type of the object at `address`.
    pub(crate) fn type_of(&self, address: u64) -> Option<Type> {
        self.as_type(self.type_address(address)?)
    }

    /// True where the object at `address` is of the type named `name`.
    pub(crate) fn is_a(&self, address: u64, name: &str) -> bool {
        self.type_of(address).is_some_and(|kind| kind.name == name)
    }

    /// The text of the `str` at `address`; cut where it is long.
    pub(crate) fn text(&self, address: u64) -> Option<String> {
        if !self.is_a(address, "str") {
            return None;
        }
        let length = self.words.word(address.checked_add(self.offsets.str_length)?)?.min(MOST_TEXT);
        let state = self.words.half(address.checked_add(self.offsets.str_state)?)?;
        // Without the GIL the first field has a byte of its own.
        let state = if self.offsets.free_threaded { state >> 8 << 2 } else { state };
        let (kind, compact, ascii) = (state >> 2 & 7, state >> 5 & 1, state >> 6 & 1);
        if compact == 0 {
            return None;
        }
        let ascii_bytes = self.offsets.str_ascii;
        // A PyCompactUnicodeObject has the UTF-8 and its length behind it, before 3.12 one more.
        let wide = ascii_bytes + if self.offsets.minor >= 12 { 16 } else { 24 };
        let at = address.checked_add(if ascii == 1 { ascii_bytes } else { wide })?;
        let width = if ascii == 1 { 1 } else { kind as usize };
        if !matches!(width, 1 | 2 | 4) {
            return None;
        }
        let bytes = self.words.bytes(at, length as usize * width)?;
        let characters = bytes.chunks_exact(width).map(|unit| {
            let number = unit.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte));
            char::from_u32(number).unwrap_or(char::REPLACEMENT_CHARACTER)
        });
        Some(characters.collect())
    }

    /// Bytes that the `str` at `address` takes.
    pub(crate) fn text_bytes(&self, head: &[u8]) -> Option<u64> {
        let length = word_in(head, self.offsets.str_length as usize);
        let state = word_in(head, self.offsets.str_state as usize) as u32;
        let (kind, ascii) = (u64::from(state >> 2 & 7), state >> 6 & 1);
        let wide = self.offsets.str_ascii + if self.offsets.minor >= 12 { 16 } else { 24 };
        let before = if ascii == 1 { self.offsets.str_ascii } else { wide };
        (matches!(kind, 1 | 2 | 4)).then_some(())?;
        length.checked_add(1)?.checked_mul(kind)?.checked_add(before)
    }

    /// Where the table of the dict at `address` lies.
    pub(crate) fn dict_table(&self, address: u64) -> Option<DictTable> {
        let keys = self.words.word(address.checked_add(0x20)?)?;
        let values = self.words.word(address.checked_add(0x28)?)?;
        let head = self.words.bytes(keys, 40)?;
        let (size, index, entry, entries, filled) = if self.offsets.minor <= 10 {
            let size = word_in(&head, 8);
            let index: u64 = match size {
                0..0x100 => 1,
                0x100..0x1_0000 => 2,
                0x1_0000..0x1_0000_0000 => 4,
                _ => 8,
            };
            (size, size.checked_mul(index)?, 24, 0x28, word_in(&head, 0x20))
        } else {
            let (log, log_index, kind) = (*head.get(8)?, *head.get(9)?, *head.get(10)?);
            let size = 1u64.checked_shl(u32::from(log))?;
            let index = 1u64.checked_shl(u32::from(log_index))?;
            (size, index, if kind == 0 { 24 } else { 16 }, 0x20, word_in(&head, 24))
        };
        // Two thirds of the table may be filled.
        let most = size.checked_mul(2)? / 3;
        if size > 1 << 40 || index > 1 << 43 || filled > most.max(8) {
            return None;
        }
        let entries = keys.checked_add(entries)?.checked_add(index)?;
        Some(DictTable {
            keys,
            values,
            entries,
            entry,
            filled,
            bytes: (entries - keys).checked_add(most.checked_mul(entry)?)?,
        })
    }

    /// Gives the keys and values of the dict at `address` to `see`, at the most `most` of them,
    /// until it returns false.
    pub(crate) fn entries(&self, dict: u64, most: u64, mut see: impl FnMut(u64, u64) -> bool) {
        // A type's dict may be NULL.
        if dict == 0 {
            return;
        }
        let Some(table) = self.dict_table(dict) else { return };
        // Of a split table the values lie apart; 3.13 put four bytes before them.
        let before = if self.offsets.minor >= 13 { 8 } else { 0 };
        for number in 0..table.filled.min(most).min(MOST_ENTRIES) {
            let entry = table.entries + number * table.entry;
            let key = self.words.word(entry + table.entry - 16);
            let value = if table.values == 0 {
                self.words.word(entry + table.entry - 8)
            } else {
                table.values.checked_add(before + 8 * number).and_then(|at| self.words.word(at))
            };
            let (Some(key), Some(value)) = (key, value) else { return };
            if key != 0 && value != 0 && !see(key, value) {
                return;
            }
        }
    }
}

/// A dict's table of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DictTable {
    /// Where its block begins.
    pub keys: u64,
    /// Where the values lie if apart from the keys, else 0.
    pub values: u64,
    /// Where the entries begin…
    pub entries: u64,
    /// …bytes of each, and how many were filled.
    pub entry: u64,
    pub filled: u64,
    /// Bytes of the block.
    pub bytes: u64,
}

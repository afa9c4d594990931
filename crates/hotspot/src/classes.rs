//! Classes: the class loaders' lists, a class's name, and where its fields are.

use crate::oops::{Oops, StringLayout};
use crate::target::Peek;
use crate::vm::Vm;
use std::collections::HashMap;

/// More class loaders than a walk follows.
const MAX_LOADERS: usize = 200_000;
/// More classes than a walk follows.
const MAX_CLASSES: usize = 1_000_000;
/// More fields than a class may have in practice.
const MAX_FIELDS: u64 = 4096;

/// The classes of the boot loader that this crate looks into.
pub(crate) const THREAD: &str = "java/lang/Thread";
pub(crate) const STRING: &str = "java/lang/String";
pub(crate) const ATOMIC_LONG: &str = "java/util/concurrent/atomic/AtomicLong";
pub(crate) const BITS: &str = "java/nio/Bits";
pub(crate) const BUFFER: &str = "java/nio/Buffer";
pub(crate) const DIRECT_BUFFER: &str = "java/nio/DirectByteBuffer";
pub(crate) const REFERENCE: &str = "java/lang/ref/Reference";
pub(crate) const PHANTOM_REFERENCE: &str = "java/lang/ref/PhantomReference";
pub(crate) const FINAL_REFERENCE: &str = "java/lang/ref/FinalReference";
pub(crate) const WEAK_REFERENCE: &str = "java/lang/ref/WeakReference";
const KNOWN: [&str; 10] = [
    THREAD,
    STRING,
    ATOMIC_LONG,
    BITS,
    BUFFER,
    DIRECT_BUFFER,
    REFERENCE,
    PHANTOM_REFERENCE,
    FINAL_REFERENCE,
    WEAK_REFERENCE,
];

/// `ACC_STATIC` in a field's access flags.
const STATIC: u64 = 8;

/// A field of a Java class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    /// From the start of the object, or of the class's mirror where it is static.
    pub(crate) offset: u64,
    /// `"J"`, `"Ljava/lang/String;"`.
    pub(crate) signature: String,
    pub(crate) is_static: bool,
}

/// The well-known classes found so far; the boot loader never unloads any.
#[derive(Debug, Clone, Default)]
pub(crate) struct KnownClasses {
    found: HashMap<&'static str, u64>,
    fields: HashMap<&'static str, HashMap<String, Field>>,
    /// How many classes were loaded when the last search ended.
    searched_at: Option<u64>,
}

impl KnownClasses {
    /// Searches the boot loader's classes for those not found yet, unless nothing was loaded since
    /// the last search.
    pub(crate) fn search(&mut self, vm: &Vm<'_>, loaded: Option<u64>) {
        if self.found.len() == KNOWN.len() || (loaded.is_some() && loaded == self.searched_at) {
            return;
        }
        self.searched_at = loaded;
        each_boot_class(vm, |klass| {
            if let Some(name) = KNOWN.into_iter().find(|name| is_named(vm, klass, name)) {
                self.found.entry(name).or_insert(klass);
            }
            self.found.len() < KNOWN.len()
        });
    }

    /// Address of the `Klass` of one of the well-known classes.
    pub(crate) fn klass(&self, name: &str) -> Option<u64> {
        self.found.get(name).copied()
    }

    /// A field of one of the well-known classes.
    pub(crate) fn field(&mut self, vm: &Vm<'_>, class: &'static str, field: &str) -> Option<Field> {
        self.fields(vm, class)?.get(field).cloned()
    }

    /// The fields that one of the well-known classes declares, by name.
    pub(crate) fn fields(&mut self, vm: &Vm<'_>, class: &'static str) -> Option<&HashMap<String, Field>> {
        if !self.fields.contains_key(class) {
            let fields = fields(vm, self.klass(class)?)?;
            self.fields.insert(class, fields);
        }
        self.fields.get(class)
    }

    /// Where a `String` keeps its text.
    pub(crate) fn string_layout(&mut self, vm: &Vm<'_>) -> Option<StringLayout> {
        let value = self.field(vm, STRING, "value")?.offset;
        Some(StringLayout { value, coder: self.field(vm, STRING, "coder").map(|field| field.offset) })
    }
}

/// How many class loaders' data there are (`ClassLoaderDataGraph`), those of hidden classes
/// included.
pub(crate) fn loader_count(vm: &Vm<'_>) -> Option<u64> {
    let mut count = 0;
    each_loader(vm, |_| {
        count += 1;
        true
    })?;
    Some(count)
}

/// Calls `look` with each `ClassLoaderData` until it says false.
fn each_loader(vm: &Vm<'_>, mut look: impl FnMut(u64) -> bool) -> Option<()> {
    let mut loader = vm.static_u64("ClassLoaderDataGraph", "_head")?;
    for _ in 0..MAX_LOADERS {
        if loader == 0 || !look(loader) {
            return Some(());
        }
        loader = vm.u64(loader, "ClassLoaderData", "_next")?;
    }
    Some(())
}

/// Calls `look` with each `Klass` of every loader; gives how many there were, `None` where there is
/// no way to them.
pub(crate) fn each_class(vm: &Vm<'_>, mut look: impl FnMut(u64)) -> Option<usize> {
    let mut seen = 0;
    if vm.tables.offset("ClassLoaderData", "_klasses").is_none() {
        each_dictionary_class(vm, |klass| {
            seen += 1;
            look(klass);
            true
        })?;
        return Some(seen);
    }
    each_loader(vm, |loader| {
        each_class_of(vm, loader, &mut |klass| {
            seen += 1;
            look(klass);
            seen < MAX_CLASSES
        });
        seen < MAX_CLASSES
    })?;
    Some(seen)
}

fn each_class_of(vm: &Vm<'_>, loader: u64, look: &mut dyn FnMut(u64) -> bool) {
    let mut klass = vm.pointer(loader, "ClassLoaderData", "_klasses");
    for _ in 0..MAX_CLASSES {
        let Some(at) = klass else { return };
        if !look(at) {
            return;
        }
        klass = vm.pointer(at, "Klass", "_next_link");
    }
}

/// Calls `look` with each class of the boot loader until it says false.
fn each_boot_class(vm: &Vm<'_>, mut look: impl FnMut(u64) -> bool) {
    if vm.tables.offset("ClassLoaderData", "_klasses").is_none() {
        each_dictionary_class(vm, look);
        return;
    }
    // The boot loader's data were the first and so are the last of the list; a well-known class
    // knows them at once.
    let string = ["vmClasses", "SystemDictionary"].into_iter().find_map(|class| {
        let name = if class == "vmClasses" {
            "_klasses[static_cast<int>(vmClassID::String_klass_knum)]"
        } else {
            "_well_known_klasses[SystemDictionary::String_klass_knum]"
        };
        vm.static_pointer(class, name)
    });
    let boot = string.and_then(|klass| vm.pointer(klass, "Klass", "_class_loader_data")).or_else(|| {
        let mut last = None;
        each_loader(vm, |loader| {
            last = Some(loader);
            true
        });
        last
    });
    if let Some(boot) = boot {
        each_class_of(vm, boot, &mut look);
    }
}

/// JDK 8 names the classes of all loaders in one hash table (classfile/dictionary.hpp,
/// utilities/hashtable.hpp), whose links carry a flag in bit 0.
fn each_dictionary_class(vm: &Vm<'_>, mut look: impl FnMut(u64) -> bool) -> Option<()> {
    const TABLE: &str = "BasicHashtable<mtInternal>";
    let dictionary = vm.static_pointer("SystemDictionary", "_dictionary")?;
    let size = vm.u32(dictionary, TABLE, "_table_size")?.min(1 << 20);
    let buckets = vm.pointer(dictionary, TABLE, "_buckets")?;
    let mut seen = 0;
    for index in 0..u64::from(size) {
        let mut entry = vm.target.u64(buckets.checked_add(index * 8)?).unwrap_or(0) & !1;
        while entry != 0 && seen < MAX_CLASSES {
            seen += 1;
            if let Some(klass) = vm.pointer(entry, "IntptrHashtableEntry", "_literal")
                && !look(klass)
            {
                return Some(());
            }
            entry = vm.u64(entry, "BasicHashtableEntry<mtInternal>", "_next").unwrap_or(0) & !1;
        }
    }
    Some(())
}

/// True where the class at `klass` is called `name`.
pub(crate) fn is_named(vm: &Vm<'_>, klass: u64, name: &str) -> bool {
    vm.pointer(klass, "Klass", "_name").is_some_and(|symbol| {
        let length = vm.place(symbol, "Symbol", "_length").and_then(|at| vm.target.u16(at));
        length == u16::try_from(name.len()).ok() && symbol_text(vm, symbol).as_deref() == Some(name)
    })
}

/// The name of a class, `java/lang/String`.
pub(crate) fn name(vm: &Vm<'_>, klass: u64) -> Option<String> {
    symbol_text(vm, vm.pointer(klass, "Klass", "_name")?)
}

/// The text of a `Symbol` (oops/symbol.hpp).
fn symbol_text(vm: &Vm<'_>, symbol: u64) -> Option<String> {
    let length = vm.target.u16(vm.place(symbol, "Symbol", "_length")?)?;
    let body = ["_body", "_body[0]"].into_iter().find_map(|field| vm.place(symbol, "Symbol", field))?;
    let bytes = vm.target.bytes(body, usize::from(length))?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The mirror (`java.lang.Class` object) of a class, which holds its static fields. `None` also
/// where a concurrent collector moved it and its new place is not found: what is at the old one is
/// not the mirror of this class.
pub(crate) fn mirror(vm: &Vm<'_>, oops: &Oops, klass: u64) -> Option<u64> {
    let mirror = oops.held(vm, klass, "Klass", "_java_mirror")?;
    // The VM puts a field into every Class object that leads back (classfile/javaClasses.hpp).
    match vm.tables.address("java_lang_Class", "_klass_offset").and_then(|at| vm.target.u32(at)) {
        Some(offset) => {
            let back = vm.target.pointer(mirror.checked_add(u64::from(offset))?)?;
            (back == klass).then_some(mirror)
        }
        None => Some(mirror),
    }
}

/// The fields a class declares, by name.
pub(crate) fn fields(vm: &Vm<'_>, klass: u64) -> Option<HashMap<String, Field>> {
    let pool = vm.pointer(klass, "InstanceKlass", "_constants")?;
    let entries = pool.checked_add(vm.tables.size_of("ConstantPool")?)?;
    // An entry that is a symbol may carry a flag in bit 0.
    let symbol =
        |index: u64| symbol_text(vm, vm.target.u64(entries.checked_add(index.checked_mul(8)?)?)? & !1);
    let mut found = HashMap::new();
    for raw in raw_fields(vm, klass)? {
        if let Some((name, signature)) = symbol(raw.name).zip(symbol(raw.signature)) {
            found.insert(name, Field { offset: raw.offset, signature, is_static: raw.access & STATIC != 0 });
        }
    }
    Some(found)
}

/// Offsets in a class's mirror of its static fields that are references.
pub(crate) fn static_references(vm: &Vm<'_>, klass: u64) -> Vec<u64> {
    let is_instance = vm.u32(klass, "Klass", "_layout_helper").is_some_and(|helper| helper as i32 > 0);
    let entries = || {
        let pool = vm.pointer(klass, "InstanceKlass", "_constants")?;
        pool.checked_add(vm.tables.size_of("ConstantPool")?)
    };
    let Some(entries) = is_instance.then(entries).flatten() else { return Vec::new() };
    let is_reference = |signature: u64| -> Option<bool> {
        let symbol = vm.target.u64(entries.checked_add(signature.checked_mul(8)?)?)? & !1;
        let body = ["_body", "_body[0]"].into_iter().find_map(|field| vm.place(symbol, "Symbol", field))?;
        Some(matches!(vm.target.u8(body)?, b'L' | b'['))
    };
    raw_fields(vm, klass)
        .unwrap_or_default()
        .into_iter()
        .filter(|field| field.access & STATIC != 0 && is_reference(field.signature) == Some(true))
        .map(|field| field.offset)
        .collect()
}

/// A field with its name and signature as indexes into the constant pool.
struct RawField {
    name: u64,
    signature: u64,
    offset: u64,
    access: u64,
}

fn raw_fields(vm: &Vm<'_>, klass: u64) -> Option<Vec<RawField>> {
    let Some(array) = vm.pointer(klass, "InstanceKlass", "_fields") else { return field_stream(vm, klass) };
    // Up to JDK 20 an array of six 16-bit numbers a field (oops/fieldInfo.hpp): access, name,
    // signature, initial value, and the offset in two halves whose lowest two bits are a tag.
    let count = vm.target.u16(vm.place(klass, "InstanceKlass", "_java_fields_count")?)?;
    let data = array.checked_add(vm.tables.offset("Array<u2>", "_data")?)?;
    let bytes = vm.target.bytes(data, usize::from(count) * 12)?;
    Some(
        bytes
            .chunks_exact(12)
            .map(|field| {
                let at =
                    |index: usize| u64::from(u16::from_le_bytes([field[index * 2], field[index * 2 + 1]]));
                RawField { access: at(0), name: at(1), signature: at(2), offset: (at(4) | at(5) << 16) >> 2 }
            })
            .collect(),
    )
}

/// From JDK 21 a stream of compressed numbers (oops/fieldStreams.hpp): how many fields of Java and
/// how many injected by the VM, then for each name, signature, offset, access flags, field flags
/// and what these say is there.
fn field_stream(vm: &Vm<'_>, klass: u64) -> Option<Vec<RawField>> {
    const HAS_INITIAL_VALUE: u64 = 1;
    const HAS_GENERIC_SIGNATURE: u64 = 4;
    const HAS_CONTENTION_GROUP: u64 = 16;
    let array = vm.pointer(klass, "InstanceKlass", "_fieldinfo_stream")?;
    let length = vm.target.u32(array)?.min(1 << 16);
    let data = array.checked_add(vm.tables.offset("Array<u1>", "_data")?)?;
    let bytes = vm.target.bytes(data, length as usize)?;
    let mut stream = Unsigned5 { bytes: &bytes, at: 0 };
    let count = stream.next()?.min(MAX_FIELDS);
    let _injected = stream.next()?;
    let mut fields = Vec::new();
    for _ in 0..count {
        let (name, signature) = (stream.next()?, stream.next()?);
        let (offset, access, flags) = (stream.next()?, stream.next()?, stream.next()?);
        for extra in [HAS_INITIAL_VALUE, HAS_GENERIC_SIGNATURE, HAS_CONTENTION_GROUP] {
            if flags & extra != 0 {
                stream.next()?;
            }
        }
        fields.push(RawField { name, signature, offset, access });
    }
    Some(fields)
}

/// HotSpot's UNSIGNED5 numbers as of JDK 20 (utilities/unsigned5.hpp): up to five bytes in base 64,
/// none of them 0; a byte above 191 says that another one follows.
struct Unsigned5<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Unsigned5<'_> {
    fn next(&mut self) -> Option<u64> {
        let mut sum = 0u64;
        for index in 0..5 {
            let byte = u64::from(self.bytes.get(self.at)?.checked_sub(1)?);
            self.at += 1;
            sum += byte << (6 * index);
            if byte < 191 {
                break;
            }
        }
        Some(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressed_numbers_are_read() {
        // 0, 190, 191 (two bytes), and a byte 0, which ends the stream.
        let mut stream = Unsigned5 { bytes: &[1, 191, 192, 1, 0], at: 0 };
        assert_eq!([stream.next(), stream.next(), stream.next()], [Some(0), Some(190), Some(191)]);
        assert_eq!(stream.next(), None);
        let mut longest = Unsigned5 { bytes: &[255; 5], at: 0 };
        assert_eq!(longest.next(), Some(254 * (1 + (1 << 6) + (1 << 12) + (1 << 18) + (1 << 24))));
        assert_eq!(longest.next(), None);
    }
}

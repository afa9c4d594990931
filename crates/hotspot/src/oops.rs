//! Pointers to Java objects as the heap and libjvm keep them: compressed, coloured by ZGC, or
//! plain; and object headers.

pub(crate) mod colour;

use crate::flags::Flags;
use crate::heap::z::{self, Moved};
use crate::target::Peek;
use crate::vm::Vm;

/// Bits to shift a mark word by to get the class with `-XX:+UseCompactObjectHeaders`
/// (`markWord::klass_shift`, 64-bit).
const KLASS_SHIFT: u32 = 42;
/// Longest Java string that is read, in characters.
const MAX_STRING: u32 = 512;

/// How object pointers and object headers are coded in this JVM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Oops {
    /// Base and shift of compressed pointers; `None` where they are 64 bits wide.
    narrow: Option<(u64, u32)>,
    /// True where 64-bit references are coloured by generational ZGC; the older ZGC maps the heap
    /// once for each colour, so that its pointers are addresses as they are.
    coloured: bool,
    /// ZGC's tables, by which moved objects are found.
    pub(crate) z: Option<z::Tables>,
    pub(crate) header: Header,
}

/// Where an object's class stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Header {
    /// The upper 22 bits of the mark word.
    Compact { base: u64, shift: u32 },
    /// 32 bits after the mark word.
    Narrow { base: u64, shift: u32 },
    /// 64 bits after the mark word.
    Wide,
}

impl Oops {
    pub(crate) fn read(vm: &Vm<'_>, flags: &Flags) -> Oops {
        let set = |name| flags.is_set(vm.target, name);
        let narrow = set("UseCompressedOops").then(|| coding(vm, "oop", "CompressedOops")).flatten();
        let klass = coding(vm, "klass", "CompressedKlassPointers").unwrap_or((0, 0));
        let (base, shift) = klass;
        let header = if set("UseCompactObjectHeaders") {
            Header::Compact { base, shift }
        } else if set("UseCompressedClassPointers") || !flags.exists("UseCompressedClassPointers") {
            // The flag went when uncompressed class pointers did.
            Header::Narrow { base, shift }
        } else {
            Header::Wide
        };
        let coloured = set("UseZGC")
            && z::prefix(vm, flags) == 'Z'
            && vm.tables.offset("ZGlobalsForVMStructs", "_ZPointerLoadShift").is_some();
        let z = set("UseZGC").then(|| z::Tables::find(vm, flags)).flatten();
        Oops { narrow, coloured, z, header }
    }

    /// The same with ZGC's tables.
    pub(crate) fn with_tables(self, z: Option<z::Tables>) -> Oops {
        Oops { z, ..self }
    }

    /// The object that the reference in a Java object's field at `address` points to.
    pub(crate) fn field(&self, vm: &Vm<'_>, address: u64) -> Option<u64> {
        match self.narrow {
            Some(_) => self.compressed(u64::from(vm.target.u32(address)?)),
            None => self.wide(vm, address),
        }
    }

    /// Bytes of a reference in a Java object.
    pub(crate) fn reference_bytes(&self) -> u64 {
        if self.narrow.is_some() { 4 } else { 8 }
    }

    /// The objects that a word of a frame may refer to.
    pub(crate) fn may_be(&self, word: u64) -> impl Iterator<Item = u64> {
        let halves = if self.narrow.is_some() { [word & u64::from(u32::MAX), word >> 32] } else { [0, 0] };
        let halves = halves.map(|half| self.compressed(half));
        std::iter::once(word).chain(halves.into_iter().flatten())
    }

    /// The object that a compressed reference points to; `None` for null, and where references are
    /// not compressed.
    pub(crate) fn compressed(&self, raw: u64) -> Option<u64> {
        let (base, shift) = self.narrow.filter(|_| raw != 0)?;
        base.checked_add(raw << shift)
    }

    /// The object that the 64-bit reference at `address`, outside the heap, points to.
    pub(crate) fn wide(&self, vm: &Vm<'_>, address: u64) -> Option<u64> {
        let pointer = vm.target.pointer(address)?;
        Some(Moved::new(vm, self).reference(pointer)).filter(|object| *object != 0)
    }

    /// True where 64-bit references are an address with a colour below it.
    pub(crate) fn is_coloured(&self) -> bool {
        self.coloured
    }

    /// The address in a 64-bit reference, of where the object was when that was written; 0 for
    /// null.
    pub(crate) fn address(&self, pointer: u64) -> u64 {
        if self.coloured { colour::address(pointer) } else { pointer }
    }

    /// True where the eight bytes at a reference field of an object hold a reference that is not
    /// null.
    pub(crate) fn has_reference(&self, word: u64) -> bool {
        match self.narrow {
            Some(_) => word as u32 != 0,
            None => self.address(word) != 0,
        }
    }

    /// The object held by a field of a VM object: an `OopHandle` (a pointer to the reference) or
    /// the reference itself.
    pub(crate) fn held(&self, vm: &Vm<'_>, object: u64, owner: &str, field: &str) -> Option<u64> {
        let place = vm.place(object, owner, field)?;
        if vm.tables.type_of(owner, field) == Some("OopHandle") {
            self.wide(vm, vm.target.pointer(place)?)
        } else {
            self.wide(vm, place)
        }
    }

    /// Offset of an array's length.
    pub(crate) fn array_length(&self) -> u64 {
        match self.header {
            Header::Compact { .. } => 8,
            Header::Narrow { .. } => 12,
            Header::Wide => 16,
        }
    }

    /// Offset of the first byte of a byte or char array: right after the length, up to JDK 22
    /// aligned to a word.
    fn array_data(&self, feature: u32) -> u64 {
        let after = self.array_length() + 4;
        if feature < 23 { after.next_multiple_of(8) } else { after }
    }

    /// The text of a `java.lang.String`.
    pub(crate) fn string(
        &self,
        vm: &Vm<'_>,
        string: u64,
        layout: &StringLayout,
        feature: u32,
    ) -> Option<String> {
        let array = self.field(vm, string.checked_add(layout.value)?)?;
        let length = vm.target.u32(array.checked_add(self.array_length())?)?;
        let data = array.checked_add(self.array_data(feature))?;
        // From JDK 9 an array of bytes in Latin-1 (0) or UTF-16 (1), before that an array of chars.
        let (wide, bytes) = match layout.coder {
            Some(coder) => (vm.target.u8(string.checked_add(coder)?)? != 0, length),
            None => (true, length.checked_mul(2)?),
        };
        if bytes > MAX_STRING * 2 {
            return None;
        }
        let bytes = vm.target.bytes(data, bytes as usize)?;
        Some(if wide {
            let units: Vec<u16> =
                bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
            String::from_utf16_lossy(&units)
        } else {
            bytes.into_iter().map(char::from).collect()
        })
    }
}

/// Offsets of the fields of `java.lang.String`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StringLayout {
    pub(crate) value: u64,
    /// Absent before JDK 9.
    pub(crate) coder: Option<u64>,
}

/// Base and shift of compressed pointers to `what`: in a class of their own from 22, in a struct
/// inside it from 13, in Universe before.
fn coding(vm: &Vm<'_>, what: &str, class: &str) -> Option<(u64, u32)> {
    let old = (format!("_narrow_{what}._base"), format!("_narrow_{what}._shift"));
    [(class, "_base", "_shift"), (class, &*old.0, &*old.1), ("Universe", &*old.0, &*old.1)]
        .into_iter()
        .find_map(|(class, base, shift)| {
            let base = vm.static_u64(class, base)?;
            let shift = vm.target.u32(vm.tables.address(class, shift)?)?;
            (shift < 32).then_some((base, shift))
        })
}

impl Header {
    /// The class that an object's header names, given its first two words; `None` where there is
    /// none.
    pub(crate) fn klass(self, mark: u64, next: u64) -> Option<u64> {
        match self {
            Header::Compact { base, shift } => base.checked_add((mark >> KLASS_SHIFT) << shift),
            Header::Narrow { base, shift } => base.checked_add(u64::from(next as u32) << shift),
            Header::Wide => Some(next),
        }
    }

    /// How the class at `klass` looks in an object's header: offset, mask and value of the eight
    /// bytes to compare.
    pub(crate) fn pattern(self, klass: u64) -> Option<(u64, u64, u64)> {
        match self {
            Header::Compact { base, shift } => {
                let narrow = klass.checked_sub(base)? >> shift;
                Some((0, u64::MAX << KLASS_SHIFT, narrow.checked_mul(1 << KLASS_SHIFT)?))
            }
            Header::Narrow { base, shift } => {
                let narrow = klass.checked_sub(base)? >> shift;
                (narrow <= u64::from(u32::MAX)).then_some((8, u64::from(u32::MAX), narrow))
            }
            Header::Wide => Some((8, u64::MAX, klass)),
        }
    }
}

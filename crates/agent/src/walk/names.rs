//! Names of Java methods, copied from HotSpot's metadata when a frame is seen for the first time:
//! later the class may have been unloaded. `Method` → `ConstMethod` → `ConstantPool` → `Symbol`s
//! (hotspot oops/method.hpp, constMethod.hpp, constantPool.hpp, symbol.hpp). Everything is read
//! through [`peek`].

use super::vmstructs::{Field, get};
use crate::guard::{peek, peek_bytes};
use crate::table::File;

/// Access flag of native methods (JVMS table 4.6-A).
const ACC_NATIVE: u32 = 0x100;
/// Longest name that is kept whole. (It lies on the stack of a thread that may have little.)
const MAX_SYMBOL: usize = 1024;
/// `ConstMethodFlags`: has a line number table.
const HAS_LINE_NUMBERS: u16 = 1;

/// A method's names as indices plus one, 0 for what could not be read.
#[derive(Clone, Copy, Default)]
pub struct Names {
    pub class: u32,
    pub name: u32,
    pub file: u32,
    pub line: u32,
    pub native: bool,
}

fn field<T: Copy>(object: u64, f: Field) -> Option<T> {
    peek(object.wrapping_add_signed(get(f)?))
}

/// Interns a `Symbol`'s text.
fn symbol(file: File, at: u64) -> Option<u32> {
    let len = match get(Field::SymbolLength) {
        Some(_) => field::<u16>(at, Field::SymbolLength)?,
        // JDK 12 and 13 keep the length in the upper half.
        None => (field::<u32>(at, Field::SymbolLengthAndRefcount)? >> 16) as u16,
    };
    let body = at.wrapping_add_signed(get(Field::SymbolBody)?);
    let mut text = [0; MAX_SYMBOL];
    let text = text.get_mut(..usize::from(len).min(MAX_SYMBOL)).filter(|text| !text.is_empty())?;
    peek_bytes(body, text).then(|| file.string(text))
}

/// Copies the names of a method, and the line of a bytecode index.
pub fn of_method(file: File, method: u64, bci: i32) -> Option<Names> {
    let const_method: u64 = field(method, Field::ConstMethod)?;
    let pool: u64 = field(const_method, Field::Constants)?;
    let holder: u64 = field(pool, Field::PoolHolder)?;
    let entry = |index: u16| -> Option<u64> {
        let at = pool.wrapping_add_signed(get(Field::SizeOfConstantPool)?) + 8 * u64::from(index);
        peek::<u64>(at).map(|p| p & !7)
    };
    let name_index: u16 = field(const_method, Field::NameIndex)?;
    let source = || match get(Field::PoolSource) {
        Some(_) => field::<u16>(pool, Field::PoolSource),
        None => field::<u16>(holder, Field::KlassSource),
    };
    let access: u32 = field(method, Field::MethodAccess).unwrap_or(0);
    Some(Names {
        class: symbol(file, field(holder, Field::KlassName)?)?,
        name: symbol(file, entry(name_index)?)?,
        file: source().filter(|&i| i != 0).and_then(entry).and_then(|s| symbol(file, s)).unwrap_or(0),
        line: line(const_method, bci).unwrap_or(0),
        native: access & ACC_NATIVE != 0,
    })
}

/// What tells whether a method's address still means the same method: its class's name and its
/// place in the class. `read` gives words of the method and of what it leads to.
#[inline]
pub fn identity(method: u64, read: impl Fn(u64) -> Option<u64>) -> Option<u64> {
    let const_method = read(method.wrapping_add_signed(get(Field::ConstMethod)?))?;
    let pool = read(const_method.wrapping_add_signed(get(Field::Constants)?))?;
    let holder = read(pool.wrapping_add_signed(get(Field::PoolHolder)?))?;
    let name = read(holder.wrapping_add_signed(get(Field::KlassName)?))?;
    let index = read(const_method.wrapping_add_signed(get(Field::NameIndex)? & !7))?;
    let mut h = offheap_live::combine(const_method, pool);
    h = offheap_live::combine(h, holder);
    h = offheap_live::combine(h, name);
    Some(offheap_live::combine(h, index))
}

/// Where a method's bytecodes begin.
#[inline]
pub fn code_base(const_method: u64) -> Option<u64> {
    Some(const_method.wrapping_add_signed(get(Field::SizeOfConstMethod)?))
}

/// The source line of a bytecode index: the compressed table behind the bytecodes (hotspot
/// code/compressedStream.hpp, oops/method.hpp `CompressedLineNumberReadStream`).
fn line(const_method: u64, bci: i32) -> Option<u32> {
    let flags: u16 = field(const_method, Field::ConstMethodFlags)?;
    if flags & HAS_LINE_NUMBERS == 0 || bci < 0 {
        return None;
    }
    let size: u16 = field(const_method, Field::CodeSize)?;
    let mut at = code_base(const_method)? + u64::from(size);
    let mut byte = || -> Option<u32> {
        let b: u8 = peek(at)?;
        at += 1;
        Some(u32::from(b))
    };
    let (mut here, mut line, mut best) = (0i32, 0i32, None);
    for _ in 0..10_000 {
        match byte()? {
            0 => break,
            0xff => {
                here = here.wrapping_add(signed(&mut byte)?);
                line = line.wrapping_add(signed(&mut byte)?);
            }
            b => {
                here = here.wrapping_add((b >> 3) as i32);
                line = line.wrapping_add((b & 7) as i32);
            }
        }
        if here > bci {
            break;
        }
        best = Some(line);
    }
    best.and_then(|l| u32::try_from(l).ok())
}

fn signed(byte: &mut impl FnMut() -> Option<u32>) -> Option<i32> {
    let n = unsigned5(byte)?;
    Some((n >> 1) as i32 ^ -((n & 1) as i32))
}

/// HotSpot's UNSIGNED5 numbers (utilities/unsigned5.hpp): up to five bytes of 6 bits, the last
/// below 192. From JDK 20 on every byte is one more than that, so that none is zero.
pub fn unsigned5(byte: &mut impl FnMut() -> Option<u32>) -> Option<u32> {
    let excluded = u32::from(major_version() >= 20);
    let mut sum = 0u32;
    for i in 0..5 {
        let b = byte()?;
        sum = sum.wrapping_add(b.wrapping_sub(excluded) << (6 * i));
        if b < 192 {
            break;
        }
    }
    Some(sum)
}

/// 8, 11, 17…; JDK 8's HotSpot calls itself 25 but has no segmented code cache.
pub fn major_version() -> u32 {
    if get(Field::CodeHeaps).is_none() {
        return 8;
    }
    get(Field::MajorVersion).and_then(|at| peek::<u32>(at as u64)).unwrap_or(0)
}

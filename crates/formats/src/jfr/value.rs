//! Values as JFR encodes them.

use crate::bytes::Bytes;

/// A value of an event or a constant.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Number(i64),
    Text(String),
    /// A constant of another pool: class, key.
    Constant(u64, u64),
    /// A string of the string pool.
    TextConstant(u64),
    /// Fields of a class, in its order.
    Struct(u64, Vec<Value>),
    Array(Vec<Value>),
    /// An array of structures of a class that has only numbers and constants: their fields, one structure after the other.
    Rows(u64, Vec<i64>),
    Nothing,
}

/// JFR's LEB128: at most 9 bytes, of which the last has 8 bits.
#[inline(always)]
pub(super) fn number(bytes: &mut Bytes<'_>) -> Option<u64> {
    if let Some(nine) = bytes.rest().first_chunk::<9>() {
        let (value, length) = decode(nine);
        bytes.skip(length);
        return Some(value);
    }
    near_the_end(bytes)
}

/// Bytes that [`number_at`] looks into.
pub(super) const WINDOW: usize = 128 + 8;

/// The number at `at`, which is below 128, and how many bytes it takes.
#[inline(always)]
pub(super) fn number_at(window: &[u8; WINDOW], at: usize) -> (u64, usize) {
    // No number can begin so far behind that nine bytes would not be there; the mask shows it to the compiler.
    match window.get(at & 127..).and_then(|rest| rest.first_chunk::<9>()) {
        Some(nine) => decode(nine),
        None => (0, 9),
    }
}

/// A number and its length. Eight bytes at once: there may be hundreds of millions of numbers.
#[inline(always)]
fn decode([low @ .., last]: &[u8; 9]) -> (u64, usize) {
    let word = u64::from_le_bytes(*low);
    let ends = !word & 0x8080_8080_8080_8080;
    if ends == 0 {
        return (join(word) | u64::from(*last) << 56, 9);
    }
    // All bits up to the first byte that ends a number.
    let value = join(word & (ends ^ (ends - 1)));
    (value, (ends.trailing_zeros() / 8 + 1) as usize)
}

/// The same, byte by byte.
#[cold]
fn near_the_end(bytes: &mut Bytes<'_>) -> Option<u64> {
    let mut value = 0u64;
    for place in 0..8 {
        let byte = bytes.u8()?;
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    Some(value | u64::from(bytes.u8()?) << 56)
}

/// The low seven bits of eight bytes side by side.
#[inline(always)]
fn join(word: u64) -> u64 {
    let word = (word & 0x007f_007f_007f_007f) | (word & 0x7f00_7f00_7f00_7f00) >> 1;
    let word = (word & 0x0000_3fff_0000_3fff) | (word & 0x3fff_0000_3fff_0000) >> 2;
    (word & 0x0fff_ffff) | (word & 0x0fff_ffff_0000_0000) >> 4
}

/// A string: its encoding, then what that says (jdk.jfr.internal.StringParser).
pub(super) fn text(bytes: &mut Bytes<'_>) -> Option<Value> {
    let length = |bytes: &mut Bytes<'_>| usize::try_from(number(bytes)?).ok();
    Some(match bytes.u8()? {
        0 => Value::Nothing,
        1 => Value::Text(String::new()),
        2 => Value::TextConstant(number(bytes)?),
        3 => {
            let length = length(bytes)?;
            Value::Text(String::from_utf8_lossy(bytes.take(length)?).into_owned())
        }
        4 => {
            let length = length(bytes)?;
            // Each takes a byte at least: what claims more is cut off.
            let units: Vec<u16> = (0..length.min(bytes.rest().len()))
                .map(|_| number(bytes).map(|unit| unit as u16))
                .collect::<Option<_>>()?;
            Value::Text(String::from_utf16_lossy(&units))
        }
        5 => {
            let length = length(bytes)?;
            Value::Text(bytes.take(length)?.iter().map(|byte| char::from(*byte)).collect())
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_the_same_with_and_without_room_behind_them() {
        for value in (0..64).flat_map(|bit| [1u64 << bit, (1 << bit) - 1, u64::MAX >> bit]) {
            let (mut written, mut rest) = (Vec::new(), value);
            while rest >= 0x80 && written.len() < 8 {
                written.push(rest as u8 | 0x80);
                rest >>= 7;
            }
            written.push(rest as u8);
            let length = written.len();
            assert_eq!(number(&mut Bytes::new(&written)), Some(value));
            written.extend([0xff; 12]);
            let mut bytes = Bytes::new(&written);
            assert_eq!((number(&mut bytes), bytes.at()), (Some(value), length));
        }
    }
}

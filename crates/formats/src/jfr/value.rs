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
    /// An array of structures of a class that has only numbers and constants: their fields, one
    /// structure after the other.
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

/// As many numbers side by side as [`Numbers`] finds.
pub(super) const MOST: usize = 15;

/// Numbers side by side, their places found all at once: there may be hundreds of millions.
pub(super) struct Numbers<'a> {
    window: &'a [u8; WINDOW],
    /// Where each starts, and in the upper half how long it is: put there and taken in one, which a
    /// processor does faster than two bytes together that were put there one by one.
    spans: [u32; MOST + 1],
}

/// Eight bytes can be taken from anywhere in the first 32.
const WINDOW: usize = 40;

impl<'a> Numbers<'a> {
    /// The first `count` (up to [`MOST`]) numbers in `bytes`, and where they end; `None` where that
    /// can't be told at once: they take more than 32 bytes, or one of them takes nine, or there are
    /// not [`WINDOW`] bytes.
    #[inline(always)]
    pub(super) fn of(bytes: &'a [u8], count: usize) -> Option<(Numbers<'a>, usize)> {
        let window = bytes.first_chunk::<WINDOW>()?;
        let (words, _) = window.as_chunks::<8>();
        let mut ends = 0u64;
        for (place, word) in words.iter().take(4).enumerate() {
            ends |= last_bytes(u64::from_le_bytes(*word)) << (8 * place);
        }
        let (mut spans, mut begin, mut longest) = ([0; MOST + 1], 0, 0);
        for span in spans.iter_mut().take(count) {
            // Without a one there are 64 zeros: that is too long, too.
            let end = ends.trailing_zeros() + 1;
            ends &= ends.wrapping_sub(1);
            let length = end.wrapping_sub(begin);
            longest = longest.max(length);
            *span = begin | length << 16;
            begin = end;
        }
        (longest <= 8).then_some((Numbers { window, spans }, begin as usize))
    }

    /// The number at `place`; 0 where there are not so many.
    #[inline(always)]
    pub(super) fn at(&self, place: usize) -> u64 {
        let span = self.spans.get(place).copied().unwrap_or(0);
        let eight = self.window.get((span & 31) as usize..).and_then(|rest| rest.first_chunk::<8>());
        let unused = 64 - 8 * (span >> 16 & 15);
        eight.map_or(0, |eight| join(u64::from_le_bytes(*eight) & u64::MAX.checked_shr(unused).unwrap_or(0)))
    }
}

/// The first `count` (up to [`MOST`]) numbers of `body`, one by one.
#[cold]
#[inline(never)]
pub(super) fn one_by_one(body: &[u8], count: usize) -> Option<[u64; MOST + 1]> {
    let (mut bytes, mut values) = (Bytes::new(body), [0; MOST + 1]);
    for value in values.iter_mut().take(count.min(MOST)) {
        *value = number(&mut bytes)?;
    }
    Some(values)
}

/// A bit for each of the eight bytes that is the last of a number.
#[inline(always)]
fn last_bytes(word: u64) -> u64 {
    // The product gathers the bits 7, 15, … in its highest byte.
    ((!word & 0x8080_8080_8080_8080) >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
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

    #[test]
    fn numbers_found_at_once_are_those_read_one_by_one() {
        let (mut seed, mut at_once) = (1u64, 0);
        for round in 0..20_000 {
            let mut written = Vec::new();
            let count = 1 + round % MOST;
            let values: Vec<u64> = (0..count)
                .map(|_| {
                    seed =
                        seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    // Most are short, as they are in files; some take nine bytes.
                    seed >> if round % 3 == 0 { seed % 64 } else { 36 + seed % 28 }
                })
                .collect();
            for value in &values {
                let mut rest = *value;
                let from = written.len();
                while rest >= 0x80 && written.len() - from < 8 {
                    written.push(rest as u8 | 0x80);
                    rest >>= 7;
                }
                written.push(rest as u8);
            }
            let body = written.len();
            written.extend(std::iter::repeat_n(seed as u8, round % 50));
            let values_again = one_by_one(&written[..body], count).unwrap();
            assert_eq!(values_again[..count], values);
            assert_eq!(one_by_one(&written[..body - 1], count), None);
            let Some((numbers, end)) = Numbers::of(&written, count) else {
                let nine = values.iter().any(|value| *value >= 1 << 56);
                assert!(nine || body > 32 || written.len() < WINDOW, "{values:?}");
                continue;
            };
            at_once += 1;
            assert_eq!(end, body, "{values:?}");
            assert!((0..=MOST).all(|place| numbers.at(place) == values_again[place]), "{values:?}");
        }
        assert!(at_once > 5000, "{at_once}");
    }
}

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
    Nothing,
}

/// JFR's LEB128: at most 9 bytes, of which the last has 8 bits.
pub(super) fn number(bytes: &mut Bytes<'_>) -> Option<u64> {
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

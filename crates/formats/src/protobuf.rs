//! Protobuf's wire format, as far as profiles need it.

use crate::bytes::Bytes;
use std::collections::HashMap;

/// A field of a message.
pub(crate) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// Of a type that profiles do not use.
    Other,
}

#[cfg(test)]
impl<'a> Value<'a> {
    pub(crate) fn bytes(&self) -> Option<&'a [u8]> {
        match self {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }
}

/// The next field; `None` at the end or where it is cut off.
pub(crate) fn field<'a>(bytes: &mut Bytes<'a>) -> Option<(u64, Value<'a>)> {
    let key = bytes.varint()?;
    let value = match key & 7 {
        0 => Value::Number(bytes.varint()?),
        1 => bytes.take(8).map(|_| Value::Other)?,
        2 => {
            let length = usize::try_from(bytes.varint()?).ok()?;
            Value::Bytes(bytes.take(length)?)
        }
        5 => bytes.take(4).map(|_| Value::Other)?,
        _ => return None,
    };
    Some((key >> 3, value))
}

/// All fields of a message; those after damage are lost.
pub(crate) fn fields(message: &[u8]) -> impl Iterator<Item = (u64, Value<'_>)> {
    let mut bytes = Bytes::new(message);
    std::iter::from_fn(move || field(&mut bytes))
}

#[cfg(test)]
pub(crate) fn fields_of(message: &[u8]) -> Vec<(u64, Value<'_>)> {
    fields(message).collect()
}

/// Strings by their numbers; number 0 is the empty one.
pub(crate) struct Strings {
    numbers: HashMap<String, u64>,
    pub(crate) list: Vec<String>,
}

impl Default for Strings {
    fn default() -> Strings {
        Strings { numbers: HashMap::from([(String::new(), 0)]), list: vec![String::new()] }
    }
}

impl Strings {
    pub(crate) fn number(&mut self, text: &str) -> u64 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = self.list.len() as u64;
        self.numbers.insert(text.to_owned(), number);
        self.list.push(text.to_owned());
        number
    }
}

/// A protobuf message under construction.
#[derive(Default)]
pub(crate) struct Message(Vec<u8>);

impl Message {
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// A number of eight bytes, as times are.
    pub(crate) fn fixed64(&mut self, field: u64, value: u64) {
        if value != 0 {
            self.varint(field << 3 | 1);
            self.0.extend_from_slice(&value.to_le_bytes());
        }
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// Zero is not written: it is what a reader takes for a field that is not there.
    pub(crate) fn number(&mut self, field: u64, value: u64) {
        if value != 0 {
            self.varint(field << 3);
            self.varint(value);
        }
    }

    pub(crate) fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn message(&mut self, field: u64, message: &Message) {
        self.bytes(field, &message.0);
    }

    pub(crate) fn packed(&mut self, field: u64, values: impl Iterator<Item = u64>) {
        let mut packed = Message::default();
        values.for_each(|value| packed.varint(value));
        if !packed.0.is_empty() {
            self.message(field, &packed);
        }
    }
}

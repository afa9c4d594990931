//! The records of a dump, one after the other, out of a window on the file.

use super::FORMAT;
use crate::{Cut, Error};
use std::io::Read;

/// Bytes that are looked at in one piece: no record's head, and no instance of an honest class, is
/// larger.
const WINDOW: usize = 4 << 20;

/// What a dump is made of.
pub(super) enum Item<'a> {
    /// A name.
    Text { id: u64, text: &'a [u8] },
    /// The name of a class.
    Name { class: u64, name: u64 },
    /// A class.
    Class(Class),
    /// An object; its fields' bytes, its own class's first.
    Instance { id: u64, class: u64, fields: &'a [u8] },
    /// An array of references: its head, then its elements in pieces.
    Array { id: u64, class: u64, bytes: u64 },
    /// References of the array before.
    Elements(&'a [u8]),
    /// An array of primitives.
    Primitives { id: u64, kind: u8, bytes: u64 },
    /// A root: its tag, its object.
    Root { tag: u8, id: u64 },
}

/// A class as the dump has it.
#[derive(Default)]
pub(super) struct Class {
    pub(super) id: u64,
    pub(super) parent: u64,
    pub(super) loader: u64,
    /// Name and type of its own fields, in the order of an instance's bytes.
    pub(super) fields: Vec<(u64, u8)>,
    /// Name and object of its static fields that refer to one.
    pub(super) statics: Vec<(u64, u64)>,
}

/// Bytes of an element of type `kind`; that of a reference is `id_size`.
pub(super) fn size_of(kind: u8, id_size: usize) -> Option<usize> {
    match kind {
        2 => Some(id_size),
        4..=11 => Some(super::primitive(kind).1),
        _ => None,
    }
}

/// A big-endian number of 1 to 8 bytes.
pub(super) fn number(bytes: &[u8]) -> u64 {
    match bytes.try_into() {
        Ok(eight) => u64::from_be_bytes(eight),
        Err(_) => bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)),
    }
}

pub(super) struct Stream<'r> {
    input: &'r mut dyn Read,
    window: Vec<u8>,
    start: usize,
    end: usize,
    /// Offset in the file of the window's start.
    at: u64,
    pub(super) id_size: usize,
    pub(super) time_ms: i64,
    /// Set where the file unfolds to more than is allowed.
    refused: Option<Error>,
}

impl<'r> Stream<'r> {
    /// Reads the header.
    pub(super) fn open(input: &'r mut dyn Read) -> Result<Stream<'r>, Error> {
        let mut stream = Stream {
            input,
            window: vec![0; WINDOW],
            start: 0,
            end: 0,
            at: 0,
            id_size: 8,
            time_ms: 0,
            refused: None,
        };
        stream.fill(64);
        if !super::is(stream.rest()) {
            let reason = "it does not begin with JAVA PROFILE 1.0.".into();
            return Err(Error::NotThis { format: FORMAT, reason });
        }
        let cut = |at| Error::Damaged { format: FORMAT, at, reason: "its header is cut off".into() };
        let name = stream.rest().iter().take(64).position(|byte| *byte == 0);
        let rest = name.and_then(|end| stream.take(end + 1).map(|_| ()));
        rest.ok_or_else(|| cut(stream.at))?;
        let id_size = stream.take(4).map(number);
        stream.id_size = match id_size.ok_or_else(|| cut(stream.at))? {
            4 => 4,
            8 => 8,
            other => {
                let reason = format!("its ids have {other} bytes");
                return Err(Error::Unsupported { format: FORMAT, reason });
            }
        };
        let time = stream.take(8).map(number);
        stream.time_ms = time.ok_or_else(|| cut(stream.at))? as i64;
        Ok(stream)
    }

    fn rest(&self) -> &[u8] {
        self.window.get(self.start..self.end).unwrap_or_default()
    }

    /// Gets `count` bytes into the window, as far as the file has them and the window room.
    fn fill(&mut self, count: usize) {
        if self.end - self.start >= count || count > WINDOW {
            return;
        }
        self.window.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        while self.end < count {
            let Some(room) = self.window.get_mut(self.end..) else { return };
            match self.input.read(room) {
                Ok(0) => return,
                Ok(read) => self.end += read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                // As a file that ends here, but for a bomb: what there is, is used.
                Err(error) => {
                    self.refused = crate::unwrap::refusal(FORMAT, &error);
                    return;
                }
            }
        }
    }

    fn take(&mut self, count: usize) -> Option<&[u8]> {
        self.fill(count);
        let start = self.start;
        let taken =
            self.window.get(start..start.checked_add(count)?).filter(|_| start + count <= self.end)?;
        self.start += count;
        self.at += count as u64;
        Some(taken)
    }

    fn skip(&mut self, mut count: u64) -> Option<()> {
        while count > 0 {
            if self.start == self.end {
                self.fill(1);
            }
            let step = count.min((self.end - self.start) as u64);
            if step == 0 {
                return None;
            }
            self.start += step as usize;
            self.at += step;
            count -= step;
        }
        Some(())
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn number(&mut self, size: usize) -> Option<u64> {
        self.take(size).map(number)
    }

    fn id(&mut self) -> Option<u64> {
        self.number(self.id_size)
    }

    /// Every item to `each`, as far as the file makes sense; where that ends before its end.
    ///
    /// # Errors
    /// The file unfolds to more than is allowed.
    pub(super) fn items(mut self, each: &mut dyn FnMut(Item<'_>)) -> Result<Option<Cut>, Error> {
        let cut = self.walk(each);
        self.refused.map_or(Ok(cut), Err)
    }

    fn walk(&mut self, each: &mut dyn FnMut(Item<'_>)) -> Option<Cut> {
        // A heap in one record needs no end; one in segments has a record for it.
        let mut complete = false;
        loop {
            self.fill(1);
            let head = self.at;
            if self.rest().is_empty() {
                let reading = "the records: that of the heap's end does not follow".to_owned();
                return (!complete).then_some(Cut { at: head, reading });
            }
            let cut = |at: u64, reading: &str| Some(Cut { at, reading: reading.to_owned() });
            let read = self
                .take(9)
                .map(|head| (head.first().copied().unwrap_or(0), number(head.get(5..9).unwrap_or_default())));
            let Some((tag, length)) = read else { return cut(head, "the head of a record") };
            let end = self.at + length;
            complete |= matches!(tag, 0x0c | 0x2c);
            let done = match tag {
                0x01 => self.text(length, each),
                0x02 => self.class_name(length, each),
                0x0c | 0x1c => {
                    while self.at < end {
                        let at = self.at;
                        if self.object(end, each).is_none() {
                            return cut(at, "a record of the heap");
                        }
                    }
                    Some(())
                }
                _ => self.skip(length),
            };
            if done.is_none() || self.at > end {
                return cut(head, "a record");
            }
        }
    }

    fn text(&mut self, length: u64, each: &mut dyn FnMut(Item<'_>)) -> Option<()> {
        let length = length.checked_sub(self.id_size as u64)?;
        let id = self.id()?;
        // No name of a class file is longer.
        if length > 65_535 {
            return self.skip(length);
        }
        each(Item::Text { id, text: self.take(length as usize)? });
        Some(())
    }

    fn class_name(&mut self, length: u64, each: &mut dyn FnMut(Item<'_>)) -> Option<()> {
        let end = self.at + length;
        self.number(4)?;
        let class = self.id()?;
        self.number(4)?;
        each(Item::Name { class, name: self.id()? });
        self.skip(end.checked_sub(self.at)?)
    }

    fn object(&mut self, end: u64, each: &mut dyn FnMut(Item<'_>)) -> Option<()> {
        let id_size = self.id_size;
        let tag = self.u8()?;
        // Roots: the id, and this much more.
        let root = match tag {
            0xff | 0x05 | 0x07 => Some(0),
            0x01 => Some(id_size),
            0x02 | 0x03 | 0x08 => Some(8),
            0x04 | 0x06 => Some(4),
            _ => None,
        };
        if let Some(more) = root {
            let id = self.id()?;
            self.take(more)?;
            each(Item::Root { tag, id });
            return Some(());
        }
        match tag {
            0x20 => {
                let class = self.class()?;
                each(Item::Class(class));
            }
            0x21 => {
                // One look for the whole head: there are tens of millions.
                let head = self.take(2 * id_size + 8)?;
                let id = number(head.get(..id_size)?);
                let class = number(head.get(id_size + 4..2 * id_size + 4)?);
                let length = number(head.get(2 * id_size + 4..)?);
                if length > end.checked_sub(self.at)? {
                    return None;
                }
                each(Item::Instance { id, class, fields: self.take(usize::try_from(length).ok()?)? });
            }
            0x22 => {
                let head = self.take(2 * id_size + 8)?;
                let id = number(head.get(..id_size)?);
                let count = number(head.get(id_size + 4..id_size + 8)?);
                let class = number(head.get(id_size + 8..)?);
                let mut left = count * id_size as u64;
                if left > end.checked_sub(self.at)? {
                    return None;
                }
                each(Item::Array { id, class, bytes: left });
                while left > 0 {
                    let step = left.min(64 << 10);
                    each(Item::Elements(self.take(step as usize)?));
                    left -= step;
                }
            }
            0x23 => {
                let head = self.take(id_size + 9)?;
                let id = number(head.get(..id_size)?);
                let count = number(head.get(id_size + 4..id_size + 8)?);
                let kind = head.last().copied()?;
                let bytes = count * super::primitive(kind).1 as u64;
                if bytes > end.checked_sub(self.at)? {
                    return None;
                }
                self.skip(bytes)?;
                each(Item::Primitives { id, kind, bytes });
            }
            _ => return None,
        }
        Some(())
    }

    fn class(&mut self) -> Option<Class> {
        let id = self.id()?;
        self.number(4)?;
        let mut class = Class { id, parent: self.id()?, loader: self.id()?, ..Class::default() };
        // Signers, protection domain, two reserved, the size of an instance.
        self.take(4 * self.id_size + 4)?;
        for _ in 0..self.number(2)? {
            self.take(2)?;
            let kind = self.u8()?;
            self.take(size_of(kind, self.id_size)?)?;
        }
        for _ in 0..self.number(2)? {
            let (name, kind) = (self.id()?, self.u8()?);
            let value = self.number(size_of(kind, self.id_size)?)?;
            if kind == 2 && value != 0 {
                class.statics.push((name, value));
            }
        }
        for _ in 0..self.number(2)? {
            class.fields.push((self.id()?, self.u8()?));
        }
        Some(class)
    }
}

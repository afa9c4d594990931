//! The records of a dump, one after the other, out of a window on the file.

use super::FORMAT;
use super::input::Input;
use crate::{Cut, Error};

/// Bytes that are looked at in one piece: no record's head, and no instance of an honest class, is
/// larger.
const WINDOW: usize = 4 << 20;
/// Bytes that are read at once: what is decoded is in the processor's cache still.
const READ: usize = 256 << 10;
/// Bytes that hold any record's head.
const HEAD: usize = 32;
/// References of an array that are handed on at once.
const ELEMENTS: usize = 64 << 10;

/// What takes the records. Ids are `ID` bytes long.
pub(super) trait Visit {
    /// A name.
    fn text(&mut self, _id: u64, _text: &[u8]) {}
    /// The name of a class.
    fn name(&mut self, _class: u64, _name: u64) {}
    /// The next record of the heap starts at `at`; what holds it ends at `end`.
    fn place(&mut self, _at: u64, _end: u64) {}
    /// A class.
    fn class(&mut self, _class: Class) {}
    /// An object; its fields' bytes, its own class's first.
    fn instance<const ID: usize>(&mut self, _id: u64, _class: u64, _fields: &[u8]) {}
    /// An array of references: its head; then come its elements in pieces.
    fn array(&mut self, _id: u64, _class: u64, _bytes: u64) {}
    /// References of the array before.
    fn elements<const ID: usize>(&mut self, _elements: &[u8]) {}
    /// An array of primitives.
    fn primitives(&mut self, _id: u64, _kind: u8, _bytes: u64) {}
    /// A root: its tag, its object.
    fn root(&mut self, _tag: u8, _id: u64) {}
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

/// A part of the file that starts with a record of the heap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    /// Where it starts.
    pub(super) start: u64,
    /// Where what holds its first record ends.
    pub(super) end: u64,
    /// Where it stops: between two records.
    pub(super) stop: u64,
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

/// The number of `SIZE` bytes at `at`.
#[inline(always)]
pub(super) fn sized<const SIZE: usize>(bytes: &[u8], at: usize) -> Option<u64> {
    let part = bytes.get(at..at.checked_add(SIZE)?)?;
    Some(match SIZE {
        8 => u64::from_be_bytes(part.try_into().ok()?),
        4 => u64::from(u32::from_be_bytes(part.try_into().ok()?)),
        _ => number(part),
    })
}

pub(super) struct Stream<'i> {
    input: &'i mut dyn Input,
    window: Vec<u8>,
    start: usize,
    end: usize,
    /// Offset in the file of the window's first byte.
    base: u64,
    /// Nothing from there on is read.
    limit: u64,
    /// Where the first record starts.
    first: u64,
    pub(super) id_size: usize,
    pub(super) time_ms: i64,
    /// Set where the file unfolds to more than is allowed.
    refused: Option<Error>,
}

impl<'i> Stream<'i> {
    /// Reads the header.
    pub(super) fn open(input: &'i mut dyn Input) -> Result<Stream<'i>, Error> {
        let mut stream = Stream {
            input,
            window: vec![0; WINDOW],
            start: 0,
            end: 0,
            base: 0,
            limit: u64::MAX,
            first: 0,
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
        rest.ok_or_else(|| cut(stream.at()))?;
        let id_size = stream.take(4).map(number);
        stream.id_size = match id_size.ok_or_else(|| cut(stream.at()))? {
            4 => 4,
            8 => 8,
            other => {
                let reason = format!("its ids have {other} bytes");
                return Err(Error::Unsupported { format: FORMAT, reason });
            }
        };
        let time = stream.take(8).map(number);
        stream.time_ms = time.ok_or_else(|| cut(stream.at()))? as i64;
        stream.first = stream.at();
        Ok(stream)
    }

    /// Where in the file the next byte is.
    pub(super) fn at(&self) -> u64 {
        self.base + self.start as u64
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
        self.base += self.start as u64;
        (self.start, self.end) = (0, self.end - self.start);
        while self.end < count {
            let at = self.base + self.end as u64;
            let most = self.limit.saturating_sub(at).min(READ as u64) as usize;
            let room = self.end..(self.end + most).min(WINDOW);
            let Some(room) = self.window.get_mut(room).filter(|room| !room.is_empty()) else { return };
            match self.input.read_at(at, room) {
                Ok(0) => return,
                Ok(read) => self.end += read,
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
        Some(taken)
    }

    /// Passes over `count` bytes that the file must have; what is beyond the window is not read.
    fn skip(&mut self, count: u64) -> Option<()> {
        let held = (self.end - self.start) as u64;
        if count > held {
            self.base = self.at().checked_add(count - 1)?;
            (self.start, self.end) = (0, 0);
            return self.take(1).map(|_| ());
        }
        self.start += count as usize;
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

    /// Every record to `visit`, as far as the file makes sense; where that ends before its end.
    ///
    /// # Errors
    /// The file unfolds to more than is allowed.
    pub(super) fn all(&mut self, visit: &mut impl Visit) -> Result<Option<Cut>, Error> {
        let cut = match self.id_size {
            4 => self.walk::<4>(u64::MAX, 0, visit),
            _ => self.walk::<8>(u64::MAX, 0, visit),
        };
        self.refused.take().map_or(Ok(cut), Err)
    }

    /// Every record once more.
    ///
    /// # Errors
    /// As [`all`](Stream::all).
    pub(super) fn again(&mut self, visit: &mut impl Visit) -> Result<Option<Cut>, Error> {
        (self.base, self.start, self.end) = (self.first, 0, 0);
        self.all(visit)
    }

    /// The records of `span` to `visit`.
    pub(super) fn part(&mut self, span: Span, visit: &mut impl Visit) {
        if (self.base..=self.base + self.end as u64).contains(&span.start) {
            self.start = (span.start - self.base) as usize;
        } else {
            (self.base, self.start, self.end) = (span.start, 0, 0);
        }
        // No record of it ends behind the stop.
        self.limit = span.stop;
        match self.id_size {
            4 => self.walk::<4>(span.stop, span.end, visit),
            _ => self.walk::<8>(span.stop, span.end, visit),
        };
        self.limit = u64::MAX;
    }

    /// Every record that starts before `stop`; the heap's, if `inside` is where what holds them
    /// ends.
    fn walk<const ID: usize>(&mut self, stop: u64, inside: u64, visit: &mut impl Visit) -> Option<Cut> {
        // A heap in one record needs no end; one in segments has a record for it.
        let mut complete = false;
        let cut = |at: u64, reading: &str| Some(Cut { at, reading: reading.to_owned() });
        if let Err(at) = self.objects::<ID>(inside, stop, visit) {
            return cut(at, "a record of the heap");
        }
        while self.at() < stop {
            self.fill(1);
            let head = self.at();
            if self.rest().is_empty() {
                let reading = "the records: that of the heap's end does not follow".to_owned();
                return (!complete).then_some(Cut { at: head, reading });
            }
            let read = self
                .take(9)
                .map(|head| (head.first().copied().unwrap_or(0), number(head.get(5..9).unwrap_or_default())));
            let Some((tag, length)) = read else { return cut(head, "the head of a record") };
            let end = self.at() + length;
            complete |= matches!(tag, 0x0c | 0x2c);
            let done = match tag {
                0x01 => self.text(length, visit),
                0x02 => self.class_name(length, visit),
                0x0c | 0x1c => match self.objects::<ID>(end, stop, visit) {
                    Ok(()) => Some(()),
                    Err(at) => return cut(at, "a record of the heap"),
                },
                _ => self.skip(length),
            };
            if done.is_none() || self.at() > end {
                return cut(head, "a record");
            }
        }
        None
    }

    fn text(&mut self, length: u64, visit: &mut impl Visit) -> Option<()> {
        let length = length.checked_sub(self.id_size as u64)?;
        let id = self.id()?;
        // No name of a class file is longer.
        if length > 65_535 {
            return self.skip(length);
        }
        visit.text(id, self.take(length as usize)?);
        Some(())
    }

    fn class_name(&mut self, length: u64, visit: &mut impl Visit) -> Option<()> {
        let end = self.at() + length;
        self.number(4)?;
        let class = self.id()?;
        self.number(4)?;
        let name = self.id()?;
        visit.name(class, name);
        self.skip(end.checked_sub(self.at())?)
    }

    /// The records of the heap up to `end` that start before `stop`.
    ///
    /// # Errors
    /// Where one starts that makes no sense.
    fn objects<const ID: usize>(&mut self, end: u64, stop: u64, visit: &mut impl Visit) -> Result<(), u64> {
        let stop = end.min(stop);
        while self.at() < stop {
            let at = self.at();
            if self.end - self.start < HEAD {
                self.fill(HEAD);
            }
            visit.place(at, end);
            self.object::<ID>(end, visit).ok_or(at)?;
        }
        Ok(())
    }

    #[inline(always)]
    fn object<const ID: usize>(&mut self, end: u64, visit: &mut impl Visit) -> Option<()> {
        let held = self.window.get(self.start..self.end)?;
        let mut padded = [0; HEAD];
        // Of one length, so that what is in it needs no look at its length.
        let head: &[u8; HEAD] = match held.first_chunk() {
            Some(head) => head,
            None => {
                padded.get_mut(..held.len())?.copy_from_slice(held);
                &padded
            }
        };
        let tag = *held.first()?;
        match tag {
            0x21 => {
                let (id, class) = (sized::<ID>(head, 1)?, sized::<ID>(head, ID + 5)?);
                let length = sized::<4>(head, 2 * ID + 5)?;
                let (start, count) = (2 * ID + 9, length as usize);
                if length > end.checked_sub(self.at() + start as u64)? {
                    return None;
                }
                match held.get(start..start + count) {
                    Some(fields) => {
                        visit.instance::<ID>(id, class, fields);
                        self.start += start + count;
                    }
                    None => {
                        self.take(start)?;
                        visit.instance::<ID>(id, class, self.take(count)?);
                    }
                }
            }
            0x22 => {
                let (id, count) = (sized::<ID>(head, 1)?, sized::<4>(head, ID + 5)?);
                let class = sized::<ID>(head, ID + 9)?;
                self.take(2 * ID + 9)?;
                let mut left = count * ID as u64;
                if left > end.checked_sub(self.at())? {
                    return None;
                }
                visit.array(id, class, left);
                while left > 0 {
                    let step = left.min(ELEMENTS as u64);
                    visit.elements::<ID>(self.take(step as usize)?);
                    left -= step;
                }
            }
            0x23 => {
                let (id, count) = (sized::<ID>(head, 1)?, sized::<4>(head, ID + 5)?);
                let kind = *head.get(ID + 9)?;
                self.take(ID + 10)?;
                let bytes = count * super::primitive(kind).1 as u64;
                if bytes > end.checked_sub(self.at())? {
                    return None;
                }
                self.skip(bytes)?;
                visit.primitives(id, kind, bytes);
            }
            0x20 => {
                self.start += 1;
                let class = self.class()?;
                visit.class(class);
            }
            _ => {
                // Roots: the id, and this much more.
                let more = match tag {
                    0xff | 0x05 | 0x07 => 0,
                    0x01 => ID,
                    0x02 | 0x03 | 0x08 => 8,
                    0x04 | 0x06 => 4,
                    _ => return None,
                };
                let id = sized::<ID>(head, 1)?;
                self.take(1 + ID + more)?;
                visit.root(tag, id);
            }
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

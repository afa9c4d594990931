//! A chunk: header, metadata, constant pools, events.

use super::metadata::{self, Class, Field, Kind};
use super::value::{self, Value};
use super::{FORMAT, Source};
use crate::Error;
use crate::bytes::Bytes;
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::ops::Range;

/// Bytes of the header.
pub(super) const HEADER: usize = 68;

/// How deep structures may nest in each other.
const DEEPEST: usize = 8;

/// Events are read in pieces of so many bytes, which stay in a core's cache until they are decoded.
const PIECE: usize = 512 << 10;

/// Class → key → value.
type Pools = HashMap<u64, HashMap<u64, Value, RandomState>, RandomState>;

/// What the events of a chunk are read by: its classes, constants and clock. It holds none of its
/// bytes.
pub(super) struct Chunk {
    /// Where it starts in its source.
    base: u64,
    size: usize,
    whole: bool,
    start_ns: i64,
    start_ticks: i64,
    ticks_per_second: i64,
    pub(super) classes: HashMap<u64, Class>,
    pools: Pools,
}

/// The number at `at` of a header.
fn long(header: &[u8; HEADER], at: usize) -> i64 {
    let eight = header.get(at..at + 8).and_then(|eight| eight.try_into().ok());
    eight.map_or(0, i64::from_be_bytes)
}

/// The length of the chunk that starts with `header` (68 bytes); `None` while it is being written.
pub(super) fn length(header: &[u8]) -> Option<u64> {
    let eight = header.get(8..16)?.try_into().ok()?;
    Some(u64::from_be_bytes(eight)).filter(|length| *length >= HEADER as u64)
}

impl Chunk {
    /// The chunk that starts at `base` in `source`, which has `available` bytes of it.
    pub(super) fn open(source: &dyn Source, base: u64, available: usize) -> Result<Chunk, Error> {
        let damaged =
            |at: usize, reason: &str| Error::Damaged { format: FORMAT, at: at as u64, reason: reason.into() };
        let mut header = [0; HEADER];
        let count = source.read_at(base, &mut header).unwrap_or(0).min(available);
        if !header.starts_with(b"FLR\0") {
            return Err(Error::NotThis { format: FORMAT, reason: "it does not begin with FLR".into() });
        }
        if count < HEADER {
            return Err(damaged(0, "no whole header of a chunk is there"));
        }
        let major = u16::from_be_bytes([header[4], header[5]]);
        if !(1..=2).contains(&major) {
            let reason = format!("version {major}; 1 and 2 are known (0.x are JDK 7's and 8's)");
            return Err(Error::Unsupported { format: FORMAT, reason });
        }
        // While it is being written the size and both offsets are zero or of the last flush.
        let said = usize::try_from(long(&header, 8)).unwrap_or(0);
        let whole = said >= HEADER && said <= available;
        let mut chunk = Chunk {
            base,
            size: if whole { said } else { available },
            whole,
            start_ns: long(&header, 32),
            start_ticks: long(&header, 48),
            ticks_per_second: long(&header, 56).max(1),
            classes: HashMap::new(),
            pools: HashMap::default(),
        };
        chunk.tables(source, long(&header, 24) as u64, long(&header, 16) as u64);
        Ok(chunk)
    }

    /// Reads metadata and constant pools: from where the header of a finished chunk says they are,
    /// else, and if anything is not as it says, by a walk over all events.
    fn tables(&mut self, source: &dyn Source, metadata: u64, pool: u64) {
        let (mut pools, mut classes) = self.placed(source, metadata, pool).unwrap_or_default();
        if classes.is_none() {
            pools.clear();
            _ = self.walk(source, HEADER..self.size, |event| match event.kind {
                0 => classes = metadata::read(&mut Bytes::new(event.body)).or(classes.take()),
                1 => pools.push(event.body.to_vec()),
                _ => {}
            });
        }
        self.classes = classes.unwrap_or_default();
        for body in pools {
            // One that is damaged gives what comes before.
            self.pool(&mut Bytes::new(&body));
        }
    }

    /// The constant pools, oldest first, and the metadata, where the header says.
    #[expect(clippy::type_complexity)]
    fn placed(
        &self,
        source: &dyn Source,
        metadata: u64,
        pool: u64,
    ) -> Option<(Vec<Vec<u8>>, Option<HashMap<u64, Class>>)> {
        if !self.whole {
            return None;
        }
        let classes = metadata::read(&mut Bytes::new(&self.body(source, metadata, 0, self.size as u64)?))?;
        let (mut pools, mut at, mut limit) = (Vec::new(), pool, self.size as u64);
        loop {
            let body = self.body(source, at, 1, limit)?;
            let mut bytes = Bytes::new(&body);
            // Start, duration, then how far back the one before is.
            let (_, _, back) =
                (value::number(&mut bytes)?, value::number(&mut bytes)?, value::number(&mut bytes)?);
            pools.push(body);
            let before = at.wrapping_add(back);
            if back == 0 {
                pools.reverse();
                return Some((pools, Some(classes)));
            }
            if before >= at {
                return None;
            }
            // It ends where the later one starts, at most: what is read of all pools is no more
            // than the chunk.
            (limit, at) = (at, before);
        }
    }

    /// The fields of the event at `at`, which must be of class `wanted` and end at `limit` at the
    /// most.
    fn body(&self, source: &dyn Source, at: u64, wanted: u64, limit: u64) -> Option<Vec<u8>> {
        let room = limit.min(self.size as u64).checked_sub(at).filter(|_| at >= HEADER as u64)?;
        let mut head = [0; 9];
        let count = source.read_at(self.base + at, &mut head).ok()?;
        let (size, _) = size(head.get(..count)?, 0).filter(|(size, _)| *size as u64 <= room)?;
        let mut bytes = vec![0; size];
        let count = source.read_at(self.base + at, &mut bytes).ok()?;
        let event = Event::at(bytes.get(..count)?, 0).filter(|event| event.kind == wanted)?;
        Some(event.body.to_vec())
    }

    /// Every event that starts in `range`: where the next one starts, or where that stopped before
    /// the chunk's end, with what.
    #[inline]
    fn walk(
        &self,
        source: &dyn Source,
        range: Range<usize>,
        mut each: impl FnMut(Event<'_>),
    ) -> Result<usize, (usize, String)> {
        let (mut at, mut piece) = (range.start, vec![0; PIECE.min(self.size)]);
        while at < range.end {
            let length = piece.len().min(self.size.saturating_sub(at));
            let bytes = piece.get_mut(..length).unwrap_or_default();
            let count = source.read_at(self.base + at as u64, bytes).unwrap_or(0);
            let bytes = bytes.get(..count).unwrap_or_default();
            let (mut place, stop) = (0, count.min(range.end - at));
            while place < stop {
                let Some(event) = Event::at(bytes, place) else { break };
                place = event.end;
                each(event);
            }
            at += place;
            if place == 0 {
                // Damaged, cut off, or larger than a piece.
                let size = size(bytes, 0).map_or(usize::MAX, |(size, _)| size);
                if size <= count || size > self.size.saturating_sub(at) || count < length {
                    return Err((at, "an event".to_owned()));
                }
                piece.resize(size, 0);
            }
        }
        if at >= self.size && !self.whole {
            return Err((self.size, "a chunk that was still being written".to_owned()));
        }
        Ok(at)
    }

    /// Every event but metadata and constants that starts in `range`. What it gives, as
    /// [`walk`](Self::walk).
    #[inline]
    pub(super) fn events(
        &self,
        source: &dyn Source,
        range: Range<usize>,
        mut each: impl FnMut(Event<'_>),
    ) -> Result<usize, (usize, String)> {
        self.walk(source, range, |event| {
            if event.kind > 1 {
                each(event);
            }
        })
    }

    /// Where an event near the middle starts, most likely: known is only what all events before it
    /// end with.
    pub(super) fn middle(&self, source: &dyn Source) -> Option<usize> {
        /// Events from any place on soon are the true ones: sizes are small, and wrong classes
        /// mostly not known.
        const IN_STEP: usize = 256;
        let (from, mut bytes) = (self.size / 2, vec![0; 64 << 10]);
        let count = source.read_at(self.base + from as u64, &mut bytes).ok()?;
        let bytes = bytes.get(..count)?;
        let walk = |begin: usize| {
            (0..IN_STEP).try_fold(begin, |at, _| {
                let event = Event::at(bytes, at)?;
                (event.kind < 2 || self.classes.contains_key(&event.kind)).then_some(event.end)
            })
        };
        (0..4096).find_map(walk).map(|at| from + at).filter(|at| *at < self.size)
    }

    /// Bytes of the chunk.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    fn pool(&mut self, bytes: &mut Bytes<'_>) -> Option<()> {
        // Start, duration, delta to the pool before.
        for _ in 0..3 {
            value::number(bytes)?;
        }
        let _mask = bytes.u8()?;
        for _ in 0..value::number(bytes)? {
            let id = value::number(bytes)?;
            let mut pool = self.pools.remove(&id).unwrap_or_default();
            let read = self.classes.get(&id).and_then(|class| self.constants(id, class, bytes, &mut pool));
            self.pools.insert(id, pool);
            read?;
        }
        Some(())
    }

    fn constants(
        &self,
        id: u64,
        class: &Class,
        bytes: &mut Bytes<'_>,
        pool: &mut HashMap<u64, Value, RandomState>,
    ) -> Option<()> {
        for _ in 0..value::number(bytes)? {
            let key = value::number(bytes)?;
            let value = if class.name == "java.lang.String" {
                value::text(bytes)?
            } else {
                self.fields_of(id, class, bytes, 0)?
            };
            pool.insert(key, value);
        }
        Some(())
    }

    fn fields_of(&self, id: u64, class: &Class, bytes: &mut Bytes<'_>, depth: usize) -> Option<Value> {
        let values = class.fields.iter().map(|field| self.value(field, bytes, depth));
        Some(Value::Struct(id, values.collect::<Option<_>>()?))
    }

    fn value(&self, field: &Field, bytes: &mut Bytes<'_>, depth: usize) -> Option<Value> {
        if !field.is_array {
            return self.single(field, bytes, depth);
        }
        let count = usize::try_from(value::number(bytes)?).ok()?;
        // An element takes a byte at least.
        if count > bytes.rest().len() {
            return None;
        }
        if let Some(class) =
            self.classes.get(&field.class).filter(|class| !field.is_constant && class.is_plain())
        {
            return rows(class, count, bytes).map(|numbers| Value::Rows(field.class, numbers));
        }
        (0..count).map(|_| self.single(field, bytes, depth)).collect::<Option<_>>().map(Value::Array)
    }

    fn single(&self, field: &Field, bytes: &mut Bytes<'_>, depth: usize) -> Option<Value> {
        if field.is_constant {
            return Some(Value::Constant(field.class, value::number(bytes)?));
        }
        Some(match field.kind {
            Kind::Byte => Value::Number(i64::from(bytes.u8()? as i8)),
            Kind::Number => Value::Number(value::number(bytes)? as i64),
            Kind::Float => bytes.take(4).map(|_| Value::Nothing)?,
            Kind::Double => bytes.take(8).map(|_| Value::Nothing)?,
            Kind::Text => value::text(bytes)?,
            Kind::Struct if depth < DEEPEST => {
                let class = self.classes.get(&field.class)?;
                // One without fields would take no byte: arrays of it could be endless.
                if class.fields.is_empty() {
                    return None;
                }
                self.fields_of(field.class, class, bytes, depth + 1)?
            }
            Kind::Struct => return None,
        })
    }

    /// The fields of an event.
    pub(super) fn fields<'c>(&'c self, class: &'c Class, body: &[u8]) -> Option<Fields<'c>> {
        let mut bytes = Bytes::new(body);
        let values = class.fields.iter().map(|field| self.value(field, &mut bytes, 0));
        Some(Fields { chunk: self, class, values: values.collect::<Option<_>>()? })
    }

    /// The constant `key` of the pool of the class `id`.
    pub(super) fn constant(&self, id: u64, key: u64) -> Option<View<'_>> {
        let value = self.pools.get(&id)?.get(&key)?;
        Some(View { chunk: self, part: Part::Value(value) })
    }

    /// True where async-profiler wrote it: only its list of frame types has the kernel's.
    pub(super) fn is_async_profiler(&self) -> bool {
        let types = self.classes.iter().find(|(_, class)| class.name == "jdk.types.FrameType");
        let pool = types.and_then(|(id, _)| self.pools.get(id));
        pool.into_iter().flat_map(HashMap::values).any(|value| {
            View { chunk: self, part: Part::Value(value) }
                .field_text("description")
                .is_some_and(|text| text == "Kernel")
        })
    }

    /// Ticks as milliseconds since the Unix epoch.
    pub(super) fn time_ms(&self, ticks: i64) -> i64 {
        let ns = i128::from(ticks.wrapping_sub(self.start_ticks)) * 1_000_000_000
            / i128::from(self.ticks_per_second);
        i64::try_from((i128::from(self.start_ns) + ns) / 1_000_000).unwrap_or(0)
    }
}

/// An event.
#[derive(Clone, Copy)]
pub(super) struct Event<'a> {
    /// Its class.
    pub(super) kind: u64,
    /// Its fields.
    pub(super) body: &'a [u8],
    /// Its fields and all that follows in the chunk, for readers that look at several bytes at
    /// once.
    pub(super) more: &'a [u8],
    /// Where it ends.
    end: usize,
}

impl<'a> Event<'a> {
    /// The event that starts at `at`.
    #[inline(always)]
    fn at(bytes: &'a [u8], at: usize) -> Option<Event<'a>> {
        let (size, head) = size(bytes, at)?;
        let end = at.checked_add(size)?;
        let mut fields = Bytes::new(bytes.get(at + head..end)?);
        let kind = match fields.rest() {
            // Nearly all have a type below 2^14.
            [low, ..] if *low < 0x80 => {
                fields.skip(1);
                u64::from(*low)
            }
            [low, high, ..] if *high < 0x80 => {
                fields.skip(2);
                u64::from(low & 0x7f) | u64::from(*high) << 7
            }
            _ => value::number(&mut fields)?,
        };
        let body = fields.rest();
        Some(Event { kind, body, more: bytes.get(end - body.len()..)?, end })
    }
}

/// The size of the event at `at`, and how many bytes say so.
#[inline(always)]
fn size(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let (size, head) = match *bytes.get(at)? {
        small @ 0..0x80 => (usize::from(small), 1),
        _ => {
            let mut head = Bytes::new(bytes.get(at..)?);
            (usize::try_from(value::number(&mut head)?).ok()?, head.at())
        }
    };
    // At least a type follows.
    (size > head).then_some((size, head))
}

/// The numbers of `count` structures of a plain class, one after the other.
fn rows(class: &Class, count: usize, bytes: &mut Bytes<'_>) -> Option<Vec<i64>> {
    let all = count.checked_mul(class.fields.len()).filter(|all| *all <= bytes.rest().len())?;
    let mut numbers = Vec::with_capacity(all);
    for _ in 0..count {
        for field in &class.fields {
            numbers.push(match field.kind {
                Kind::Byte if !field.is_constant => i64::from(bytes.u8()? as i8),
                _ => value::number(bytes)? as i64,
            });
        }
    }
    Some(numbers)
}

/// As much of a text as is worth a copy.
fn beginning(text: &str) -> String {
    /// Bytes; no name in a class file is longer.
    const MOST: usize = 64 << 10;
    let end = (0..=text.len().min(MOST)).rev().find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or(0)).unwrap_or_default().to_owned()
}

/// The fields of an event.
pub(super) struct Fields<'c> {
    chunk: &'c Chunk,
    class: &'c Class,
    values: Vec<Value>,
}

impl<'c> Fields<'c> {
    fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(self.class.field(name)?.0)
    }

    pub(super) fn number(&self, name: &str) -> Option<i64> {
        match self.get(name)? {
            Value::Number(number) => Some(*number),
            _ => None,
        }
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        View { chunk: self.chunk, part: Part::Value(self.get(name)?) }.text()
    }

    pub(super) fn constant(&self, name: &str) -> Option<View<'c>> {
        match self.get(name)? {
            Value::Constant(class, key) => self.chunk.constant(*class, *key),
            _ => None,
        }
    }

    /// Every field that is a number.
    pub(super) fn numbers(&self) -> impl Iterator<Item = (&str, i64)> {
        self.class.fields.iter().zip(&self.values).filter_map(|(field, value)| match value {
            Value::Number(number) => Some((field.name.as_str(), *number)),
            _ => None,
        })
    }
}

/// A value with the chunk it refers into.
#[derive(Clone, Copy)]
pub(super) struct View<'c> {
    chunk: &'c Chunk,
    part: Part<'c>,
}

#[derive(Clone, Copy)]
enum Part<'c> {
    Value(&'c Value),
    /// A structure of a plain class.
    Row(&'c Class, &'c [i64]),
}

impl<'c> View<'c> {
    /// The numbers that a plain structure is made of: the same ones are the same structure.
    pub(super) fn numbers(self) -> Option<&'c [i64]> {
        match self.part {
            Part::Row(_, numbers) => Some(numbers),
            Part::Value(_) => None,
        }
    }

    /// The field `name` of a structure; a constant is looked up.
    pub(super) fn field(self, name: &str) -> Option<View<'c>> {
        match self.part {
            Part::Value(Value::Struct(class, values)) => {
                let (place, _) = self.chunk.classes.get(class)?.field(name)?;
                match values.get(place)? {
                    Value::Constant(class, key) => self.chunk.constant(*class, *key),
                    value => Some(View { chunk: self.chunk, part: Part::Value(value) }),
                }
            }
            Part::Row(class, numbers) => {
                let (place, field) = class.field(name).filter(|(_, field)| field.is_constant)?;
                self.chunk.constant(field.class, *numbers.get(place)? as u64)
            }
            Part::Value(_) => None,
        }
    }

    pub(super) fn text(self) -> Option<String> {
        self.text_within(DEEPEST)
    }

    /// The same, looking into so many structures at most: constants can refer to each other in a
    /// circle.
    fn text_within(self, depth: usize) -> Option<String> {
        let Part::Value(value) = self.part else { return None };
        match value {
            Value::Text(text) => Some(beginning(text)),
            Value::TextConstant(key) => {
                let (id, _) =
                    self.chunk.classes.iter().find(|(_, class)| class.name == "java.lang.String")?;
                match self.chunk.pools.get(id)?.get(key)? {
                    Value::Text(text) => Some(beginning(text)),
                    _ => None,
                }
            }
            // A symbol: a structure around a string.
            Value::Struct(..) => self.field("string")?.text_within(depth.checked_sub(1)?),
            _ => None,
        }
    }

    pub(super) fn field_text(self, name: &str) -> Option<String> {
        self.field(name)?.text()
    }

    pub(super) fn field_number(self, name: &str) -> Option<i64> {
        if let Part::Row(class, numbers) = self.part {
            let (place, _) = class.field(name).filter(|(_, field)| !field.is_constant)?;
            return numbers.get(place).copied();
        }
        match self.field(name)?.part {
            Part::Value(Value::Number(number)) => Some(*number),
            _ => None,
        }
    }

    /// The elements of an array.
    pub(super) fn elements(self) -> impl Iterator<Item = View<'c>> {
        let chunk = self.chunk;
        let (elements, rows): (&[Value], _) = match self.part {
            Part::Value(Value::Array(elements)) => (elements, None),
            Part::Value(Value::Rows(class, numbers)) => {
                (&[], chunk.classes.get(class).map(|class| (class, numbers)))
            }
            _ => (&[], None),
        };
        let rows = rows.into_iter().flat_map(|(class, numbers)| {
            numbers.chunks_exact(class.fields.len().max(1)).map(move |row| Part::Row(class, row))
        });
        elements.iter().map(Part::Value).chain(rows).map(move |part| View { chunk, part })
    }
}

//! A chunk: header, metadata, constant pools, events.

use super::FORMAT;
use super::metadata::{self, Class, Field, Kind};
use super::value::{self, Value};
use crate::Error;
use crate::bytes::Bytes;
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::ops::Range;

/// Bytes of the header.
pub(super) const HEADER: usize = 68;

/// How deep structures may nest in each other.
const DEEPEST: usize = 8;

/// Class → key → value.
type Pools = HashMap<u64, HashMap<u64, Value, RandomState>, RandomState>;

/// What the events of a chunk are read by: its classes, constants and clock. It holds none of its bytes.
pub(super) struct Chunk {
    size: usize,
    whole: bool,
    start_ns: i64,
    start_ticks: i64,
    ticks_per_second: i64,
    pub(super) classes: HashMap<u64, Class>,
    pools: Pools,
}

/// The length of the chunk that begins with `header` (68 bytes); `None` while it is being written.
pub(super) fn length(header: &[u8]) -> Option<u64> {
    let eight = header.get(8..16)?.try_into().ok()?;
    Some(u64::from_be_bytes(eight)).filter(|length| *length >= HEADER as u64)
}

impl Chunk {
    /// Of `bytes`, which are the chunk's, from its header on.
    pub(super) fn open(bytes: &[u8]) -> Result<Chunk, Error> {
        let damaged =
            |at: usize, reason: &str| Error::Damaged { format: FORMAT, at: at as u64, reason: reason.into() };
        let long = |at: usize| -> Result<i64, Error> {
            let eight = bytes.get(at..at + 8).and_then(|eight| eight.try_into().ok());
            eight.map(i64::from_be_bytes).ok_or_else(|| damaged(at, "the chunk's header is cut off"))
        };
        if !bytes.starts_with(b"FLR\0") || bytes.len() < HEADER {
            return Err(damaged(0, "no whole header of a chunk is there"));
        }
        let major = u16::from_be_bytes([bytes[4], bytes[5]]);
        if !(1..=2).contains(&major) {
            let reason = format!("version {major}; 1 and 2 are known (0.x are JDK 7's and 8's)");
            return Err(Error::Unsupported { format: FORMAT, reason });
        }
        // While it is being written the size and both offsets are zero or of the last flush.
        let said = usize::try_from(long(8)?).unwrap_or(0);
        let whole = said >= HEADER && said <= bytes.len();
        let size = if whole { said } else { bytes.len() };
        let mut chunk = Chunk {
            size,
            whole,
            start_ns: long(32)?,
            start_ticks: long(48)?,
            ticks_per_second: long(56)?.max(1),
            classes: HashMap::new(),
            pools: HashMap::default(),
        };
        chunk.tables(bytes.get(..size).unwrap_or(bytes));
        Ok(chunk)
    }

    /// Reads metadata and constant pools: from where the header of a finished chunk says they are, else, and if anything is
    /// not as it says, by a walk over all events.
    fn tables(&mut self, bytes: &[u8]) {
        let (mut pools, mut classes) = self.placed(bytes).unwrap_or_default();
        if classes.is_none() {
            pools.clear();
            self.walk(bytes, HEADER..bytes.len(), |event| match event.kind {
                0 => classes = metadata::read(&mut Bytes::new(event.body)).or(classes.take()),
                1 => pools.push(event.body),
                _ => {}
            });
        }
        self.classes = classes.unwrap_or_default();
        for body in pools {
            // One that is damaged gives what comes before.
            self.pool(&mut Bytes::new(body));
        }
    }

    /// The constant pools, oldest first, and the metadata, where the header says.
    #[expect(clippy::type_complexity)]
    fn placed<'a>(&self, bytes: &'a [u8]) -> Option<(Vec<&'a [u8]>, Option<HashMap<u64, Class>>)> {
        let long =
            |at: usize| -> Option<u64> { Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?)) };
        let event = |at: u64, wanted: u64| {
            let event = Event::at(bytes, usize::try_from(at).ok().filter(|at| *at >= HEADER)?)?;
            (event.kind == wanted).then_some(event.body)
        };
        if !self.whole {
            return None;
        }
        let classes = metadata::read(&mut Bytes::new(event(long(24)?, 0)?))?;
        let (mut pools, mut at) = (Vec::new(), long(16)?);
        loop {
            let body = event(at, 1)?;
            pools.push(body);
            let mut bytes = Bytes::new(body);
            // Start, duration, then how far back the one before is.
            let (_, _, back) =
                (value::number(&mut bytes)?, value::number(&mut bytes)?, value::number(&mut bytes)?);
            let before = at.wrapping_add(back);
            if back == 0 {
                pools.reverse();
                return Some((pools, Some(classes)));
            }
            if before >= at {
                return None;
            }
            at = before;
        }
    }

    /// Every event that begins in `range`; where that stopped before the chunk's end, with what.
    #[inline]
    fn walk<'a>(
        &self,
        bytes: &'a [u8],
        range: Range<usize>,
        mut each: impl FnMut(Event<'a>),
    ) -> Option<(usize, String)> {
        let mut at = range.start;
        while at < range.end {
            let Some(event) = Event::at(bytes, at) else {
                return Some((at, "an event".to_owned()));
            };
            at = event.end;
            each(event);
        }
        (at >= bytes.len() && !self.whole)
            .then(|| (self.size, "a chunk that was still being written".to_owned()))
    }

    /// Every event but metadata and constants that begins in `range` of the chunk's `bytes`. Where it stopped, as
    /// [`walk`](Self::walk).
    #[inline]
    pub(super) fn events<'a>(
        &self,
        bytes: &'a [u8],
        range: Range<usize>,
        mut each: impl FnMut(Event<'a>),
    ) -> Option<(usize, String)> {
        let bytes = bytes.get(..self.size).unwrap_or(bytes);
        self.walk(bytes, range.start..range.end.min(bytes.len()), |event| {
            if event.kind > 1 {
                each(event);
            }
        })
    }

    /// Where the chunk's `bytes` can be cut in two of about the same size, between two events.
    pub(super) fn middle(&self, bytes: &[u8]) -> usize {
        let mut at = HEADER;
        while at < self.size / 2 {
            // The first half will find the damage, too.
            let Some((size, _)) = size(bytes, at) else { return self.size };
            at = at.saturating_add(size);
        }
        at.min(self.size)
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
            let class = self.classes.get(&id)?.clone();
            let mut pool = std::mem::take(self.pools.entry(id).or_default());
            let read = self.constants(id, &class, bytes, &mut pool);
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
    /// Its fields and all that follows in the chunk, for readers that look at several bytes at once.
    pub(super) more: &'a [u8],
    /// Where it ends.
    end: usize,
}

impl<'a> Event<'a> {
    /// The event that begins at `at`.
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
        let Part::Value(value) = self.part else { return None };
        match value {
            Value::Text(text) => Some(text.clone()),
            Value::TextConstant(key) => {
                let (id, _) =
                    self.chunk.classes.iter().find(|(_, class)| class.name == "java.lang.String")?;
                match self.chunk.pools.get(id)?.get(key)? {
                    Value::Text(text) => Some(text.clone()),
                    _ => None,
                }
            }
            // A symbol: a structure around a string.
            Value::Struct(..) => self.field("string")?.text(),
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

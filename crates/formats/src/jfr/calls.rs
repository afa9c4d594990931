//! `profiler.Malloc` and `profiler.Free`, decoded.

use super::chunk::{Chunk, Event};
use super::metadata::{Class, Field, Kind};
use super::value::{self, Numbers};
use foldhash::fast::RandomState;
use std::collections::HashMap;

/// Fields of an event that are looked at.
const MAX_FIELDS: usize = value::MOST;

/// Where the fields of an event are: there may be tens of millions of events, so names are looked
/// at once a chunk.
struct Layout {
    /// How many fields are before the end of the last that is looked at.
    fields: usize,
    /// Places among the fields; [`MAX_FIELDS`] where there is no such field.
    time: usize,
    address: usize,
    size: usize,
    stack: usize,
    /// The pool of the stack traces.
    pool: u64,
}

impl Layout {
    /// Of `class`, as far as its fields are numbers and constants.
    fn of(class: &Class) -> Layout {
        let plain = |field: &&Field| !field.is_array && (field.is_constant || field.kind == Kind::Number);
        let fields: Vec<&Field> = class.fields.iter().take_while(plain).take(MAX_FIELDS).collect();
        let place = |name: &str| fields.iter().position(|field| field.name == name);
        let places = ["startTime", "address", "size", "stackTrace"].map(place);
        let [time, address, size, stack] = places.map(|place| place.unwrap_or(MAX_FIELDS));
        Layout {
            fields: places.into_iter().flatten().max().map_or(0, |last| last + 1),
            time,
            address,
            size,
            stack,
            pool: fields.get(stack).map_or(0, |field| field.class),
        }
    }

    /// Time, address, size and stack of `event`.
    #[inline(always)]
    fn read(&self, event: &Event<'_>) -> Option<(u64, u64, u64, u64)> {
        // async-profiler's have four and five fields: a known number makes a loop without branches.
        match self.fields {
            4 => self.read_first(4, event),
            5 => self.read_first(5, event),
            fields => self.read_first(fields, event),
        }
    }

    #[inline(always)]
    fn read_first(&self, fields: usize, event: &Event<'_>) -> Option<(u64, u64, u64, u64)> {
        let (time, address, size, stack, end);
        if let Some((numbers, at)) = Numbers::of(event.more, fields) {
            end = at;
            (time, address) = (numbers.at(self.time), numbers.at(self.address));
            (size, stack) = (numbers.at(self.size), numbers.at(self.stack));
        } else {
            let numbers = value::one_by_one(event.body, fields)?;
            let at = |place: usize| numbers.get(place).copied().unwrap_or(0);
            end = 0;
            (time, address) = (at(self.time), at(self.address));
            (size, stack) = (at(self.size), at(self.stack));
        }
        (address != 0 && end <= event.body.len()).then_some((time, address, size, stack))
    }
}

/// A call of malloc or free. Tens of millions are held at once: sizes that are rarely large stand
/// elsewhere.
#[derive(Clone, Copy)]
pub(super) struct Call {
    /// In ticks.
    pub(super) time: i64,
    pub(super) address: u64,
    /// See [`Calls::size`].
    size: u32,
    /// Index into [`Calls::stacks`].
    pub(super) stack: u32,
}

impl Call {
    pub(super) fn is_free(&self) -> bool {
        self.size == FREE
    }
}

const FREE: u32 = u32::MAX;
/// Sizes from here on are in a list; this plus the index into that stands in their place.
const LARGE: u32 = 1 << 31;

/// Lists that calls are dealt to, by address, so that each can be matched by a thread of its own.
pub(super) const HALVES: usize = 2;

/// The calls in a part of a chunk.
#[derive(Default)]
pub(super) struct Calls {
    /// By address; each in the order of time once they are [sorted](Calls::sort).
    halves: [Vec<Call>; HALVES],
    unsorted: bool,
    large: Vec<u64>,
    /// Keys of the stack traces that were met.
    pub(super) stacks: Vec<u32>,
    /// By key, the index into `stacks` plus one. Keys of async-profiler are places in a table, and
    /// small.
    numbers: Vec<u32>,
    /// The same of large keys.
    others: HashMap<u32, u32, RandomState>,
}

/// Keys below this are an index.
const SMALL_KEYS: u32 = 1 << 22;

impl Calls {
    pub(super) fn clear(&mut self) {
        self.halves.iter_mut().for_each(Vec::clear);
        self.unsorted = false;
        self.large.clear();
        self.stacks.clear();
        self.numbers.clear();
        self.others.clear();
    }

    pub(super) fn sort(&mut self) {
        if self.unsorted {
            // Stable: of two calls at one tick the first in the file was first.
            self.halves.iter_mut().for_each(|half| half.sort_by_key(|call| call.time));
        }
    }

    /// The calls for the addresses of list `half`.
    pub(super) fn half(&self, half: usize) -> &[Call] {
        self.halves.get(half).map_or(&[], Vec::as_slice)
    }

    /// Bytes that a call of malloc asked for.
    #[inline]
    pub(super) fn size(&self, call: &Call) -> u64 {
        match call.size {
            small @ 0..LARGE => u64::from(small),
            large => self.large.get((large - LARGE) as usize).copied().unwrap_or(0),
        }
    }

    /// First and last call's time, once they are sorted.
    pub(super) fn span(&self) -> Option<(i64, i64)> {
        let first = self.halves.iter().filter_map(|half| half.first()).map(|call| call.time).min()?;
        let last = self.halves.iter().filter_map(|half| half.last()).map(|call| call.time).max()?;
        Some((first, last))
    }

    #[inline]
    fn push(&mut self, call: Call) {
        // The top bit of a product depends on all bits of the address.
        let half = (call.address.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 63) as usize;
        let Some(list) = self.halves.get_mut(half) else { return };
        self.unsorted |= list.last().is_some_and(|last| last.time > call.time);
        list.push(call);
    }

    /// The index of the stack trace `key` in the list of those that were met.
    #[inline]
    fn stack(&mut self, key: u32) -> u32 {
        match self.numbers.get(key as usize) {
            Some(number) if *number > 0 => number - 1,
            _ => self.another_stack(key),
        }
    }

    #[cold]
    fn another_stack(&mut self, key: u32) -> u32 {
        let next = self.stacks.len() as u32;
        let number = if key < SMALL_KEYS {
            if self.numbers.len() <= key as usize {
                self.numbers.resize(key as usize + 1, 0);
            }
            // Not known, or the caller would have found it.
            self.numbers.get_mut(key as usize).into_iter().for_each(|number| *number = next + 1);
            next
        } else {
            *self.others.entry(key).or_insert(next)
        };
        if number == next {
            self.stacks.push(key);
        }
        number
    }

    #[cold]
    fn large(&mut self, size: u64) -> Option<u32> {
        let index = u32::try_from(self.large.len()).ok()?.checked_add(LARGE).filter(|index| *index < FREE)?;
        self.large.push(size);
        Some(index)
    }
}

/// The two classes of events, by their numbers in a chunk.
pub(super) struct Classes {
    malloc: Option<(u64, Layout)>,
    free: Option<(u64, Layout)>,
}

impl Classes {
    pub(super) fn of(chunk: &Chunk) -> Classes {
        let find = |name: &str| {
            let (id, class) = chunk.classes.iter().find(|(_, class)| class.name == name)?;
            Some((*id, Layout::of(class)))
        };
        Classes { malloc: find("profiler.Malloc"), free: find("profiler.Free") }
    }

    /// Takes `event`; false where it is of another class. One that is damaged is left out.
    #[inline]
    pub(super) fn take(&self, event: &Event<'_>, into: &mut Calls) -> bool {
        match (&self.malloc, &self.free) {
            (Some((kind, layout)), _) if *kind == event.kind => _ = malloc(layout, event, into),
            (_, Some((kind, layout))) if *kind == event.kind => {
                if let Some((time, address, ..)) = layout.read(event) {
                    into.push(Call { time: time as i64, address, size: FREE, stack: 0 });
                }
            }
            _ => return false,
        }
        true
    }

    /// The pool of the stack traces.
    pub(super) fn pool(&self) -> u64 {
        self.malloc.as_ref().map_or(0, |(_, layout)| layout.pool)
    }
}

#[inline]
fn malloc(layout: &Layout, event: &Event<'_>, into: &mut Calls) -> Option<()> {
    let (time, address, size, stack) = layout.read(event)?;
    let stack = into.stack(u32::try_from(stack).ok()?);
    let size = match u32::try_from(size) {
        Ok(size) if size < LARGE => size,
        _ => into.large(size)?,
    };
    into.push(Call { time: time as i64, address, size, stack });
    Some(())
}

//! `profiler.Malloc` and `profiler.Free` matched: what is left is live, and what of that is old is leaked.

use super::chunk::Chunk;
use super::metadata::{Class, Kind};
use super::{frames, value};
use crate::Builder;
use crate::bytes::Bytes;
use foldhash::fast::RandomState;
use offheap_model::ProfileSite;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// What a field of an event is for.
#[derive(Clone, Copy)]
enum Role {
    Time,
    Address,
    Size,
    Stack,
    Other,
}

/// Where the fields of an event are: there may be tens of millions of events, so names are looked at once a chunk.
struct Layout {
    roles: Vec<Role>,
    /// The pool of the stack traces.
    pool: u64,
}

impl Layout {
    /// Of `class`, as far as its fields are numbers and constants.
    fn of(class: &Class) -> Layout {
        let mut pool = 0;
        let plain = |field: &&super::metadata::Field| {
            !field.is_array && (field.is_constant || field.kind == Kind::Number)
        };
        let fields = class.fields.iter().take_while(plain);
        let roles = fields
            .map(|field| match field.name.as_str() {
                "startTime" => Role::Time,
                "address" => Role::Address,
                "size" => Role::Size,
                "stackTrace" => {
                    pool = field.class;
                    Role::Stack
                }
                _ => Role::Other,
            })
            .collect();
        Layout { roles, pool }
    }

    /// Time, address, size, stack of the event that is the first `length` of `bytes`.
    #[inline]
    fn read(&self, length: usize, bytes: &[u8]) -> Option<(i64, u64, u64, u64)> {
        let mut bytes = Bytes::new(bytes);
        let (mut time, mut address, mut size, mut stack) = (0, 0, 0, 0);
        for role in &self.roles {
            let number = value::number(&mut bytes)?;
            match role {
                Role::Time => time = number as i64,
                Role::Address => address = number,
                Role::Size => size = number,
                Role::Stack => stack = number,
                Role::Other => {}
            }
        }
        (address != 0 && bytes.at() <= length).then_some((time, address, size, stack))
    }
}

/// An event; its time in ticks. Tens of millions are held at once: what is rarely large stands elsewhere.
#[derive(Default, Clone, Copy)]
struct Event {
    time: i64,
    address: u64,
    /// [`FREE`] of a free, [`LARGE`] of a block whose size is in the list of large ones.
    size: u32,
    /// Key of its stack trace.
    stack: u32,
}

const FREE: u32 = u32::MAX;
const LARGE: u32 = u32::MAX - 1;

/// The events of a chunk.
#[derive(Default)]
pub(super) struct Events {
    list: Vec<Event>,
    /// Sizes of 4 GiB and more, by time and address.
    large: HashMap<(i64, u64), u64>,
    unsorted: bool,
}

impl Events {
    pub(super) fn clear(&mut self) {
        self.list.clear();
        self.large.clear();
        self.unsorted = false;
    }

    fn push(&mut self, event: Event) {
        self.unsorted |= self.list.last().is_some_and(|last| last.time > event.time);
        self.list.push(event);
    }
}

/// The two classes of events, by their numbers in a chunk.
pub(super) struct Classes {
    malloc: Option<(u64, Layout)>,
    free: Option<(u64, Layout)>,
}

impl Classes {
    pub(super) fn of(chunk: &Chunk<'_>) -> Classes {
        let find = |name: &str| {
            let (id, class) = chunk.classes.iter().find(|(_, class)| class.name == name)?;
            Some((*id, Layout::of(class)))
        };
        Classes { malloc: find("profiler.Malloc"), free: find("profiler.Free") }
    }

    /// How events of class `kind` are laid out, and whether they are mallocs.
    fn layout(&self, kind: u64) -> Option<(&Layout, bool)> {
        [(&self.malloc, true), (&self.free, false)].into_iter().find_map(|(class, is_malloc)| {
            let (id, layout) = class.as_ref()?;
            (*id == kind).then_some((layout, is_malloc))
        })
    }

    /// Takes an event of class `kind`, the first `length` of `bytes`; false where it is another's.
    #[inline]
    pub(super) fn take(&self, kind: u64, length: usize, bytes: &[u8], into: &mut Events) -> bool {
        let Some((layout, is_malloc)) = self.layout(kind) else { return false };
        // A damaged event is left out.
        let Some((time, address, size, stack)) = layout.read(length, bytes) else { return true };
        let Ok(stack) = u32::try_from(stack) else { return true };
        let size = match u32::try_from(size) {
            _ if !is_malloc => FREE,
            Ok(size) if size < LARGE => size,
            _ => {
                into.large.insert((time, address), size);
                LARGE
            }
        };
        into.push(Event { time, address, size, stack });
        true
    }

    fn pool(&self) -> u64 {
        self.malloc.as_ref().map_or(0, |(_, layout)| layout.pool)
    }
}

struct Live {
    size: u64,
    /// In ticks of the first chunk.
    time: i64,
    /// Index into the stacks.
    stack: u32,
}

#[derive(Default)]
pub(super) struct Leaks {
    live: HashMap<u64, Live, RandomState>,
    stacks: Vec<Vec<u32>>,
    numbers: HashMap<Vec<u32>, u32>,
    /// Allocated (bytes, blocks) by stack.
    allocated: Vec<(u64, u64)>,
    /// First and last event, in ticks.
    span: Option<(i64, i64)>,
    /// The same in milliseconds since the Unix epoch.
    span_ms: (i64, i64),
    mallocs: u64,
    unknown_frees: u64,
}

impl Leaks {
    /// Takes a chunk's events. Chunks follow each other in time, but inside one each thread has its own buffers.
    pub(super) fn chunk(
        &mut self,
        chunk: &Chunk<'_>,
        classes: &Classes,
        events: &mut Events,
        builder: &mut Builder,
    ) {
        if events.unsorted {
            // Stable: of two events at one tick the first in the file was first.
            events.list.sort_by_key(|event| event.time);
        }
        let mut frames = frames::Frames::new(chunk);
        let mut known: HashMap<u32, u32, RandomState> = HashMap::default();
        for event in &events.list {
            if event.size == FREE {
                self.unknown_frees += u64::from(self.live.remove(&event.address).is_none());
                continue;
            }
            let size = match event.size {
                LARGE => events.large.get(&(event.time, event.address)).copied().unwrap_or(0),
                size => u64::from(size),
            };
            let stack = match known.entry(event.stack) {
                Entry::Occupied(stack) => *stack.get(),
                Entry::Vacant(entry) => {
                    let key = u64::from(event.stack);
                    let stack = frames.stack(chunk, classes.pool(), key, builder);
                    let next = self.stacks.len() as u32;
                    let number = *self.numbers.entry(stack.clone()).or_insert(next);
                    if number == next {
                        self.stacks.push(stack);
                        self.allocated.push((0, 0));
                    }
                    *entry.insert(number)
                }
            };
            self.mallocs += 1;
            if let Some((bytes, count)) = self.allocated.get_mut(stack as usize) {
                *bytes = bytes.saturating_add(size);
                *count += 1;
            }
            self.live.insert(event.address, Live { size, stack, time: event.time });
        }
        if let (Some(first), Some(last)) = (events.list.first(), events.list.last()) {
            let known = self.span.get_or_insert_with(|| {
                self.span_ms.0 = chunk.time_ms(first.time);
                (first.time, last.time)
            });
            known.0 = known.0.min(first.time);
            known.1 = known.1.max(last.time);
            self.span_ms.1 = self.span_ms.1.max(chunk.time_ms(last.time));
        }
    }

    pub(super) fn finish(self, builder: &mut Builder) {
        let Some((first, last)) = self.span else { return };
        // In 128 bits: times of a damaged file may be anything. Ticks are those of one clock in all chunks.
        let tail = (i128::from(first) + i128::from(last) * 9) / 10;
        let mut sites: Vec<ProfileSite> = self
            .allocated
            .iter()
            .map(|(bytes, count)| ProfileSite {
                allocated_bytes: *bytes,
                allocated_count: *count,
                ..ProfileSite::default()
            })
            .collect();
        for live in self.live.values() {
            let Some(site) = sites.get_mut(live.stack as usize) else { continue };
            site.live_bytes = site.live_bytes.saturating_add(live.size);
            site.live_count += 1;
            if i128::from(live.time) <= tail {
                site.leak_bytes = site.leak_bytes.saturating_add(live.size);
            }
        }
        for (stack, site) in self.stacks.iter().zip(&sites) {
            builder.add(stack, site);
        }
        let profile = builder.profile();
        profile.start_ms = self.span_ms.0;
        profile.seconds = (self.span_ms.1 as f64 - self.span_ms.0 as f64) / 1000.0;
        profile.sampling.samples = self.mallocs;
        profile.notes.push(
            "async-profiler does not scale its samples up: at an interval above 1 small blocks count too little".to_owned(),
        );
        if self.unknown_frees > 0 {
            profile
                .notes
                .push(format!("{} frees of blocks whose allocation was not seen", self.unknown_frees));
        }
    }
}

//! `profiler.Malloc` and `profiler.Free` matched: what is left is live, and what of that is old is leaked.

use super::chunk::Chunk;
use super::metadata::{Class, Kind};
use super::{frames, value};
use crate::Builder;
use crate::bytes::Bytes;
use offheap_model::ProfileSite;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// An event, in ticks. `size` is `None` for a free.
pub(super) struct Event {
    time: i64,
    address: u64,
    size: Option<u64>,
    /// Pool and key of its stack trace.
    stack: (u64, u64),
}

pub(super) fn malloc(class: &Class, body: &[u8]) -> Option<Event> {
    let event = event(class, body)?;
    event.size.is_some().then_some(event)
}

pub(super) fn free(class: &Class, body: &[u8]) -> Option<Event> {
    Some(Event { size: None, ..event(class, body)? })
}

/// There may be tens of millions of these: read without an allocation. Their fields are numbers and constants only.
fn event(class: &Class, body: &[u8]) -> Option<Event> {
    let mut bytes = Bytes::new(body);
    let mut event = Event { time: 0, address: 0, size: None, stack: (0, 0) };
    for field in &class.fields {
        if field.is_array || !(field.is_constant || field.kind == Kind::Number) {
            break;
        }
        let number = value::number(&mut bytes)?;
        match field.name.as_str() {
            "startTime" => event.time = number as i64,
            "address" => event.address = number,
            "size" => event.size = Some(number),
            "stackTrace" => event.stack = (field.class, number),
            _ => {}
        }
    }
    (event.address != 0).then_some(event)
}

struct Live {
    size: u64,
    /// Index into the stacks.
    stack: u32,
    time_ms: i64,
}

#[derive(Default)]
pub(super) struct Leaks {
    live: HashMap<u64, Live>,
    stacks: Vec<Vec<u32>>,
    numbers: HashMap<Vec<u32>, u32>,
    /// Allocated (bytes, blocks) by stack.
    allocated: Vec<(u64, u64)>,
    first_ms: Option<i64>,
    last_ms: i64,
    mallocs: u64,
    unknown_frees: u64,
}

impl Leaks {
    /// Takes a chunk's events. Chunks follow each other in time, but inside one each thread has its own buffers.
    pub(super) fn chunk(&mut self, chunk: &Chunk<'_>, mut events: Vec<Event>, builder: &mut Builder) {
        events.sort_by_key(|event| event.time);
        let mut known: HashMap<(u64, u64), u32> = HashMap::new();
        for event in events {
            let time_ms = chunk.time_ms(event.time);
            self.first_ms.get_or_insert(time_ms);
            self.last_ms = self.last_ms.max(time_ms);
            let Some(size) = event.size else {
                self.unknown_frees += u64::from(self.live.remove(&event.address).is_none());
                continue;
            };
            let stack = match known.entry(event.stack) {
                Entry::Occupied(stack) => *stack.get(),
                Entry::Vacant(entry) => {
                    let stack = frames::stack(chunk, event.stack.0, event.stack.1, builder);
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
            self.live.insert(event.address, Live { size, stack, time_ms });
        }
    }

    pub(super) fn finish(self, builder: &mut Builder) {
        let Some(first_ms) = self.first_ms else { return };
        // In 128 bits: times of a damaged file may be anything.
        let tail_ms = i128::from(self.last_ms) - (i128::from(self.last_ms) - i128::from(first_ms)) / 10;
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
            if i128::from(live.time_ms) < tail_ms {
                site.leak_bytes = site.leak_bytes.saturating_add(live.size);
            }
        }
        for (stack, site) in self.stacks.iter().zip(&sites) {
            builder.add(stack, site);
        }
        let profile = builder.profile();
        profile.start_ms = first_ms;
        profile.seconds = (self.last_ms as f64 - first_ms as f64) / 1000.0;
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

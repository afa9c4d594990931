//! Calls of malloc and free matched: what is left is live, and what of that is old is leaked.

use super::blocks::{Block, Blocks};
use super::calls::{Call, Calls, Classes, HALVES};
use super::chunk::Chunk;
use super::frames::Frames;
use crate::Builder;
use foldhash::fast::RandomState;
use offheap_model::ProfileSite;
use std::collections::HashMap;

/// A part of a chunk's calls, and the numbers of its stacks.
pub(super) type Part<'c> = (&'c Calls, Vec<u32>);

/// Matches the calls for one half of all addresses.
#[derive(Default)]
struct Matcher {
    live: Blocks,
    /// Allocated (bytes, blocks) by stack.
    allocated: Vec<(u64, u64)>,
    unknown_frees: u64,
}

impl Matcher {
    /// Takes the calls in the list `half` of both parts of a chunk, in the order of time. `stacks`
    /// are known by now.
    fn take(&mut self, half: usize, [first, second]: &[Part<'_>; 2], stacks: usize) {
        self.allocated.resize(stacks, (0, 0));
        let (mut a, mut b) = (first.0.half(half), second.0.half(half));
        while !a.is_empty() || !b.is_empty() {
            // Of two calls at one tick the first in the file was first.
            let run = b.first().map_or(a.len(), |next| a.partition_point(|call| call.time <= next.time));
            let (now, later) = a.split_at(run);
            self.calls(now, first);
            a = later;
            let run = a.first().map_or(b.len(), |next| b.partition_point(|call| call.time < next.time));
            let (now, later) = b.split_at(run);
            self.calls(now, second);
            b = later;
        }
    }

    fn calls(&mut self, calls: &[Call], (part, numbers): &Part<'_>) {
        for call in calls {
            if call.is_free() {
                self.unknown_frees += u64::from(!self.live.remove(call.address));
                continue;
            }
            let size = part.size(call);
            let Some(stack) = numbers.get(call.stack as usize).copied() else { continue };
            if let Some((bytes, count)) = self.allocated.get_mut(stack as usize) {
                *bytes = bytes.saturating_add(size);
                *count += 1;
            }
            self.live.insert(Block { address: call.address, size, time: call.time, stack });
        }
    }
}

/// All chunks' calls, matched.
#[derive(Default)]
pub(super) struct Leaks {
    matchers: [Matcher; HALVES],
    stacks: Vec<Vec<u32>>,
    numbers: HashMap<Vec<u32>, u32, RandomState>,
    /// First and last call, in ticks.
    span: Option<(i64, i64)>,
    /// The same in milliseconds since the Unix epoch.
    span_ms: (i64, i64),
}

impl Leaks {
    /// Both parts of a chunk with the numbers of their stacks, to be [matched](Self::take).
    pub(super) fn parts<'c>(
        &mut self,
        chunk: &Chunk,
        classes: &Classes,
        parts: [&'c Calls; 2],
        builder: &mut Builder,
    ) -> [Part<'c>; 2] {
        for (first, last) in parts.iter().filter_map(|part| part.span()) {
            let known = self.span.get_or_insert_with(|| {
                self.span_ms.0 = chunk.time_ms(first);
                (first, last)
            });
            known.0 = known.0.min(first);
            known.1 = known.1.max(last);
            self.span_ms.1 = self.span_ms.1.max(chunk.time_ms(last));
        }
        let mut frames = Frames::new(chunk);
        let mut known: HashMap<u32, u32, RandomState> = HashMap::default();
        parts.map(|part| {
            let number = |key: &u32| {
                *known.entry(*key).or_insert_with(|| {
                    let stack = frames.stack(chunk, classes.pool(), u64::from(*key), builder);
                    let next = self.stacks.len() as u32;
                    let number = *self.numbers.entry(stack.clone()).or_insert(next);
                    if number == next {
                        self.stacks.push(stack);
                    }
                    number
                })
            };
            (part, part.stacks.iter().map(number).collect())
        })
    }

    /// Matches `parts`, on two threads where it `is_large`, while `meanwhile` is done.
    pub(super) fn take<T>(
        &mut self,
        parts: &[Part<'_>; 2],
        is_large: bool,
        meanwhile: impl FnOnce() -> T,
    ) -> T {
        let stacks = self.stacks.len();
        let matchers = self.matchers.iter_mut().enumerate();
        if !is_large {
            matchers.for_each(|(half, matcher)| matcher.take(half, parts, stacks));
            return meanwhile();
        }
        std::thread::scope(|scope| {
            for (half, matcher) in matchers {
                scope.spawn(move || matcher.take(half, parts, stacks));
            }
            meanwhile()
        })
    }

    pub(super) fn finish(self, builder: &mut Builder) {
        let Some((first, last)) = self.span else { return };
        // In 128 bits: times of a damaged file may be anything.
        let tail = (i128::from(first) + i128::from(last) * 9) / 10;
        let mut sites = vec![ProfileSite::default(); self.stacks.len()];
        for matcher in &self.matchers {
            for (site, (bytes, count)) in sites.iter_mut().zip(&matcher.allocated) {
                site.allocated_bytes = site.allocated_bytes.saturating_add(*bytes);
                site.allocated_count += count;
            }
            for live in matcher.live.iter() {
                let Some(site) = sites.get_mut(live.stack as usize) else { continue };
                site.live_bytes = site.live_bytes.saturating_add(live.size);
                site.live_count += 1;
                if i128::from(live.time) <= tail {
                    site.leak_bytes = site.leak_bytes.saturating_add(live.size);
                }
            }
        }
        for (stack, site) in self.stacks.iter().zip(&sites) {
            builder.add(stack, site);
        }
        let profile = builder.profile();
        profile.start_ms = self.span_ms.0;
        profile.seconds = (self.span_ms.1 as f64 - self.span_ms.0 as f64) / 1000.0;
        profile.sampling.samples = sites.iter().map(|site| site.allocated_count).sum();
        profile.notes.push(
            "async-profiler does not scale its samples up: at an interval above 1 small blocks count too little".to_owned(),
        );
        let unknown_frees: u64 = self.matchers.iter().map(|matcher| matcher.unknown_frees).sum();
        if unknown_frees > 0 {
            profile.notes.push(format!("{unknown_frees} frees of blocks whose allocation was not seen"));
        }
    }
}

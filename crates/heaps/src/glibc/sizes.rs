//! Live chunks counted by size.

use crate::SizeClass;
use std::collections::HashMap;

/// Sizes below this are counted in an array: 4096 of them.
const SMALL: u64 = 64 << 10;
/// Places remembered for each size, to look into some chunks later.
const SAMPLES: usize = 4;

/// Classes listed at most; all of the small ones are among them.
const MOST_CLASSES: usize = 512;
/// Bytes of the largest class that is always listed, so that a small one that grows is seen from
/// its start.
const SMALL_CLASS: u64 = 1040;

/// Counts by chunk size, with the addresses of a few chunks of each.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sizes {
    small: Vec<Class>,
    large: HashMap<u64, Class>,
}

/// One size.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Class {
    /// Live chunks.
    pub count: u64,
    /// Some of their addresses, spread over the walk; 0 where there are fewer.
    pub samples: [u64; SAMPLES],
}

impl Sizes {
    /// Counts the chunk of `size` bytes at `address`.
    #[inline]
    pub fn add(&mut self, size: u64, address: u64) {
        let class = self.class(size);
        class.count += 1;
        // The first one and then ever rarer ones, so that old and new places are among them.
        if class.count.is_power_of_two() {
            class.samples[class.count.trailing_zeros() as usize % SAMPLES] = address;
        }
    }

    /// Takes away what was counted but turned out to be parked in a thread cache.
    pub fn take_away(&mut self, size: u64, count: u64) {
        let class = self.class(size);
        class.count = class.count.saturating_sub(count);
    }

    /// Counts `count` chunks whose addresses are not known.
    pub fn add_counted(&mut self, size: u64, count: u64) {
        self.class(size).count += count;
    }

    /// The bare counts, to be kept for long.
    pub fn compact(&self) -> Vec<(u64, u64)> {
        self.iter().map(|(size, class)| (size, class.count)).collect()
    }

    /// Adds the counts of `other`.
    pub fn merge(&mut self, other: &Sizes) {
        for (size, class) in other.iter() {
            let own = self.class(size);
            own.count += class.count;
            for (at, sample) in class.samples.iter().enumerate().filter(|(_, sample)| **sample != 0) {
                if own.samples[at] == 0 || at % 2 == 0 {
                    own.samples[at] = *sample;
                }
            }
        }
    }

    /// Every size with live chunks.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Class)> {
        let small = self.small.iter().enumerate().map(|(index, class)| (index as u64 * 16, class));
        small
            .chain(self.large.iter().map(|(size, class)| (*size, class)))
            .filter(|(_, class)| class.count > 0)
    }

    /// Addresses of a few chunks of `size` bytes.
    pub fn samples(&self, size: u64) -> impl Iterator<Item = u64> {
        let class = if size >= SMALL || !size.is_multiple_of(16) {
            self.large.get(&size)
        } else {
            self.small.get((size / 16) as usize)
        };
        class.into_iter().flat_map(|class| class.samples).filter(|sample| *sample != 0)
    }

    /// Every small class, the largest others by bytes, and the rest in one of size 0.
    pub fn classes(&self) -> Vec<SizeClass> {
        let mut classes: Vec<SizeClass> = self
            .iter()
            .map(|(chunk_bytes, class)| SizeClass {
                chunk_bytes,
                count: class.count,
                total_bytes: chunk_bytes.saturating_mul(class.count),
                hint: None,
            })
            .collect();
        let by_bytes = |class: &SizeClass| (std::cmp::Reverse(class.total_bytes), class.chunk_bytes);
        classes.sort_unstable_by_key(|class| (class.chunk_bytes > SMALL_CLASS, by_bytes(class)));
        if classes.len() > MOST_CLASSES {
            let rest = classes.split_off(MOST_CLASSES - 1);
            classes.push(SizeClass {
                chunk_bytes: 0,
                count: rest.iter().map(|class| class.count).sum(),
                total_bytes: rest.iter().map(|class| class.total_bytes).sum(),
                hint: None,
            });
        }
        classes.sort_unstable_by_key(by_bytes);
        classes
    }

    fn class(&mut self, size: u64) -> &mut Class {
        if size >= SMALL || !size.is_multiple_of(16) {
            return self.large.entry(size).or_default();
        }
        let index = (size / 16) as usize;
        if index >= self.small.len() {
            self.small.resize(index + 1, Class::default());
        }
        &mut self.small[index]
    }
}

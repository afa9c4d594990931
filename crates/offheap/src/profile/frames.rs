//! The frames of a profile, each once, and the order of its sites.

use offheap_model::{Frame, ProfileSite};
use std::collections::HashMap;

/// Frames and their numbers.
#[derive(Debug, Default)]
pub struct Frames {
    list: Vec<Frame>,
    numbers: HashMap<Frame, u32>,
}

impl Frames {
    /// The numbers of `frames`, in their order.
    pub fn numbers(&mut self, frames: Vec<Frame>) -> Vec<u32> {
        let (list, numbers) = (&mut self.list, &mut self.numbers);
        let number = |frame: Frame| {
            *numbers.entry(frame).or_insert_with_key(|frame| {
                list.push(frame.clone());
                u32::try_from(list.len() - 1).unwrap_or(u32::MAX)
            })
        };
        frames.into_iter().map(number).collect()
    }

    /// All of them, by number.
    pub fn list(self) -> Vec<Frame> {
        self.list
    }
}

/// Puts what leaks most first.
pub fn sort(sites: &mut [ProfileSite]) {
    sites.sort_by(|a, b| {
        (b.leak_bytes, b.live_bytes, b.allocated_bytes)
            .cmp(&(a.leak_bytes, a.live_bytes, a.allocated_bytes))
            .then_with(|| a.stack.cmp(&b.stack))
    });
}

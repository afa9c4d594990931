//! The different stacks that were met, by number.

use std::collections::HashMap;

/// Different stacks that are remembered.
const MAX_STACKS: usize = 1 << 16;

/// Stacks: addresses, innermost first.
#[derive(Default)]
pub struct Stacks {
    list: Vec<Vec<u64>>,
    numbers: HashMap<Vec<u64>, usize>,
}

impl Stacks {
    /// The number of this one; `None` where there is no room for it.
    pub fn number(&mut self, frames: Vec<u64>) -> Option<usize> {
        if let Some(number) = self.numbers.get(&frames) {
            return Some(*number);
        }
        if self.list.len() >= MAX_STACKS {
            return None;
        }
        self.list.push(frames.clone());
        self.numbers.insert(frames, self.list.len() - 1);
        Some(self.list.len() - 1)
    }

    /// All of them.
    pub fn list(&self) -> &[Vec<u64>] {
        &self.list
    }
}

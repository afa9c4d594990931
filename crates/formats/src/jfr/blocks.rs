//! Live blocks by address.

use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::hash::BuildHasher;

/// A block that was not freed yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Block {
    /// Not 0.
    pub(super) address: u64,
    pub(super) size: u64,
    /// When it was allocated, in ticks, which are those of one clock in all chunks.
    pub(super) time: i64,
    /// Number of the stack.
    pub(super) stack: u32,
}

/// Slots for young blocks.
const YOUNG: usize = 1 << 12;
/// Bits of the filter.
const BITS: usize = 1 << 20;

/// Blocks by address. Most blocks die young: each goes into the one slot that its address has
/// first, and into the map only when another wants that slot. A block is in one of the two places.
pub(super) struct Blocks {
    /// Empty ones have address 0.
    young: Vec<Block>,
    old: HashMap<u64, Block, RandomState>,
    /// Has a bit of each address that was ever in the map: nearly all need not be looked up there.
    filter: Vec<u64>,
    hasher: RandomState,
}

impl Default for Blocks {
    fn default() -> Blocks {
        Blocks {
            young: vec![Block::default(); YOUNG],
            old: HashMap::default(),
            filter: vec![0; BITS / 64],
            hasher: RandomState::default(),
        }
    }
}

impl Blocks {
    /// Inserts `block`, in place of what is at its address.
    #[inline]
    pub(super) fn insert(&mut self, block: Block) {
        let hash = self.hasher.hash_one(block.address);
        if self.may_be_old(hash) {
            self.old.remove(&block.address);
        }
        let Some(slot) = self.young.get_mut(hash as usize % YOUNG) else { return };
        let before = std::mem::replace(slot, block);
        if before.address != 0 && before.address != block.address {
            let (word, bit) = place(self.hasher.hash_one(before.address));
            self.filter.get_mut(word).into_iter().for_each(|word| *word |= bit);
            self.old.insert(before.address, before);
        }
    }

    /// Removes the block at `address`; false where there is none.
    #[inline]
    pub(super) fn remove(&mut self, address: u64) -> bool {
        let hash = self.hasher.hash_one(address);
        match self.young.get_mut(hash as usize % YOUNG) {
            Some(slot) if slot.address == address => {
                slot.address = 0;
                true
            }
            _ => self.may_be_old(hash) && self.old.remove(&address).is_some(),
        }
    }

    /// All of them, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Block> {
        self.young.iter().filter(|block| block.address != 0).chain(self.old.values())
    }

    #[inline]
    fn may_be_old(&self, hash: u64) -> bool {
        let (word, bit) = place(hash);
        self.filter.get(word).is_some_and(|word| word & bit != 0)
    }
}

/// Word and bit of the filter, by other bits of the hash than the slot's.
#[inline]
fn place(hash: u64) -> (usize, u64) {
    let bit = (hash >> 32) as usize % BITS;
    (bit / 64, 1 << (bit % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_what_a_map_holds() {
        let (mut blocks, mut map) = (Blocks::default(), HashMap::new());
        let mut seed = 1u64;
        for step in 0..400_000u64 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // More addresses than slots, and each met many times; fewer removals in the first half,
            // so that it grows.
            let address = 16 * (1 + (seed >> 33) % 20_000);
            if (seed >> 20) % 4 < if step < 200_000 { 1 } else { 3 } {
                assert_eq!(blocks.remove(address), map.remove(&address).is_some());
            } else {
                let block = Block { address, size: step, time: 0, stack: 0 };
                blocks.insert(block);
                map.insert(address, block);
            }
        }
        assert!(blocks.old.len() > 500, "{}", blocks.old.len());
        assert_eq!(blocks.iter().count(), map.len());
        assert!(blocks.iter().all(|block| map.get(&block.address) == Some(block)));
    }
}

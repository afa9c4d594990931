//! The heap's memory a block at a time, and one bit for each place in it that an object may start
//! at.

use crate::heap::Part;
use crate::heap::z::Moved;
use crate::oops::Oops;
use crate::vm::Vm;
use offheap_target::{PageKind, Reads, page_bytes};
use std::collections::HashMap;
use std::ops::Range;

/// Bytes read at once.
const BLOCK: u64 = 64 << 10;
/// Blocks kept: 32 MiB.
const KEPT: usize = 512;
/// Words of marks for a block: a bit for each eight bytes.
const MARKS: usize = (BLOCK / 8 / 64) as usize;

/// Reads words of the heap, through the blocks read last.
pub(super) struct Blocks<'a> {
    vm: Vm<'a>,
    parts: Vec<Part>,
    moved: Moved<'a>,
    /// Whether the heap is a file in memory, as ZGC's is.
    is_file: bool,
    slots: Vec<Option<(u64, Box<[u8]>)>>,
}

impl<'a> Blocks<'a> {
    /// `None` where more than `budget` bytes are resident, or some are in swap.
    pub(super) fn new(vm: &Vm<'a>, oops: &Oops, parts: &[Part], budget: u64) -> Option<Self> {
        let mut resident = 0;
        for part in parts {
            for run in vm.target.runs(part.range.start, part.range.end) {
                if run.kind != PageKind::Present {
                    return None;
                }
                resident += run.end - run.start;
            }
        }
        // What is mapped three times may be resident three times.
        let most = if parts.len() > 1 { budget.saturating_mul(3) } else { budget };
        (resident <= most).then(|| Blocks {
            vm: *vm,
            parts: parts.to_vec(),
            moved: Moved::new(vm, oops),
            is_file: parts
                .iter()
                .any(|part| vm.target.vma(part.range.start).is_some_and(|vma| vma.is_file())),
            slots: (0..KEPT).map(|_| None).collect(),
        })
    }

    /// Where in the heap's memory an address is: the same for all addresses that memory is mapped
    /// at.
    pub(super) fn place(&self, address: u64) -> Option<u64> {
        self.parts.iter().find_map(|part| part.place(address))
    }

    /// True where `bytes` from an address on are all in the heap; what has no room is no object,
    /// but looks like one.
    pub(super) fn has_room(&self, address: u64, bytes: u64) -> bool {
        let Some(end) = address.checked_add(bytes.max(1)) else { return false };
        // What lies side by side in the address space may be mapped in several pieces.
        let mut at = address;
        while at < end {
            let Some(part) = self.parts.iter().find(|part| part.range.contains(&at)) else { return false };
            at = part.range.end;
        }
        true
    }

    pub(super) fn u32(&mut self, address: u64) -> Option<u32> {
        let at = (address % BLOCK) as usize;
        let bytes = self.block(address - address % BLOCK)?.get(at..at + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    }

    pub(super) fn u64(&mut self, address: u64) -> Option<u64> {
        let at = (address % BLOCK) as usize;
        let bytes = self.block(address - address % BLOCK)?.get(at..at + 8)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    }

    /// The object that the reference at `address` in the heap points to.
    pub(super) fn reference(&mut self, oops: &Oops, address: u64) -> Option<u64> {
        if oops.reference_bytes() == 4 {
            oops.compressed(u64::from(self.u32(address)?))
        } else {
            let raw = self.u64(address)?;
            Some(self.moved.reference(raw)).filter(|object| *object != 0)
        }
    }

    /// The objects that a word of a frame may refer to.
    pub(super) fn may_be(&self, word: u64) -> impl Iterator<Item = u64> {
        self.moved.may_be(word)
    }

    fn block(&mut self, start: u64) -> Option<&[u8]> {
        let slot = (start / BLOCK) as usize % KEPT;
        if self.slots.get(slot)?.as_ref().is_none_or(|(held, _)| *held != start) {
            let bytes = self.read(start)?;
            *self.slots.get_mut(slot)? = Some((start, bytes));
        }
        self.slots.get(slot)?.as_ref().map(|(_, bytes)| &**bytes)
    }

    /// Only pages that are present are read: the others stay 0, which is no object.
    fn read(&self, start: u64) -> Option<Box<[u8]>> {
        let end = start.checked_add(BLOCK)?;
        let mut bytes = vec![0; BLOCK as usize].into_boxed_slice();
        for part in &self.parts {
            let (from, to) = (start.max(part.range.start), end.min(part.range.end));
            if from >= to {
                continue;
            }
            let mut at = from;
            for run in self.vm.target.runs(from, to) {
                let Some(room) = bytes.get_mut((run.start - start) as usize..(run.end - start) as usize)
                else {
                    continue;
                };
                if run.kind == PageKind::Present {
                    self.vm.target.read_bulk(run.start, room);
                    self.read_by_file(at..run.start, start, &mut bytes);
                    at = run.end;
                }
            }
            self.read_by_file(at..to, start, &mut bytes);
        }
        Some(bytes)
    }

    /// Reads pages that are not present at these addresses, if the heap is a file: where it is
    /// mapped several times, what one mapping was never used for may be there through another; and
    /// what the kernel has taken out of the page tables may still be in memory.
    fn read_by_file(&self, range: Range<u64>, start: u64, bytes: &mut [u8]) {
        if !self.is_file {
            return;
        }
        for page in range.step_by(page_bytes() as usize) {
            let at = (page - start) as usize;
            if let Some(room) = bytes.get_mut(at..at + page_bytes() as usize) {
                // A hole in the file stays what it is.
                let _ = self.vm.target.read(page, room);
            }
        }
    }
}

/// Marks of places in the heap's memory; takes room only for blocks in which something is marked.
#[derive(Default)]
pub(super) struct Marks(HashMap<u64, Box<[u64; MARKS]>>);

impl Marks {
    pub(super) fn has(&self, place: Option<u64>) -> bool {
        place.is_some_and(|place| {
            let (word, bit) = slot(place);
            self.0.get(&(place / BLOCK)).and_then(|words| words.get(word)).is_some_and(|word| word & bit != 0)
        })
    }

    pub(super) fn set(&mut self, place: Option<u64>) {
        let Some(place) = place else { return };
        let (word, bit) = slot(place);
        let words = self.0.entry(place / BLOCK).or_insert_with(|| Box::new([0; MARKS]));
        if let Some(word) = words.get_mut(word) {
            *word |= bit;
        }
    }
}

fn slot(place: u64) -> (usize, u64) {
    let index = place % BLOCK / 8;
    ((index / 64) as usize, 1 << (index % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_has_a_mark_of_its_own() {
        let mut marks = Marks::default();
        for place in (0..3 * BLOCK).step_by(24) {
            assert!(!marks.has(Some(place)));
            marks.set(Some(place));
        }
        for place in (0..3 * BLOCK).step_by(8) {
            assert_eq!(marks.has(Some(place)), place % 24 == 0, "{place}");
        }
        assert!(!marks.has(None));
    }
}

//! Objects that ZGC has moved: the collector leaves references to their old places as they are,
//! and mends each when it is loaded, or in its next cycle. Until then a table for each emptied page
//! says where its objects went (gc/z/zForwarding.hpp).

use super::Tables;
use super::tables::Entries;
use crate::oops::Oops;
use crate::oops::colour::{self, Stale};
use crate::target::Peek;
use crate::vm::Vm;
use std::cell::RefCell;
use std::collections::HashMap;

/// Entries of one page's table: as many as two for each of the smallest objects of a medium page.
const MOST_ENTRIES: u64 = 1 << 22;
/// Entries read at once. Seldom more than two are looked at.
const AT_ONCE: u64 = 8;
/// Entries looked at for one object.
const MOST_PROBES: u64 = 4096;
/// Emptied pages remembered.
const MOST_KEPT: usize = 1 << 20;

/// Finds moved objects; does nothing with other collectors.
pub(crate) struct Moved<'a> {
    vm: Vm<'a>,
    oops: Oops,
    good: u64,
    /// By the table and the granule; `None` where nothing was moved out of it.
    pages: RefCell<HashMap<(u64, u64), Option<Page>>>,
}

/// What was moved out of one page.
#[derive(Debug, Clone, Copy)]
struct Page {
    /// Offset of the page in the heap.
    start: u64,
    /// log2 of what objects in it are aligned to.
    shift: u32,
    entries: u64,
    /// A power of two.
    length: u64,
}

impl<'a> Moved<'a> {
    /// `oops` says where the tables are.
    pub(crate) fn new(vm: &Vm<'a>, oops: &Oops) -> Self {
        let good = oops.z.and_then(|tables| vm.target.u64(tables.good?)).unwrap_or(0);
        Moved { vm: *vm, oops: *oops, good, pages: RefCell::default() }
    }

    /// Where the object is now that the 64-bit reference `raw` refers to; 0 for null.
    pub(crate) fn reference(&self, raw: u64) -> u64 {
        let address = self.oops.address(raw);
        let Some(tables) = self.oops.z.filter(|_| address != 0) else { return address };
        let (address, stale) = if self.oops.is_coloured() {
            (address, colour::stale(raw, self.good))
        } else {
            // One that is only reachable through finalizers has a bit above the views.
            let finalizable = tables.offset_mask.wrapping_add(1) << 3;
            (address & !finalizable, of_view(&tables, raw, self.good))
        };
        // Of a reference that is stale for both, the young generation's table is asked first,
        // unless it was written from an old object to an old one (`ZBarrier::remap_generation`).
        let is_old = stale.old && self.oops.is_coloured() && colour::is_of_old(raw);
        let young = (stale.young && !is_old).then_some(tables.moved_young).flatten();
        let old = stale.old.then_some(tables.moved);
        [young, old]
            .into_iter()
            .flatten()
            .find_map(|table| self.find(&tables, table, address))
            .unwrap_or(address)
    }

    /// The objects that a word of a frame may refer to: where it points, and where that has moved.
    pub(crate) fn may_be(&self, word: u64) -> impl Iterator<Item = u64> {
        self.oops.may_be(word).chain(self.gone_from(word))
    }

    /// Where the object has gone that was at `address`. Words of frames have no colour with the
    /// generational collector, so they don't tell how old they are: every table is asked.
    pub(crate) fn gone_from(&self, address: u64) -> Option<u64> {
        let tables = self.oops.z?;
        let views = tables.offset_mask.wrapping_add(1);
        let view = address & !tables.offset_mask;
        if !address.is_multiple_of(8) || ![views, views << 1, views << 2].contains(&view) {
            return None;
        }
        if !self.oops.is_coloured() {
            return Some(self.reference(address)).filter(|now| *now != address);
        }
        let all = [tables.moved_young, Some(tables.moved)];
        all.into_iter().flatten().find_map(|table| self.find(&tables, table, address))
    }

    fn find(&self, tables: &Tables, table: u64, address: u64) -> Option<u64> {
        let offset = tables.offset(address);
        let page = self.page(tables, table, offset >> tables.shift)?;
        let index = offset.checked_sub(page.start)? >> page.shift;
        let mask = page.length - 1;
        let mut at = u64::from(hash(index as u32)) & mask;
        let mut left = page.length.min(MOST_PROBES);
        while left > 0 {
            let count = AT_ONCE.min(page.length - at).min(left);
            let words =
                self.vm.target.words(page.entries.checked_add(at.checked_mul(8)?)?, count as usize)?;
            for entry in words {
                let (from, to) = entry_of(tables.entries, entry)?;
                if from == index {
                    // Objects are moved through the view of those at their last place; the kernel
                    // has them present in the others when they were used there.
                    let last = tables.offset_mask.wrapping_add(1) << 2;
                    let base = address & !tables.offset_mask;
                    return Some(to | if self.oops.is_coloured() { base } else { last });
                }
            }
            at = (at + count) & mask;
            left -= count;
        }
        None
    }

    fn page(&self, tables: &Tables, table: u64, granule: u64) -> Option<Page> {
        if granule >= tables.moved_granules {
            return None;
        }
        if let Some(known) = self.pages.borrow().get(&(table, granule)) {
            return *known;
        }
        let read = table.checked_add(granule * 8).and_then(|at| match tables.entries {
            Entries::InPages => self.of_page(tables, at),
            Entries::OfTheirOwn => self.of_forwarding(tables, at),
        });
        let page = read.filter(|page| page.length.is_power_of_two() && page.length <= MOST_ENTRIES);
        let page = page.filter(|page| page.shift < 64);
        let mut pages = self.pages.borrow_mut();
        if pages.len() < MOST_KEPT {
            pages.insert((table, granule), page);
        }
        page
    }

    /// In 11 the page has them: `_virtual`, and a `ZForwardingTable` of address and length.
    fn of_page(&self, tables: &Tables, at: u64) -> Option<Page> {
        let vm = &self.vm;
        let page = vm.target.pointer(at)? & !1;
        let start = vm.u64(page, "ZPage", "_virtual")?;
        let table = vm.place(page, "ZPage", "_forwarding")?;
        let kind = vm.target.u8(vm.place(page, "ZPage", "_type")?)?;
        let is_medium = Some(i64::from(kind)) == vm.tables.constant("ZPageTypeMedium");
        let medium = vm.tables.constant("ZObjectAlignmentMediumShift");
        let shift =
            if is_medium { medium.and_then(|shift| u32::try_from(shift).ok())? } else { tables.alignment };
        let entries = vm.pointer(table, "ZForwardingTable", "_table")?;
        Some(Page { start, shift, entries, length: vm.u64(table, "ZForwardingTable", "_size")? })
    }

    /// A `ZForwarding`, with its entries right behind it (`ZAttachedArray`).
    fn of_forwarding(&self, tables: &Tables, at: u64) -> Option<Page> {
        let vm = &self.vm;
        let class = tables.names.of("Forwarding");
        let forwarding = vm.target.pointer(at)?;
        let array = vm.place(forwarding, &class, "_entries")?;
        Some(Page {
            start: vm.u64(forwarding, &class, "_virtual")?,
            shift: u32::try_from(vm.u64(forwarding, &class, "_object_alignment_shift")?).ok()?,
            entries: forwarding.checked_add(vm.tables.size_of(&class)?)?,
            length: vm.u64(array, &tables.names.of("AttachedArrayForForwarding"), "_length")?,
        })
    }
}

/// Whether a reference of the collector without generations is stale: a colour of marking that is
/// not good now. The views of the heap are three bits above the offset: two of marking, which take
/// turns, and that of objects at their last place (gc/z/zGlobals.hpp).
fn of_view(tables: &Tables, raw: u64, good: u64) -> Stale {
    let views = tables.offset_mask.wrapping_add(1);
    let is_last = raw & (views << 2) != 0;
    let is_good = raw & good & (views | views << 1) != 0;
    Stale { young: false, old: !is_last && !is_good }
}

/// The index of the object in its old page and its new offset; `None` for an empty entry, which
/// ends a search.
fn entry_of(entries: Entries, entry: u64) -> Option<(u64, u64)> {
    match entries {
        // ZForwardingTableEntry: 42 bits of offset, 22 of index; all set where it is empty.
        Entries::InPages => (entry != u64::MAX).then_some((entry >> 42, entry & ((1 << 42) - 1))),
        // ZForwardingEntry: a bit of being there, 45 of offset, 18 of index.
        Entries::OfTheirOwn => (entry & 1 == 1).then_some((entry >> 46, entry >> 1 & ((1 << 45) - 1))),
    }
}

/// `ZHash::uint32_to_uint32` (gc/z/zHash.inline.hpp).
fn hash(key: u32) -> u32 {
    let key = (!key).wrapping_add(key << 15);
    let key = key ^ key >> 12;
    let key = key.wrapping_add(key << 2);
    let key = key ^ key >> 4;
    let key = key.wrapping_mul(2057);
    key ^ key >> 16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_as_they_are_written() {
        assert_eq!(entry_of(Entries::OfTheirOwn, 7 << 46 | 0x20_0010 << 1 | 1), Some((7, 0x20_0010)));
        assert_eq!(entry_of(Entries::OfTheirOwn, 0), None);
        assert_eq!(entry_of(Entries::InPages, 7 << 42 | 0x20_0010), Some((7, 0x20_0010)));
        assert_eq!(entry_of(Entries::InPages, u64::MAX), None);
    }
}

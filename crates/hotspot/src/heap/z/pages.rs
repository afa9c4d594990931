//! The pages that ZGC has now (gc/z/zPageTable.hpp), and the objects in them.
//!
//! A page that was emptied keeps its memory, and the objects that were moved out of it their bytes,
//! until it is needed again. It has left the table, though.

use super::Tables;
use super::tables::Entries;
use crate::heap::Part;
use crate::oops::Oops;
use crate::target::{Peek, word};
use crate::vm::Vm;
use offheap_target::PageKind;
use offheap_target::{page_bytes, page_start};
use std::collections::HashSet;
use std::ops::Range;

/// Pages read: a heap of two terabytes.
const MOST_PAGES: usize = 1 << 20;
/// Bytes of the table read at once.
const CHUNK: u64 = 1 << 20;

/// The parts of `views` that objects lie in; `None` where the page table can't be read.
pub(crate) fn filled(vm: &Vm<'_>, tables: &Tables, views: &[Part]) -> Option<Vec<Part>> {
    let pages = ranges(vm, tables)?;
    let mut parts: Vec<Part> = Vec::new();
    for view in views {
        let first = tables.offset(view.range.start);
        let last = first.saturating_add(view.range.end - view.range.start);
        let from = pages.partition_point(|page| page.end <= first);
        for page in pages.iter().skip(from).take_while(|page| page.start < last) {
            let skipped = page.start.max(first) - first;
            let (start, end) = (view.range.start + skipped, view.range.start + (page.end.min(last) - first));
            parts.push(Part { range: start..end, offset: view.offset + skipped });
        }
    }
    Some(parts)
}

/// The pages there are, each with the number of the cycle in which it was filled last
/// (`ZPage::_seqnum`, in 11 right before `_virtual`); none with other collectors, or where they
/// can't be read. One that is missing later was emptied meanwhile.
pub(crate) fn live(vm: &Vm<'_>, oops: &Oops) -> HashSet<(u64, Option<u32>)> {
    let Some(tables) = oops.z else { return HashSet::new() };
    let class = tables.names.of("Page");
    let before_virtual = || vm.tables.offset(&class, "_virtual")?.checked_sub(4);
    let place = vm.tables.offset(&class, "_seqnum").or_else(before_virtual);
    let number = |page: u64| vm.target.u32(page.checked_add(place?)?);
    let pages = pages(vm, &tables).unwrap_or_default();
    pages.into_iter().map(|page| (page, number(page))).collect()
}

/// Ranges of offsets in the heap that objects lie in, ascending; those that touch are one.
fn ranges(vm: &Vm<'_>, tables: &Tables) -> Option<Vec<Range<u64>>> {
    let class = tables.names.of("Page");
    let place = vm.tables.offset(&class, "_virtual")?;
    let has_end = vm.tables.offset(&tables.names.of("VirtualMemory"), "_end").is_some();
    let mut found: Vec<Range<u64>> = Vec::new();
    for page in pages(vm, tables)? {
        // ZPage (gc/z/zPage.hpp): `_virtual`, and right behind it `_top`.
        let words = page.checked_add(place).and_then(|at| vm.target.words(at, 3));
        let Some([start, end_or_size, top]) = words.as_deref().and_then(|words| words.first_chunk()) else {
            continue;
        };
        let end = if has_end { Some(*end_or_size) } else { start.checked_add(*end_or_size) };
        if end.is_some_and(|end| (*start..=end).contains(top)) && start < top {
            found.push(*start..*top);
        }
    }
    found.sort_unstable_by_key(|range| range.start);
    found.dedup_by(|next, range| {
        let touches = next.start <= range.end;
        if touches {
            range.end = range.end.max(next.end);
        }
        touches
    });
    Some(found)
}

/// Addresses of the `ZPage`s in the table.
fn pages(vm: &Vm<'_>, tables: &Tables) -> Option<Vec<u64>> {
    let (start, end) = (tables.pages, tables.pages.checked_add(tables.granules.checked_mul(8)?)?);
    let mut pages = Vec::new();
    let mut buffer = vec![0; CHUNK as usize];
    for run in vm.target.runs(page_start(start), end.checked_next_multiple_of(page_bytes())?) {
        if run.kind != PageKind::Present {
            return None;
        }
        let mut at = run.start.max(start);
        while at < run.end.min(end) {
            let wanted = (run.end.min(end) - at).min(CHUNK);
            let room = buffer.get_mut(..wanted as usize)?;
            let read = vm.target.read_bulk(at, room);
            // The lowest bit says in 11 that the page is to be emptied.
            let entries = room.get(..read)?.chunks_exact(8).map(|entry| word(entry) & !1);
            pages.extend(entries.filter(|page| *page != 0));
            // A page of several granules has as many entries.
            pages.dedup();
            if pages.len() > MOST_PAGES {
                return None;
            }
            at += wanted;
        }
    }
    if tables.entries == Entries::InPages {
        pages.retain(|page| is_active(vm, *page));
    }
    Some(pages)
}

/// In 11 an emptied page stays in the table. It has no users any more: their number is the word
/// before what says where its objects went (gc/z/zPage.hpp of 11).
fn is_active(vm: &Vm<'_>, page: u64) -> bool {
    let users = vm.place(page, "ZPage", "_forwarding").and_then(|at| at.checked_sub(8));
    users.and_then(|at| vm.target.u32(at)).is_some_and(|users| users != 0)
}

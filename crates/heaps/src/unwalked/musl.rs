//! musl's mallocng (from 1.2.1): a group of slots begins with a pointer to its `meta`, whose third word points back to the
//! group (src/malloc/mallocng/meta.h). `meta`s lie in page-aligned areas that begin with a secret common to all.

use super::may_hold;
use super::ranges::Ranges;
use crate::Options;
use offheap_linux::{Memory, PAGE, PageKind};

/// Pages looked at, at the most.
const MOST_PAGES: u64 = 1 << 20;

pub(super) fn ranges(memory: &Memory, options: &Options<'_>) -> Ranges {
    let mut ranges = Ranges::default();
    let mut left = MOST_PAGES;
    for vma in memory.vmas().iter().filter(|vma| may_hold(vma)) {
        for run in memory.pagemap().runs(vma.start, vma.end) {
            let mut page = run.start;
            while run.kind == PageKind::Present && page < run.end && left > 0 {
                left -= 1;
                let excluded = options.exclude.iter().any(|(start, end)| (*start..*end).contains(&page));
                let group = if excluded { None } else { group_at(memory, page, vma.end) };
                if let Some((meta, size)) = group {
                    ranges.add(page, page + size);
                    ranges.add(meta & !(PAGE - 1), (meta & !(PAGE - 1)) + PAGE);
                }
                page += group.map_or(PAGE, |(_, size)| size);
            }
        }
    }
    ranges
}

/// The `meta` and the size of the group at `page`.
fn group_at(memory: &Memory, page: u64, end: u64) -> Option<(u64, u64)> {
    let mut head = [0; 8];
    if memory.read_bulk(page, &mut head) != head.len() {
        return None;
    }
    let meta = u64::from_le_bytes(head);
    if meta == 0 || !meta.is_multiple_of(8) || memory.u64(meta.checked_add(16)?) != Ok(page) {
        return None;
    }
    // The areas of metas begin with the secret; a meta's own words are few and small.
    let bits = memory.u64(meta.checked_add(32)?).ok()?;
    let pages = bits >> 12;
    let size = pages.checked_mul(PAGE).filter(|size| *size > 0).unwrap_or(PAGE);
    (size <= end - page).then_some((meta, size))
}

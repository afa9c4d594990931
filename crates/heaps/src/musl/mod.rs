//! musl's mallocng (from 1.2.1): a group of slots starts with a pointer to its `meta`, whose third
//! word points back to the group (src/malloc/mallocng/meta.h). `meta`s lie in page-aligned areas
//! that start with a secret common to all.

use crate::allocator::Version;
use crate::named::{Named, may_hold};
use crate::ranges::Ranges;
use crate::{Allocator, Options};
use offheap_target::{PageKind, Reads, Target};

pub(crate) static ALLOCATOR: Allocator = Allocator {
    name: "musl",
    gives_back_by: None,
    marks: &["__malloc_donate", "__malloc_alloc_meta", "__libc_malloc_impl"],
    // Its own name for itself is libc.so; glibc's has a number.
    libraries: &["ld-musl-", "libc.so", "libc.musl-"],
    version: Version::Text {
        part: b"1.",
        accepts: |text| {
            let mut parts = text.split('.');
            text.len() < 12 && parts.clone().count() == 3 && parts.all(|part| part.parse::<u32>().is_ok())
        },
        take: |text| Some(text.to_owned()),
    },
    open: |_| Box::new(Named { allocator: "musl", ranges, belongs: |vma| vma.path == "[heap]" }),
};

/// What mallocng counts mappings in and aligns the areas of its metas to, whatever the size of a
/// page (meta.h: `maplen`, `meta_area`).
const UNIT: u64 = 4096;

/// Pages looked at at most.
const MOST_PAGES: u64 = 1 << 20;

fn ranges(memory: &dyn Target, options: &Options<'_>) -> Ranges {
    let mut ranges = Ranges::default();
    let mut left = MOST_PAGES;
    for vma in memory.vmas().iter().filter(|vma| may_hold(vma)) {
        for run in memory.runs(vma.start, vma.end) {
            let mut page = run.start;
            while run.kind == PageKind::Present && page < run.end && left > 0 {
                left -= 1;
                let excluded = options.exclude.iter().any(|(start, end)| (*start..*end).contains(&page));
                let group = if excluded { None } else { group_at(memory, page, vma.end) };
                if let Some((meta, size)) = group {
                    ranges.add(page, page + size);
                    ranges.add(meta & !(UNIT - 1), (meta & !(UNIT - 1)) + UNIT);
                }
                page += group.map_or(UNIT, |(_, size)| size);
            }
        }
    }
    ranges
}

/// The `meta` and the size of the group at `page`.
fn group_at(memory: &dyn Target, page: u64, end: u64) -> Option<(u64, u64)> {
    let mut head = [0; 8];
    if memory.read_bulk(page, &mut head) != head.len() {
        return None;
    }
    let meta = u64::from_le_bytes(head);
    if meta == 0 || !meta.is_multiple_of(8) || memory.u64(meta.checked_add(16)?) != Ok(page) {
        return None;
    }
    // The areas of metas start with the secret; a meta's own words are few and small.
    let bits = memory.u64(meta.checked_add(32)?).ok()?;
    let pages = bits >> 12;
    let size = pages.checked_mul(UNIT).filter(|size| *size > 0).unwrap_or(UNIT);
    (size <= end - page).then_some((meta, size))
}

//! jemalloc 5: base blocks hold its own structures, and among them one `edata_t` for every extent.
//!
//! A base block (`base_block_s` in src/base.c) lies at a multiple of 2 MiB and starts with its
//! size, the next block, and an `edata_t` for what is not used of it yet: that address and size add
//! up to the block's end. An `edata_t` (`edata_s` in include/jemalloc/internal/edata.h; `extent_s`
//! up to 5.2) is 128 bytes: flags, address, size.

use crate::allocator::Version;
use crate::named::{Named, aligned_starts, may_hold};
use crate::ranges::Ranges;
use crate::{Allocator, Options};
use offheap_target::arch::huge_page_bytes;
use offheap_target::{PageKind, Reads, Target, page_bytes, page_start};

pub(crate) static ALLOCATOR: Allocator = Allocator {
    name: "jemalloc",
    gives_back_by: Some("mallctl(\"arena.4096.purge\", NULL, NULL, NULL, 0)"),
    marks: &["mallocx", "je_mallocx", "je_malloc"],
    libraries: &["libjemalloc"],
    version: Version::Text {
        // "5.3.0-0-g54eaed1d…" stands alone between NULs.
        part: b"-g",
        accepts: |text| text.split('-').next().is_some_and(|v| v.split('.').count() == 3),
        take: |text| text.split('-').next().map(str::to_owned),
    },
    open: |_| Box::new(Named { allocator: "jemalloc", ranges, belongs: |vma| vma.path == "[heap]" }),
};

const EDATA: usize = 128;
/// More candidates for blocks than this are not looked at.
const MOST_STARTS: usize = 1 << 18;
/// Bytes of blocks that are searched for extents.
const MOST_SEARCHED: u64 = 256 << 20;
/// Read at a time.
const WINDOW: u64 = 1 << 20;

fn ranges(memory: &dyn Target, options: &Options<'_>) -> Ranges {
    let mut ranges = Ranges::default();
    let mut left = MOST_SEARCHED;
    for (block, end) in aligned_starts(memory, options, huge_page_bytes(), MOST_STARTS) {
        if let Some(size) = block_at(memory, block, end) {
            ranges.add(block, block + size);
            add_extents(memory, block, block + size, &mut left, &mut ranges);
        }
    }
    ranges
}

/// The size of the base block at `at`.
fn block_at(memory: &dyn Target, at: u64, end: u64) -> Option<u64> {
    let mut head = [0; 40];
    if memory.read_bulk(at, &mut head) != head.len() {
        return None;
    }
    let word = |index: usize| head.get(index * 8..index * 8 + 8).map_or(0, word_of);
    let (size, next, unused, unused_size) = (word(0), word(1), word(3), word(4));
    let fits = size > 0
        && size.is_multiple_of(huge_page_bytes())
        && size <= end - at
        && next.is_multiple_of(huge_page_bytes())
        && unused > at
        && unused.checked_add(unused_size) == Some(at + size);
    fits.then_some(size)
}

/// Every extent of which an `edata_t` in the block tells. One that is out of use may name memory
/// that was joined to another extent since; that makes no difference to the union.
fn add_extents(memory: &dyn Target, start: u64, end: u64, left: &mut u64, ranges: &mut Ranges) {
    for run in memory.runs(start, end).into_iter().filter(|run| run.kind == PageKind::Present) {
        let mut at = run.start;
        while at < run.end && *left > 0 {
            let mut bytes = vec![0; (run.end - at).min(WINDOW) as usize];
            let got = memory.read_bulk(at, &mut bytes);
            *left = left.saturating_sub(bytes.len() as u64);
            at += bytes.len() as u64;
            for edata in bytes[..got].chunks_exact(EDATA) {
                // A large allocation starts somewhere in its first page, at a multiple of a cache
                // line.
                let (inside, size) = (word_of(&edata[8..16]), word_of(&edata[16..24]) & !(page_bytes() - 1));
                let address = page_start(inside);
                let is_extent =
                    address != 0 && inside % 64 == 0 && size > 0 && lies_mapped(memory, address, size);
                if is_extent {
                    ranges.add(address, address + size);
                }
            }
        }
    }
}

/// True where the range lies in one stretch of anonymous memory, or in memory set aside.
fn lies_mapped(memory: &dyn Target, address: u64, size: u64) -> bool {
    let Some(end) = address.checked_add(size) else { return false };
    let mut at = address;
    // jemalloc has some maps side by side, never hundreds in one extent.
    for _ in 0..64 {
        match memory.vma(at) {
            Some(vma) if vma.end >= end => return may_hold(vma),
            Some(vma) if may_hold(vma) => at = vma.end,
            _ => return false,
        }
    }
    false
}

fn word_of(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_le_bytes)
}

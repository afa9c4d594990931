//! The blocks that are in use, one after the other: those of pymalloc's pools, and large objects
//! among the C heap's chunks.

use crate::kinds::{Kinds, Role};
use crate::pymalloc::{Geometry, POOL_HEADER, pool_in};
use crate::words::word_in;
use offheap_linux::{Live, Memory, PageKind, Reads};

/// Blocks of the smallest size in the largest pool, as bits.
const MOST_BLOCKS: usize = (16 << 10) / 8;
/// The C heap is read in pieces of this size.
const PIECE: u64 = 1 << 20;
/// What must be seen before and behind an object: a chunk's header, the heads of the collector.
const MARGIN: u64 = 64;
/// What is left over in a chunk behind the object it was made for, at the most, but for texts and
/// such that grow.
const SLACK: u64 = 64;

/// What pools hold beside the blocks in use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Free {
    /// Bytes of free blocks in pools that are in use.
    pub in_pools: u64,
    /// Bytes of pools without a block in use.
    pub pools: u64,
    /// Bytes that were not read: they are in swap, which looking would bring back.
    pub unread: u64,
}

/// A block of a pool.
pub(crate) struct Block<'a> {
    pub address: u64,
    pub bytes: &'a [u8],
}

/// Gives every block in use of the arena at `start` to `see`. `buffer` holds the arena meanwhile.
pub(crate) fn of_arena(
    memory: &Live,
    start: u64,
    geometry: Geometry,
    buffer: &mut Vec<u8>,
    see: &mut impl FnMut(Block<'_>),
) -> Free {
    let mut free = Free::default();
    let end = start.saturating_add(geometry.arena);
    for run in memory.pagemap().runs(start, end) {
        if run.kind != PageKind::Present {
            free.unread += run.end - run.start;
            continue;
        }
        let from = run.start.next_multiple_of(geometry.pool);
        let len = run.end.saturating_sub(from);
        buffer.resize(len as usize, 0);
        let got = memory.read_bulk(from, buffer);
        free.unread += len - got as u64;
        let bytes = buffer.get(..got).unwrap_or_default();
        // What is left of a pool whose last pages were never touched is read as well.
        for (number, pool) in bytes.chunks(geometry.pool as usize).enumerate() {
            let address = from + number as u64 * geometry.pool;
            if address + geometry.pool <= end {
                of_pool(address, pool, geometry, &mut free, see);
            }
        }
    }
    free
}

fn of_pool(address: u64, bytes: &[u8], geometry: Geometry, free: &mut Free, see: &mut impl FnMut(Block<'_>)) {
    let head = bytes.get(..POOL_HEADER as usize);
    let Some(pool) = head.and_then(|head| pool_in(address, head, geometry)) else { return };
    if pool.count == 0 {
        free.pools += geometry.pool;
        return;
    }
    free.in_pools += (geometry.pool - POOL_HEADER).saturating_sub(pool.count * pool.block);
    // The free blocks are chained through their first words.
    let mut is_free = [0u64; MOST_BLOCKS / 64];
    let (mut next, mut left) = (pool.free, pool.carved);
    while next > address && left > 0 {
        left -= 1;
        let offset = next - address;
        let number = (offset.saturating_sub(POOL_HEADER) / pool.block) as usize;
        let Some(word) = is_free.get_mut(number / 64) else { break };
        if *word >> (number % 64) & 1 == 1 {
            break;
        }
        *word |= 1 << (number % 64);
        next = word_in(bytes, offset as usize);
    }
    let blocks = bytes.get(POOL_HEADER as usize..).unwrap_or_default();
    for (number, block) in blocks.chunks_exact(pool.block as usize).take(pool.carved as usize).enumerate() {
        let taken = is_free.get(number / 64).is_some_and(|word| word >> (number % 64) & 1 == 0);
        if taken {
            see(Block { address: address + POOL_HEADER + number as u64 * pool.block, bytes: block });
        }
    }
}

/// An object with a chunk of the C heap for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Large {
    /// Its chunk, header included.
    pub chunk: u64,
    pub bytes: u64,
    /// The object in it, and its type's number.
    pub object: u64,
    pub kind: u32,
}

/// Gives the large objects of known types in `start..end` to `see`. The allocator's chunks are told
/// by the header before the object, which must fit it, and by what the next one's says of whether
/// it is in use. Returns how many bytes were not read: in swap, or more than `left`.
pub(crate) fn large(
    memory: &Live,
    (start, end): (u64, u64),
    kinds: &mut Kinds<'_>,
    left: &mut u64,
    see: &mut impl FnMut(Large, &[u8]),
) -> u64 {
    let mut unread = 0;
    let mut buffer = Vec::new();
    for run in memory.pagemap().runs(start, end) {
        let mut at = run.start;
        while run.kind == PageKind::Present && at < run.end && *left > 0 {
            let to = at.saturating_add(PIECE).min(run.end);
            let from = at.saturating_sub(MARGIN).max(run.start);
            let until = to.saturating_add(MARGIN).min(run.end);
            *left = left.saturating_sub(until - from);
            buffer.resize((until - from) as usize, 0);
            let got = memory.read_bulk(from, &mut buffer);
            let bytes = buffer.get(..got).unwrap_or_default();
            for place in (at..to).step_by(16) {
                let offset = (place - from) as usize;
                if !kinds.is_count(word_in(bytes, offset)) {
                    continue;
                }
                let Some(kind) = kinds.known(word_in(bytes, offset + 8)) else { continue };
                if let Some(large) = chunk_around(memory, place, offset, bytes, kinds, kind) {
                    see(large, bytes.get(offset..).unwrap_or_default());
                }
            }
            unread += (until - from) - got as u64;
            at = to;
        }
        unread += run.end - at;
    }
    unread
}

/// The chunk that holds the object at `place` alone.
fn chunk_around(
    memory: &Live,
    place: u64,
    offset: usize,
    bytes: &[u8],
    kinds: &Kinds<'_>,
    kind: u32,
) -> Option<Large> {
    let info = &kinds.list.get(kind as usize)?.info;
    let head = bytes.get(offset..)?;
    let size = match kinds.role_of(kind) {
        Role::Text => kinds.objects.text_bytes(head)?,
        _ if info.item == 0 => info.basic,
        _ => {
            // A negative count is a negative int's.
            let count = word_in(head, 0x10).cast_signed().unsigned_abs();
            info.basic.checked_add(count.checked_mul(info.item)?)?
        }
    };
    let may_grow = matches!(kinds.role_of(kind), Role::Text | Role::Bytes | Role::Other | Role::Class);
    let places: &[u64] = if info.gc { &[16, 32] } else { &[0] };
    places.iter().find_map(|before| {
        let header = word_in(bytes, offset.checked_sub(*before as usize + 8)?);
        let (chunk, length) = (place - before - 16, header & !7);
        let need = before.checked_add(size)?;
        let usable = length.checked_sub(8)?;
        let slack = usable.checked_sub(need)?;
        // M_MMAPPED: a mapping of its own, of whole pages.
        let is_mapped = header & 2 != 0;
        let fits = slack <= SLACK
            || may_grow && slack <= need
            || is_mapped && slack <= 2 * offheap_linux::page_bytes();
        if !fits || length < 32 || length >> 44 != 0 || !length.is_multiple_of(16) {
            return None;
        }
        // PREV_INUSE of the chunk behind it.
        let in_use = is_mapped || memory.u64(chunk.checked_add(length)? + 8).is_ok_and(|next| next & 1 == 1);
        in_use.then_some(Large { chunk, bytes: length, object: place, kind })
    })
}

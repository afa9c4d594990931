//! pymalloc's arenas and pools (Objects/obmalloc.c, Include/internal/pycore_obmalloc.h from 3.12).
//!
//! An arena is 256 KiB with pools of 4 KiB, from 3.10 one of 1 MiB with pools of 16 KiB. The array
//! of `arena_object`s says where they are; it is found through the interpreter's data, by the one
//! pointer that leads to an array in which some pools, found by the shape of their headers, have
//! the place that their headers name.

use offheap_target::{PageKind, Reads, Target, Vma, page_bytes};

/// Bytes of an `arena_object`.
const ARENA_OBJECT: u64 = 48;
/// Bytes of a `pool_header`.
pub(crate) const POOL_HEADER: u64 = 48;
/// Pools that must have their place in an array for it to be the arenas'.
const WITNESSES: usize = 6;
/// Places looked at for pools, at the most.
const MOST_PROBES: u32 = 200_000;
/// More arenas than this (at 256 KiB: 256 GiB) are none.
const MOST_ARENAS: u64 = 1 << 20;
/// Searches in vain before giving up: an interpreter that was just started has no pools yet, and
/// one that runs with PYTHONMALLOC=malloc never has.
const MOST_SEARCHES: u32 = 4;
/// Words of the interpreter's data that are looked at.
const MOST_DATA: u64 = 16 << 20;

/// The interpreter's object arenas at one instant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pymalloc {
    /// Address ranges of arenas with the resident bytes of each, ascending, never overlapping:
    /// (start, end, resident).
    pub ranges: Vec<(u64, u64, u64)>,
    /// Sum of the resident bytes.
    pub resident: u64,
    /// Blocks in use.
    pub blocks: u64,
    /// Bytes in those blocks.
    pub block_bytes: u64,
    /// Resident bytes of pools that hold no block.
    pub free_pools: u64,
    /// What the reader must know.
    pub doubts: Vec<String>,
}

/// Where the arenas are found.
#[derive(Debug, Default)]
pub(crate) struct Arenas {
    found: Option<Place>,
    searches: u32,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    /// Address of the pointer to the array of `arena_object`s.
    pointer: u64,
    geometry: Geometry,
}

/// Sizes of arenas and pools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub arena: u64,
    pub pool: u64,
}

const GEOMETRIES: [Geometry; 2] =
    [Geometry { arena: 1 << 20, pool: 16 << 10 }, Geometry { arena: 256 << 10, pool: 4 << 10 }];

/// A `pool_header`: `ref.count`, `freeblock`, `nextpool`, `prevpool`, `arenaindex`, `szidx`,
/// `nextoffset`, `maxnextoffset`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pool {
    pub address: u64,
    pub count: u64,
    arena: u64,
    /// Bytes of a block.
    pub block: u64,
    /// The first free block that was in use before, or 0.
    pub free: u64,
    /// Blocks that were ever given out.
    pub carved: u64,
}

impl Arenas {
    /// Sizes of arenas and pools, once they were found.
    pub fn geometry(&self) -> Option<Geometry> {
        self.found.map(|place| place.geometry)
    }

    pub fn view(&mut self, memory: &dyn Target, path: &str) -> Pymalloc {
        if self.found.is_none() && self.searches < MOST_SEARCHES {
            self.searches += 1;
            self.found = GEOMETRIES.into_iter().find_map(|geometry| find(memory, path, geometry));
        }
        match self.found {
            Some(place) => count(memory, place),
            None => Pymalloc {
                doubts: vec!["no object arenas were found: PYTHONMALLOC may be malloc".to_owned()],
                ..Pymalloc::default()
            },
        }
    }
}

/// Memory that may hold arenas.
fn may_hold(vma: &Vma) -> bool {
    vma.read && vma.write && !vma.exec && !vma.shared && vma.path.is_empty()
}

fn find(memory: &dyn Target, path: &str, geometry: Geometry) -> Option<Place> {
    let pools = witnesses(memory, geometry);
    if pools.is_empty() {
        return None;
    }
    let mut left = MOST_DATA;
    let mut behind_module = None;
    for vma in memory.vmas() {
        let of_module = vma.path == path;
        let bss = vma.path.is_empty() && behind_module == Some(vma.start);
        if !of_module && !bss {
            continue;
        }
        behind_module = Some(vma.end);
        for run in memory.runs(vma.start, vma.end) {
            let len = (run.end - run.start).min(left);
            if run.kind != PageKind::Present || !vma.write || len < page_bytes() {
                continue;
            }
            left -= len;
            let mut bytes = vec![0; len as usize];
            let got = memory.read_bulk(run.start, &mut bytes);
            for (at, word) in bytes[..got].chunks_exact(8).enumerate() {
                let array = word.try_into().map_or(0, u64::from_le_bytes);
                if array % 8 == 0 && array >= page_bytes() && has_all(memory, array, geometry, &pools) {
                    return Some(Place { pointer: run.start + at as u64 * 8, geometry });
                }
            }
        }
    }
    None
}

/// True where `array` holds arenas in which the pools have their places.
fn has_all(memory: &dyn Target, array: u64, geometry: Geometry, pools: &[Pool]) -> bool {
    // Most words are no pointers to memory that can be written.
    memory.vma(array).is_some_and(|vma| vma.write && vma.is_anonymous())
        && pools.iter().all(|pool| {
            // Many a pointer leads to one to an address a little below a pool: of objects, of the
            // collector's list. It must be an arena's.
            let start = entry(memory, array, pool.arena, geometry);
            start.is_some_and(|start| start <= pool.address && pool.address - start < geometry.arena)
        })
}

/// Where the arena begins that has the place `index` of `array`: 0 where the place is not in use,
/// `None` where it is none.
fn entry(memory: &dyn Target, array: u64, index: u64, geometry: Geometry) -> Option<u64> {
    let at = array.checked_add(index.checked_mul(ARENA_OBJECT)?)?;
    let start = memory.u64(at).ok()?;
    // nfreepools and ntotalpools; of what is not in use any more only the address is sure to be 0.
    let numbers = memory.u64(at.checked_add(16)?).ok()?;
    let (free, total) = (numbers & 0xffff_ffff, numbers >> 32);
    let pools_at_most = geometry.arena / geometry.pool;
    let is_arena = start.is_multiple_of(page_bytes())
        && (pools_at_most - 1..=pools_at_most).contains(&total)
        && free <= total
        && memory.vma(start).is_some_and(|vma| vma.write && vma.is_anonymous());
    (start == 0 || is_arena).then_some(start)
}

/// A few pools, found by the shape of their headers. Arenas lie near the libraries, so the search
/// begins at the top.
fn witnesses(memory: &dyn Target, geometry: Geometry) -> Vec<Pool> {
    let mut pools: Vec<Pool> = Vec::new();
    let mut left = MOST_PROBES;
    for vma in memory.vmas().iter().rev().filter(|vma| may_hold(vma)) {
        for run in memory.runs(vma.start, vma.end) {
            let mut at = run.start.next_multiple_of(geometry.pool);
            while run.kind == PageKind::Present && at < run.end && left > 0 {
                left -= 1;
                if let Some(pool) = pool_at(memory, at, geometry).filter(|pool| pool.count > 0) {
                    pools.push(pool);
                    // One arena gives a few witnesses, so that some are of others.
                    at += geometry.arena / 4;
                }
                if pools.len() >= WITNESSES {
                    return pools;
                }
                at += geometry.pool;
            }
        }
    }
    pools
}

fn pool_at(memory: &dyn Target, address: u64, geometry: Geometry) -> Option<Pool> {
    let mut head = [0; POOL_HEADER as usize];
    if memory.read_bulk(address, &mut head) != head.len() {
        return None;
    }
    pool_in(address, &head, geometry)
}

/// The pool at `address`, whose first bytes are `head`; `None` where it has not the shape of one.
pub(crate) fn pool_in(address: u64, head: &[u8], geometry: Geometry) -> Option<Pool> {
    let half = |at: usize| {
        head.get(at..at + 4)
            .and_then(|bytes| bytes.try_into().ok())
            .map_or(0, |bytes| u64::from(u32::from_le_bytes(bytes)))
    };
    let free_block = half(8) | half(12) << 32;
    let (count, arena, class, next, most) = (half(0), half(32), half(36), half(40), half(44));
    // Blocks are multiples of 16 bytes, up to 3.6 of 8.
    let block = [16, 8]
        .into_iter()
        .map(|unit| (class + 1) * unit)
        .find(|block| geometry.pool.checked_sub(*block) == Some(most))?;
    let carved = next.checked_sub(POOL_HEADER)?;
    let fits = block <= 512
        && carved.is_multiple_of(block)
        && next <= most + block
        && count <= carved / block
        && arena < MOST_ARENAS
        && (free_block == 0 || free_block > address && free_block < address + geometry.pool);
    fits.then_some(Pool { address, count, arena, block, free: free_block, carved: carved / block })
}

/// Every arena of the array, and every pool in it.
fn count(memory: &dyn Target, place: Place) -> Pymalloc {
    let mut view = Pymalloc::default();
    let Ok(array) = memory.u64(place.pointer) else {
        view.doubts.push("the array of arenas could not be read".to_owned());
        return view;
    };
    let mut unused = 0;
    for index in 0..MOST_ARENAS {
        // The array ends with the block it is in.
        let Some(start) = entry(memory, array, index, place.geometry) else { break };
        if start == 0 {
            // The array doubles when it is full, so of what is behind its end no more need be read.
            unused += 1;
            if unused > 2 * view.ranges.len() as u64 + 64 {
                break;
            }
            continue;
        }
        add_arena(memory, start, place.geometry, &mut view);
    }
    view.ranges.sort_unstable();
    // Read while the array was moved, an arena may come twice.
    view.ranges.dedup_by(|next, kept| next.0 < kept.1);
    view.resident = view.ranges.iter().map(|(_, _, resident)| resident).sum();
    view
}

fn add_arena(memory: &dyn Target, start: u64, geometry: Geometry, view: &mut Pymalloc) {
    let end = start.saturating_add(geometry.arena);
    let runs = memory.runs(start, end);
    let mut resident = 0;
    for run in runs.iter().filter(|run| run.kind == PageKind::Present) {
        resident += run.end - run.start;
        let mut pool = run.start.next_multiple_of(geometry.pool);
        while pool < run.end && pool + geometry.pool <= end {
            match pool_at(memory, pool, geometry) {
                Some(Pool { count: 0, .. }) => view.free_pools += geometry.pool.min(run.end - pool),
                Some(Pool { count, block, .. }) => {
                    view.blocks += count;
                    view.block_bytes += count * block;
                }
                None => {}
            }
            pool += geometry.pool;
        }
    }
    view.ranges.push((start, end, resident));
}

#[cfg(test)]
mod tests {
    use super::*;
    use offheap_target::Synthetic;

    const ARENA: u64 = 0x7000_0000_0000;
    const MODULE: u64 = 0x5000_0000_0000;
    const ARRAY: u64 = 0x6000_0000_0000;

    fn put(bytes: &mut [u8], at: u64, word: u64) {
        bytes[at as usize..at as usize + 8].copy_from_slice(&word.to_le_bytes());
    }

    #[test]
    fn what_points_close_to_a_pool_is_no_array_of_arenas() {
        let Geometry { arena: size, pool: pool_size } = GEOMETRIES[0];
        let mut arena = vec![0; size as usize];
        for number in 1..8 {
            let pool = number * pool_size;
            // One block of 32 bytes in use, of the first arena.
            put(&mut arena, pool, 1);
            put(&mut arena, pool + 32, 1 << 32);
            put(&mut arena, pool + 40, (POOL_HEADER + 32) | (pool_size - 32) << 32);
        }
        // An object whose first word leads to the one before it, as in the collector's list.
        put(&mut arena, 0x100, ARENA + 0xc0);
        let mut array = vec![0; 4096];
        put(&mut array, 0, ARENA);
        put(&mut array, 16, 56 | 64 << 32);
        let mut data = vec![0; 4096];
        put(&mut data, 0x80, ARENA + 0x100);
        put(&mut data, 0x100, ARRAY);

        let mut target = Synthetic::default();
        let path = "/usr/lib/libpython3.11.so.1.0".to_owned();
        let end = MODULE + 4096;
        let vma = Vma { start: MODULE, end, read: true, write: true, path: path.clone(), ..Vma::default() };
        target.map(vma, data);
        target.anonymous(ARRAY, array);
        target.anonymous(ARENA, arena);
        let view = Arenas::default().view(&target, &path);
        assert_eq!(view.ranges, [(ARENA, ARENA + size, size)]);
        assert_eq!((view.blocks, view.block_bytes), (7, 224));
    }
}

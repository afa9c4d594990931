//! A census of the objects: how many of each type, and the bytes they take, without stopping the
//! interpreter.

use crate::blocks::{Large, large, of_arena};
use crate::kinds::{Kinds, Role};
use crate::objects::Objects;
use crate::pymalloc::{Geometry, Pymalloc};
use crate::words::word_in;
use offheap_linux::{Live, Reads};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Objects of a type that are picked at the most, for who holds them.
pub(crate) const PICKED: usize = 120;
/// Arenas whose blocks are remembered, 8 KiB each; and large objects.
const MOST_MARKED: usize = 4_096;
const MOST_LARGE: usize = 1 << 18;
/// Blocks are multiples of 16 bytes (Objects/obmalloc.c, 3.7 and later).
const UNIT: u64 = 16;
/// Elements of a block of a deque, and its bytes (Modules/_collectionsmodule.c).
const DEQUE_BLOCK: u64 = 64;
pub(crate) const DEQUE_BYTES: u64 = 8 * (DEQUE_BLOCK + 2);

/// The objects of one type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TypeCount {
    /// `"dict"`, `"shop.Cart"`.
    pub name: String,
    /// How many.
    pub count: u64,
    /// Bytes of their blocks in pymalloc's arenas, with those that they keep their elements in.
    pub arena_bytes: u64,
    /// The same in the C heap.
    pub heap_bytes: u64,
    /// The collector follows them.
    pub gc: bool,
}

impl TypeCount {
    /// All their bytes.
    pub fn bytes(&self) -> u64 {
        self.arena_bytes + self.heap_bytes
    }
}

/// How many objects there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Census {
    /// By type, most bytes first.
    pub types: Vec<TypeCount>,
    /// Blocks in use in the arenas, and their bytes.
    pub blocks: u64,
    /// See `blocks`.
    pub block_bytes: u64,
    /// Bytes of those blocks that are no object and no container's elements: what other code keeps
    /// there.
    pub other_bytes: u64,
    /// Bytes of free blocks in pools that hold others.
    pub free_blocks: u64,
    /// Bytes of pools that are free, in arenas that hold others.
    pub free_pools: u64,
    /// How many arenas.
    pub arenas: u64,
    /// Bytes that were not looked at: in swap, or of the C heap beyond the budget.
    pub unread: u64,
}

/// Where objects were, so that a later census knows the new ones.
#[derive(Debug, Default)]
pub struct Marks {
    arenas: HashMap<u64, Box<[u64]>>,
    large: HashSet<u64>,
    full: bool,
}

impl Marks {
    fn set(&mut self, arena: u64, size: u64, address: u64) {
        if self.arenas.len() >= MOST_MARKED && !self.arenas.contains_key(&arena) {
            self.full = true;
            return;
        }
        let bit = (address - arena) / UNIT;
        let words = self.arenas.entry(arena).or_insert_with(|| vec![0; (size / UNIT / 64) as usize].into());
        if let Some(word) = words.get_mut((bit / 64) as usize) {
            *word |= 1 << (bit % 64);
        }
    }

    fn has(&self, arena: u64, address: u64) -> bool {
        let bit = (address - arena) / UNIT;
        match self.arenas.get(&arena) {
            Some(words) => words.get((bit / 64) as usize).is_some_and(|word| word >> (bit % 64) & 1 == 1),
            // An arena that was not remembered may have been there.
            None => self.full,
        }
    }
}

/// What a census is to look at.
#[derive(Debug, Default)]
pub struct Look<'a> {
    /// Address ranges of the C heap, for the large objects in it.
    pub c_heap: &'a [(u64, u64)],
    /// Bytes of it that may be read.
    pub budget: u64,
    /// Remember where objects are.
    pub mark: Option<&'a mut Marks>,
}

/// What the search for holders needs beside the figures.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    /// Addresses of objects of the wanted type, evenly picked; the new ones if there were enough.
    pub picked: Vec<u64>,
    /// How many of the type there are, or are new.
    pub of: u64,
    /// Blocks of the C heap in which a container in the arenas keeps its elements: start, end,
    /// container, its type.
    pub storages: Vec<(u64, u64, u64, u32)>,
    pub large: Vec<Large>,
    /// See [`Census`].
    pub unread: u64,
}

/// Picks some of many, each as likely.
struct Picker {
    picked: Vec<u64>,
    seen: u64,
    state: u64,
}

impl Picker {
    fn offer(&mut self, object: u64) {
        self.seen += 1;
        if self.picked.len() < PICKED {
            self.picked.push(object);
            return;
        }
        // A linear congruential generator (Knuth's) is random enough to pick.
        self.state =
            self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let place = (self.state >> 33) % self.seen;
        if let Some(slot) = self.picked.get_mut(place as usize) {
            *slot = object;
        }
    }
}

/// One census under way.
pub(crate) struct Counting<'k, 'a> {
    pub kinds: &'k mut Kinds<'a>,
    counts: Vec<Count>,
    other: u64,
    census: Census,
    pickers: [Picker; 2],
}

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    count: u64,
    arena_bytes: u64,
    heap_bytes: u64,
}

impl<'k, 'a> Counting<'k, 'a> {
    pub(crate) fn new(kinds: &'k mut Kinds<'a>) -> Self {
        let picker = || Picker { picked: Vec::new(), seen: 0, state: 1 };
        Counting {
            kinds,
            counts: Vec::new(),
            other: 0,
            census: Census::default(),
            pickers: [picker(), picker()],
        }
    }

    fn count(&mut self, kind: u32) -> Option<&mut Count> {
        let number = kind as usize;
        if number >= self.counts.len() {
            self.counts.resize(self.kinds.list.len().max(number + 1), Count::default());
        }
        self.counts.get_mut(number)
    }

    /// Counts all; with `wanted` picks objects of the type of that name, rather those that `before`
    /// has not.
    pub(crate) fn run(
        &mut self,
        memory: &Live,
        view: &Pymalloc,
        geometry: Geometry,
        look: &mut Look<'_>,
        wanted: Option<(&str, Option<&Marks>)>,
    ) -> Tables {
        let mut tables = Tables::default();
        let mut buffer = Vec::new();
        // Blocks in the arenas that hold a container's elements: not other code's.
        let mut elements = 0;
        self.census.arenas = view.ranges.len() as u64;
        for &(start, _, _) in &view.ranges {
            let free = of_arena(memory, start, geometry, &mut buffer, &mut |block| {
                let size = block.bytes.len() as u64;
                self.census.blocks += 1;
                self.census.block_bytes += size;
                let Some((at, kind)) = self.kinds.object_in(block.bytes) else {
                    self.other += size;
                    return;
                };
                let object = block.address + at as u64;
                let head = block.bytes.get(at..).unwrap_or_default();
                let storage = self.kinds.storage(kind, object, head).map(|(block, bytes)| {
                    let small = self.kinds.in_arena(block).then(|| block_size(memory, block, geometry));
                    (block, bytes, small.map(Option::unwrap_or_default))
                });
                let deque = (self.kinds.role_of(kind) == Role::Deque)
                    .then(|| (word_in(head, 0x10).min(1 << 40) / DEQUE_BLOCK + 1) * DEQUE_BYTES);
                if let Some(count) = self.count(kind) {
                    count.count += 1;
                    count.arena_bytes += size;
                    count.heap_bytes += deque.unwrap_or(0);
                    match storage {
                        Some((_, _, Some(small))) => {
                            count.arena_bytes += small;
                            elements += small;
                        }
                        Some((_, bytes, None)) => count.heap_bytes = count.heap_bytes.saturating_add(bytes),
                        None => {}
                    }
                }
                if let Some(marks) = look.mark.as_deref_mut() {
                    marks.set(start, geometry.arena, block.address);
                }
                if let Some((name, before)) = wanted {
                    if let Some((block, bytes, None)) = storage
                        && tables.storages.len() < MOST_LARGE
                    {
                        tables.storages.push((block, block.saturating_add(bytes), object, kind));
                    }
                    if deque.is_some() {
                        blocks_of_deque(memory, object, kind, head, &mut tables.storages);
                    }
                    if self.kinds.name_of(kind) == name {
                        let is_old = before.is_some_and(|marks| marks.has(start, block.address));
                        if let Some(picker) = self.pickers.get_mut(usize::from(is_old)) {
                            picker.offer(object);
                        }
                    }
                }
            });
            self.census.free_blocks += free.in_pools;
            self.census.free_pools += free.pools;
            self.census.unread += free.unread;
        }
        self.other = self.other.saturating_sub(elements);
        self.large(memory, look, wanted, &mut tables);
        let [new, old] = &mut self.pickers;
        // New ones tell of growth; where there are few, all do.
        let enough = wanted.is_some_and(|(_, before)| before.is_some()) && new.seen >= 10;
        tables.of = if enough { new.seen } else { new.seen + old.seen };
        tables.picked = std::mem::take(&mut new.picked);
        if !enough {
            tables.picked.append(&mut old.picked);
            tables.picked.truncate(PICKED);
        }
        tables.unread = self.census.unread;
        tables.storages.sort_unstable();
        tables.large.sort_unstable_by_key(|large| large.chunk);
        tables
    }

    fn large(
        &mut self,
        memory: &Live,
        look: &mut Look<'_>,
        wanted: Option<(&str, Option<&Marks>)>,
        tables: &mut Tables,
    ) {
        let mut left = look.budget;
        for &range in look.c_heap {
            let mut found = Vec::new();
            self.census.unread += large(memory, range, self.kinds, &mut left, &mut |large, head| {
                if found.len() < MOST_LARGE {
                    found.push((large, head.get(..0x30).unwrap_or(head).to_vec()));
                }
            });
            let mut end = 0;
            for (large, head) in found {
                // Of two that lie in one chunk the first is the object, the other what it holds.
                if large.chunk < end {
                    continue;
                }
                end = large.chunk.saturating_add(large.bytes);
                let storage = self.kinds.storage(large.kind, large.object, &head);
                if let Some(count) = self.count(large.kind) {
                    count.count += 1;
                    let held = storage.map_or(0, |(_, bytes)| bytes);
                    count.heap_bytes = count.heap_bytes.saturating_add(large.bytes).saturating_add(held);
                }
                if let Some(marks) = look.mark.as_deref_mut()
                    && marks.large.len() < MOST_LARGE
                {
                    marks.large.insert(large.object);
                }
                if let Some((name, before)) = wanted {
                    if let Some((block, bytes)) = storage.filter(|_| tables.storages.len() < MOST_LARGE) {
                        tables.storages.push((block, block.saturating_add(bytes), large.object, large.kind));
                    }
                    if tables.large.len() < MOST_LARGE {
                        tables.large.push(large);
                    }
                    if self.kinds.name_of(large.kind) == name {
                        let is_old = before.is_some_and(|marks| marks.large.contains(&large.object));
                        if let Some(picker) = self.pickers.get_mut(usize::from(is_old)) {
                            picker.offer(large.object);
                        }
                    }
                }
            }
        }
    }

    /// The figures.
    pub(crate) fn finish(mut self) -> Census {
        // Classes of one name, such as those that a function makes anew each time, are one.
        let mut by_name: BTreeMap<&str, TypeCount> = BTreeMap::new();
        for (kind, count) in self.kinds.list.iter().zip(&self.counts).filter(|(_, count)| count.count > 0) {
            let sum = by_name.entry(&kind.info.name).or_default();
            sum.count += count.count;
            sum.arena_bytes += count.arena_bytes;
            sum.heap_bytes = sum.heap_bytes.saturating_add(count.heap_bytes);
            sum.gc = kind.info.gc;
        }
        self.census.types =
            by_name.into_iter().map(|(name, sum)| TypeCount { name: name.to_owned(), ..sum }).collect();
        self.census.types.sort_by_key(|sum| std::cmp::Reverse(sum.bytes()));
        self.census.other_bytes = self.other;
        self.census
    }
}

/// The blocks of a deque are chained: a link, the elements, a link.
fn blocks_of_deque(
    memory: &Live,
    object: u64,
    kind: u32,
    head: &[u8],
    storages: &mut Vec<(u64, u64, u64, u32)>,
) {
    let mut block = word_in(head, 0x18);
    let mut left = word_in(head, 0x10) / DEQUE_BLOCK + 2;
    while block != 0 && left > 0 && storages.len() < MOST_LARGE {
        left -= 1;
        storages.push((block, block.saturating_add(DEQUE_BYTES), object, kind));
        block = memory.u64(block.saturating_add(DEQUE_BYTES - 8)).unwrap_or(0);
    }
}

/// Bytes of the block that holds `address`.
fn block_size(memory: &Live, address: u64, geometry: Geometry) -> Option<u64> {
    let pool = address / geometry.pool * geometry.pool;
    let head: [u8; 48] = memory.array(pool).ok()?;
    Some(crate::pymalloc::pool_in(pool, &head, geometry)?.block)
}

/// The kinds for a look at `view`.
pub(crate) fn kinds<'a>(objects: &'a Objects<'a>, view: &Pymalloc) -> Kinds<'a> {
    Kinds::new(objects, view.ranges.iter().map(|(start, end, _)| (*start, *end)).collect())
}

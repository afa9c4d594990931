//! Who holds objects of a type: references are followed from outside, against their direction, from
//! some of the objects to what has a name.

use crate::blocks::of_arena;
use crate::census::{self, Counting, Look, Marks, Tables};
use crate::code::Code;
use crate::interpreter::Interpreter;
use crate::kinds::{Kinds, Role};
use crate::names::{Named, Names};
use crate::pymalloc::{Geometry, Pymalloc};
use crate::words::word_in;
use offheap_linux::{Live, Memory, PageKind, Reads, Target};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// References followed one behind the other, at the most.
const MOST_LEVELS: u32 = 14;
/// Objects on the way, in all; and of one object's referrers.
const MOST_NODES: usize = 40_000;
const MOST_REFERRERS: u32 = 48;
/// References to one node that are kept to be looked at: some are weak, or an object's own.
const MOST_HITS: u32 = 64 * MOST_REFERRERS;
/// Bits of the filter that most words don't pass.
const FILTER: usize = 1 << 20;
/// Memory is read in pieces of this size.
const PIECE: u64 = 1 << 20;
/// So large a part of the objects must have led to a name for the search to end.
const ENOUGH: f64 = 0.9;
/// So large a part of what the first holds makes another its equal.
const ABOUT: f64 = 0.9;

/// Memory outside of the interpreter with a name of its own: the Java heap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Where it begins.
    pub start: u64,
    /// Where it ends.
    pub end: u64,
    /// What refers from there: `"an object on the Java heap"`.
    pub what: String,
}

/// What a search for holders may use.
#[derive(Debug)]
pub struct Search<'a> {
    /// The type's name as a census has it.
    pub name: &'a str,
    /// An earlier census's marks: objects that are new since are looked for.
    pub before: Option<&'a Marks>,
    /// Address ranges of the C heap.
    pub c_heap: &'a [(u64, u64)],
    /// Memory with names of its own.
    pub places: &'a [Place],
    /// How long it may take.
    pub time: Duration,
    /// Bytes that may be read for one step.
    pub budget: u64,
}

/// Who holds objects of a type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holders {
    /// How many objects there are, or are new.
    pub of: u64,
    /// How many were looked at, evenly picked.
    pub looked_at: usize,
    /// Of those, to how many nothing in memory refers, in two looks: their reference was lost.
    pub lonely: usize,
    /// The holders, of most objects first.
    pub holders: Vec<Holder>,
    /// Why the search is not complete; empty where it is.
    pub cut: String,
}

/// What holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HolderKind {
    /// A variable of a module.
    #[default]
    Module,
    /// An attribute of a class.
    Class,
    /// An `lru_cache`.
    LruCache,
    /// A function: its closure or defaults.
    Function,
    /// A variable of a function that runs, or one of its calls.
    Frame,
    /// Something outside of the interpreter.
    Outside,
    /// Data of a library.
    Static,
    /// Memory of native code.
    Native,
    /// A thread's native stack.
    Stack,
}

/// One that holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holder {
    /// ``"`carts` of module shop"``.
    pub what: String,
    /// How many of those that were looked at.
    pub objects: usize,
    /// What it is.
    pub kind: HolderKind,
    /// The nearest container that holds all of them: `"dict of 5203"`; empty where there is none.
    pub container: String,
    /// How many entries that container has.
    pub entries: Option<u64>,
    /// Of an `lru_cache` with a bound: how many entries it may have.
    pub most_entries: Option<u64>,
    /// The way from it to one of the objects.
    pub path: Vec<String>,
    /// The functions that use it by its name; empty where they are unknown, or too many.
    pub used_by: Vec<Code>,
    /// The functions that make objects of the nearest class of the program's on the way.
    pub made_by: Vec<Code>,
}

/// An object on the way, or a block in which one keeps its elements, or a name.
struct Node {
    address: u64,
    /// Bytes that a reference may point into; 1 for an object.
    len: u64,
    kind: Option<u32>,
    name: Option<Named>,
    /// The node that it was found from, that it refers to.
    to: Option<u32>,
    /// Which of the picked objects lead here.
    mask: u128,
    referrers: u32,
}

struct Climb<'k, 'a> {
    names: Names<'k, 'a>,
    memory: &'a Live,
    view: &'a Pymalloc,
    geometry: Geometry,
    tables: Tables,
    search: &'a Search<'a>,
    nodes: Vec<Node>,
    by_address: HashMap<u64, u32>,
    edges: Vec<(u32, u32)>,
    /// Bytes that the last look did not read: in swap, or past a limit.
    unread: u64,
    cut: String,
}

/// What is looked for in memory.
struct Targets {
    filter: Vec<u64>,
    by_granule: HashMap<u64, Vec<u32>>,
}

impl Targets {
    fn bit(word: u64) -> usize {
        ((word >> 4 ^ word >> 24) as usize) % FILTER
    }

    fn new(nodes: &[Node], frontier: &[u32]) -> Targets {
        let mut targets = Targets { filter: vec![0; FILTER / 64], by_granule: HashMap::new() };
        for &number in frontier {
            let Some(node) = nodes.get(number as usize) else { continue };
            let last = node.address.saturating_add(node.len - 1);
            for granule in node.address >> 4..=last >> 4 {
                targets.by_granule.entry(granule).or_default().push(number);
                let bit = Targets::bit(granule << 4);
                if let Some(word) = targets.filter.get_mut(bit / 64) {
                    *word |= 1 << (bit % 64);
                }
            }
        }
        targets
    }

    fn may_be(&self, word: u64) -> bool {
        let bit = Targets::bit(word);
        self.filter.get(bit / 64).is_some_and(|bits| bits >> (bit % 64) & 1 == 1)
    }
}

impl Interpreter {
    /// Who holds objects of a type; `memory` is fresh, as for [`Interpreter::view`].
    ///
    /// # Errors
    /// Why it can't be told, a sentence.
    pub fn holders(&self, memory: &Live, search: &Search<'_>) -> Result<Holders, String> {
        let (objects, view, geometry) = self.ready(memory)?;
        let frames = self.interpreters(memory).unwrap_or_default();
        let mut kinds = census::kinds(&objects, &view);
        let mut look = Look { c_heap: search.c_heap, budget: search.budget, mark: None };
        let tables = Counting::new(&mut kinds).run(
            memory,
            &view,
            geometry,
            &mut look,
            Some((search.name, search.before)),
        );
        let unread = tables.unread;
        let tasks = memory.tasks().unwrap_or_default();
        let names = Names::new(&mut kinds, memory, &frames, &tasks, search.places);
        let mut climb = Climb {
            names,
            memory,
            view: &view,
            geometry,
            tables,
            search,
            nodes: Vec::new(),
            by_address: HashMap::new(),
            edges: Vec::new(),
            unread,
            cut: String::new(),
        };
        Ok(climb.run())
    }
}

impl Climb<'_, '_> {
    fn run(&mut self) -> Holders {
        let begun = Instant::now();
        for (number, object) in std::mem::take(&mut self.tables.picked).into_iter().enumerate() {
            let kind = self.names.kind_at(object);
            self.add(object, 1, kind, None, None, 1 << number);
        }
        let mut frontier: Vec<u32> = (0..self.nodes.len() as u32).collect();
        let picked = frontier.clone();
        for level in 0..MOST_LEVELS {
            if frontier.is_empty() {
                break;
            }
            if begun.elapsed() > self.search.time {
                self.cut = format!("time ran out after {level} step{}", if level == 1 { "" } else { "s" });
                break;
            }
            // The first look is a moment old.
            if level > 0 {
                self.look_again();
            }
            let before = self.nodes.len() as u32;
            self.step(&frontier);
            let new = before..self.nodes.len() as u32;
            frontier =
                new.filter(|n| self.nodes.get(*n as usize).is_some_and(|n| n.name.is_none())).collect();
            self.spread();
            let named = self.covered(|named| named.is_good());
            if f64::from(named.count_ones()) >= ENOUGH * picked.len() as f64 {
                break;
            }
        }
        // To whom nobody refers now may have been about to be referred to.
        let alone: Vec<u32> = picked
            .iter()
            .copied()
            .filter(|number| self.nodes.get(*number as usize).is_some_and(|node| node.referrers == 0))
            .collect();
        let mut lonely = alone.clone();
        if !lonely.is_empty() && self.cut.is_empty() {
            std::thread::sleep(Duration::from_millis(50));
            self.look_again();
            let kept = self.nodes.len();
            self.step(&alone);
            lonely.retain(|n| self.nodes.get(*n as usize).is_some_and(|node| node.referrers == 0));
            self.nodes.truncate(kept);
        } else {
            lonely.clear();
        }
        if self.unread > 0 && self.cut.is_empty() {
            // Who refers to them may lie there.
            lonely.clear();
            self.cut =
                format!("{} KiB of its memory were not read: in swap, or past a limit", self.unread >> 10);
        }
        let holders = self.holders(picked.len());
        Holders {
            of: self.tables.of,
            looked_at: picked.len(),
            lonely: lonely.len(),
            holders,
            cut: std::mem::take(&mut self.cut),
        }
    }

    /// The number of the node at `address`, new or not.
    fn add(
        &mut self,
        address: u64,
        len: u64,
        kind: Option<u32>,
        name: Option<Named>,
        to: Option<u32>,
        mask: u128,
    ) -> Option<u32> {
        if let Some(known) = self.by_address.get(&address) {
            return Some(*known);
        }
        if self.nodes.len() >= MOST_NODES {
            return None;
        }
        let number = self.nodes.len() as u32;
        self.nodes.push(Node { address, len, kind, name, to, mask, referrers: 0 });
        self.by_address.insert(address, number);
        Some(number)
    }

    /// Where the elements of containers lie now: those that grow move them meanwhile.
    fn look_again(&mut self) {
        self.memory.forget();
        let mut look = Look { c_heap: self.search.c_heap, budget: self.search.budget, mark: None };
        let tables = Counting::new(self.names.kinds).run(
            self.memory,
            self.view,
            self.geometry,
            &mut look,
            Some(("", None)),
        );
        (self.tables.storages, self.tables.large) = (tables.storages, tables.large);
    }

    /// Finds what refers to the nodes of `frontier`.
    fn step(&mut self, frontier: &[u32]) {
        let targets = Targets::new(&self.nodes, frontier);
        let mut hits: Vec<(u32, u64, u64, u64)> = Vec::new();
        let mut buffer = Vec::new();
        let nodes = &self.nodes;
        let mut counts = vec![0; nodes.len()];
        let mut look = |word: u64, at: u64, block: u64, bytes: u64| {
            if !targets.may_be(word) {
                return;
            }
            for &number in targets.by_granule.get(&(word >> 4)).into_iter().flatten() {
                let fits = nodes
                    .get(number as usize)
                    .is_some_and(|node| word >= node.address && word - node.address < node.len);
                if fits && let Some(count) = counts.get_mut(number as usize).filter(|n| **n < MOST_HITS) {
                    *count += 1;
                    hits.push((number, at, block, bytes));
                }
            }
        };
        let mut unread = 0;
        for &(start, _, _) in &self.view.ranges {
            let free = of_arena(self.memory, start, self.geometry, &mut buffer, &mut |block| {
                let bytes = block.bytes.len() as u64;
                for (number, word) in block.bytes.chunks_exact(8).enumerate() {
                    let word = word.try_into().map_or(0, u64::from_le_bytes);
                    look(word, block.address + 8 * number as u64, block.address, bytes);
                }
            });
            unread += free.unread;
        }
        let mut left = self.search.budget;
        for (start, end) in self.names.scanned() {
            for run in self.memory.pagemap().runs(start, end) {
                let mut at = run.start;
                while run.kind == PageKind::Present && at < run.end && left > 0 {
                    let len = (run.end - at).min(PIECE).min(left);
                    left -= len;
                    buffer.resize(len as usize, 0);
                    let got = self.memory.read_bulk(at, &mut buffer);
                    for (number, word) in buffer[..got].chunks_exact(8).enumerate() {
                        let word = word.try_into().map_or(0, u64::from_le_bytes);
                        look(word, at + 8 * number as u64, 0, 0);
                    }
                    unread += len - got as u64;
                    at += len;
                }
                unread += run.end - at;
            }
        }
        self.unread = unread;
        if left == 0 {
            self.cut = "it reached its limit on how much memory to read".to_owned();
        }
        for (number, at, block, bytes) in hits {
            self.take(number, at, block, bytes);
        }
    }

    /// A reference to the node `to` lies at `at`, in a block of pymalloc's if there is one.
    fn take(&mut self, to: u32, at: u64, block: u64, bytes: u64) {
        let Some(node) = self.nodes.get_mut(to as usize) else { return };
        if node.referrers >= MOST_REFERRERS || node.address == block {
            return;
        }
        let (mask, own, len) = (node.mask, node.address, node.len);
        // What an object says of itself.
        if at >= own && at - own < len {
            return;
        }
        let found = if bytes > 0 {
            let head = self.memory_of(block, bytes);
            match self.names.kinds.object_in(&head) {
                Some((before, kind)) => {
                    let object = block + before as u64;
                    if self.names.kinds.role_of(kind) == Role::Weak || object == own {
                        return;
                    }
                    let name = self.names.of_object(object, kind);
                    self.add(object, 1, Some(kind), name, Some(to), mask)
                }
                None => self.add(block, bytes, None, None, Some(to), mask),
            }
        } else if let Some((object, kind)) = self.container(at) {
            if object == own || self.names.kinds.role_of(kind) == Role::Weak {
                return;
            }
            let name = self.names.of_object(object, kind);
            self.add(object, 1, Some(kind), name, Some(to), mask)
        } else {
            let (key, name) = self.names.of_memory(at);
            self.add(key, 1, None, Some(name), Some(to), mask)
        };
        if let Some(found) = found.filter(|found| *found != to) {
            if let Some(node) = self.nodes.get_mut(to as usize) {
                node.referrers += 1;
            }
            self.edges.push((to, found));
        }
    }

    fn memory_of(&self, block: u64, bytes: u64) -> Vec<u8> {
        let mut head = vec![0; bytes.min(64) as usize];
        if self.memory.read(block, &mut head).is_err() {
            head.clear();
        }
        head
    }

    /// The object in the C heap, or with elements there, that holds what lies at `at`.
    fn container(&self, at: u64) -> Option<(u64, u32)> {
        let storages = &self.tables.storages;
        let behind = storages.partition_point(|(start, ..)| *start <= at);
        if let Some((_, end, object, kind)) = behind.checked_sub(1).and_then(|n| storages.get(n))
            && at < *end
        {
            return Some((*object, *kind));
        }
        let behind = self.tables.large.partition_point(|large| large.chunk <= at);
        let large = behind.checked_sub(1).and_then(|n| self.tables.large.get(n))?;
        (at < large.chunk + large.bytes).then_some((large.object, large.kind))
    }

    /// Lets every node know which objects lead to it.
    fn spread(&mut self) {
        for _ in 0..MOST_LEVELS {
            let mut changed = false;
            for &(from, to) in &self.edges {
                let Some(mask) = self.nodes.get(from as usize).map(|node| node.mask) else { continue };
                if let Some(node) = self.nodes.get_mut(to as usize) {
                    changed |= node.mask | mask != node.mask;
                    node.mask |= mask;
                }
            }
            if !changed {
                break;
            }
        }
    }

    /// The objects that lead to a name of some sort.
    fn covered(&self, is: impl Fn(&Named) -> bool) -> u128 {
        self.nodes
            .iter()
            .filter(|node| node.name.as_ref().is_some_and(&is))
            .fold(0, |mask, node| mask | node.mask)
    }

    /// Those that hold most, each with what no better one holds.
    fn holders(&self, picked: usize) -> Vec<Holder> {
        let mut left = self.nodes.iter().take(picked).fold(0, |mask, node| mask | node.mask);
        let mut holders = Vec::new();
        for is_good in [true, false] {
            loop {
                let count = |node: &Node| (node.mask & left).count_ones();
                let named = || {
                    let nodes = self.nodes.iter().enumerate();
                    nodes.filter(|(_, node)| node.name.as_ref().is_some_and(|n| !is_good || n.is_good()))
                };
                let most = named().map(|(_, node)| count(node)).max().unwrap_or(0);
                // Of those that hold about as many: a frame's block has words that are over, so one
                // of the others; then the nearest, as nodes are in the order in which they were
                // found.
                let best = named()
                    .filter(|(_, node)| most > 0 && f64::from(count(node)) >= ABOUT * f64::from(most))
                    .min_by_key(|(_, node)| matches!(node.name, Some(Named::Frame(_))));
                let Some((number, node)) = best else { break };
                let mask = node.mask & left;
                left &= !mask;
                holders.push(self.holder(number as u32, mask));
                if holders.len() >= 8 {
                    return holders;
                }
            }
        }
        holders
    }

    fn holder(&self, number: u32, mask: u128) -> Holder {
        // The way back to one of the objects, without the blocks between a container and its
        // elements.
        let mut way: Vec<(u64, Option<u32>, u128)> = Vec::new();
        let mut next = self.nodes.get(number as usize).and_then(|node| node.to);
        while let Some(node) = next.and_then(|number| self.nodes.get(number as usize)) {
            if node.len == 1 && way.len() < MOST_LEVELS as usize {
                way.push((node.address, node.kind, node.mask));
            }
            next = node.to;
        }
        let Some(node) = self.nodes.get(number as usize) else { return Holder::default() };
        let (address, kind, name) = (node.address, node.kind, node.name.clone());
        let Some(name) = name else { return Holder::default() };
        let children: Vec<u64> = way.iter().map(|(address, ..)| *address).collect();
        let what = self.names.what(&name, address, kind, &children);
        // Of those that hold all of them the nearest to the objects.
        let all = way.iter().rev().map(|(address, kind, all)| (*address, *kind, *all)).chain([(
            address,
            kind,
            u128::MAX,
        )]);
        let container = all.filter(|(_, _, all)| *all & mask == mask && mask.count_ones() > 1).find_map(
            |(address, kind, _)| {
                let kind = kind?;
                let entries = self.names.kinds.length(kind, address)?;
                Some((self.names.sized(address, kind), entries))
            },
        );
        let path = way
            .iter()
            .map(|(address, kind, _)| kind.map_or_else(String::new, |kind| self.names.sized(*address, kind)))
            .collect();
        // The last one is what was looked for.
        let made_by =
            children.iter().rev().map(|object| self.names.makers(*object)).find(|by| !by.is_empty());
        Holder {
            what,
            objects: mask.count_ones() as usize,
            kind: name.kind(),
            entries: container.as_ref().map(|(_, entries)| *entries),
            container: container.map(|(what, _)| what).unwrap_or_default(),
            most_entries: self.names.most_entries(&name, address),
            path,
            used_by: self.names.users(&name, address, kind, &children),
            made_by: made_by.unwrap_or_default(),
        }
    }
}

/// The type of the object at `object`, by its first words.
pub(crate) fn kind_at(kinds: &mut Kinds<'_>, memory: &Live, object: u64) -> Option<u32> {
    let head: [u8; 16] = memory.array(object).ok()?;
    kinds.of(word_in(&head, 8))
}

//! One walk: every segment tallied, thread caches told apart, large chunks found, the whole
//! checked.

use super::arenas::{self, Segment, State};
use super::fastbins;
use super::layout::{Layout, MmapState};
use super::mapped::Search;
use super::sizes::Sizes;
use super::tally::{self, Guide, Tally};
use super::tcache::{Format, Links, SMALL_BINS};
use super::window::Window;
use crate::{Arena, Heap, Label, LabelKind, Options};
use offheap_target::{Reads, Target, page_bytes, page_start};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};

/// glibc's malloc in one process.
#[derive(Debug)]
pub(crate) struct Glibc {
    layout: Layout,
    links: Links,
    memo: RefCell<Memo>,
}

/// What one walk leaves for the next.
#[derive(Debug, Default)]
pub(super) struct Memo {
    walks: u64,
    pub key: Option<u64>,
    pub format: Option<Format>,
    /// Addresses of thread caches, ascending.
    pub caches: Vec<u64>,
    /// Maps of large chunks: start and bytes.
    pub chunks: BTreeMap<u64, u64>,
    /// Where memory of the main arena besides the brk heap starts.
    pub regions: Vec<u64>,
    pub search: Search,
    /// The latest tally of each segment by its start, for walks that the budget does not let read
    /// all.
    tallies: HashMap<u64, Remembered>,
    /// Bytes that may be read beyond the current budget: a segment larger than the budget is read
    /// once they suffice.
    credit: u64,
}

#[derive(Debug)]
struct Remembered {
    walk: u64,
    tally: Tally,
    sizes: Vec<(u64, u64)>,
}

/// A segment's tally, and whether it is of this very walk.
pub(super) struct Walked {
    /// Index of the arena.
    pub arena: usize,
    pub tally: Tally,
    fresh: bool,
}

/// One walk under way.
pub(super) struct Pass<'p> {
    pub memory: &'p dyn Target,
    pub options: &'p Options<'p>,
    pub links: &'p Links,
    pub memo: &'p mut Memo,
    pub window: Window<'p>,
    pub states: Vec<State>,
    /// Chunks in fastbins, ascending.
    fast: Vec<u64>,
    trim_unit: u64,
    pub walked: Vec<Walked>,
    /// Chunks in thread caches: by arena, by bin.
    pub cached: Vec<[u64; SMALL_BINS]>,
    pub sizes: Sizes,
    pub heap: Heap,
}

impl Glibc {
    /// Finds malloc's state in the data of the module at `path`.
    pub fn find(memory: &dyn Target, path: &str) -> Option<Glibc> {
        let layout = Layout::find(memory, path)?;
        Some(Glibc { layout, links: Links::default(), memo: RefCell::default() })
    }

    /// True once malloc's parameters were found and it has memory from `sbrk`: before, zeros look
    /// like anything.
    pub fn is_settled(&self, memory: &dyn Target) -> bool {
        let parameters = self.layout.parameters.as_ref();
        parameters.and_then(|parameters| parameters.read(memory)).is_some_and(|state| state.sbrk_base != 0)
    }

    /// Walks the heap. The second value holds the counts by size, for a look into some chunks.
    pub fn walk(&self, memory: &dyn Target, options: &Options<'_>) -> (Heap, Sizes) {
        let mut memo = self.memo.borrow_mut();
        memo.walks += 1;
        let parameters = || self.layout.parameters.as_ref().and_then(|parameters| parameters.read(memory));
        let before = parameters();
        let (states, doubts) = arenas::read(memory, &self.layout, before.map_or(0, |state| state.sbrk_base));
        let mut pass = Pass {
            memory,
            options,
            links: &self.links,
            memo: &mut memo,
            window: Window::new(memory),
            cached: vec![[0; SMALL_BINS]; states.len()],
            states,
            fast: Vec::new(),
            trim_unit: before.map_or(page_bytes(), |state| state.trim_unit),
            walked: Vec::new(),
            sizes: Sizes::default(),
            heap: Heap { walked: true, doubts, ..Heap::default() },
        };
        if before.is_none() {
            pass.doubt("malloc's own count of mmapped chunks was not found".to_owned());
        }
        pass.learn_caches();
        pass.list_fastbins();
        pass.walk_segments();
        pass.find_mapped(before);
        let mut arenas: Vec<Arena> = (0..pass.states.len()).map(|arena| pass.arena(arena)).collect();
        pass.settle_caches(&mut arenas);
        pass.add_mapped(before, parameters());
        pass.sum_up(arenas);
        pass.heap.chunks.sort_unstable();
        pass.heap.mmap_threshold = before.map_or(0, |state: MmapState| state.threshold);
        (pass.heap, pass.sizes)
    }
}

#[cfg(test)]
impl Glibc {
    /// A heap of which the layout is known.
    pub fn with(layout: Layout) -> Glibc {
        Glibc { layout, links: Links::default(), memo: RefCell::default() }
    }
}

impl Pass<'_> {
    pub fn doubt(&mut self, doubt: String) {
        self.heap.doubts.push(doubt);
    }

    /// True where a walk is not to read everything.
    pub fn on_budget(&self) -> bool {
        self.options.budget_bytes != u64::MAX
    }

    fn list_fastbins(&mut self) {
        let fast = fastbins::list(self.memory, &self.states, self.links);
        if fast.raced {
            self.doubt("fastbins changed while they were read".to_owned());
        }
        if fast.cut {
            self.doubt("more chunks are in fastbins than were listed".to_owned());
        }
        self.fast = fast.chunks;
    }

    /// Tallies the segments of all arenas: all of them, or as many as the budget allows, the one
    /// not seen for longest first. The first walk sees all.
    fn walk_segments(&mut self) {
        let mut order: Vec<(usize, Segment)> = self
            .states
            .iter()
            .enumerate()
            .flat_map(|(arena, state)| state.segments.iter().map(move |segment| (arena, *segment)))
            .collect();
        let seen =
            |segment: &Segment| self.memo.tallies.get(&segment.base).map_or(0, |remembered| remembered.walk);
        order.sort_by_key(|(_, segment)| seen(segment));
        let on_budget = self.on_budget();
        let mut left = self.options.budget_bytes.saturating_add(if on_budget { self.memo.credit } else { 0 });
        let mut passed_over = false;
        for (arena, segment) in order {
            let cost = if on_budget { self.window.resident(segment.base, segment.end) } else { 0 };
            // What comes later was seen later: it is not to overtake, or a large segment would
            // never get its turn.
            passed_over |= on_budget && cost > left && self.memo.tallies.contains_key(&segment.base);
            if let Some(remembered) = self.memo.tallies.get(&segment.base).filter(|_| passed_over) {
                let mut tally = remembered.tally.clone();
                tally.refit(cost);
                for (size, count) in &remembered.sizes {
                    self.sizes.add_counted(*size, *count);
                }
                self.walked.push(Walked { arena, tally, fresh: false });
            } else {
                left = left.saturating_sub(cost);
                let tally = self.tally(segment);
                self.walked.push(Walked { arena, tally, fresh: true });
            }
        }
        // Unused budget adds up only while something waits for it.
        self.memo.credit = if passed_over { left } else { 0 };
        let starts: HashSet<u64> = self.walked.iter().map(|walked| walked.tally.start).collect();
        self.memo.tallies.retain(|start, _| starts.contains(start));
    }

    fn tally(&mut self, segment: Segment) -> Tally {
        let guide = Guide {
            fast: &self.fast,
            key: self.memo.key,
            format: self.memo.format,
            caches: &self.memo.caches,
            sizes: self.options.size_classes,
            chunks: self.options.chunks,
            trim_unit: self.trim_unit,
        };
        let mut tally = tally::walk(&mut self.window, segment, &guide);
        self.heap.chunks.append(&mut tally.chunks);
        let sizes = std::mem::take(&mut tally.sizes);
        self.sizes.merge(&sizes);
        if self.on_budget() {
            let remembered =
                Remembered { walk: self.memo.walks, tally: tally.clone(), sizes: sizes.compact() };
            self.memo.tallies.insert(segment.base, remembered);
        }
        tally
    }

    /// Tallies memory of the main arena that starts at `page`; gives where it ends, or `None` where
    /// it was no such memory.
    pub fn walk_region(&mut self, main: usize, page: u64) -> Option<u64> {
        let top = self.states.get(main)?.top;
        let mut end = arenas::end_of_mapped(self.memory, page)?;
        if (page..end).contains(&top) {
            let size = self.memory.u64(top + 8).ok()? & !arenas::FLAGS;
            end = end.min(top.checked_add(size)?);
        }
        let segment = Segment { base: page, first: page, end, open_ended: true, main: true, top };
        let tally = self.tally(segment);
        let end = tally.end;
        let whole = tally.ended_well;
        if whole {
            self.walked.push(Walked { arena: main, tally, fresh: true });
        }
        whole.then_some(end)
    }

    /// Bytes that were walked of an arena.
    pub fn seen(&self, arena: usize) -> u64 {
        self.of(arena).map(|walked| walked.tally.end - walked.tally.start).sum()
    }

    fn of(&self, arena: usize) -> impl Iterator<Item = &Walked> {
        self.walked.iter().filter(move |walked| walked.arena == arena)
    }

    /// Sums up an arena and checks it.
    fn arena(&mut self, at: usize) -> Arena {
        let state = &self.states[at];
        let mut arena = Arena {
            address: state.address,
            main: state.main,
            threads: state.threads,
            system: state.system,
            ..Arena::default()
        };
        for Walked { tally, .. } in self.of(at) {
            arena.resident += tally.resident;
            arena.in_use += tally.in_use;
            arena.in_use_count += tally.in_use_count;
            arena.free += tally.free + tally.fast;
            arena.free_count += tally.free_count;
            arena.fast += tally.fast;
            arena.fast_count += tally.fast_count;
            arena.top += tally.top;
            arena.returnable += tally.returnable;
            arena.split.in_use += tally.split.in_use;
            arena.split.free += tally.split.free;
            arena.split.top += tally.split.top;
            arena.ranges.push((tally.start, tally.end));
        }
        arena.ranges.sort_unstable();
        let doubts = self.check(at);
        self.heap.doubts.extend(doubts);
        arena
    }

    /// The self-checks of one arena.
    fn check(&self, at: usize) -> Vec<String> {
        let mut doubts = Vec::new();
        let state = &self.states[at];
        let name = if state.main {
            "the main arena".to_owned()
        } else {
            format!("the arena at {:#x}", state.address)
        };
        let seen = self.seen(at);
        if seen != state.system && state.top != 0 && self.of(at).all(|walked| walked.fresh) {
            doubts.push(format!("{name} has {} bytes from the system, but {seen} were walked", state.system));
        }
        let sum = |figure: fn(&Tally) -> u64| self.of(at).map(|walked| figure(&walked.tally)).sum::<u64>();
        let (lost, breaks) = (sum(|tally| tally.lost), sum(|tally| tally.resyncs));
        if lost + breaks > 0 {
            let swapped = self.of(at).any(|walked| walked.tally.swapped);
            let why = if swapped { ": pages of it are swapped out" } else { "" };
            doubts.push(format!(
                "in {name} the chain of chunks broke {breaks} times and {lost} bytes could not be told{why}"
            ));
        }
        let changed = sum(|tally| tally.bad_footers);
        if changed > 0 {
            doubts.push(format!("in {name} {changed} free chunks changed while they were read"));
        }
        if lost == 0 && self.of(at).any(|walked| !walked.tally.ended_well) {
            doubts.push(format!("in {name} the chunks do not end where they should"));
        }
        doubts
    }

    fn sum_up(&mut self, mut arenas: Vec<Arena>) {
        let heap = &mut self.heap;
        for arena in &mut arenas {
            let told = arena.in_use + arena.cached + arena.free + arena.top;
            arena.overhead = arena.system.saturating_sub(told);
            heap.system += arena.system;
            heap.in_use += arena.in_use;
            heap.in_use_count += arena.in_use_count;
            heap.cached += arena.cached;
            heap.free += arena.free;
            heap.top += arena.top;
            heap.free_resident += arena.split.free + arena.split.top;
            heap.returnable += arena.returnable;
        }
        for Walked { arena, tally, fresh } in &self.walked {
            heap.page_account.in_use_resident += tally.resident.saturating_sub(tally.free_pages);
            heap.page_account.free_resident += tally.free_pages;
            if !fresh {
                heap.stale += tally.resident;
            }
            heap.labels.push(Label {
                start: page_start(tally.start),
                end: tally.end.next_multiple_of(page_bytes()),
                kind: match self.states[*arena].address {
                    address if tally.tells_nothing() => LabelKind::UnwalkedArena { address },
                    address => LabelKind::Arena { address },
                },
                resident: tally.resident,
                free_resident: tally.free_pages,
            });
        }
        heap.labels.sort_unstable_by_key(|label| label.start);
        heap.exact = heap.doubts.is_empty() && heap.stale == 0;
        arenas.sort_by_key(|arena| std::cmp::Reverse(arena.resident));
        heap.arenas = arenas;
    }
}

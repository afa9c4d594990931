//! One walk: every segment tallied, thread caches told apart, large chunks found, the whole checked.

use super::arenas::{self, Segment, State};
use super::fastbins;
use super::layout::{Layout, MmapState};
use super::mapped::{self, Depth, Head, Search};
use super::sizes::Sizes;
use super::tally::{self, Guide, Tally};
use super::tcache::{self, Format, Links, SMALL_BINS, Tcache};
use super::window::Window;
use crate::{Arena, Heap, Label, LabelKind, Options};
use offheap_linux::{Memory, PAGE};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

/// Pages that one walk may look at for large chunks, when all is to be found and when the budget is tight.
const PROBES: u64 = 1 << 20;
const PROBES_ON_BUDGET: u64 = 4096;
/// At so many first chunks of each arena is looked for its thread's cache.
const CHUNKS_BEFORE_CACHE: usize = 64;

/// glibc's malloc in one process.
#[derive(Debug)]
pub(crate) struct Glibc {
    layout: Layout,
    links: Links,
    memo: RefCell<Memo>,
}

/// What one walk leaves for the next.
#[derive(Debug, Default)]
struct Memo {
    walks: u64,
    key: Option<u64>,
    format: Option<Format>,
    /// Addresses of thread caches, ascending.
    caches: Vec<u64>,
    /// Maps of large chunks: start and bytes.
    chunks: BTreeMap<u64, u64>,
    /// Where memory of the main arena besides the brk heap starts.
    regions: Vec<u64>,
    search: Search,
    /// The latest tally of each segment by its start, for walks that the budget does not let read all.
    tallies: HashMap<u64, Remembered>,
    /// Bytes that may be read beyond the current budget: a segment larger than the budget is read once they suffice.
    credit: u64,
}

#[derive(Debug)]
struct Remembered {
    walk: u64,
    tally: Tally,
    sizes: Vec<(u64, u64)>,
}

/// A segment's tally, and whether it is of this very walk.
struct Walked {
    arena: usize,
    tally: Tally,
    fresh: bool,
}

impl Glibc {
    /// Finds malloc's state in the data of the module at `path`.
    pub fn find(memory: &Memory, path: &str) -> Option<Glibc> {
        Some(Glibc { layout: Layout::find(memory, path)?, links: Links::default(), memo: RefCell::default() })
    }

    /// Walks the heap. The second value holds the counts by size, for the look into chunks.
    pub fn walk(&self, memory: &Memory, options: &Options<'_>) -> (Heap, Sizes) {
        let mut memo = self.memo.borrow_mut();
        memo.walks += 1;
        let before = self.layout.parameters.as_ref().and_then(|parameters| parameters.read(memory));
        let mut heap = Heap { walked: true, ..Heap::default() };
        if before.is_none() {
            heap.doubts.push("malloc's own count of mmapped chunks was not found".to_owned());
        }
        let (states, doubts) = arenas::read(memory, &self.layout, before.map_or(0, |state| state.sbrk_base));
        heap.doubts.extend(doubts);

        let mut window = Window::new(memory);
        if memo.format.is_none() {
            learn_caches(memory, &mut window, &states, &mut memo);
        }
        let fast = fastbins::list(memory, &states, &self.links);
        if fast.raced {
            heap.doubts.push("fastbins changed while they were read".to_owned());
        }
        if fast.cut {
            heap.doubts.push("more chunks are in fastbins than were listed".to_owned());
        }
        let mut sizes = Sizes::default();
        let mut walked = walk_segments(&mut window, &states, &fast.chunks, &mut memo, options, &mut sizes);
        find_mapped(
            memory,
            &mut window,
            &states,
            &fast.chunks,
            before,
            &mut memo,
            options,
            &mut walked,
            &mut sizes,
        );
        let mut arenas: Vec<Arena> =
            states.iter().enumerate().map(|(at, state)| arena(state, of_arena(&walked, at))).collect();
        for (at, arena) in arenas.iter_mut().enumerate() {
            check(arena, &walked, at, &states, &mut heap.doubts);
        }
        self.settle_caches(memory, &walked, &mut memo, options, &mut arenas, &mut sizes, &mut heap.doubts);
        let after = self.layout.parameters.as_ref().and_then(|parameters| parameters.read(memory));
        add_mapped(memory, &memo.chunks, before, after, &mut heap, options, &mut sizes);
        sum_up(&mut heap, arenas, &walked, &states);
        heap.mmap_threshold = before.map_or(0, |state| state.threshold);
        (heap, sizes)
    }

    /// Tells chunks parked in thread caches from those in use.
    ///
    /// Each cache counts its chunks, bin by bin: that makes the totals. Which arena they are of is told by the key that
    /// they bear (from 2.34), else by following the lists. If both disagree with the counts, threads went on meanwhile.
    #[expect(clippy::too_many_arguments, reason = "the parts of one walk")]
    fn settle_caches(
        &self,
        memory: &Memory,
        walked: &[Walked],
        memo: &mut Memo,
        options: &Options<'_>,
        arenas: &mut [Arena],
        sizes: &mut Sizes,
        doubts: &mut Vec<String>,
    ) {
        let mut caches: Vec<Tcache> =
            walked.iter().flat_map(|walked| walked.tally.caches.iter().cloned()).collect();
        if memo.format.is_none() {
            memo.format = caches.iter().find(|cache| cache.entries_fit(memory)).map(|cache| cache.format);
        }
        let Some(format) = memo.format else { return };
        caches.retain(|cache| {
            cache.format == format
                && (memo.caches.binary_search(&cache.address).is_ok() || cache.entries_fit(memory))
        });
        memo.caches = caches.iter().map(|cache| cache.address).collect();
        memo.caches.sort_unstable();
        if caches.iter().any(Tcache::holds_large) {
            doubts.push("chunks above 1040 bytes in thread caches are counted as in use".to_owned());
        }
        let keyed: [u64; SMALL_BINS] = std::array::from_fn(|bin| {
            walked
                .iter()
                .filter_map(|walked| walked.tally.keyed.get(bin))
                .map(|count| u64::from(*count))
                .sum()
        });
        let capacity = tcache::capacity(&caches);
        let totals = tcache::totals(&caches, capacity);
        let mut by_arena: Vec<[u64; SMALL_BINS]> = vec![[0; SMALL_BINS]; arenas.len()];
        for walked in walked {
            for (sum, count) in by_arena[walked.arena].iter_mut().zip(&walked.tally.keyed) {
                *sum += u64::from(*count);
            }
        }
        if keyed != totals {
            let on_budget = options.budget_bytes != u64::MAX && memo.key.is_some();
            let listed = if on_budget { None } else { self.list_caches(memory, &mut caches, capacity) };
            match listed {
                Some(listed) => by_arena = correct(arenas, sizes, walked, &by_arena, &listed),
                None => doubts.push("thread caches changed while they were read".to_owned()),
            }
        }
        for (arena, counts) in arenas.iter_mut().zip(&by_arena) {
            arena.tcache_count = counts.iter().sum();
            arena.tcache =
                counts.iter().enumerate().map(|(bin, count)| count * tcache::chunk_of_bin(bin)).sum();
            arena.split.tcache = arena.tcache.min(arena.split.in_use);
            arena.split.in_use -= arena.split.tcache;
        }
        if memo.key.is_none() && format != Format::Bytes {
            memo.key = common_key(memory, &caches);
        }
    }

    /// Follows every list, a second time from fresh memory where a thread interfered. `None` where it did again.
    fn list_caches(
        &self,
        memory: &Memory,
        caches: &mut [Tcache],
        capacity: u16,
    ) -> Option<Vec<(u64, usize)>> {
        for attempt in 0..2 {
            if attempt > 0 {
                memory.forget();
                for cache in caches.iter_mut() {
                    let mut bytes = vec![0; cache.format.size()];
                    memory.read(cache.address, &mut bytes).ok()?;
                    *cache = tcache::parse(cache.address, cache.format, &bytes, true)?;
                }
            }
            let mut whole = true;
            let mut listed = Vec::new();
            for cache in caches.iter() {
                let (chunks, complete) = cache.listed(memory, capacity, &self.links);
                whole &= complete;
                listed.extend(chunks);
            }
            let count = listed.len();
            listed.sort_unstable();
            listed.dedup();
            if whole && listed.len() == count {
                return Some(listed);
            }
        }
        None
    }
}

/// Looks at the first chunks of each arena for a thread cache, so that the key is known before all is walked.
fn learn_caches(memory: &Memory, window: &mut Window<'_>, states: &[State], memo: &mut Memo) {
    let mut caches = Vec::new();
    for segment in states.iter().filter_map(|state| state.segments.first()) {
        let mut chunk = segment.first;
        for _ in 0..CHUNKS_BEFORE_CACHE {
            let Ok(header) = window.header(chunk) else { break };
            let size = header.size & !arenas::FLAGS;
            if size < arenas::MIN_CHUNK || size > segment.end.saturating_sub(chunk) {
                break;
            }
            if let Some(format) = Format::of_chunk(size) {
                let cache = tcache::parse(chunk + 16, format, window.bytes(chunk + 16, format.size()), false);
                caches.extend(cache.filter(|cache| cache.entries_fit(memory)));
            }
            chunk += size;
        }
    }
    memo.format = caches.first().map(|cache| cache.format);
    caches.retain(|cache| Some(cache.format) == memo.format);
    if memo.format != Some(Format::Bytes) {
        memo.key = common_key(memory, &caches);
    }
}

/// The key, if the first entries of all caches bear the same.
fn common_key(memory: &Memory, caches: &[Tcache]) -> Option<u64> {
    let mut keys = caches.iter().take(8).filter_map(|cache| cache.key(memory));
    let key = keys.next()?;
    keys.all(|other| other == key).then_some(key)
}

/// Tallies the segments of all arenas: all of them, or as many as the budget allows, the one not seen for longest first.
fn walk_segments(
    window: &mut Window<'_>,
    states: &[State],
    fast: &[u64],
    memo: &mut Memo,
    options: &Options<'_>,
    sizes: &mut Sizes,
) -> Vec<Walked> {
    let mut order: Vec<(usize, Segment)> = states
        .iter()
        .enumerate()
        .flat_map(|(arena, state)| state.segments.iter().map(move |segment| (arena, *segment)))
        .collect();
    order.sort_by_key(|(_, segment)| memo.tallies.get(&segment.base).map_or(0, |remembered| remembered.walk));
    let on_budget = options.budget_bytes != u64::MAX;
    let mut left = options.budget_bytes.saturating_add(if on_budget { memo.credit } else { 0 });
    let mut walked = Vec::new();
    let mut passed_over = false;
    for (arena, segment) in order {
        let cost = if on_budget { window.resident(segment.base, segment.end) } else { 0 };
        let known = memo.tallies.get(&segment.base).filter(|_| on_budget && (cost > left || passed_over));
        if let Some(remembered) = known {
            // What comes later was read later: it is not to overtake this one, or a large segment would never be read.
            passed_over = true;
            let mut tally = remembered.tally.clone();
            tally.resident = cost;
            tally.free_pages = tally.free_pages.min(cost);
            tally.trimmable = tally.trimmable.min(cost);
            for (size, count) in &remembered.sizes {
                sizes.add_counted(*size, *count);
            }
            walked.push(Walked { arena, tally, fresh: false });
            continue;
        }
        left = left.saturating_sub(cost);
        let tally = tally_one(window, segment, fast, memo, options, sizes);
        walked.push(Walked { arena, tally, fresh: true });
    }
    // Unused budget adds up only while something waits for it.
    memo.credit = if passed_over { left } else { 0 };
    let starts: std::collections::HashSet<u64> = walked.iter().map(|walked| walked.tally.start).collect();
    memo.tallies.retain(|start, _| starts.contains(start) || memo.regions.contains(start));
    walked
}

fn tally_one(
    window: &mut Window<'_>,
    segment: Segment,
    fast: &[u64],
    memo: &mut Memo,
    options: &Options<'_>,
    sizes: &mut Sizes,
) -> Tally {
    let guide =
        Guide { fast, key: memo.key, format: memo.format, caches: &memo.caches, sizes: options.size_classes };
    let mut tally = tally::walk(window, segment, &guide);
    let counted = std::mem::take(&mut tally.sizes);
    sizes.merge(&counted);
    if options.budget_bytes != u64::MAX {
        let remembered = Remembered { walk: memo.walks, tally: tally.clone(), sizes: counted.compact() };
        memo.tallies.insert(segment.base, remembered);
    }
    tally
}

/// Finds large chunks, and what the main arena has besides the brk heap.
#[expect(clippy::too_many_arguments, reason = "the parts of one walk")]
fn find_mapped(
    memory: &Memory,
    window: &mut Window<'_>,
    states: &[State],
    fast: &[u64],
    wanted: Option<MmapState>,
    memo: &mut Memo,
    options: &Options<'_>,
    walked: &mut Vec<Walked>,
    sizes: &mut Sizes,
) {
    let mut search = std::mem::take(&mut memo.search);
    let ranges = walked
        .iter()
        .map(|walked| (walked.tally.start & !(PAGE - 1), walked.tally.end.next_multiple_of(PAGE)));
    let probes = if options.budget_bytes == u64::MAX { PROBES } else { PROBES_ON_BUDGET };
    search.begin(ranges.chain(options.exclude.iter().copied()), probes);

    let mut chunks = BTreeMap::new();
    for start in memo.chunks.keys() {
        let end = memory.vma(*start).map_or(*start, |vma| vma.end);
        if memory.pagemap().is_present(*start)
            && let Some(bytes) = mapped::chunk_at(memory, *start, end)
        {
            chunks.insert(*start, bytes);
            search.take(*start, start + bytes);
        }
    }
    let main = states.iter().position(|state| state.main && state.scattered && state.top != 0);
    let known_regions = std::mem::take(&mut memo.regions);
    if let Some(main) = main {
        let state = &states[main];
        let missing = |walked: &[Walked]| {
            let have: u64 = of_arena(walked, main).map(|walked| walked.tally.end - walked.tally.start).sum();
            state.system.saturating_sub(have)
        };
        let mut region = |page: u64, walked: &mut Vec<Walked>| {
            let tally = walk_region(memory, window, state, page, fast, memo, options, sizes)?;
            let end = tally.end;
            walked.push(Walked { arena: main, tally, fresh: true });
            memo.regions.push(page);
            Some(end)
        };
        for page in known_regions {
            if memory.pagemap().is_present(page)
                && mapped::region_at(memory, page, state.top)
                && let Some(end) = region(page, walked)
            {
                search.take(page, end);
            }
        }
        // The region that holds top comes first to mind, but where it starts is not known: the sweep finds it as well.
        for depth in Depth::ALL {
            let found = RefCell::new((&mut *walked, &mut chunks));
            let done = search.sweep(
                memory,
                depth,
                |page, end| match mapped::chunk_at(memory, page, end) {
                    Some(bytes) => Some(Head::Chunk(bytes)),
                    None => mapped::region_at(memory, page, state.top).then_some(Head::Region),
                },
                |page, head| match head {
                    Head::Chunk(bytes) => {
                        found.borrow_mut().1.insert(page, bytes);
                        Some(page + bytes)
                    }
                    Head::Region => region(page, found.borrow_mut().0),
                },
                || missing(found.borrow().0) == 0,
            );
            if done {
                break;
            }
        }
    }
    for depth in Depth::ALL {
        let found = RefCell::new(&mut chunks);
        let done = search.sweep(
            memory,
            depth,
            |page, end| mapped::chunk_at(memory, page, end).map(Head::Chunk),
            |page, head| match head {
                Head::Chunk(bytes) => {
                    found.borrow_mut().insert(page, bytes);
                    Some(page + bytes)
                }
                Head::Region => None,
            },
            || wanted.is_some_and(|wanted| agrees(&found.borrow(), wanted)),
        );
        if done {
            break;
        }
    }
    memo.chunks = chunks;
    memo.search = search;
}

#[expect(clippy::too_many_arguments, reason = "the parts of one walk")]
fn walk_region(
    memory: &Memory,
    window: &mut Window<'_>,
    state: &State,
    page: u64,
    fast: &[u64],
    memo: &mut Memo,
    options: &Options<'_>,
    sizes: &mut Sizes,
) -> Option<Tally> {
    let limit = arenas::end_of_mapped(memory, page)?;
    let mut segment =
        Segment { base: page, first: page, end: limit, open_ended: true, main: true, top: state.top };
    if (page..limit).contains(&state.top) {
        let size = memory.u64(state.top + 8).ok()? & !arenas::FLAGS;
        // Other memory of the arena may lie between; then fence posts come before top.
        segment.end = state.top.checked_add(size)?.min(limit);
    }
    let tally = tally_one(window, segment, fast, memo, options, sizes);
    tally.ended_well.then_some(tally)
}

fn agrees(chunks: &BTreeMap<u64, u64>, wanted: MmapState) -> bool {
    chunks.len() as u64 == wanted.count && chunks.values().sum::<u64>() == wanted.bytes
}

fn of_arena(walked: &[Walked], arena: usize) -> impl Iterator<Item = &Walked> {
    walked.iter().filter(move |walked| walked.arena == arena)
}

fn arena<'w>(state: &State, walked: impl Iterator<Item = &'w Walked>) -> Arena {
    let mut arena = Arena {
        address: state.address,
        main: state.main,
        threads: state.threads,
        system: state.system,
        ..Arena::default()
    };
    for Walked { tally, .. } in walked {
        arena.resident += tally.resident;
        arena.in_use += tally.in_use;
        arena.in_use_count += tally.in_use_count;
        arena.free += tally.free + tally.fast;
        arena.free_count += tally.free_count;
        arena.fast += tally.fast;
        arena.fast_count += tally.fast_count;
        arena.top += tally.top;
        arena.trimmable += tally.trimmable;
        arena.split.in_use += tally.split.in_use;
        arena.split.free += tally.split.free;
        arena.split.top += tally.split.top;
        arena.ranges.push((tally.start, tally.end));
    }
    arena.ranges.sort_unstable();
    arena
}

/// The self-checks of one arena.
fn check(arena: &mut Arena, walked: &[Walked], at: usize, states: &[State], doubts: &mut Vec<String>) {
    let name =
        if arena.main { "the main arena".to_owned() } else { format!("the arena at {:#x}", arena.address) };
    let seen: u64 = arena.ranges.iter().map(|(start, end)| end - start).sum();
    let fresh = of_arena(walked, at).all(|walked| walked.fresh);
    if seen != arena.system && fresh && states[at].top != 0 {
        doubts.push(format!("{name} has {} bytes from the system, but {seen} were walked", arena.system));
    }
    let sum =
        |figure: fn(&Tally) -> u64| -> u64 { of_arena(walked, at).map(|walked| figure(&walked.tally)).sum() };
    let (lost, resyncs, footers) =
        (sum(|tally| tally.lost), sum(|tally| tally.resyncs), sum(|tally| tally.bad_footers));
    if lost + resyncs > 0 {
        let swapped = of_arena(walked, at).any(|walked| walked.tally.swapped);
        let why = if swapped { ": pages of it are swapped out" } else { "" };
        doubts.push(format!(
            "in {name} the chain of chunks broke {resyncs} times, {lost} bytes are not told{why}"
        ));
    }
    if footers > 0 {
        doubts.push(format!("in {name} {footers} free chunks changed while they were read"));
    }
    if of_arena(walked, at).any(|walked| !walked.tally.ended_well) && lost == 0 {
        doubts.push(format!("in {name} the chunks do not end where they should"));
    }
}

/// Replaces what the key told by what the lists told.
fn correct(
    arenas: &mut [Arena],
    sizes: &mut Sizes,
    walked: &[Walked],
    keyed: &[[u64; SMALL_BINS]],
    listed: &[(u64, usize)],
) -> Vec<[u64; SMALL_BINS]> {
    let mut ranges: Vec<(u64, u64, usize)> =
        walked.iter().map(|walked| (walked.tally.start, walked.tally.end, walked.arena)).collect();
    ranges.sort_unstable();
    let mut counts = vec![[0; SMALL_BINS]; arenas.len()];
    for (chunk, bin) in listed {
        let after = ranges.partition_point(|(start, _, _)| start <= chunk);
        let range = after.checked_sub(1).and_then(|at| ranges.get(at)).filter(|(_, end, _)| chunk < end);
        if let Some((_, _, arena)) = range {
            counts[*arena][*bin] += 1;
        }
    }
    for ((arena, listed), keyed) in arenas.iter_mut().zip(&counts).zip(keyed) {
        for (bin, (listed, keyed)) in listed.iter().zip(keyed).enumerate() {
            let size = tcache::chunk_of_bin(bin);
            let wrongly_free = keyed.saturating_sub(*listed);
            let wrongly_in_use = listed.saturating_sub(*keyed);
            arena.in_use = (arena.in_use + wrongly_free * size).saturating_sub(wrongly_in_use * size);
            arena.in_use_count = (arena.in_use_count + wrongly_free).saturating_sub(wrongly_in_use);
            sizes.add_counted(size, wrongly_free);
            sizes.take_away(size, wrongly_in_use);
        }
    }
    counts
}

/// Large chunks: their sum, their labels, their sizes.
fn add_mapped(
    memory: &Memory,
    chunks: &BTreeMap<u64, u64>,
    before: Option<MmapState>,
    after: Option<MmapState>,
    heap: &mut Heap,
    options: &Options<'_>,
    sizes: &mut Sizes,
) {
    heap.mmapped_count = chunks.len() as u64;
    heap.mmapped_bytes = chunks.values().sum();
    let agreed = [before, after].into_iter().flatten().any(|state| agrees(chunks, state));
    if let Some(state) = after.filter(|_| !agreed) {
        heap.doubts.push(format!(
            "malloc counts {} mmapped chunks of {} bytes, but {} of {} bytes were found",
            state.count, state.bytes, heap.mmapped_count, heap.mmapped_bytes
        ));
    }
    for (start, bytes) in chunks {
        let resident = memory
            .pagemap()
            .runs(*start, start + bytes)
            .iter()
            .filter(|run| run.kind == offheap_linux::PageKind::Present)
            .map(|run| run.end - run.start)
            .sum();
        heap.page_account.in_use_resident += resident;
        heap.labels.push(Label {
            start: *start,
            end: start + bytes,
            kind: LabelKind::MmappedChunk,
            resident,
            free_resident: 0,
        });
        if options.size_classes {
            sizes.add(*bytes, *start);
        }
    }
}

fn sum_up(heap: &mut Heap, mut arenas: Vec<Arena>, walked: &[Walked], states: &[State]) {
    for arena in &mut arenas {
        let told = arena.in_use + arena.tcache + arena.free + arena.top;
        arena.overhead = arena.system.saturating_sub(told);
        heap.system += arena.system;
        heap.in_use += arena.in_use;
        heap.in_use_count += arena.in_use_count;
        heap.tcache += arena.tcache;
        heap.free += arena.free;
        heap.top += arena.top;
        heap.free_resident += arena.split.free + arena.split.top;
        heap.trimmable += arena.trimmable;
    }
    for Walked { arena, tally, fresh } in walked {
        heap.page_account.in_use_resident += tally.resident.saturating_sub(tally.free_pages);
        heap.page_account.free_resident += tally.free_pages;
        if !fresh {
            heap.stale += tally.resident;
        }
        heap.labels.push(Label {
            start: tally.start & !(PAGE - 1),
            end: tally.end.next_multiple_of(PAGE),
            kind: LabelKind::Arena { address: states[*arena].address },
            resident: tally.resident,
            free_resident: tally.free_pages,
        });
    }
    heap.labels.sort_unstable_by_key(|label| label.start);
    heap.exact = heap.doubts.is_empty() && heap.stale == 0;
    arenas.sort_by_key(|arena| std::cmp::Reverse(arena.resident));
    heap.arenas = arenas;
}

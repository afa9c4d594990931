//! Bursts of probes over a window: which blocks were allocated, by which stack, and are there
//! still.

use crate::arch::{self, Exit};
use crate::burst::{Burst, Hit};
use crate::chunks::{self, Chunks};
use crate::events::{self, Probe};
use crate::modules::{Module, Modules};
use crate::pages::{Page, Pages};
use crate::stacks::Stacks;
use object::read::ReadCache;
use object::{Object, ObjectSegment, ObjectSymbol};
use offheap_heaps::{CHUNK_TO_BLOCK, Heap, Label};
use offheap_linux::foreign::Expect;
use offheap_linux::{Bounded, ELF_BYTES, Process, Target, Vma};
use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::io;
use std::time::{Duration, Instant};

/// What is probed; the rest of malloc's family is rare.
const FUNCTIONS: [&str; 3] = ["malloc", "realloc", "calloc"];
/// No function is longer: malloc has some 800 bytes.
const MAX_CODE: u64 = 16 << 10;
/// From the start of a burst to that of the next.
const EVERY: Duration = Duration::from_millis(500);
/// A burst is made as long as the program takes for this many blocks on average: not until there
/// are this many, or what a program does first after each pause would be all that is seen.
/// Unit: blocks.
const BURST: f64 = 250.0;
/// Where many blocks come at once, a burst is made of this many shots.
/// Unit: shots.
const SHOTS: f64 = 20.0;
/// The least processor time between two shots.
const SOONEST: Duration = Duration::from_micros(200);
/// The processor time between the first two shots.
const FIRST: Duration = Duration::from_millis(1);
/// The most processor time between two shots.
const LATEST: Duration = Duration::from_millis(100);
/// Shots go on as long as they meet this many blocks together.
const CROWD: usize = 10;
/// A function that is not called leaves this many turns to the others.
const RESTS: u32 = 3;
/// No burst is shorter than this.
const SHORTEST: Duration = Duration::from_millis(20);
/// No burst is longer than this.
const LONGEST: Duration = Duration::from_millis(200);
/// Threads probed in one burst, each with up to four ring buffers; of more, others each time.
const MAX_THREADS: usize = 8;
/// After a burst the blocks are looked at again for this long. A block that was freed is free, or
/// part of another, at some of these looks, even where one of its size comes to lie there again
/// later.
const CHECK: Duration = Duration::from_millis(10);
/// The least time between two walks of the whole heap: another block of the same size may come to
/// lie where one was, so it is the walks in between that tell.
const WALK: Duration = Duration::from_secs(2);
/// Walks take at most one part in this many of the time.
/// Unit: parts.
const WALK_SHARE: u32 = 20;
/// Where a walk takes longer, nobody is made to wait for one.
const LONG_WALK: Duration = Duration::from_millis(500);
/// Blocks that are remembered; with more, the rest is counted as lost.
const MAX_BLOCKS: usize = 1 << 18;
/// From this many samples of one size on, they stand for as many blocks as there are more of that
/// size.
const ENOUGH_OF_A_SIZE: usize = 5;
/// The weights of sizes of which there are too few samples are scaled up by at most this factor.
/// Unit: times.
const MOST_LIFT: f64 = 20.0;
/// Blocks of this size and more have a mapping of their own (`M_MMAP_THRESHOLD`, before it adapts).
const OWN_MAP: u64 = 128 << 10;
/// The part of a stack's blocks that stays where the stack counts as one whose blocks stay.
const STAYING_SHARE: f64 = 0.1;

/// Why allocations can't be probed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// The kernel does not let us.
    #[error(
        "the kernel sets no breakpoint for it (perf_event_open: {0}); it takes root, or CAP_PERFMON and CAP_SYS_PTRACE, or the \
         process's own user where kernel.perf_event_paranoid is 2 or less, outside of a container whose seccomp profile \
         forbids it; and no debugger that has them all"
    )]
    Refused(#[source] io::Error),
    /// No glibc, or another allocator.
    #[error(
        "its malloc is not that of glibc's shared library, whose blocks are the ones that can be followed from outside"
    )]
    OtherAllocator,
    /// The process has ended, or says nothing of itself.
    #[error(transparent)]
    Process(#[from] offheap_linux::Error),
}

/// A sampled block that is in use.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Block {
    /// When it was allocated, since the begin.
    pub at: Duration,
    /// Bytes of its chunk.
    pub bytes: u64,
    /// How many blocks it stands for.
    pub weight: f64,
    /// Index into [`Sampler::stacks`].
    pub stack: usize,
}

/// What is in use of what was sampled.
#[derive(Debug, Clone, PartialEq)]
pub struct Live {
    /// Blocks of malloc.
    pub blocks: Vec<Block>,
    /// Pages outside of its arenas.
    pub pages: Vec<Page>,
}

/// What was allocated by a stack, freed or not.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Total {
    /// How many blocks.
    pub count: f64,
    /// Of those that were not freed at once: how many…
    sized: f64,
    /// …and the bytes of their chunks.
    bytes: f64,
}

impl Total {
    /// Bytes of all the blocks, those that were freed before their size could be read taken to be
    /// as large as the others.
    pub fn bytes(&self) -> f64 {
        if self.sized > 0.0 { self.bytes / self.sized * self.count } else { 0.0 }
    }
}

/// A process whose allocations are sampled in bursts.
pub struct Sampler {
    process: Process,
    chunks: Chunks,
    begun: Instant,
    next: Instant,
    functions: Vec<Function>,
    modules: Modules,
    stacks: Stacks,
    totals: Vec<Total>,
    /// By address: of two at one address the later one, the earlier one is gone.
    blocks: HashMap<u64, Block>,
    /// Their addresses, and which of them is to be looked at next.
    order: Vec<u64>,
    cursor: usize,
    samples: u64,
    lost: u64,
    turn: usize,
    /// Of a hit.
    cost: Duration,
    walk_at: Instant,
    walk_took: Duration,
    pages: Pages,
    /// Where the allocator's memory was at the latest walk.
    labels: Vec<Label>,
    /// The mappings then.
    smaps: Vec<Vma>,
    /// What was in use at the first walk…
    first: Option<Sizes>,
    /// …and at the latest.
    latest: Sizes,
}

/// Bytes of the blocks of each size that are in use, by the bytes of their chunks, as far as sizes
/// are listed.
type Sizes = HashMap<u64, u64>;

/// Functions that are probed together.
struct Function {
    /// Where they end.
    exits: Vec<Exit>,
    /// The end of their latest burst.
    before: Instant,
    /// Blocks a second, lately.
    rate: f64,
    /// How often they were probed.
    turns: usize,
    /// They were not called at all: so many turns are left to the others.
    rests: u32,
    /// A burst of one piece would meet only the first of those that come at once.
    is_crowded: bool,
    /// The threads' processor time from one to the next of the shots that such a burst then has.
    every: Duration,
}

impl std::fmt::Debug for Sampler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sampler of {} ({} samples)", self.process.pid(), self.samples)
    }
}

impl Sampler {
    /// For the process `pid`; makes sure that it can be probed.
    ///
    /// # Errors
    /// [`ProbeError`].
    pub fn start(pid: i32) -> Result<Sampler, ProbeError> {
        let process = Process::open(pid)?;
        let vmas = process.maps()?;
        let chunks = Chunks::of(&process.memory(&vmas)?).ok_or(ProbeError::OtherAllocator)?;
        let functions = find(&process, &vmas).ok_or(ProbeError::OtherAllocator)?;
        if let Some(exit) = functions.iter().flatten().next() {
            Probe::open(pid, *exit).map_err(ProbeError::Refused)?;
        }
        let cost = events::cost().map_err(ProbeError::Refused)?;
        let begun = Instant::now();
        let pages = Pages::of(&process);
        let rate = BURST / SHORTEST.as_secs_f64();
        let function = |exits| Function {
            exits,
            before: begun,
            rate,
            turns: 0,
            rests: 0,
            is_crowded: false,
            every: FIRST,
        };
        Ok(Sampler {
            process,
            chunks,
            begun,
            next: begun,
            functions: functions.into_iter().map(function).collect(),
            modules: Modules::new(),
            stacks: Stacks::default(),
            totals: Vec::new(),
            blocks: HashMap::new(),
            order: Vec::new(),
            cursor: 0,
            samples: 0,
            lost: 0,
            turn: 0,
            cost,
            walk_at: begun,
            walk_took: Duration::ZERO,
            pages,
            labels: Vec::new(),
            smaps: Vec::new(),
            first: None,
            latest: Sizes::new(),
        })
    }

    /// How long until the next burst is due.
    pub fn wait(&self) -> Duration {
        self.next.saturating_duration_since(Instant::now())
    }

    /// Makes a burst, if one is due: up to a quarter of a second, and what it takes to walk the
    /// heap and to unwind.
    pub fn burst(&mut self) {
        if !self.wait().is_zero() {
            return;
        }
        // What there is before anything is sampled; and what stays, now and then.
        if Instant::now() >= self.walk_at {
            self.walk();
        }
        // Where it fails the process has ended; what was learnt before stays.
        let _ = self.try_burst();
        // Not by a fixed step: a program that does something each half second must not be met at
        // the same point each time.
        let jitter = u64::from(self.begun.elapsed().subsec_nanos()) % 100;
        self.next = Instant::now() + EVERY + Duration::from_millis(jitter);
    }

    fn try_burst(&mut self) -> Result<(), ProbeError> {
        let vmas = self.process.maps()?;
        self.modules.refresh(&self.process, &vmas);
        let tasks = self.process.tasks()?;
        let threads: Vec<i32> = tasks.iter().map(|task| task.tid).collect();
        let stacks = &mut self.stacks;
        self.pages
            .step(&threads, &vmas, &mut self.modules, self.begun.elapsed(), |frames| stacks.number(frames));
        let memory = self.process.memory(&vmas)?;
        self.check(&memory);
        let Some(turn) = self.whose_turn() else { return Ok(()) };
        let Some(function) = self.functions.get_mut(turn) else { return Ok(()) };
        // Some threads, then the next ones, round and round, so that each gets the same share.
        let (all, first) = (threads.len(), function.turns * MAX_THREADS % threads.len().max(1));
        function.turns += 1;
        let threads: Vec<i32> =
            threads.iter().copied().cycle().skip(first).take(all.min(MAX_THREADS)).collect();
        let exits = &function.exits;
        // In a crowd one in four is of one piece all the same: what a thread does first, and then
        // sleeps, its clock seldom meets.
        let is_aimed = function.is_crowded && function.turns % 4 != 3;
        let burst = if is_aimed {
            let jitter = 0.75 + f64::from(self.begun.elapsed().subsec_nanos() % 1_000) / 2_000.0;
            Burst::aimed(exits, &threads, function.every.mul_f64(jitter), self.cost, &memory)
        } else {
            let length = Duration::from_secs_f64(BURST / function.rate.max(1.0)).clamp(SHORTEST, LONGEST);
            Burst::make(exits, &threads, length, self.cost, &memory)
        };
        if burst.threads == 0 {
            if !threads.is_empty() {
                self.pages.give_way();
            }
            return Ok(());
        }
        function.rate = 0.5 * (function.rate + burst.rate);
        function.rests = if burst.hits.is_empty() { RESTS } else { 0 };
        if !function.is_crowded && burst.shots == 0 {
            // Met are only the first of a crowd: they tell nothing of the others.
            function.is_crowded = true;
            return Ok(());
        }
        if is_aimed {
            let more = f64::from(burst.shots.max(1)) / SHOTS;
            function.every = function.every.mul_f64(more.clamp(0.25, 4.0)).clamp(SOONEST, LATEST);
            function.is_crowded = burst.hits.len() >= CROWD;
        }
        // What a block stands for: those since the function's last burst, and those of the threads
        // that had no probe.
        let others = all as f64 / burst.threads as f64;
        let end = burst.began + burst.lasted;
        let since = end.saturating_duration_since(function.before).as_secs_f64();
        function.before = end;
        for hit in burst.hits {
            self.samples += 1;
            if self.take(&hit, hit.per_s * since * others, burst.began).is_none() {
                self.lost += 1;
            }
        }
        self.lost += burst.lost;
        Ok(())
    }

    /// The functions that are next: each in its turn, but those that rest.
    fn whose_turn(&mut self) -> Option<usize> {
        let count = self.functions.len();
        (0..count).find_map(|_| {
            let turn = self.turn % count;
            self.turn += 1;
            let function = self.functions.get_mut(turn)?;
            if function.rests == 0 {
                return Some(turn);
            }
            function.rests -= 1;
            None
        })
    }

    /// Forgets blocks that are not in use any more, as far as the time allows.
    fn check(&mut self, memory: &dyn Target) {
        let end = Instant::now() + CHECK;
        let mut left = self.order.len();
        while left > 0 && !self.order.is_empty() && Instant::now() < end {
            left -= 1;
            self.cursor = if self.cursor < self.order.len() { self.cursor } else { 0 };
            let Some(&address) = self.order.get(self.cursor) else { break };
            let stays =
                self.blocks.get(&address).is_some_and(|b| chunks::seems_in_use(memory, address, b.bytes));
            if stays {
                self.cursor += 1;
            } else {
                self.order.swap_remove(self.cursor);
                self.blocks.remove(&address);
            }
        }
    }

    /// Remembers a block; `None` where there is no room for it.
    fn take(&mut self, hit: &Hit, weight: f64, began: Instant) -> Option<()> {
        let address = hit.call.block;
        if address == 0 {
            return Some(());
        }
        let at = began.saturating_duration_since(self.begun);
        let frames = self.modules.unwind(&hit.call.registers, &hit.call.stack);
        let stack = self.stacks.number(frames)?;
        self.totals.resize(self.stacks.list().len(), Total::default());
        let total = self.totals.get_mut(stack)?;
        total.count += weight;
        // It may be free again already, and even unmapped: then it does not stay.
        let Some((bytes, has_own_map)) = hit.chunk else { return Some(()) };
        total.sized += weight;
        total.bytes += bytes as f64 * weight;
        if has_own_map && self.pages.follows(hit.tid) {
            // Its pages are met as they come to be resident: it must not count twice.
            return Some(());
        }
        if self.blocks.len() >= MAX_BLOCKS && !self.blocks.contains_key(&address) {
            return None;
        }
        if self.blocks.insert(address, Block { at, bytes, weight, stack }).is_none() {
            self.order.push(address);
        }
        Some(())
    }

    /// Forgets all blocks and pages that are not in use any more, and counts the others.
    fn walk(&mut self) {
        let begun = Instant::now();
        if let Some(heap) = self.heap() {
            let in_use = self.in_use(&heap);
            self.blocks.retain(|address, _| in_use.contains(address));
            self.order.retain(|address| in_use.contains(address));
            self.pages.forget(&self.process, &heap.labels);
            self.latest = sizes(&heap);
            self.first.get_or_insert_with(|| self.latest.clone());
            if let Ok(residency) = self.process.residency() {
                self.smaps = residency.vmas;
            }
            self.labels = heap.labels;
        }
        self.walk_took = begun.elapsed();
        self.walk_at = Instant::now() + WALK.max(self.walk_took * WALK_SHARE);
    }

    /// The heap as it is now; `None` where the process can't be read any more.
    fn heap(&self) -> Option<Heap> {
        let memory = self.process.memory(&self.process.maps().ok()?).ok()?;
        Some(self.chunks.walk(&memory, self.blocks.keys().copied()))
    }

    /// The addresses of the blocks that are in use in it, with the same size.
    fn in_use(&self, heap: &Heap) -> HashSet<u64> {
        let block = |&(chunk, bytes): &(u64, u64)| (chunk + CHUNK_TO_BLOCK, bytes);
        let same =
            |&(address, bytes): &(u64, u64)| self.blocks.get(&address).is_some_and(|b| b.bytes == bytes);
        heap.chunks.iter().map(block).filter(same).map(|(address, _)| address).collect()
    }

    /// What is in use now of what was sampled; as the latest walk found it where one takes long, or
    /// the process has ended.
    ///
    /// Blocks are in use where one of the same size is at the same address. Where they stand for
    /// fewer than there are more of their size, because of what a program does at once little can
    /// be sampled, they stand for as many as that; and never for more than there are.
    pub fn live(&self) -> Live {
        let heap = if self.walk_took > LONG_WALK { None } else { self.heap() };
        let in_use = heap.as_ref().map(|heap| self.in_use(heap));
        let stays = |address: &u64| in_use.as_ref().is_none_or(|in_use| in_use.contains(address));
        let blocks =
            self.blocks.iter().filter(|(address, _)| stays(address)).map(|(_, block)| *block).collect();
        let now = heap.as_ref().map(sizes);
        let blocks = match &self.first {
            Some(first) => lifted(blocks, &self.totals, first, now.as_ref().unwrap_or(&self.latest)),
            None => blocks,
        };
        let blocks = match now {
            Some(now) => bounded(&blocks, &now),
            None => blocks,
        };
        let labels = heap.as_ref().map_or(&self.labels, |heap| &heap.labels);
        let pages = match self.process.residency() {
            Ok(now) if !now.vmas.is_empty() => self.pages.list(&now.vmas, labels),
            _ => self.pages.list(&self.smaps, labels),
        };
        Live { blocks, pages }
    }

    /// The stacks, by number: addresses, innermost first.
    pub fn stacks(&self) -> &[Vec<u64>] {
        self.stacks.list()
    }

    /// What was allocated by each of the stacks; the last of them may have none.
    pub fn totals(&self) -> &[Total] {
        &self.totals
    }

    /// The libraries seen.
    pub fn modules(&self) -> &[Module] {
        self.modules.known()
    }

    /// The process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// How long it has been watched.
    pub fn seconds(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    /// Samples taken.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// Samples lost.
    pub fn lost(&self) -> u64 {
        self.lost
    }
}

/// Bytes of each size that are in use; what is listed together by no size of its own is not among
/// them.
fn sizes(heap: &Heap) -> Sizes {
    let listed = heap.size_classes.iter().filter(|class| class.chunk_bytes > 0);
    listed.map(|class| (class.chunk_bytes, class.total_bytes)).collect()
}

/// The blocks, with weights that come to no less for each size than it has grown by, the sizes of
/// which there are few samples taken together. Only those of stacks count of whose blocks a part
/// stays: by chance one that stays may lie where a sampled one was.
fn lifted(mut blocks: Vec<Block>, totals: &[Total], first: &Sizes, now: &Sizes) -> Vec<Block> {
    let mut live: HashMap<usize, f64> = HashMap::new();
    for block in &blocks {
        *live.entry(block.stack).or_default() += block.weight;
    }
    let stays = |block: &Block| {
        let all = totals.get(block.stack).map_or(0.0, |total| total.count);
        live.get(&block.stack).is_some_and(|live| *live >= STAYING_SHARE * all)
    };
    let mut samples: HashMap<u64, usize> = HashMap::new();
    for block in blocks.iter().filter(|block| stays(block)) {
        *samples.entry(block.bytes).or_default() += 1;
    }
    let is_known = |bytes: u64| samples.get(&bytes).is_some_and(|&count| count >= ENOUGH_OF_A_SIZE);
    // Larger ones have mappings of their own, and are met by their pages.
    let group = |bytes: u64| match is_known(bytes) {
        true => Some(bytes),
        false => (bytes < OWN_MAP).then_some(0),
    };
    let mut sampled: HashMap<u64, (usize, f64)> = HashMap::new();
    for block in blocks.iter().filter(|block| stays(block)) {
        if let Some((count, bytes)) = group(block.bytes).map(|group| sampled.entry(group).or_default()) {
            *count += 1;
            *bytes += block.weight * block.bytes as f64;
        }
    }
    let mut grown: HashMap<u64, f64> = HashMap::new();
    for (sizes, sign) in [(now, 1.0), (first, -1.0)] {
        for (bytes, in_use) in sizes {
            if let Some(group) = group(*bytes) {
                *grown.entry(group).or_default() += sign * *in_use as f64;
            }
        }
    }
    for block in blocks.iter_mut().filter(|block| stays(block)) {
        let Some(group) = group(block.bytes) else { continue };
        if let (Some((count, bytes)), Some(grown)) = (sampled.get(&group), grown.get(&group))
            && *count >= ENOUGH_OF_A_SIZE
            && grown > bytes
        {
            let lift = grown / bytes.max(1.0);
            // Sizes of which few were met or none may be anybody's, and of functions that are not
            // probed.
            block.weight *= if group == 0 { lift.min(MOST_LIFT) } else { lift };
        }
    }
    blocks
}

/// The blocks, with weights that come to no more for each size than is in use of it.
fn bounded(blocks: &[Block], now: &Sizes) -> Vec<Block> {
    let mut all: HashMap<u64, f64> = HashMap::new();
    for block in blocks {
        *all.entry(block.bytes).or_default() += block.weight * block.bytes as f64;
    }
    let bounded = |block: &Block| {
        let share =
            now.get(&block.bytes).zip(all.get(&block.bytes)).map(|(now, all)| *now as f64 / all.max(1.0));
        Block { weight: block.weight * share.unwrap_or(1.0).min(1.0), ..*block }
    };
    blocks.iter().map(bounded).collect()
}

/// Where [`FUNCTIONS`] end, as many together as can be probed together, in glibc's shared library
/// as `process` has it mapped; `None` where it has none, or one of them ends at more places than
/// can be probed.
fn find(process: &Process, vmas: &[Vma]) -> Option<Vec<Vec<Exit>>> {
    let name = |vma: &Vma| vma.path.rsplit('/').next().unwrap_or_default().to_owned();
    let mut code = vmas.iter().filter(|vma| vma.exec && vma.is_file());
    let libc = code.find(|vma| name(vma).starts_with("libc.so.6") || name(vma).starts_with("libc-2."))?;
    let file = process.mapped_file(libc, &Expect::LIBRARY).ok()?;
    let cache = ReadCache::new(file);
    let left = Cell::new(ELF_BYTES);
    let object = object::File::parse(Bounded::new(&cache, &left)).ok().filter(|object| object.is_64())?;
    let exits = |name: &str| {
        let symbol = object.dynamic_symbols().find(|symbol| symbol.name() == Ok(name))?;
        let holds = |segment: &object::Segment<'_, '_, _>| {
            (segment.address()..segment.address().saturating_add(segment.size())).contains(&symbol.address())
        };
        let segment = object.segments().find(holds)?;
        let code = segment.data_range(symbol.address(), symbol.size().min(MAX_CODE)).ok()??;
        // Where the file's byte at the symbol lies in the process.
        let offset = symbol.address() - segment.address() + segment.file_range().0;
        let address = libc.start.checked_add(offset.checked_sub(libc.offset)?)?;
        let mut exits = arch::exits(code, address);
        // realloc of nothing jumps to malloc, which is probed itself.
        exits.retain(|exit| !exit.is_jump || name == "calloc");
        (1..=arch::PROBES).contains(&exits.len()).then_some(exits)
    };
    let mut groups: Vec<Vec<Exit>> = Vec::new();
    for function in FUNCTIONS {
        let exits = exits(function)?;
        match groups.last_mut() {
            Some(group) if group.len() + exits.len() <= arch::PROBES => group.extend(exits),
            _ => groups.push(exits),
        }
    }
    Some(groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sampled_too_seldom_stands_for_what_there_is_more() {
        let block = |bytes, weight, stack| Block { at: Duration::ZERO, bytes, weight, stack };
        let mut blocks = vec![block(64, 3.0, 0); 10];
        blocks.extend(vec![block(80, 3.0, 0); 10]);
        blocks.extend(vec![block(96, 3.0, 0); ENOUGH_OF_A_SIZE - 1]);
        blocks.extend(vec![block(112, 3.0, 0); ENOUGH_OF_A_SIZE - 1]);
        // Of the other stack hardly anything stays.
        blocks.extend(vec![block(64, 3.0, 1); 10]);
        let total = |count| Total { count, ..Total::default() };
        let first = Sizes::from([(64, 6_400), (80, 8_000), (112, 1_000)]);
        // The last size was never met, and is too large for what is probed.
        let now = Sizes::from([
            (64, 6_400 + 300 * 64),
            (80, 8_800),
            (96, 9_600),
            (112, 1_000 + 90_240),
            (1 << 20, 1 << 30),
        ]);
        let lifted = lifted(blocks, &[total(100.0), total(10_000.0)], &first, &now);
        let weight = |bytes, stack| {
            let of = |block: &&Block| block.bytes == bytes && block.stack == stack;
            lifted.iter().filter(of).map(|block| block.weight).sum::<f64>().round()
        };
        // Of the second size there are more than grew, since others went.
        assert_eq!([weight(64, 0), weight(80, 0)], [300.0, 30.0]);
        // Of the others too few of each were met, but not of all: forty times as much as these
        // stand for, of which half is believed.
        assert_eq!([weight(96, 0), weight(112, 0)], [240.0, 240.0]);
        assert_eq!(weight(64, 1), 30.0);
    }

    #[test]
    fn no_more_of_a_size_is_live_than_there_is() {
        let block = |bytes, weight| Block { at: Duration::ZERO, bytes, weight, stack: 0 };
        let blocks = [block(64, 3.0), block(64, 1.0), block(80, 2.0), block(96, 5.0)];
        let bounded = bounded(&blocks, &Sizes::from([(64, 2 * 64), (80, 90 * 80)]));
        assert_eq!(bounded.iter().map(|block| block.weight).collect::<Vec<_>>(), [1.5, 0.5, 2.0, 5.0]);
    }
}

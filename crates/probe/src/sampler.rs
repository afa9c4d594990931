//! Bursts of probes over a window: which blocks were allocated, by which stack, and are there still.

use crate::arch::{self, Exit};
use crate::burst::{Burst, Hit};
use crate::chunks::{self, Chunks};
use crate::events::{self, Probe};
use crate::modules::{Module, Modules};
use object::read::ReadCache;
use object::{Object, ObjectSegment, ObjectSymbol};
use offheap_linux::{Memory, Process, Vma};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::time::{Duration, Instant};

/// What is probed; the rest of malloc's family is rare.
const FUNCTIONS: [&str; 3] = ["malloc", "realloc", "calloc"];
/// No function is longer: malloc has some 800 bytes.
const MAX_CODE: u64 = 16 << 10;
/// From the begin of a burst to that of the next.
const EVERY: Duration = Duration::from_millis(500);
/// A burst is made as long as the program takes for so many blocks on average: not until there are so many, or what a program
/// does first after each pause would be all that is seen.
const BURST: f64 = 250.0;
/// No burst is shorter or longer.
const SHORTEST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_millis(200);
/// Threads probed in one burst, each with up to four ring buffers; of more, others each time.
const MAX_THREADS: usize = 8;
/// After a burst the blocks are looked at again for so long. A block that was freed is free, or part of another, at some of
/// these looks, even where one of its size comes to lie there again later.
const CHECK: Duration = Duration::from_millis(10);
/// The whole heap is walked as often as this at the most, and for one part in [`WALK_SHARE`] of the time: another block of the same
/// size may come to lie where one was, so it is the walks in between that tell.
const WALK: Duration = Duration::from_secs(2);
const WALK_SHARE: u32 = 20;
/// Where a walk takes longer, nobody is made to wait for one.
const LONG_WALK: Duration = Duration::from_millis(500);
/// Blocks that are remembered; with more, the rest is counted as lost.
const MAX_BLOCKS: usize = 1 << 18;
/// Different stacks that are remembered.
const MAX_STACKS: usize = 1 << 16;

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
    /// Bytes of all the blocks, those that were freed before their size could be read taken to be as large as the others.
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
    stacks: Vec<Vec<u64>>,
    totals: Vec<Total>,
    numbers: HashMap<Vec<u64>, usize>,
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
}

/// Functions that are probed together.
struct Function {
    /// Where they end.
    exits: Vec<Exit>,
    /// The end of their latest burst.
    before: Instant,
    /// Blocks a second, lately.
    rate: f64,
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
        let chunks = Chunks::of(&process, &process.memory(&vmas)?).ok_or(ProbeError::OtherAllocator)?;
        let functions = find(&process, &vmas).ok_or(ProbeError::OtherAllocator)?;
        if let Some(exit) = functions.iter().flatten().next() {
            Probe::open(pid, *exit).map_err(ProbeError::Refused)?;
        }
        let cost = events::cost().map_err(ProbeError::Refused)?;
        let begun = Instant::now();
        let function = |exits| Function { exits, before: begun, rate: BURST / SHORTEST.as_secs_f64() };
        Ok(Sampler {
            process,
            chunks,
            begun,
            next: begun,
            functions: functions.into_iter().map(function).collect(),
            modules: Modules::new(),
            stacks: Vec::new(),
            totals: Vec::new(),
            numbers: HashMap::new(),
            blocks: HashMap::new(),
            order: Vec::new(),
            cursor: 0,
            samples: 0,
            lost: 0,
            turn: 0,
            cost,
            walk_at: begun + WALK,
            walk_took: Duration::ZERO,
        })
    }

    /// How long until the next burst is due.
    pub fn wait(&self) -> Duration {
        self.next.saturating_duration_since(Instant::now())
    }

    /// Makes a burst, if one is due: up to a fifth of a second.
    pub fn burst(&mut self) {
        if !self.wait().is_zero() {
            return;
        }
        // Where it fails the process has ended; what was learnt before stays.
        let _ = self.try_burst();
        if Instant::now() >= self.walk_at {
            self.walk();
        }
        // Not by a fixed step: a program that does something each half second must not be met at the same point each time.
        let jitter = u64::from(self.begun.elapsed().subsec_nanos()) % 100;
        self.next = Instant::now() + EVERY + Duration::from_millis(jitter);
    }

    fn try_burst(&mut self) -> Result<(), ProbeError> {
        let vmas = self.process.maps()?;
        self.modules.refresh(&self.process, &vmas);
        let tasks = self.process.tasks()?;
        let memory = self.process.memory(&vmas)?;
        self.check(&memory);
        // All functions in some threads, then all in the next ones, round and round, so that each thread gets the same share.
        let turn = self.turn % self.functions.len().max(1);
        let first = self.turn / self.functions.len().max(1) * MAX_THREADS % tasks.len().max(1);
        self.turn += 1;
        let chosen = tasks.iter().cycle().skip(first).take(tasks.len().min(MAX_THREADS));
        let threads: Vec<i32> = chosen.map(|task| task.tid).collect();
        let Some(function) = self.functions.get_mut(turn) else { return Ok(()) };
        let length = Duration::from_secs_f64(BURST / function.rate.max(1.0)).clamp(SHORTEST, LONGEST);
        let burst = Burst::make(&function.exits, &threads, length, self.cost, &memory);
        if burst.threads == 0 {
            return Ok(());
        }
        function.rate = 0.5 * (function.rate + burst.rate);
        // What a block stands for: those since the function's last burst, and those of the threads that had no probe.
        let others = tasks.len() as f64 / burst.threads as f64;
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

    /// Forgets blocks that are not in use any more, as far as the time allows.
    fn check(&mut self, memory: &Memory) {
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
        let stack = match self.numbers.get(&frames) {
            Some(number) => *number,
            None if self.stacks.len() >= MAX_STACKS => return None,
            None => {
                self.stacks.push(frames.clone());
                self.totals.push(Total::default());
                self.numbers.insert(frames, self.stacks.len() - 1);
                self.stacks.len() - 1
            }
        };
        let total = self.totals.get_mut(stack)?;
        total.count += weight;
        // It may be free again already, and even unmapped: then it does not stay.
        let Some(bytes) = hit.bytes else { return Some(()) };
        total.sized += weight;
        total.bytes += bytes as f64 * weight;
        if self.blocks.len() >= MAX_BLOCKS && !self.blocks.contains_key(&address) {
            return None;
        }
        if self.blocks.insert(address, Block { at, bytes, weight, stack }).is_none() {
            self.order.push(address);
        }
        Some(())
    }

    /// Forgets all blocks that are not in use any more.
    fn walk(&mut self) {
        let begun = Instant::now();
        if let Some(in_use) = self.in_use() {
            self.blocks.retain(|address, _| in_use.contains(address));
            self.order.retain(|address| in_use.contains(address));
        }
        self.walk_took = begun.elapsed();
        self.walk_at = Instant::now() + WALK.max(self.walk_took * WALK_SHARE);
    }

    /// The addresses of the blocks that are in use now, with the same size; `None` where the process can't be read any more.
    fn in_use(&self) -> Option<HashSet<u64>> {
        let memory = self.process.memory(&self.process.maps().ok()?).ok()?;
        let same =
            |&(address, bytes): &(u64, u64)| self.blocks.get(&address).is_some_and(|b| b.bytes == bytes);
        let in_use = self.chunks.in_use(&memory, self.blocks.keys().copied());
        Some(in_use.into_iter().filter(same).map(|(address, _)| address).collect())
    }

    /// The sampled blocks that are in use now, at the same address with the same size; as the latest walk found them where one
    /// takes long, or the process has ended.
    pub fn blocks(&self) -> Vec<Block> {
        let in_use = if self.walk_took > LONG_WALK { None } else { self.in_use() };
        let stays = |address: &u64| in_use.as_ref().is_none_or(|in_use| in_use.contains(address));
        self.blocks.iter().filter(|(address, _)| stays(address)).map(|(_, block)| *block).collect()
    }

    /// The stacks, by number: addresses, innermost first.
    pub fn stacks(&self) -> &[Vec<u64>] {
        &self.stacks
    }

    /// What was allocated by each of the stacks.
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

/// Where [`FUNCTIONS`] end, as many together as can be probed together, in glibc's shared library as `process` has it mapped; `None` where it has
/// none, or one of them ends at more places than can be probed.
fn find(process: &Process, vmas: &[Vma]) -> Option<Vec<Vec<Exit>>> {
    let name = |vma: &Vma| vma.path.rsplit('/').next().unwrap_or_default().to_owned();
    let mut code = vmas.iter().filter(|vma| vma.exec && vma.is_file());
    let libc = code.find(|vma| name(vma).starts_with("libc.so.6") || name(vma).starts_with("libc-2."))?;
    let file = process
        .file(&format!("map_files/{:x}-{:x}", libc.start, libc.end))
        .or_else(|_| File::open(process.path_in_root(&libc.path)))
        .ok()?;
    let cache = ReadCache::new(file);
    let object = object::File::parse(&cache).ok().filter(|object| object.is_64())?;
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

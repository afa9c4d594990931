//! The inside of a CPython interpreter: stacks, objects, and who holds them.

use crate::{Collector, Effort};
use offheap_cpython::{Census, Holder, HolderKind, Interpreter, Look, Marks, Place, Search};
use offheap_heaps::{Heap, LabelKind};
use offheap_linux::Live;
use offheap_model::{
    Frame, FrameKind, Python, PythonHeld, PythonHolder, PythonHolderKind, PythonInterpreter, PythonObjects,
    PythonThread, PythonType,
};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Types that are listed at most.
const MOST_TYPES: usize = 100;
/// Bytes of the C heap that a census reads at most: a quarter of a second.
const CENSUS_BUDGET: u64 = 512 << 20;
/// Bytes of memory that one step of a search reads at most: a second.
const STEP_BUDGET: u64 = 2 << 30;
/// How long a search for holders may take, but for the step that it is at then.
const SEARCH: Duration = Duration::from_secs(10);

/// In a series of snapshots objects are counted at least this far apart.
const LEAST_BETWEEN: Duration = Duration::from_secs(2);
/// One part in that many of the time is used for counting…
const CENSUS_SHARE: u32 = 25;
/// …but the first ones, by which a window of a minute is judged…
const SERIES: u32 = 6;
/// …come no further apart than this.
const SOON: Duration = Duration::from_secs(8);

/// What is kept from census to census.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    /// Where the objects were at the first one.
    marks: Option<Marks>,
    /// When the next one is due.
    next: Option<Instant>,
    /// How many there were.
    times: u32,
}

/// Why there is nothing to say of Python.
const NONE: &str = "No CPython interpreter was found in it.";

impl Collector {
    /// Its interpreters, with the Python stacks of all threads.
    ///
    /// # Errors
    /// Why they can't be read, a sentence.
    pub fn python_interpreters(&self) -> Result<Vec<PythonInterpreter>, String> {
        let interpreter = self.interpreter().ok_or(NONE)?;
        let memory = self.fresh_memory()?;
        let tasks = self.process().tasks().map_err(|error| error.to_string())?;
        // A thread state knows the id in the innermost namespace.
        let tasks: HashMap<i32, _> = tasks.iter().map(|task| (task.inner_tid, task)).collect();
        let thread = |thread: offheap_cpython::Thread| {
            let task = thread.tid.and_then(|tid| tasks.get(&tid));
            PythonThread {
                tid: task.map(|task| task.tid),
                name: task.map(|task| task.name.clone()).unwrap_or_default(),
                holds_gil: thread.holds_gil,
                frames: thread.frames.into_iter().map(frame).collect(),
                cut: thread.cut,
            }
        };
        let found = interpreter.interpreters(&memory)?.into_iter();
        Ok(found
            .map(|one| PythonInterpreter {
                id: one.id,
                collects: one.collects,
                threads: one.threads.into_iter().map(thread).collect(),
            })
            .collect())
    }

    /// A census of its objects, from which on new ones are known.
    ///
    /// # Errors
    /// Why they can't be counted, a sentence.
    pub fn python_objects(&mut self) -> Result<PythonObjects, String> {
        let memory = self.fresh_memory()?;
        let heap = self.lenses.heap.walk(&memory, None, Effort::SERIES);
        self.count_python_objects(&memory, heap.as_ref())
    }

    /// The same, where the C heap was walked already.
    pub(crate) fn count_python_objects(
        &mut self,
        memory: &Live,
        heap: Option<&Heap>,
    ) -> Result<PythonObjects, String> {
        let begun = Instant::now();
        let interpreter = self.interpreter().ok_or(NONE)?;
        let c_heap = ranges(heap);
        let mut marks = Marks::default();
        let mark = self.counted.marks.is_none().then_some(&mut marks);
        let is_first = mark.is_some();
        let look = Look { c_heap: &c_heap, budget: CENSUS_BUDGET, mark };
        let census = interpreter.census(memory, look)?;
        if is_first {
            self.counted.marks = Some(marks);
        }
        Ok(objects(census, begun.elapsed()))
    }

    /// Who holds objects of the type `name`: those that came since the first census, if there are
    /// some.
    ///
    /// # Errors
    /// Why it can't be told, a sentence.
    pub fn python_holders(&self, name: &str) -> Result<PythonHeld, String> {
        let interpreter = self.interpreter().ok_or(NONE)?;
        let memory = self.fresh_memory()?;
        let c_heap = ranges(self.lenses.heap.walk(&memory, None, Effort::SERIES).as_ref());
        let places: Vec<Place> = self
            .lenses
            .jvm
            .heap_ranges(&memory)
            .into_iter()
            .map(|(start, end)| Place { start, end, what: "an object on the Java heap".to_owned() })
            .collect();
        let search = Search {
            name,
            before: self.counted.marks.as_ref(),
            c_heap: &c_heap,
            places: &places,
            time: SEARCH,
            budget: STEP_BUDGET,
        };
        let found = interpreter.holders(&memory, &search)?;
        let holders = found.holders.into_iter().map(through_a_bridge).map(|holder| PythonHolder {
            what: holder.what,
            kind: kind(holder.kind),
            objects: holder.objects as u64,
            container: holder.container,
            entries: holder.entries,
            most_entries: holder.most_entries,
            path: holder.path,
            used_by: holder.used_by.into_iter().map(code).collect(),
            made_by: holder.made_by.into_iter().map(code).collect(),
        });
        Ok(PythonHeld {
            name: name.to_owned(),
            of: found.of,
            looked_at: found.looked_at as u64,
            lonely: found.lonely as u64,
            holders: holders.collect(),
            cut: found.cut,
        })
    }

    /// Counts the objects for a snapshot of a series, if it is time.
    pub(crate) fn count_when_due(&mut self, memory: &Live, heap: Option<&Heap>, python: &mut Python) {
        let begun = Instant::now();
        if self.counted.next.is_some_and(|next| begun < next) {
            return;
        }
        python.objects = self.count_python_objects(memory, heap).ok();
        let interpreters = self.interpreter().and_then(|one| one.interpreters(memory).ok());
        python.collects = interpreters.as_ref().and_then(|all| all.first()?.collects);
        python.interpreters = interpreters.map(|all| all.len() as u64);
        self.counted.times += 1;
        let pause = (begun.elapsed() * CENSUS_SHARE).max(LEAST_BETWEEN);
        // The first ones make a series also where one takes long.
        let most = if self.counted.times < SERIES { SOON } else { Duration::MAX };
        self.counted.next = Some(Instant::now() + pause.min(most));
    }

    fn fresh_memory(&self) -> Result<Live, String> {
        let memory = self.process().maps().and_then(|vmas| self.process().memory(&vmas));
        memory.map_err(|error| error.to_string())
    }

    /// Its interpreter, if it has one.
    pub(crate) fn interpreter(&self) -> Option<&Interpreter> {
        self.lenses.python.interpreter()
    }
}

/// Types by which a bridge to a JVM keeps Python objects for as long as Java has its own part, how
/// their names start, and what that part is.
const BRIDGES: [(&str, &str); 1] = [("jpype._jproxy.", "a proxy of JPype's that Java holds")];

/// Native memory that keeps a bridge's own object does so for Java.
fn through_a_bridge(mut holder: Holder) -> Holder {
    let first = holder.path.first();
    let bridge = BRIDGES.iter().find(|(begin, _)| first.is_some_and(|kind| kind.starts_with(begin)));
    if let Some((_, what)) = bridge.filter(|_| holder.kind == HolderKind::Native) {
        (holder.kind, holder.what) = (HolderKind::Outside, (*what).to_owned());
    }
    holder
}

fn kind(kind: HolderKind) -> PythonHolderKind {
    match kind {
        HolderKind::Module => PythonHolderKind::Module,
        HolderKind::Class => PythonHolderKind::Class,
        HolderKind::LruCache => PythonHolderKind::LruCache,
        HolderKind::Function => PythonHolderKind::Function,
        HolderKind::Frame => PythonHolderKind::Frame,
        HolderKind::Outside => PythonHolderKind::Outside,
        HolderKind::Static => PythonHolderKind::Static,
        HolderKind::Native => PythonHolderKind::Native,
        HolderKind::Stack => PythonHolderKind::Stack,
    }
}

fn code(code: offheap_cpython::Code) -> Frame {
    Frame {
        name: code.function,
        kind: FrameKind::Python,
        file: Some(code.file).filter(|file| !file.is_empty()),
        line: Some(code.line).filter(|line| *line > 0),
        module: None,
    }
}

fn frame(frame: offheap_cpython::Frame) -> Frame {
    Frame {
        name: frame.function,
        kind: FrameKind::Python,
        file: Some(frame.file).filter(|file| !file.is_empty()),
        line: u32::try_from(frame.line).ok().filter(|line| *line > 0),
        module: None,
    }
}

fn objects(census: Census, took: Duration) -> PythonObjects {
    let count = census.types.iter().map(|sum| sum.count).sum();
    let types = census.types.into_iter().take(MOST_TYPES).map(|sum| PythonType {
        name: sum.name,
        count: sum.count,
        arena_bytes: sum.arena_bytes,
        heap_bytes: sum.heap_bytes,
        gc: sum.gc,
    });
    PythonObjects {
        types: types.collect(),
        objects: count,
        other_bytes: census.other_bytes,
        free_block_bytes: census.free_blocks,
        free_pool_bytes: census.free_pools,
        arenas: census.arenas,
        unread_bytes: census.unread,
        took_us: took.as_micros() as u64,
    }
}

/// Where the C heap's chunks are.
fn ranges(heap: Option<&Heap>) -> Vec<(u64, u64)> {
    let labels = heap.map_or(&[][..], |heap| heap.labels.as_slice());
    labels
        .iter()
        .filter(|label| !matches!(label.kind, LabelKind::UnwalkedHeap))
        .map(|label| (label.start, label.end))
        .collect()
}

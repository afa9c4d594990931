//! Takes snapshots of one process.
//!
//! The order of reading is part of the truth: how much of each mapping is resident first (its sum is the RSS), then threads, JVM
//! and C heap, and last the pages. All that is found once (libjvm's tables, the allocator's layout) is kept between snapshots.

use crate::account::{Account, Amount, account};
use crate::claims::{Claim, Claims, Label};
use crate::pace::Pace;
use crate::pools::{ThreadStack, pools};
use crate::split::{HeapLabels, Owner, split};
use crate::{files, jvm, malloc, native, notes, totals};
use offheap_cpython::{Interpreter, Pymalloc};
use offheap_heaps::{Heap, LabelKind, Walker};
use offheap_hotspot::{HotSpot, View, ViewOptions};
use offheap_linux::{Cgroup, Error, Held, Memory, Process, Residency, Source, Task, Vma};
use offheap_model::{Detail, Domain, DomainFigure, Holder, Jvm, Note, Python, Reach, Snapshot, ThreadKind};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Bytes of the Java heap that are scanned for hidden direct buffers at the most; half a second's work.
const HEAP_SCAN_BUDGET: u64 = 2 << 30;

/// Bytes of the Java heap that are read for references at the most: to count them takes about half a second then, to follow
/// them a few.
const HEAP_READ_BUDGET: u64 = 512 << 20;

/// A hold of the mmap lock that must be said.
const LONG_HOLD: Duration = Duration::from_millis(5);

/// How long most collections stop the program.
const A_PAUSE: Duration = Duration::from_millis(200);

/// How much work a snapshot may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effort {
    /// Look into chunks for what they hold, and into the Java heap for hidden direct buffers.
    pub deep: bool,
    /// Bytes of malloc arenas that one snapshot may read.
    pub heap_budget: u64,
}

impl Effort {
    /// For one account that a person waits for.
    pub const FULL: Effort = Effort { deep: true, heap_budget: u64::MAX };
    /// For a snapshot a second.
    pub const SERIES: Effort = Effort { deep: false, heap_budget: 1 << 30 };
}

/// Takes snapshots of one process.
#[derive(Debug)]
pub struct Collector {
    process: Process,
    hotspot: Option<HotSpot>,
    walker: Option<Walker>,
    interpreter: Option<Interpreter>,
    images: native::ImageSizes,
    /// Why there is a JVM but no view of it.
    blind: Option<String>,
    cgroup: Option<Cgroup>,
    /// The group's kills at the look before the last: during the last one the kernel may already have been at it.
    oom_kills_before: u64,
    /// Whether the view of the JVM was ever known to miss nothing.
    was_complete: bool,
    /// What was known of the process when it was last looked at.
    identity: offheap_model::Process,
    snapshots: u64,
    references: Pace,
    shares: Pace,
    held: Held,
}

impl Collector {
    /// Takes hold of the process `pid` and finds out what is in it.
    ///
    /// # Errors
    /// No such process, no rights (with the next command), or what the kernel said.
    pub fn open(pid: i32) -> Result<Self, Error> {
        let process = Process::open(pid)?;
        let vmas = process.maps()?;
        if vmas.is_empty() {
            return Err(Error::NoMemory { pid });
        }
        let memory = process.memory(&vmas)?;
        let identity = totals::process(&process)?;
        let mut collector = Collector {
            process,
            identity,
            hotspot: None,
            walker: None,
            interpreter: None,
            images: native::ImageSizes::new(),
            blind: None,
            cgroup: None,
            oom_kills_before: 0,
            was_complete: false,
            snapshots: 0,
            references: Pace::default(),
            shares: Pace::default(),
            held: Held::default(),
        };
        collector.look_around(&memory);
        Ok(collector)
    }

    /// The process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// How long the last snapshot held the lock of the process's address space: what takes long should be done seldom.
    pub fn held(&self) -> Held {
        self.held
    }

    /// The JVM in it, if there is one.
    pub(crate) fn hotspot(&self) -> Option<&HotSpot> {
        self.hotspot.as_ref()
    }

    /// Follows the references on the Java heap to see which objects that own native memory are in use; takes up to some
    /// seconds, and nothing from the target. `None` where there is no JVM, its heap is too large, or it collected meanwhile.
    pub fn reach(&self) -> Option<Reach> {
        let hotspot = self.hotspot.as_ref()?;
        let look = || {
            let memory = self.process.memory(&self.process.maps().ok()?).ok()?;
            hotspot.reach(&memory, &self.process.tasks().ok()?, HEAP_READ_BUDGET)
        };
        let found = look().or_else(|| {
            std::thread::sleep(A_PAUSE);
            look()
        })?;
        Some(Reach {
            owners: found.owners,
            owners_in_use: found.owners_in_use,
            owners_holder: found.owners_holder.map(holder),
            direct_bytes: found.direct_bytes,
            direct_in_use_bytes: found.direct_in_use_bytes,
            direct_holder: found.direct_holder.map(holder),
            heap_in_use_bytes: found.bytes,
            jni_references: found.jni_references,
            complete: found.complete,
        })
    }

    /// What is known of the process's end, in words.
    pub fn end(&self) -> String {
        let killed =
            self.cgroup.as_ref().is_some_and(|group| group.oom_kills_now() > Some(self.oom_kills_before));
        if self.process.is_alive() {
            "still runs".to_owned()
        } else if killed {
            "was killed for memory: its cgroup counts one more oom_kill".to_owned()
        } else {
            "exited or was killed by a signal".to_owned()
        }
    }

    /// Finds what was not there yet: a process that has just started may load its JVM or its allocator later.
    fn look_around(&mut self, memory: &Memory) {
        if self.hotspot.is_none() {
            match HotSpot::open(&self.process, memory) {
                Ok(hotspot) => {
                    self.hotspot = Some(hotspot);
                    self.blind = None;
                }
                Err(offheap_hotspot::Error::NotJvm { .. }) => {}
                Err(error) => self.blind = Some(error.to_string()),
            }
        }
        if self.walker.is_none() {
            self.walker = Walker::open(&self.process, memory);
        }
        if self.interpreter.is_none() {
            self.interpreter = Interpreter::open(&self.process, memory);
        }
    }

    /// Everything known of the process now. A process that ends half-way leaves what was learnt until then, with the note
    /// [`ENDED`](crate::ENDED).
    ///
    /// # Errors
    /// The process ended before anything was learnt, or what the kernel said.
    pub fn snapshot(&mut self, effort: Effort) -> Result<Snapshot, Error> {
        let begun = Instant::now();
        let time_ms =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
        self.process.held();
        let residency = self.process.residency()?;
        if residency.vmas.is_empty() {
            // A zombie or a kernel thread: its files are there, and empty.
            return Err(Error::Died { pid: self.process.pid(), doing: "its mappings were read".to_owned() });
        }
        let mut snapshot = match self.look(&residency, effort) {
            Err(error) if error.is_gone() => self.last_words(&residency, &error),
            other => other?,
        };
        self.snapshots += 1;
        self.held = self.process.held();
        snapshot.longest_hold_us = Some(self.held.longest.as_micros() as u64);
        if residency.source == Source::Smaps && self.held.longest >= LONG_HOLD {
            snapshot.notes.push(notes::held_up(self.held.longest));
        }
        snapshot.time_ms = time_ms;
        snapshot.took_us = begun.elapsed().as_micros() as u64;
        Ok(snapshot)
    }

    /// What the mappings alone tell of a process that is gone.
    fn last_words(&self, residency: &Residency, why: &Error) -> Snapshot {
        let vmas = &residency.vmas;
        let defaults = native::Defaults::new(vmas, native::Rest::Unattributed);
        let mut account = Account::new();
        for vma in vmas {
            let amount = account.entry(defaults.label(vma)).or_default();
            amount.add(Amount {
                rss: vma.rss,
                virtual_bytes: vma.len(),
                swap: vma.swap,
                huge: vma.anon_huge,
            });
        }
        Snapshot {
            process: self.identity.clone(),
            memory: totals::memory(&self.process, residency, None),
            cgroup: self.cgroup.clone().map(totals::cgroup),
            domains: figures(account),
            files: files::files(vmas),
            notes: vec![Note {
                id: crate::ENDED.to_owned(),
                text: format!("This is what its mappings told before the end: {why}; it {}.", self.end()),
                remedy: String::new(),
            }],
            ..Snapshot::default()
        }
    }

    fn look(&mut self, residency: &Residency, effort: Effort) -> Result<Snapshot, Error> {
        let vmas = &residency.vmas;
        let memory = self.process.memory(vmas)?;
        if self.snapshots > 0 {
            self.look_around(&memory);
        }
        let mut tasks = self.process.tasks()?;
        let mut view = None;
        if let Some(hotspot) = &self.hotspot {
            let mut seen = hotspot.view(&memory, &tasks, ViewOptions::default());
            if !seen.coverage.is_complete() {
                // A thread that starts, a table that is being swapped: a second look tells that from what can't be read.
                memory.forget();
                tasks = self.process.tasks()?;
                seen = hotspot.view(&memory, &tasks, ViewOptions::default());
            }
            self.was_complete |= seen.coverage.is_complete();
            view = Some(seen);
        }
        let pymalloc = self.interpreter.as_ref().map(|interpreter| interpreter.view(&memory));
        let heap = self.walk(&memory, view.as_ref(), effort);
        let mut jvm = view.as_ref().map(jvm::jvm);
        if let (Some(hotspot), Some(jvm), false) = (&self.hotspot, &mut jvm, effort.deep) {
            jvm.references =
                self.references.when_due(|| hotspot.references(&memory, HEAP_READ_BUDGET)).flatten();
        }

        let stacks = Stacks::find(vmas, &tasks, view.as_ref());
        let labels = heap.as_ref().map(HeapLabels::new);
        let claims = self.claims(
            vmas,
            &memory,
            view.as_ref(),
            heap.as_ref().zip(labels.as_ref()),
            &stacks,
            pymalloc.as_ref(),
        );
        let defaults = native::Defaults::new(vmas, self.rest(view.as_ref(), heap.as_ref()));
        let mut account = account(vmas, memory.pagemap(), &Claims::settle(claims), |vma| defaults.label(vma));
        let threads = stacks.take(&mut account);

        let uncounted = match (&self.hotspot, &view, &jvm) {
            (Some(hotspot), Some(view), Some(jvm)) if is_scan_worth_it(view, effort) => {
                uncounted_direct(hotspot, &memory, jvm, heap.as_ref())
            }
            _ => None,
        };
        if let (Some(heap), Some(labels)) = (&heap, &labels) {
            let owner = match &jvm {
                None if self.blind.is_some() => Owner::Unknown(&EMPTY_JVM),
                None => Owner::Program,
                Some(jvm) => match &jvm.nmt {
                    Some(nmt) => Owner::Counted(jvm, nmt),
                    None => Owner::Unknown(jvm),
                },
            };
            split(&mut account, heap, labels, owner, uncounted.unwrap_or(0));
        }

        let shares = if effort.deep {
            totals::shares(&self.process, residency)
        } else {
            self.shares.when_due(|| totals::shares(&self.process, residency)).flatten()
        };
        let group = Cgroup::of(&self.process);
        self.oom_kills_before = self.cgroup.as_ref().or(group.as_ref()).map_or(0, |group| group.oom_kills);
        self.cgroup = group;
        self.identity = totals::process(&self.process)?;
        let mut snapshot = Snapshot {
            time_ms: 0,
            took_us: 0,
            longest_hold_us: None,
            process: self.identity.clone(),
            memory: totals::memory(&self.process, residency, shares),
            cgroup: self.cgroup.clone().map(totals::cgroup),
            domains: figures(account),
            jvm,
            malloc: heap.as_ref().map(malloc::malloc),
            threads,
            files: files::files(vmas),
            python: self.interpreter.as_ref().zip(pymalloc.as_ref()).map(|(interpreter, view)| Python {
                version: interpreter.version().to_owned(),
                main: interpreter.is_main(),
                arena_bytes: view.resident,
                blocks: Some(view.blocks),
            }),
            notes: Vec::new(),
        };
        let heap_rss = snapshot.rss_of(Domain::JavaHeap);
        if let Some(jvm) = &mut snapshot.jvm {
            jvm.heap.resident_bytes = heap_rss / u64::from(jvm.heap.mapped_times.max(1));
            if let Some(direct) = &mut jvm.direct {
                direct.hidden_bytes = uncounted;
            }
        }
        snapshot.notes = notes::notes(
            &snapshot,
            view.as_ref(),
            self.blind.as_deref(),
            pymalloc.as_ref(),
            residency.source,
        );
        Ok(snapshot)
    }

    fn walk(&self, memory: &Memory, view: Option<&View>, effort: Effort) -> Option<Heap> {
        let walker = self.walker.as_ref()?;
        let exclude: Vec<(u64, u64)> = view
            .map_or_else(Vec::new, |view| view.labels.iter().map(|label| (label.start, label.end)).collect());
        let options = offheap_heaps::Options {
            size_classes: true,
            hints: effort.deep,
            budget_bytes: effort.heap_budget,
            exclude: &exclude,
            chunks: &[],
        };
        Some(walker.walk(memory, &options))
    }

    /// What may be said of anonymous memory that nobody claims.
    fn rest(&self, view: Option<&View>, heap: Option<&Heap>) -> native::Rest {
        let jvm_known = match view {
            // What was once known to be all stays all: a single look that misses something must not move memory from one
            // domain to another in the midst of a series.
            Some(view) => view.coverage.is_complete() || self.was_complete,
            None => self.blind.is_none(),
        };
        let malloc_known = heap.is_some_and(|heap| heap.walked);
        if jvm_known && malloc_known { native::Rest::NativeMmap } else { native::Rest::Unattributed }
    }

    /// All claims, the most certain first: an earlier one keeps what a later one claims too.
    fn claims(
        &mut self,
        vmas: &[Vma],
        memory: &Memory,
        view: Option<&View>,
        heap: Option<(&Heap, &HeapLabels)>,
        stacks: &Stacks,
        pymalloc: Option<&Pymalloc>,
    ) -> Vec<Claim> {
        let mut claims = stacks.claims.clone();
        claims.extend(view.map(jvm::claims).unwrap_or_default());
        claims.extend(native::bss_claims(vmas, memory, &mut self.images));
        if let Some(pymalloc) = pymalloc {
            let label = Label::new(Domain::PythonHeap, "pymalloc arenas", "pool headers");
            claims.extend(pymalloc.ranges.iter().map(|(start, end, _)| Claim {
                start: *start,
                end: *end,
                label: Rc::clone(&label),
            }));
        }
        if let Some((heap, labels)) = heap {
            claims.extend(heap.labels.iter().map(|label| Claim {
                start: label.start,
                end: label.end,
                label: Rc::clone(match label.kind {
                    LabelKind::Arena { .. } | LabelKind::UnwalkedArena { .. } => &labels.arenas,
                    LabelKind::MmappedChunk => &labels.mapped,
                    LabelKind::UnwalkedHeap => &labels.unwalked,
                }),
            }));
        }
        claims
    }
}

fn holder(found: offheap_hotspot::Holder) -> Holder {
    Holder { what: found.what, amount: found.amount }
}

/// A JVM of which nothing is known, for the split.
static EMPTY_JVM: std::sync::LazyLock<Jvm> = std::sync::LazyLock::new(Jvm::default);

/// Whether to look for direct buffers in the Java heap: where the JDK keeps some out of Bits, and under ZGC where Bits can't
/// be read because its class mirror was moved and the reference to it not healed yet, which happens at the next marking.
fn is_scan_worth_it(view: &View, effort: Effort) -> bool {
    match view.direct {
        Some(direct) => effort.deep && direct.hides_temporary,
        None => view.gc == "Z",
    }
}

/// Direct buffers that Bits doesn't count or that couldn't be read there: those the Java heap refers to, as far as their
/// memory is a live chunk, less what Bits counts.
fn uncounted_direct(hotspot: &HotSpot, memory: &Memory, jvm: &Jvm, heap: Option<&Heap>) -> Option<u64> {
    let found = hotspot.direct_buffers(memory, HEAP_SCAN_BUDGET);
    if found.incomplete.is_some() {
        return None;
    }
    // Garbage in the heap still names memory that was freed; only an address inside the C heap's live maps counts.
    let labels = &heap?.labels;
    let is_malloc = |address: u64| {
        let after = labels.partition_point(|label| label.end <= address);
        labels.get(after).is_some_and(|label| label.start <= address)
    };
    let all: u64 =
        found.buffers.iter().filter(|buffer| is_malloc(buffer.address)).map(|buffer| buffer.capacity).sum();
    Some(all.saturating_sub(jvm.direct.as_ref().map_or(0, |direct| direct.reserved_bytes)))
}

/// The stacks of all threads: claims with a label each, so that the account tells each one's residency.
struct Stacks {
    claims: Vec<Claim>,
    threads: HashMap<Rc<Label>, (String, ThreadKind)>,
}

impl Stacks {
    fn find(vmas: &[Vma], tasks: &[Task], view: Option<&View>) -> Stacks {
        let mut stacks = Stacks { claims: Vec::new(), threads: HashMap::new() };
        let mut known = HashSet::new();
        // The first thread's stack is of the kernel's making and has its own domain.
        let kernel_made = |address: u64| {
            let after = vmas.partition_point(|vma| vma.end <= address);
            vmas.get(after).is_some_and(|vma| vma.path == "[stack]")
        };
        for thread in view.map_or(&[][..], |view| view.threads.as_slice()) {
            if thread.stack.start < thread.stack.end && !kernel_made(thread.stack.start) {
                known.insert(thread.tid);
                let range = (thread.stack.start, thread.stack.end);
                stacks.push(thread.tid, &thread.name, jvm::thread_kind(thread.kind), range, "vmStructs");
            }
        }
        for found in native::stacks(vmas, tasks, &known) {
            stacks.push(
                found.inner_tid,
                &found.name,
                ThreadKind::Native,
                (found.start, found.end),
                "stack pointer",
            );
        }
        stacks
    }

    fn push(
        &mut self,
        tid: i32,
        name: &str,
        kind: ThreadKind,
        (start, end): (u64, u64),
        source: &'static str,
    ) {
        // The id keeps the labels apart: threads may share a name.
        let label = Label::new(Domain::ThreadStacks, format!("{tid} {name}"), source);
        self.claims.push(Claim { start, end, label: Rc::clone(&label) });
        self.threads.insert(label, (name.to_owned(), kind));
    }

    /// Takes the stacks out of `account`, puts one line a pool in, and gives the pools.
    fn take(self, account: &mut Account) -> Vec<offheap_model::ThreadPool> {
        let mut threads = Vec::with_capacity(self.threads.len());
        for (label, (name, kind)) in self.threads {
            let Some(amount) = account.remove(&label) else { continue };
            let pool = Label::new(Domain::ThreadStacks, crate::pools::pool_name(&name), label.source);
            account.entry(pool).or_default().add(amount);
            threads.push(ThreadStack {
                name,
                kind,
                reserved: amount.virtual_bytes,
                resident: amount.rss,
                huge: amount.huge,
            });
        }
        pools(&threads)
    }
}

/// One figure a domain, largest first, its lines largest first.
fn figures(account: Account) -> Vec<DomainFigure> {
    let mut domains: BTreeMap<Domain, DomainFigure> = BTreeMap::new();
    for (label, amount) in account {
        let figure = domains.entry(label.domain).or_insert_with(|| DomainFigure {
            domain: label.domain,
            rss_bytes: 0,
            virtual_bytes: 0,
            swap_bytes: 0,
            huge_bytes: 0,
            source: String::new(),
            detail: Vec::new(),
        });
        figure.rss_bytes += amount.rss;
        figure.virtual_bytes += amount.virtual_bytes;
        figure.swap_bytes += amount.swap;
        figure.huge_bytes += amount.huge;
        figure.detail.push(Detail {
            name: label.name.clone(),
            rss_bytes: amount.rss,
            virtual_bytes: amount.virtual_bytes,
            source: label.source.to_owned(),
        });
    }
    let mut figures: Vec<DomainFigure> = domains.into_values().collect();
    for figure in &mut figures {
        figure.detail.sort_by(|a, b| b.rss_bytes.cmp(&a.rss_bytes).then_with(|| a.name.cmp(&b.name)));
        let mut sources: Vec<&str> = Vec::new();
        for detail in figure.detail.iter().filter(|detail| detail.rss_bytes > 0) {
            if !sources.contains(&detail.source.as_str()) {
                sources.push(&detail.source);
            }
        }
        figure.source = sources.join(", ");
    }
    figures.sort_by(|a, b| b.rss_bytes.cmp(&a.rss_bytes).then_with(|| a.domain.cmp(&b.domain)));
    figures
}

//! Takes snapshots of one running process.
//!
//! The order of reading is part of the truth: how much of each mapping is resident first (its sum
//! is the RSS), then threads, and then what the lenses look at (`lens/`), whose account reads the
//! pages last.

use crate::account::{Account, Amount};
use crate::figures::figures;
use crate::lens::Lenses;
use crate::pace::Pace;
use crate::{files, native, notes, totals};
use offheap_linux::{Cgroup, Error, Held, Process, Residency, Source};
use offheap_model::{Note, Reach, Snapshot};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A hold of the mmap lock that must be said.
const LONG_HOLD: Duration = Duration::from_millis(5);

/// How often references are followed where a collection spoils it.
const LOOKS: u32 = 3;
/// How long most collections stop the program.
const BETWEEN_TRIES: Duration = Duration::from_millis(200);

/// How much work a snapshot may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effort {
    /// Look into chunks for what they hold, and into the Java heap for hidden direct buffers.
    pub deep: bool,
    /// Bytes of malloc arenas that one snapshot may read.
    pub heap_budget: u64,
    /// Count the objects of a CPython, where that is due.
    pub objects: bool,
}

impl Effort {
    /// For one account that a person waits for.
    pub const FULL: Effort = Effort { deep: true, heap_budget: u64::MAX, objects: true };
    /// For a snapshot a second.
    pub const SERIES: Effort = Effort { deep: false, heap_budget: 1 << 30, objects: true };
    /// For who wants the account alone.
    pub const ACCOUNT: Effort = Effort { objects: false, ..Effort::SERIES };
}

/// Takes snapshots of one process.
#[derive(Debug)]
pub struct Collector {
    process: Process,
    pub(crate) lenses: Lenses,
    /// Python's objects, as far as they were counted.
    pub(crate) counted: crate::python::Counted,
    cgroup: Option<Cgroup>,
    /// The group's kills at the look before the last: during the last one the kernel may already
    /// have been at it.
    oom_kills_before: u64,
    /// What was known of the process when it was last looked at.
    identity: offheap_model::Process,
    snapshots: u64,
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
        let live = process.memory(&vmas)?;
        let identity = totals::process(&process)?;
        let mut lenses = Lenses::default();
        lenses.open(&live);
        Ok(Collector {
            process,
            lenses,
            counted: crate::python::Counted::default(),
            identity,
            cgroup: None,
            oom_kills_before: 0,
            snapshots: 0,
            shares: Pace::default(),
            held: Held::default(),
        })
    }

    /// The process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// How long the last snapshot held the lock of the process's address space: what takes long
    /// should be done seldom.
    pub fn held(&self) -> Held {
        self.held
    }

    /// The JVM in it, if there is one.
    pub(crate) fn hotspot(&self) -> Option<&offheap_hotspot::HotSpot> {
        self.lenses.jvm.hotspot()
    }

    /// Follows the references on the Java heap to see which objects that own native memory are in
    /// use; takes up to some seconds, and nothing from the target. `None` where there is no JVM,
    /// its heap is too large, or it collected meanwhile.
    pub fn reach(&self) -> Option<Reach> {
        self.hotspot()?;
        let look = || {
            let live = self.process.memory(&self.process.maps().ok()?).ok()?;
            self.lenses.jvm.reach(&live, &self.process.tasks().ok()?)
        };
        (0..LOOKS).find_map(|time| {
            std::thread::sleep(BETWEEN_TRIES * time.min(1));
            look()
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

    /// Everything known of the process now. A process that ends half-way leaves what was learnt
    /// until then, with the note [`ENDED`](crate::ENDED).
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
        let live = self.process.memory(&residency.vmas)?;
        if self.snapshots > 0 {
            self.lenses.open(&live);
        }
        let tasks = self.process.tasks()?;
        let mut snapshot = Snapshot { files: files::files(&residency.vmas), ..Snapshot::default() };
        let sight = self.lenses.look(&live, tasks, effort, &mut snapshot);
        if effort.objects
            && let Some(python) = &mut snapshot.python
        {
            self.count_when_due(&live, sight.heap.as_ref().map(|(heap, _)| heap), python);
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
        snapshot.process = self.identity.clone();
        snapshot.memory = totals::memory(&self.process, residency, shares);
        snapshot.cgroup = self.cgroup.clone().map(totals::cgroup);
        snapshot.notes = notes::notes(&snapshot, &sight, residency.source == Source::Entries);
        Ok(snapshot)
    }
}

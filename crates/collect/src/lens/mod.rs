//! What is known of a process, one lens for each kind of knowledge: the JVM, the threads, the
//! libraries, Python, the C heap.
//!
//! Each lens looks at the [`Target`] and leaves what it found in the [`Sight`], for those after it;
//! claims address ranges; and, once the resident bytes are shared out over the claims, splits its
//! part of the account and fills in its part of the snapshot. A new one is a file here and a line
//! in [`Lenses::all`].

mod heap;
mod jvm;
mod libraries;
mod python;
mod threads;

use crate::account::{Account, account};
use crate::claims::{Claim, Claims};
use crate::collector::Effort;
use crate::figures::figures;
use crate::native;
use crate::split::HeapLabels;
use offheap_cpython::Pymalloc;
use offheap_heaps::Heap;
use offheap_hotspot::View;
use offheap_model::{Jvm, Snapshot};
use offheap_target::{Target, Task};

pub(crate) use jvm::JvmLens;

/// One look at a target.
pub(crate) struct Look<'a> {
    pub target: &'a dyn Target,
    pub effort: Effort,
}

/// What the lenses have found in one look.
#[derive(Default)]
pub(crate) struct Sight {
    /// The threads.
    pub tasks: Vec<Task>,
    /// HotSpot's own view.
    pub view: Option<View>,
    /// The JVM's figures.
    pub jvm: Option<Jvm>,
    /// Why there is a JVM but no view of it.
    pub blind: Option<String>,
    /// True where everything that is the JVM's is known to be, also where there is none.
    pub knows_jvm: bool,
    /// Direct buffers that the JDK doesn't count, where they were looked for.
    pub uncounted: Option<u64>,
    /// CPython's arenas.
    pub pymalloc: Option<Pymalloc>,
    /// The C heap, and under which labels it is claimed.
    pub heap: Option<(Heap, HeapLabels)>,
}

impl Sight {
    /// What may be said of anonymous memory that nobody claims.
    fn rest(&self) -> native::Rest {
        let knows_malloc = self.heap.as_ref().is_some_and(|(heap, _)| heap.walked);
        if self.knows_jvm && knows_malloc { native::Rest::NativeMmap } else { native::Rest::Unattributed }
    }
}

/// One kind of knowledge about a process.
pub(crate) trait Lens {
    /// Whose claim counts where two overlap: the one of the lower rank. The ranks are all
    /// different.
    fn rank(&self) -> u8;

    /// Finds what there is to look at, if it has not been found yet: a process that has just
    /// started may load its JVM or its allocator later.
    fn open(&mut self, target: &dyn Target) {
        let _ = target;
    }

    /// Looks.
    fn look(&mut self, _look: &Look<'_>, _sight: &mut Sight) {}

    /// The address ranges that it knows.
    fn claims(&mut self, look: &Look<'_>, sight: &Sight) -> Vec<Claim>;

    /// Splits its part of the account, in which each claim has its resident bytes now.
    fn split(&mut self, look: &Look<'_>, sight: &mut Sight, account: &mut Account, snapshot: &mut Snapshot) {
        let _ = (look, sight, account, snapshot);
    }

    /// Fills in its part of the snapshot, in which the domains have their figures now.
    fn fill(&self, _sight: &Sight, _snapshot: &mut Snapshot) {}
}

/// All lenses. What one knows of a process for good it keeps from one look to the next.
#[derive(Debug, Default)]
pub(crate) struct Lenses {
    pub jvm: JvmLens,
    threads: threads::ThreadsLens,
    libraries: libraries::LibrariesLens,
    pub python: python::PythonLens,
    pub heap: heap::HeapLens,
}

impl Lenses {
    /// In the order of looking: one that goes by what another found comes after it.
    fn all(&mut self) -> [&mut dyn Lens; 5] {
        [&mut self.jvm, &mut self.threads, &mut self.libraries, &mut self.python, &mut self.heap]
    }

    /// Finds what there is to look at.
    pub fn open(&mut self, target: &dyn Target) {
        for lens in self.all() {
            lens.open(target);
        }
    }

    /// Looks at `target`, whose threads are `tasks`, and fills in what the lenses know of
    /// `snapshot`.
    pub fn look(
        &mut self,
        target: &dyn Target,
        tasks: Vec<Task>,
        effort: Effort,
        snapshot: &mut Snapshot,
    ) -> Sight {
        let look = Look { target, effort };
        let mut sight = Sight { tasks, ..Sight::default() };
        for lens in self.all() {
            lens.look(&look, &mut sight);
        }
        let mut lenses = self.all();
        lenses.sort_by_key(|lens| lens.rank());
        let claims = lenses.iter_mut().flat_map(|lens| lens.claims(&look, &sight)).collect();
        let defaults = native::Defaults::new(target.vmas(), sight.rest());
        let mut account = account(target.vmas(), target, &Claims::settle(claims), |vma| defaults.label(vma));
        for lens in self.all() {
            lens.split(&look, &mut sight, &mut account, snapshot);
        }
        snapshot.domains = figures(account);
        for lens in self.all() {
            lens.fill(&sight, snapshot);
        }
        sight
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use offheap_model::Domain;
    use offheap_target::{Synthetic, Vma, page_bytes};

    /// A program of three mappings that hold something, two threads, and no allocator that is
    /// known.
    fn program() -> Synthetic {
        let mut target = Synthetic::default();
        let mapping = |start: u64, pages: u64, access: bool, path: &str| Vma {
            start,
            end: start + pages * page_bytes(),
            read: access,
            write: access,
            rss: if access { pages * page_bytes() } else { 0 },
            path: path.to_owned(),
            ..Vma::default()
        };
        target.map(mapping(0x10000, 3, true, ""), [1]);
        target.map(mapping(0x20000, 1, false, ""), []);
        target.map(mapping(0x21000, 2, true, ""), [1]);
        target.map(mapping(0x30000, 4, true, "[stack]"), [1]);
        let task = |tid: i32, name: &str, stack_pointer: u64| Task {
            tid,
            inner_tid: tid,
            name: name.to_owned(),
            stack_pointer: Some(stack_pointer),
        };
        target.tasks = Some(vec![task(1, "main", 0x30800), task(2, "worker-7", 0x22000)]);
        target
    }

    fn looked_at(target: &Synthetic) -> (Snapshot, Sight) {
        let mut lenses = Lenses::default();
        lenses.open(target);
        let mut snapshot = Snapshot::default();
        let tasks = target.tasks.clone().unwrap_or_default();
        let sight = lenses.look(target, tasks, Effort::FULL, &mut snapshot);
        (snapshot, sight)
    }

    #[test]
    fn every_resident_byte_is_in_one_domain() {
        let (snapshot, sight) = looked_at(&program());
        let figures: Vec<(Domain, u64)> =
            snapshot.domains.iter().map(|figure| (figure.domain, figure.rss_bytes / page_bytes())).collect();
        assert_eq!(figures, [(Domain::Kernel, 4), (Domain::Unattributed, 3), (Domain::ThreadStacks, 2)]);
        let pools: Vec<(&str, u64)> = snapshot
            .threads
            .iter()
            .map(|pool| (pool.pool.as_str(), pool.resident_bytes / page_bytes()))
            .collect();
        assert_eq!(pools, [("worker-*", 2)], "the first thread's stack is the kernel's");
        assert!(sight.knows_jvm && snapshot.jvm.is_none() && snapshot.malloc.is_none());
    }

    #[test]
    fn without_threads_their_stacks_are_nobodys() {
        let mut target = program();
        target.tasks = None;
        let (snapshot, _) = looked_at(&target);
        assert_eq!(snapshot.rss_of(Domain::ThreadStacks), 0);
        assert_eq!(snapshot.rss_of(Domain::Unattributed), 5 * page_bytes());
    }

    #[test]
    fn the_ranks_are_all_different() {
        let mut lenses = Lenses::default();
        let mut ranks: Vec<u8> = lenses.all().iter().map(|lens| lens.rank()).collect();
        ranks.sort_unstable();
        ranks.dedup();
        assert_eq!(ranks.len(), lenses.all().len());
    }
}

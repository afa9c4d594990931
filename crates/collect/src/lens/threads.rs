//! Threads and their stacks: as HotSpot knows them, else by their stack pointers.

use super::{Lens, Look, Sight};
use crate::account::Account;
use crate::claims::{Claim, Label};
use crate::pools::{ThreadStack, pools};
use crate::{jvm, native};
use offheap_hotspot::View;
use offheap_model::{Domain, Snapshot, ThreadKind};
use offheap_target::{Target, Task};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

/// The stacks of all threads: claims with a label each, so that the account tells each one's
/// residency.
#[derive(Debug, Default)]
pub(crate) struct ThreadsLens {
    claims: Vec<Claim>,
    threads: HashMap<Rc<Label>, (String, ThreadKind)>,
}

impl Lens for ThreadsLens {
    fn rank(&self) -> u8 {
        0
    }

    fn look(&mut self, look: &Look<'_>, sight: &mut Sight) {
        *self = ThreadsLens::default();
        self.find(look.target, &sight.tasks, sight.view.as_ref());
    }

    fn claims(&mut self, _: &Look<'_>, _: &Sight) -> Vec<Claim> {
        std::mem::take(&mut self.claims)
    }

    fn split(&mut self, _: &Look<'_>, _: &mut Sight, account: &mut Account, snapshot: &mut Snapshot) {
        snapshot.threads = self.take(account);
    }
}

impl ThreadsLens {
    fn find(&mut self, target: &dyn Target, tasks: &[Task], view: Option<&View>) {
        let vmas = target.vmas();
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
                self.push(thread.tid, &thread.name, jvm::thread_kind(thread.kind), range, "vmStructs");
            }
        }
        for found in native::stacks(target, tasks, &known) {
            self.push(
                found.inner_tid,
                &found.name,
                ThreadKind::Native,
                (found.start, found.end),
                "stack pointer",
            );
        }
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
    fn take(&mut self, account: &mut Account) -> Vec<offheap_model::ThreadPool> {
        let mut threads = Vec::with_capacity(self.threads.len());
        for (label, (name, kind)) in std::mem::take(&mut self.threads) {
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

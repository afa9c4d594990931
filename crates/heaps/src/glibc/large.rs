//! Large chunks in maps of their own, and memory that the main arena got where brk was blocked:
//! found, checked, added.

use super::layout::MmapState;
use super::mapped::{self, Depth, Head, Search};
use super::walk::Pass;
use crate::{Label, LabelKind};
use offheap_target::{PageKind, Reads, page_bytes, page_start};
use std::collections::BTreeMap;

/// Pages that one walk may look at, when all is to be found and when the budget is tight.
const PROBES: u64 = 1 << 20;
const PROBES_ON_BUDGET: u64 = 4096;

impl Pass<'_> {
    /// Finds the large chunks, and what the main arena has besides the brk heap.
    pub fn find_mapped(&mut self, wanted: Option<MmapState>) {
        let mut search = std::mem::take(&mut self.memo.search);
        let arenas = self
            .walked
            .iter()
            .map(|walked| (page_start(walked.tally.start), walked.tally.end.next_multiple_of(page_bytes())));
        let probes = if self.on_budget() { PROBES_ON_BUDGET } else { PROBES };
        search.begin(arenas.chain(self.options.exclude.iter().copied()), probes);
        let mut chunks = BTreeMap::new();
        for start in std::mem::take(&mut self.memo.chunks).into_keys() {
            let end = self.memory.vma(start).map_or(start, |vma| vma.end);
            if self.memory.is_present(start)
                && let Some(bytes) = mapped::chunk_at(self.memory, start, end)
            {
                chunks.insert(start, bytes);
                search.take(start, start + bytes);
            }
        }
        let scattered = |pass: &Self| {
            pass.states.iter().position(|state| state.main && state.scattered && state.top != 0)
        };
        if let Some(main) = scattered(self) {
            self.find_regions(main, &mut search, &mut chunks);
        }
        let complete = |chunks: &BTreeMap<u64, u64>| wanted.is_some_and(|wanted| agrees(chunks, wanted));
        let memory = self.memory;
        for depth in Depth::ALL {
            if complete(&chunks) {
                break;
            }
            search.sweep(memory, depth, |search, page, end| {
                if complete(&chunks) {
                    search.done = true;
                    return None;
                }
                let bytes = mapped::chunk_at(memory, page, end)?;
                chunks.insert(page, bytes);
                Some(page + bytes)
            });
        }
        self.memo.chunks = chunks;
        self.memo.search = search;
    }

    /// Finds and walks the main arena's other regions until they make up what it has from the
    /// system.
    fn find_regions(&mut self, main: usize, search: &mut Search, chunks: &mut BTreeMap<u64, u64>) {
        let (system, top) = (self.states[main].system, self.states[main].top);
        let memory = self.memory;
        let mut regions = Vec::new();
        for page in std::mem::take(&mut self.memo.regions) {
            if memory.is_present(page)
                && mapped::region_at(memory, page, top)
                && let Some(end) = self.walk_region(main, page)
            {
                search.take(page, end);
                regions.push(page);
            }
        }
        for depth in Depth::ALL {
            if self.seen(main) >= system {
                break;
            }
            search.sweep(memory, depth, |search, page, end| {
                if self.seen(main) >= system {
                    search.done = true;
                    return None;
                }
                match mapped::head_at(memory, page, end, top)? {
                    Head::Chunk(bytes) => {
                        chunks.insert(page, bytes);
                        Some(page + bytes)
                    }
                    Head::Region => {
                        let end = self.walk_region(main, page)?;
                        regions.push(page);
                        Some(end)
                    }
                }
            });
        }
        self.memo.regions = regions;
    }

    /// Large chunks: their sum, their labels, their sizes, and whether malloc counts as many.
    pub fn add_mapped(&mut self, before: Option<MmapState>, after: Option<MmapState>) {
        let chunks = std::mem::take(&mut self.memo.chunks);
        self.heap.large_count = chunks.len() as u64;
        self.heap.large_bytes = chunks.values().sum();
        let agreed = [before, after].into_iter().flatten().any(|state| agrees(&chunks, state));
        if let Some(state) = after.filter(|_| !agreed) {
            self.doubt(format!(
                "malloc counts {} mmapped chunks of {} bytes, but {} of {} bytes were found",
                state.count, state.bytes, self.heap.large_count, self.heap.large_bytes
            ));
        }
        for (start, bytes) in &chunks {
            let runs = self.memory.runs(*start, start + bytes);
            let present = runs.iter().filter(|run| run.kind == PageKind::Present);
            let resident = present.map(|run| run.end - run.start).sum();
            self.heap.page_account.in_use_resident += resident;
            self.heap.labels.push(Label {
                start: *start,
                end: start + bytes,
                kind: LabelKind::MmappedChunk,
                resident,
                free_resident: 0,
            });
            if self.options.size_classes {
                self.sizes.add(*bytes, *start);
            }
            if self.options.chunks.binary_search(start).is_ok() {
                self.heap.chunks.push((*start, *bytes));
            }
        }
        self.memo.chunks = chunks;
    }
}

fn agrees(chunks: &BTreeMap<u64, u64>, wanted: MmapState) -> bool {
    chunks.len() as u64 == wanted.count && chunks.values().sum::<u64>() == wanted.bytes
}

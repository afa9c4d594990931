//! Where glibc's malloc keeps its state, found by shape: no symbols, no version numbers.
//!
//! Sources: `malloc_state`, `malloc_par` and `heap_info` in glibc's malloc/malloc.c and
//! malloc/arena.c, releases 2.17 to 2.43; the memory itself tells what differs between them.

use offheap_target::{PageKind, Reads, Target, Vma, image_of, page_bytes};

/// Bins of a `malloc_state` (`NBINS - 1`), each a pair of list pointers.
const BINS: usize = 127;
/// From the first bin to `next`: the bins (0x7f0) and the bitmap of bins (0x10).
const BINS_TO_NEXT: u64 = 0x800;
/// Where the bins may start in `malloc_state`: from 2.27, up to 2.26, and without fastbins (after
/// 2.42).
const BINS_OFFSETS: [u64; 3] = [0x70, 0x68, 0x18];
/// More arenas than this are no arenas: glibc limits them to eight a core.
pub(super) const MAX_ARENAS: usize = 16_384;
/// The most bytes of one module's data that are searched: libc has some 80 KB, a static executable
/// may have more.
const MAX_SEARCHED: u64 = 64 << 20;
/// `n_mmaps_max` unless somebody set it (`DEFAULT_MMAP_MAX`).
const DEFAULT_MMAP_MAX: u32 = 65_536;

/// The layout of a process's `malloc_state` and where the main one is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Address of `main_arena`.
    pub main_arena: u64,
    /// Offset of the bins in a `malloc_state`.
    pub bins: u64,
    /// True where `attached_threads` is there (from 2.23).
    pub has_attached: bool,
    /// Where `malloc_par` (`mp_`) is, if it was found.
    pub parameters: Option<Parameters>,
}

/// Where the fields of `mp_` are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parameters {
    /// Address of `n_mmaps`, with `n_mmaps_max` and `max_n_mmaps` behind it, four bytes each.
    n_mmaps: u64,
    /// Address of `mmapped_mem`, with `max_mmapped_mem` and `sbrk_base` behind it, eight bytes
    /// each.
    mmapped_mem: u64,
    /// Address of `mmap_threshold`.
    mmap_threshold: u64,
    /// Address of `thp_pagesize` (from 2.35).
    thp_pagesize: Option<u64>,
}

/// What `mp_` says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct MmapState {
    /// Live mmapped chunks.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
    /// First address that `sbrk` handed out; 0 while the main arena is empty.
    pub sbrk_base: u64,
    /// Requests from this size on are mmapped.
    pub threshold: u64,
    /// What the main arena's top is trimmed by: pages, or huge pages with the tunable
    /// `glibc.malloc.hugetlb=1`.
    pub trim_unit: u64,
}

impl Parameters {
    /// Reads the fields as they are now, past the cache of `memory`.
    pub fn read(&self, memory: &dyn Target) -> Option<MmapState> {
        let [count, _, _, _] = halves(fresh::<16>(memory, self.n_mmaps)?);
        let [bytes, _, sbrk_base] = words(fresh::<24>(memory, self.mmapped_mem)?);
        let [threshold] = words(fresh::<8>(memory, self.mmap_threshold)?);
        let huge = self.thp_pagesize.and_then(|address| fresh::<8>(memory, address)).map(u64::from_le_bytes);
        let trim_unit = huge.filter(|size| size.is_power_of_two() && (page_bytes()..=1 << 30).contains(size));
        Some(MmapState {
            count: u64::from(count),
            bytes,
            sbrk_base,
            threshold,
            trim_unit: trim_unit.unwrap_or(page_bytes()),
        })
    }
}

impl Layout {
    /// Finds the main arena in the writable data of the module at `path`.
    pub fn find(memory: &dyn Target, path: &str) -> Option<Layout> {
        let data = data_of(memory, path);
        let mut layout = data.iter().find_map(|block| find_main_arena(memory, block))?;
        layout.parameters = data.iter().find_map(|block| find_parameters(memory, block));
        Some(layout)
    }

    /// Offset of `next`.
    pub fn next(&self) -> u64 {
        self.bins + BINS_TO_NEXT
    }

    /// Offset of `top`.
    pub fn top(&self) -> u64 {
        self.bins - 16
    }

    /// Offset of the first fastbin; `None` where there are none any more.
    pub fn fastbins(&self) -> Option<u64> {
        (self.bins > 0x60).then(|| self.bins - 0x60)
    }

    /// Offset of `system_mem`.
    pub fn system_mem(&self) -> u64 {
        self.next() + if self.has_attached { 24 } else { 16 }
    }

    /// Bytes of a `malloc_state`.
    pub fn state_size(&self) -> u64 {
        self.system_mem() + 16
    }
}

/// Words that lie behind one another.
pub(super) struct Block {
    pub start: u64,
    pub words: Vec<u64>,
}

impl Block {
    /// The half word of this index.
    fn half(&self, at: usize) -> Option<u32> {
        self.words.get(at / 2).map(|word| (word >> (at % 2 * 32)) as u32)
    }
}

/// The present writable data of a module: its own private pages and the anonymous ones of its
/// `.bss` right behind.
fn data_of(memory: &dyn Target, path: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut end_of_module = None;
    let mut left = MAX_SEARCHED;
    let Some(first) = image_of(memory.vmas(), |vma| vma.path == path) else { return blocks };
    // A part of the file that somebody mapped once more, to read it, may have a heap right behind
    // it.
    let image = memory.image_range(first);
    for vma in memory.vmas().iter().filter(|vma| image.contains(&vma.start)) {
        let of_module = vma.path == path && vma.is_file();
        let bss = vma.path.is_empty() && end_of_module == Some(vma.start);
        if of_module || bss {
            end_of_module = Some(vma.end);
            if vma.read && vma.write && !vma.shared {
                present_words(memory, vma, &mut left, &mut blocks);
            }
        }
    }
    blocks
}

fn present_words(memory: &dyn Target, vma: &Vma, left: &mut u64, blocks: &mut Vec<Block>) {
    for run in memory.runs(vma.start, vma.end) {
        let len = (run.end - run.start).min(*left);
        if run.kind != PageKind::Present || len == 0 {
            continue;
        }
        *left -= len;
        let mut bytes = vec![0; len as usize];
        let got = memory.read_bulk(run.start, &mut bytes);
        let found = bytes[..got].chunks_exact(8).map(|word| word.try_into().map_or(0, u64::from_le_bytes));
        match blocks.last_mut() {
            // The .data and .bss of a module touch: a structure may lie across.
            Some(last) if last.start + last.words.len() as u64 * 8 == run.start => last.words.extend(found),
            _ => blocks.push(Block { start: run.start, words: found.collect() }),
        }
    }
}

/// Bins that are empty in any heap.
const LEAST_EMPTY: usize = 2;

/// An empty bin's two pointers point to the bin itself, seen as a chunk: sixteen bytes before them.
/// No other data has 127 such pairs in a row; in a busy heap some hold lists instead.
pub(super) fn find_main_arena(memory: &dyn Target, block: &Block) -> Option<Layout> {
    let words = block.words.as_slice();
    let is_empty = |at: usize, bin: usize| {
        let header = (block.start + at as u64 * 8 + bin as u64 * 16).wrapping_sub(16);
        words.get(at + bin * 2) == Some(&header) && words.get(at + bin * 2 + 1) == Some(&header)
    };
    for at in 2..words.len().saturating_sub(2 * BINS + 6) {
        // A few bins far apart are looked at first: one of them is nearly always empty, even in a
        // heap in pieces.
        if ![126, 125, 120, 111, 64, 31, 1].into_iter().any(|bin| is_empty(at, bin)) {
            continue;
        }
        let empty = (0..BINS).filter(|bin| is_empty(at, *bin)).count();
        let listed = (0..BINS)
            .filter(|bin| !is_empty(at, *bin))
            .filter(|bin| {
                words[at + bin * 2..at + bin * 2 + 2].iter().all(|word| *word != 0 && word % 16 == 0)
            })
            .count();
        // One arena for many threads may have lists in nearly all of them; the ring says the rest.
        if empty < LEAST_EMPTY || empty + listed < BINS {
            continue;
        }
        let bins = block.start + at as u64 * 8;
        if let Some(layout) = BINS_OFFSETS.into_iter().find_map(|offset| ring_closes(memory, bins, offset)) {
            return Some(layout);
        }
    }
    None
}

/// The arenas are a ring: following `next` from the main arena must lead back to it.
fn ring_closes(memory: &dyn Target, bins: u64, offset: u64) -> Option<Layout> {
    let main_arena = bins.checked_sub(offset)?;
    let mut arena = main_arena;
    // Behind next_free comes attached_threads or, up to 2.22, system_mem: pages, and 132 KB at
    // least once there are any.
    let mut has_attached = true;
    for _ in 0..MAX_ARENAS {
        let next = arena.checked_add(offset + BINS_TO_NEXT)?;
        has_attached &= memory.u64(next.checked_add(16)?).ok()? < 0x1_0000;
        arena = memory.u64(next).ok()?;
        if arena == main_arena {
            return Some(Layout { main_arena, bins: offset, has_attached, parameters: None });
        }
        if arena == 0 || arena % 8 != 0 {
            return None;
        }
    }
    None
}

/// Looks for `n_mmaps_max` with its default, or failing that for `sbrk_base` where the brk heap
/// starts.
fn find_parameters(memory: &dyn Target, block: &Block) -> Option<Parameters> {
    let halves = 0..block.words.len() * 2;
    let by_default = halves
        .filter(|at| block.half(*at) == Some(DEFAULT_MMAP_MAX))
        .filter_map(|at| parameters_at(memory, block, at.checked_sub(1)?))
        .max_by_key(|(score, _)| *score);
    let heap = memory.vmas().iter().find(|vma| vma.path == "[heap]").map_or(0, |vma| vma.start);
    let by_heap = || {
        // mmapped_mem is two words before sbrk_base, and n_mmaps four or five halves before that.
        (0..block.words.len())
            .filter(|at| {
                heap != 0
                    && block.words.get(*at).is_some_and(|word| (heap..heap + page_bytes()).contains(word))
            })
            .flat_map(|at| [4, 5].map(|before| (at * 2).checked_sub(4 + before)))
            .filter_map(|n_mmaps| parameters_at(memory, block, n_mmaps?))
            .max_by_key(|(score, _)| *score)
    };
    by_default.or_else(by_heap).map(|(_, parameters)| parameters)
}

/// Reads the block as if `n_mmaps` were its half word of this index: `n_mmaps`, `n_mmaps_max`,
/// `max_n_mmaps`, `no_dyn_threshold`, four bytes each, then `mmapped_mem`, `max_mmapped_mem`,
/// `sbrk_base`, eight bytes each. Gives a score for how much there is besides zeros, or `None`
/// where the values contradict each other.
fn parameters_at(memory: &dyn Target, block: &Block, n_mmaps: usize) -> Option<(u32, Parameters)> {
    let word = |at: usize| block.words.get(at).copied();
    let mmapped_mem = (n_mmaps + 4).div_ceil(2);
    let (count, limit, most) = (block.half(n_mmaps)?, block.half(n_mmaps + 1)?, block.half(n_mmaps + 2)?);
    let (bytes, most_bytes, sbrk_base) = (word(mmapped_mem)?, word(mmapped_mem + 1)?, word(mmapped_mem + 2)?);
    let consistent = count <= most
        && most <= limit
        && bytes <= most_bytes
        && bytes.is_multiple_of(page_bytes())
        && most_bytes.is_multiple_of(page_bytes())
        && (bytes == 0) == (count == 0)
        && block.half(n_mmaps + 3)? <= 1;
    let sbrk_fits = sbrk_base == 0
        || sbrk_base.is_multiple_of(8)
            && memory.vma(sbrk_base).is_some_and(|vma| vma.is_anonymous() && vma.write);
    if !consistent || !sbrk_fits {
        return None;
    }
    // Before n_mmaps, backwards: (from 2.35: hp_flags, hp_pagesize, thp_pagesize, after 2.42
    // thp_mode,) arena_max, arena_test, mmap_threshold. arena_test is 8 unless it was set.
    let middle = n_mmaps / 2;
    let (threshold, thp_pagesize) = if n_mmaps.is_multiple_of(2) {
        (middle.checked_sub(3)?, None)
    } else {
        let tests_at = |back: usize| middle.checked_sub(back).and_then(word) == Some(8);
        (middle.checked_sub(if tests_at(5) && !tests_at(4) { 6 } else { 5 })?, Some(middle - 2))
    };
    let score = u32::from(sbrk_base != 0) + u32::from(count > 0) + u32::from(word(threshold)? >= 1024);
    let address = |index: usize, size: u64| block.start + index as u64 * size;
    let parameters = Parameters {
        n_mmaps: address(n_mmaps, 4),
        mmapped_mem: address(mmapped_mem, 8),
        mmap_threshold: address(threshold, 8),
        thp_pagesize: thp_pagesize.map(|index| address(index, 8)),
    };
    Some((score, parameters))
}

/// Reads past the cache, but only what is present: for counters that change while the heap is
/// walked.
fn fresh<const N: usize>(memory: &dyn Target, address: u64) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let last = address.checked_add(N as u64 - 1)?;
    let present = memory.is_present(address) && memory.is_present(last);
    (present && memory.read_bulk(address, &mut bytes) == N).then_some(bytes)
}

fn words<const B: usize, const N: usize>(bytes: [u8; B]) -> [u64; N] {
    std::array::from_fn(|at| {
        bytes.get(at * 8..at * 8 + 8).and_then(|word| word.try_into().ok()).map_or(0, u64::from_le_bytes)
    })
}

fn halves<const B: usize, const N: usize>(bytes: [u8; B]) -> [u32; N] {
    std::array::from_fn(|at| {
        bytes.get(at * 4..at * 4 + 4).and_then(|word| word.try_into().ok()).map_or(0, u32::from_le_bytes)
    })
}

//! Memory seen through a window that slides upwards: a heap of gigabytes is read in bulk without
//! being held.

use offheap_target::{PageKind, Run, Target, page_bytes, page_start};

/// The window is at least this large…
const SMALLEST_WINDOW: u64 = 16 << 10;
/// …and at most this.
const LARGEST_WINDOW: u64 = 256 << 10;
/// Runs of present pages are looked up for so much at a time: at the worst 8192 of them.
const SLICE: u64 = 64 << 20;

/// The first words of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Size of the chunk before this one, if that is free.
    pub prev_size: u64,
    /// Size of this one, with its flags.
    pub size: u64,
    /// The second word of the chunk's memory: a thread cache leaves its key there. 0 where it is
    /// not present.
    pub key: u64,
}

/// Why there is no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// The page is not present.
    Absent,
    /// The page is in swap.
    Swapped,
}

/// A window on the target's present memory.
pub(super) struct Window<'m> {
    memory: &'m dyn Target,
    /// Filled up to `len`.
    bytes: Vec<u8>,
    len: usize,
    start: u64,
    /// Bytes to read next time: doubles while the walk goes straight on, starts small after a jump.
    reach: u64,
    slice: (u64, u64),
    runs: Vec<Run>,
    /// The present run that was looked at last.
    run: (u64, u64),
}

impl<'m> Window<'m> {
    pub fn new(memory: &'m dyn Target) -> Self {
        Window {
            memory,
            bytes: vec![0; LARGEST_WINDOW as usize],
            len: 0,
            start: 0,
            reach: SMALLEST_WINDOW,
            slice: (0, 0),
            runs: Vec::new(),
            run: (0, 0),
        }
    }

    /// The chunk header at `address`, which is a multiple of 16.
    #[inline]
    pub fn header(&mut self, address: u64) -> Result<Header, Missing> {
        let inside = address.wrapping_sub(self.start);
        if inside >= self.len as u64 || inside + 32 > self.len as u64 && !self.reaches_run_end() {
            self.slide(address)?;
        }
        let inside = (address - self.start) as usize;
        let held = self.bytes.get(..self.len).unwrap_or_default();
        let word = |at: usize| {
            held.get(inside + at..inside + at + 8)
                .and_then(|word| word.try_into().ok())
                .map(u64::from_le_bytes)
        };
        match (word(0), word(8)) {
            (Some(prev_size), Some(size)) => Ok(Header { prev_size, size, key: word(24).unwrap_or(0) }),
            _ => Err(Missing::Absent),
        }
    }

    /// Up to `len` bytes at `address`, as far as they are present and fit in a window.
    pub fn bytes(&mut self, address: u64, len: usize) -> &[u8] {
        let inside = address.wrapping_sub(self.start);
        let held = inside < self.len as u64 && inside as usize + len <= self.len;
        if !held && self.slide(address).is_err() {
            return &[];
        }
        let inside = (address - self.start) as usize;
        self.bytes.get(inside..self.len.min(inside + len)).unwrap_or_default()
    }

    /// Resident bytes of `[start, end)`.
    #[inline]
    pub fn resident(&mut self, start: u64, end: u64) -> u64 {
        if start >= self.run.0 && end <= self.run.1 {
            return end.saturating_sub(start);
        }
        self.resident_slowly(start, end)
    }

    /// The first present page at or behind `address`, before `end`.
    pub fn next_present(&mut self, address: u64, end: u64) -> Option<u64> {
        let mut at = address;
        while at < end {
            self.look_at(at);
            let after = self.runs.partition_point(|run| run.end <= at);
            let present = self.runs.iter().skip(after).find(|run| run.kind == PageKind::Present);
            match present {
                Some(run) if run.start < end => return Some(run.start.max(at)),
                Some(_) => return None,
                None => at = self.slice.1,
            }
        }
        None
    }

    /// True where the window ends because the present pages end.
    fn reaches_run_end(&self) -> bool {
        self.start + self.len as u64 == self.run.1
    }

    fn resident_slowly(&mut self, start: u64, end: u64) -> u64 {
        let overlap = |run: &Run| run.end.min(end).saturating_sub(run.start.max(start));
        let sum = |runs: &[Run]| -> u64 {
            runs.iter().filter(|run| run.kind == PageKind::Present).map(overlap).sum()
        };
        if start >= end {
            0
        } else if start >= self.slice.0 && end <= self.slice.1 {
            let from = self.runs.partition_point(|run| run.end <= start);
            let to = self.runs.partition_point(|run| run.start < end);
            sum(self.runs.get(from..to).unwrap_or_default())
        } else {
            let mut resident = 0;
            let mut at = start;
            while at < end {
                let next = page_start(at).saturating_add(SLICE).min(end);
                resident += sum(&self.memory.runs(page_start(at), next.next_multiple_of(page_bytes())))
                    .min(next - at);
                at = next;
            }
            resident
        }
    }

    /// Makes sure that the runs around `address` are known.
    fn look_at(&mut self, address: u64) {
        if address < self.slice.0 || address >= self.slice.1 {
            let start = page_start(address);
            let end = start.saturating_add(SLICE);
            self.runs = self.memory.runs(start, end);
            self.slice = (start, end);
        }
    }

    fn slide(&mut self, address: u64) -> Result<(), Missing> {
        let page = page_start(address);
        let straight_on =
            page.wrapping_sub(self.start + self.len as u64).wrapping_add(page_bytes()) <= 2 * page_bytes();
        self.reach = if straight_on { (self.reach * 2).min(LARGEST_WINDOW) } else { SMALLEST_WINDOW };
        self.len = 0;
        self.look_at(page);
        let run = self.runs.get(self.runs.partition_point(|run| run.end <= page));
        let Some(run) = run.filter(|run| run.start <= page) else { return Err(Missing::Absent) };
        if run.kind == PageKind::Swapped {
            return Err(Missing::Swapped);
        }
        self.run = (run.start, run.end);
        let wanted = (run.end - page).min(self.reach) as usize;
        self.len = self.memory.read_bulk(page, self.bytes.get_mut(..wanted).unwrap_or_default());
        self.start = page;
        if address - page + 16 > self.len as u64 { Err(Missing::Absent) } else { Ok(()) }
    }
}

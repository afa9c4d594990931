//! How much of what is resident nobody else has mapped, and the share of what others have mapped
//! too.

use crate::pagemap::{IS_FILE, IS_GUARD, IS_PRESENT, IS_ZERO_PAGE};
use crate::residency::{Nature, counts, natures, stretches};
use crate::{Error, Process, Vma, maps, page_bytes};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// What of the resident bytes is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shares {
    /// Resident bytes that are mapped once.
    pub private: u64,
    /// Resident bytes, each page divided by the number of times it is mapped. `None` where only
    /// root may know that number.
    pub pss: Option<u64>,
}

/// `smaps_rollup` holds the mmap lock for the whole of it, so it is read where that is shorter than
/// this.
const LONGEST_ROLLUP: Duration = Duration::from_millis(2);
/// What it takes for each page and each mapping (measured on Linux 6.18: 13 to 84 ns and 0.9 µs).
const ROLLUP_A_PAGE: Duration = Duration::from_nanos(84);
const ROLLUP_A_MAPPING: Duration = Duration::from_micros(1);

/// Pages that are no farther from each other are read by one call: an entry costs 3 ns where
/// nothing is, a call 1 µs.
const NEAR_PAGES: u64 = 256;

/// Shared pages whose numbers of mappers are asked for at most: 4 GiB.
const MOST_FRAMES: usize = 1 << 20;
/// Frames read at once, so near to each other that one call is cheaper than two.
const FRAMES_A_CALL: u64 = 512;

impl Process {
    /// What of `vmas`, whose resident bytes are known, is shared.
    ///
    /// # Errors
    /// As [`Process::file`].
    pub fn shares(&self, vmas: &[Vma]) -> Result<Shares, Error> {
        let pages: u64 = vmas.iter().map(|vma| vma.rss.saturating_sub(vma.anon_huge) / page_bytes()).sum();
        let times = |cost: Duration, count: u64| cost * u32::try_from(count).unwrap_or(u32::MAX);
        let rollup = times(ROLLUP_A_PAGE, pages).saturating_add(times(ROLLUP_A_MAPPING, vmas.len() as u64));
        if rollup <= LONGEST_ROLLUP { self.rolled_up() } else { self.looked_up(vmas) }
    }

    /// From `/proc/PID/smaps_rollup`, by one hold of the mmap lock.
    fn rolled_up(&self) -> Result<Shares, Error> {
        let bytes = self.bytes_in_turns("smaps_rollup")?;
        let text = String::from_utf8_lossy(&bytes);
        let field =
            |name: &str| text.lines().find_map(|line| Some(maps::kib(line.strip_prefix(name)?.as_bytes())));
        let private = field("Private_Clean:").unwrap_or(0) + field("Private_Dirty:").unwrap_or(0);
        Ok(Shares { private, pss: field("Pss:") })
    }

    /// From the page map, in pieces, and the kernel's table of frames.
    fn looked_up(&self, vmas: &[Vma]) -> Result<Shares, Error> {
        let pagemap = self.pagemap()?;
        let natures = natures(self, vmas)?;
        let (mut private, mut shared) = (0, 0);
        let mut frames = Vec::new();
        for together in stretches(vmas) {
            let (vmas, natures) = (&vmas[together.clone()], &natures[together]);
            if vmas.iter().all(|vma| vma.rss == 0) {
                continue;
            }
            // Pages that are there by the scan, which alone tells zero pages and guards; where they
            // are near to each other, their entries are read together.
            let (first, last) = (vmas[0].start, vmas[vmas.len() - 1].end);
            let mut runs: Vec<(u64, u64)> = Vec::new();
            pagemap.visit(first, last, 0, &mut |region| {
                if region.categories & IS_PRESENT != 0 && region.categories & (IS_ZERO_PAGE | IS_GUARD) == 0 {
                    runs.push((region.start, region.end));
                }
            });
            let (mut vma, mut run) = (0, 0);
            for near in runs.chunk_by(|before, after| after.0 - before.1 <= NEAR_PAGES * page_bytes()) {
                let (Some(first), Some(last)) = (near.first(), near.last()) else { continue };
                pagemap.mappers(first.0, last.1, &mut |address, is_file, is_private, frame| {
                    run += runs[run..].partition_point(|run| run.1 <= address);
                    vma += vmas[vma..].partition_point(|vma| vma.end <= address);
                    let is_there = runs.get(run).is_some_and(|run| run.0 <= address);
                    let nature = natures.get(vma).copied().unwrap_or(Nature::Uncounted);
                    if !is_there || !counts(nature, if is_file { IS_FILE } else { 0 }) {
                        return;
                    }
                    if is_private {
                        private += page_bytes();
                        return;
                    }
                    shared += page_bytes();
                    frames.extend(frame.filter(|_| frames.len() <= MOST_FRAMES));
                });
            }
        }
        let are_known = frames.len() as u64 * page_bytes() == shared;
        let share = if shared == 0 {
            Some(0)
        } else if are_known {
            divided(frames)
        } else {
            None
        };
        Ok(Shares { private, pss: share.map(|share| private + share) })
    }
}

/// The bytes of `frames`, each divided by its number of mappers (`/proc/kpagecount`, for root
/// only).
fn divided(mut frames: Vec<u64>) -> Option<u64> {
    let file = File::open("/proc/kpagecount").ok()?;
    frames.sort_unstable();
    let mut bytes = 0.0;
    let mut counts = [0; 8 * FRAMES_A_CALL as usize];
    let mut rest = frames.as_slice();
    while let Some(first) = rest.first() {
        let (some, others) = rest.split_at(rest.partition_point(|frame| frame - first < FRAMES_A_CALL));
        let wanted = some.last().map_or(0, |last| last - first + 1) as usize * 8;
        file.read_exact_at(&mut counts[..wanted], first * 8).ok()?;
        for frame in some {
            let at = (frame - first) as usize * 8;
            let count = counts.get(at..at + 8)?.try_into().map_or(0, u64::from_le_bytes);
            bytes += page_bytes() as f64 / count.max(1) as f64;
        }
        rest = others;
    }
    Some(bytes as u64)
}

//! How much of each mapping is resident, without `/proc/PID/smaps`.
//!
//! For smaps the kernel holds the target's mmap lock while it walks a whole mapping: 55 ms for 4
//! GiB. The same figures come from the page map, which is read in pieces. What smaps counts is what
//! counts here: the zero pages are in nobody's RSS, and neither are pages of `hugetlbfs` nor frames
//! that a driver has mapped (`VM_PFNMAP`).

use crate::page_bytes;
use crate::pagemap::{
    IS_DOUBTFUL, IS_FILE, IS_GUARD, IS_HUGE, IS_PRESENT, IS_SWAPPED, IS_ZERO_PAGE, Pagemap, Region,
};
use crate::{Error, Process, Status, Vma, hugetlb};
use std::ops::Range;

/// Where the figures of the mappings come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// `PAGEMAP_SCAN` (from Linux 6.7), in pieces.
    Scan,
    /// The page map, entry by entry, in pieces: it doesn't tell huge pages, and zero pages only by
    /// what the kernel counts.
    Entries,
    /// smaps: one hold of the mmap lock for each mapping, however large it is.
    Smaps,
}

/// The mappings of a process with how much of each is resident.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Residency {
    /// Ascending by address.
    pub vmas: Vec<Vma>,
    /// Who said so.
    pub source: Source,
}

/// Mappings smaller than this are looked at together, …
const SMALL: u64 = 4 << 20;
/// … at most this number by one call: the kernel takes about 0.3 µs to step from one to the next.
const TOGETHER: usize = 64;
/// … that lie within this much address space.
const NEAR: u64 = 1 << 30;
/// The kernel's own addresses, where its `[vsyscall]` is shown.
const KERNEL: u64 = 1 << 63;

/// Where no scan is possible, a process of at most this many resident bytes is read by smaps: 5 ms
/// at the worst.
const LIGHT: u64 = 256 << 20;
/// Address space that is read entry by entry at most: 64 million entries, a fifth of a second where
/// nothing is there.
const MOST_ENTRIES: u64 = 256 << 30;
/// An inaccessible mapping of this size is a reservation, without a page. That is not certain, so
/// the sum is compared.
const RESERVATION: u64 = 32 << 20;

impl Process {
    /// Its mappings with how much of each is resident, swapped and in huge pages; a mapping's `pss`
    /// and `private` are only known from [`Source::Smaps`].
    ///
    /// # Errors
    /// As [`Process::file`].
    pub fn residency(&self) -> Result<Residency, Error> {
        for source in [Source::Scan, Source::Entries] {
            if let Some(residency) = self.residency_from(source)? {
                return Ok(residency);
            }
        }
        Ok(Residency { vmas: self.smaps()?, source: Source::Smaps })
    }

    /// As [`Process::residency`], from the source asked for. `None` where the kernel doesn't have
    /// it, or where it would be worse than the next one.
    ///
    /// # Errors
    /// As [`Process::file`].
    pub fn residency_from(&self, source: Source) -> Result<Option<Residency>, Error> {
        if source == Source::Smaps {
            return Ok(Some(Residency { vmas: self.smaps()?, source }));
        }
        // None where a kernel has no page maps (gVisor, CONFIG_PROC_PAGE_MONITOR off), or the
        // process is gone.
        let Ok(pagemap) = self.pagemap() else { return Ok(None) };
        if source == Source::Scan && !pagemap.scans() {
            return Ok(None);
        }
        let mut vmas = self.maps()?;
        let status = self.status()?;
        let natures = natures_by(self, &vmas, &status);
        let is_told = if source == Source::Scan {
            scan(&pagemap, &mut vmas, &natures, &status);
            true
        } else {
            entries(&pagemap, &mut vmas, &natures, &status)
        };
        // What ended meanwhile has no pages; that is no account of it.
        if self.status()?.no_memory {
            return Err(Error::Died { pid: self.pid(), doing: "its page map was read".to_owned() });
        }
        Ok(is_told.then_some(Residency { vmas, source }))
    }
}

/// What counts of a mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nature {
    /// Private memory without a file: every page is anonymous.
    Anonymous,
    /// Memory shared by its name or its descriptor: every page counts, and none is anonymous.
    Memory,
    /// A shared file or a device: a page that is no file's is a frame that a driver mapped.
    Shared,
    /// A private file: a page that is not the file's is a copy of it.
    Private,
    /// The kernel's own pages: those of the vdso count, its data (`[vvar]`) doesn't.
    Kernels,
    /// `hugetlbfs`, `[vsyscall]`.
    Uncounted,
}

/// What counts of each of `vmas`.
pub(crate) fn natures(process: &Process, vmas: &[Vma]) -> Result<Vec<Nature>, Error> {
    Ok(natures_by(process, vmas, &process.status()?))
}

fn natures_by(process: &Process, vmas: &[Vma], status: &Status) -> Vec<Nature> {
    let hugetlb = if status.hugetlb_bytes > 0 { hugetlb::devices(process) } else { Vec::new() };
    vmas.iter().map(|vma| nature(vma, &hugetlb)).collect()
}

fn nature(vma: &Vma, hugetlb: &[(u32, u32)]) -> Nature {
    let path = vma.path.as_str();
    if vma.start >= KERNEL || vma.inode != 0 && hugetlb.contains(&vma.device) {
        Nature::Uncounted
    } else if vma.inode == 0 && (path.starts_with("[v") || path.starts_with("[uprobes")) {
        Nature::Kernels
    } else if vma.inode == 0 && !vma.shared && !path.starts_with('/') {
        Nature::Anonymous
    } else if !vma.shared {
        Nature::Private
    } else if ["/memfd:", "/dev/shm/", "/SYSV"].iter().any(|name| path.starts_with(name)) {
        Nature::Memory
    } else {
        Nature::Shared
    }
}

/// Which of `vmas` are looked at together: a large one alone, many small ones that are near to each
/// other.
pub(crate) fn stretches(vmas: &[Vma]) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = vmas.get(at..).filter(|rest| rest.first().is_some_and(|vma| vma.start < KERNEL))?;
        let together = rest
            .iter()
            .take(TOGETHER)
            .take_while(|vma| vma.len() < SMALL && vma.end - rest[0].start <= NEAR && vma.start < KERNEL)
            .count();
        let stretch = at..at + together.max(1);
        at = stretch.end;
        Some(stretch)
    })
}

/// Counts by scans.
fn scan(pagemap: &Pagemap, vmas: &mut [Vma], natures: &[Nature], status: &Status) {
    let all: Vec<Range<usize>> = stretches(vmas).collect();
    for together in all {
        let (vmas, natures) = (&mut vmas[together.clone()], &natures[together]);
        let (start, end) = (vmas[0].start, vmas[vmas.len() - 1].end);
        if natures == [Nature::Uncounted] {
            continue;
        }
        let is_told = !matches!(natures, [Nature::Anonymous | Nature::Memory]);
        let mut at = 0;
        pagemap.visit(start, end, if is_told { IS_FILE } else { 0 }, &mut |region| {
            // Regions are as the pages are: one may go on over the border of two mappings.
            while let Some(vma) = vmas.get_mut(at) {
                add(vma, natures[at], region, status.swap_bytes > 0);
                if vma.end >= region.end {
                    break;
                }
                at += 1;
            }
        });
    }
}

/// Counts what of `region` lies in `vma`.
fn add(vma: &mut Vma, nature: Nature, region: Region, swaps: bool) {
    let bytes = region.end.min(vma.end).saturating_sub(region.start.max(vma.start));
    let is = |category: u64| region.categories & category != 0;
    if is(IS_ZERO_PAGE | IS_GUARD) || nature == Nature::Uncounted {
        return;
    }
    if !is(IS_PRESENT) {
        // Where nothing is swapped these are marks: of a page that moves, of userfaultfd.
        vma.swap += if swaps && is(IS_SWAPPED) { bytes } else { 0 };
        return;
    }
    let anonymous = nature == Nature::Anonymous || nature == Nature::Private && !is(IS_FILE);
    vma.rss += if counts(nature, region.categories) { bytes } else { 0 };
    vma.anonymous += if anonymous { bytes } else { 0 };
    vma.anon_huge += if anonymous && is(IS_HUGE) { bytes } else { 0 };
}

/// Whether a present page of these categories is resident in the kernel's words: frames that a
/// driver mapped aren't.
pub(crate) fn counts(nature: Nature, categories: u64) -> bool {
    match nature {
        Nature::Anonymous | Nature::Memory | Nature::Private => true,
        Nature::Shared | Nature::Kernels => categories & IS_FILE != 0,
        Nature::Uncounted => false,
    }
}

fn is_reservation(vma: &Vma) -> bool {
    !vma.read && !vma.write && !vma.exec && vma.len() >= RESERVATION
}

/// Counts entry by entry; false where that would take too long, where smaps does no harm, and where
/// the sum is not what the kernel counts.
fn entries(pagemap: &Pagemap, vmas: &mut [Vma], natures: &[Nature], status: &Status) -> bool {
    let looked_at = |vma: &Vma, nature: Nature| !is_reservation(vma) && nature != Nature::Uncounted;
    let length: u64 = vmas
        .iter()
        .zip(natures)
        .filter(|(vma, nature)| looked_at(vma, **nature))
        .map(|(vma, _)| vma.len())
        .sum();
    if status.rss_bytes <= LIGHT || length > MOST_ENTRIES {
        return false;
    }
    let mut doubtful = vec![0u64; vmas.len()];
    for ((vma, nature), doubtful) in vmas.iter_mut().zip(natures).zip(&mut doubtful) {
        if looked_at(vma, *nature) {
            pagemap.read(vma.start, vma.end, &mut |region| {
                let before = vma.anonymous;
                add(vma, *nature, region, status.swap_bytes > 0);
                *doubtful += if region.categories & IS_DOUBTFUL != 0 { vma.anonymous - before } else { 0 };
            });
        }
    }
    // Zero pages are mapped, but the kernel doesn't count them; what it doesn't count is taken from
    // where they can be.
    let mut all: u64 = doubtful.iter().sum();
    let anonymous: u64 = vmas.iter().map(|vma| vma.anonymous).sum();
    let mut zero = anonymous.saturating_sub(status.anon_bytes).min(all);
    for (vma, doubtful) in vmas.iter_mut().zip(doubtful).filter(|(_, doubtful)| *doubtful > 0) {
        let share = (u128::from(doubtful) * u128::from(zero) / u128::from(all)) as u64;
        let share = (share - share % page_bytes()).min(doubtful);
        (vma.rss, vma.anonymous) = (vma.rss - share, vma.anonymous - share);
        (all, zero) = (all - doubtful, zero - share);
    }
    let sum: u64 = vmas.iter().map(|vma| vma.rss).sum();
    // The process runs on, and the kernel's counters lag by up to 64 pages a thread.
    sum.abs_diff(status.rss_bytes) <= status.rss_bytes / 50 + (status.threads << 18)
}

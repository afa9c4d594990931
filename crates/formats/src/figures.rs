//! Named figures at an instant: what files without allocation sites say, in one shape, so that two
//! can be compared and many become a series.

use crate::smaps::Regions;
use crate::{Cut, Error, Hprof, hs_err, smaps};
use std::collections::BTreeMap;

/// A figure.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Named {
    /// What it is of: an NMT category, a class, a mapped file.
    pub name: String,
    /// Bytes, where it is of memory.
    pub bytes: u64,
    /// How many, where that makes sense.
    pub count: Option<u64>,
}

/// What a file says of one instant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Figures {
    /// What kind of figures: two files are compared only where this is the same.
    pub of: String,
    /// When, milliseconds since the Unix epoch, where the file says.
    pub time_ms: Option<i64>,
    /// The figures, largest first.
    pub list: Vec<Named>,
    /// Where the readable part ends, where that is before the file's end.
    pub cut: Option<Cut>,
    /// What the file says by itself, in sentences, what matters most first; empty where its figures
    /// are all there is to say.
    pub says: Vec<String>,
    /// What to do about it, or which file to take instead, best first.
    pub advice: Vec<String>,
}

impl Figures {
    /// The same with a sentence more.
    pub(crate) fn saying(mut self, text: impl Into<String>) -> Figures {
        self.says.push(text.into());
        self
    }

    /// The same with advice.
    pub(crate) fn advising(mut self, text: impl Into<String>) -> Figures {
        self.advice.push(text.into());
        self
    }

    /// Sums figures of one name, sorts them.
    pub fn new(of: &str, figures: impl IntoIterator<Item = Named>) -> Figures {
        let mut sums: BTreeMap<String, (u64, Option<u64>)> = BTreeMap::new();
        for figure in figures {
            let sum = sums.entry(figure.name).or_insert((0, None));
            sum.0 = sum.0.saturating_add(figure.bytes);
            sum.1 = match (sum.1, figure.count) {
                (Some(a), Some(b)) => Some(a.saturating_add(b)),
                (a, b) => a.or(b),
            };
        }
        let mut list: Vec<Named> =
            sums.into_iter().map(|(name, (bytes, count))| Named { name, bytes, count }).collect();
        list.sort_by(|a, b| (b.bytes, b.count).cmp(&(a.bytes, a.count)).then_with(|| a.name.cmp(&b.name)));
        Figures { of: of.to_owned(), list, ..Figures::default() }
    }
}

/// Bytes of all of them.
pub fn sum(list: &[Named]) -> u64 {
    list.iter().fold(0, |sum, named| sum.saturating_add(named.bytes))
}

/// What NMT's figures are called, in reports, in logs and in recordings: those can be compared.
pub const BY_CATEGORY: &str = "committed bytes by NMT category";

/// What files that only say what is mapped are of.
const MAPPED: &str = "mapped bytes by file";

/// What files that say what is resident are of.
pub const RESIDENT: &str = "resident bytes by mapped file";

/// What a heap dump's figures are of, and those of a class histogram.
pub const BY_CLASS: &str = "instances by class";

/// What the figures of a fatal error log without an NMT section are of.
pub const OF_LOG: &str = "an hs_err log's memory";

/// Resident bytes by file, of smaps and `pmap -X`.
pub(crate) fn resident(bytes: &[u8], read: fn(&[u8]) -> Result<Regions, Error>) -> Result<Figures, Error> {
    read(bytes).map(|regions| {
        // `pmap -d` has no column of what is resident.
        if regions.regions.iter().all(|region| region.rss_bytes == 0) {
            of_mapped(regions)
        } else {
            of_regions(regions)
        }
    })
}

/// Mapped bytes by file, of `/proc/PID/maps` and `pmap` without an option.
pub(crate) fn mapped(bytes: &[u8]) -> Result<Figures, Error> {
    smaps::read_mapped(bytes).map(of_mapped)
}

/// What the figures of `smaps_rollup` are of.
pub const ROLLUP: &str = "resident bytes by kind";

/// A file's name: paths of one library differ in nothing but their directory between smaps and
/// pmap.
fn file_name(region: &smaps::Region) -> String {
    match region.name.rsplit('/').next().unwrap_or_default() {
        "" => "(anonymous)".to_owned(),
        name => name.to_owned(),
    }
}

/// glibc maps an arena of its own as 64 MiB at a multiple of that.
const ARENA: u64 = 64 << 20;

fn of_mapped(regions: Regions) -> Figures {
    let list = &regions.regions;
    let is_begin = |region: &smaps::Region| region.name.is_empty() && region.start.is_multiple_of(ARENA);
    let is_arena = |low: &smaps::Region, end: u64| is_begin(low) && low.start.checked_add(ARENA) == Some(end);
    let whole = list.iter().filter(|region| is_arena(region, region.end)).count();
    // The two halves of an arena, in use and not yet, are neighbours.
    let halves = list
        .windows(2)
        .filter(|pair| matches!(pair, [low, high] if low.end == high.start && is_arena(low, high.end)));
    let arenas = whole + halves.count();
    let named = regions.regions.iter().map(|region| Named {
        name: file_name(region),
        bytes: region.end.saturating_sub(region.start),
        count: Some(1),
    });
    let mut figures = Figures { cut: regions.cut.clone(), ..Figures::new(MAPPED, named) }.saying(
        "This file says what is mapped, and not what of it is resident: a large figure need not be memory.",
    );
    if arenas > 4 {
        figures = figures.saying(format!("{arenas} mappings look like glibc's arenas (64 MiB each)."));
    }
    figures.advising("Take /proc/PID/smaps, or pmap -X PID, instead: those have what is resident.")
}

fn of_regions(regions: Regions) -> Figures {
    if let [all] = regions.regions.as_slice()
        && all.name == "[rollup]"
    {
        let named = [("anonymous: heaps, stacks, off-heap memory", all.anonymous_bytes)]
            .into_iter()
            .chain([("of files and shared memory", all.rss_bytes.saturating_sub(all.anonymous_bytes))])
            .map(|(name, bytes)| Named { name: name.to_owned(), bytes, count: None });
        let in_words = offheap_model::units::bytes;
        let swapped = match all.swap_bytes {
            0 => String::new(),
            bytes => format!(", and {} are swapped out", in_words(bytes)),
        };
        return Figures { cut: regions.cut.clone(), ..Figures::new(ROLLUP, named) }
            .saying(format!("{} are resident{swapped}.", in_words(all.rss_bytes)))
            .advising(
                "Which mappings they are in is in /proc/PID/smaps; whose they are says offheap map PID.",
            );
    }
    let named = regions.regions.iter().map(|region| Named {
        name: file_name(region),
        bytes: region.rss_bytes,
        count: Some(1),
    });
    Figures { cut: regions.cut.clone(), ..Figures::new(RESIDENT, named) }
}

/// The figures of a fatal error log, without those of its NMT section.
pub fn of_log(log: hs_err::HsErr) -> Figures {
    let named = [
        ("resident set", log.rss_bytes, None),
        ("C heap, in use", log.c_heap_bytes, None),
        ("C heap, free but held by glibc", log.c_heap_retained_bytes, None),
        ("Java threads", log.java_threads.map(|_| 0), log.java_threads),
    ];
    let named = named
        .into_iter()
        .filter_map(|(name, bytes, count)| Some(Named { name: name.to_owned(), bytes: bytes?, count }));
    Figures { cut: log.cut, ..Figures::new(OF_LOG, named) }
}

/// The figures of a heap dump: its classes, and what direct buffers hold outside of the heap.
pub fn of_dump(dump: Hprof) -> Figures {
    let direct = Named {
        name: "(direct buffers, outside of the heap)".to_owned(),
        bytes: dump.direct.capacity_bytes,
        count: Some(dump.direct.count),
    };
    let classes = dump.classes.into_iter().map(|class| Named {
        name: class.name,
        bytes: class.bytes,
        count: Some(class.count),
    });
    let mut figures = Figures::new(BY_CLASS, classes.chain([direct]));
    (figures.time_ms, figures.cut) = (Some(dump.time_ms), dump.cut);
    figures
}

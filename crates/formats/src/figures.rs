//! Named figures at an instant: what files without allocation sites say, in one shape, so that two can be compared and many
//! become a series.

use crate::{Cut, Error, Format, Hprof, detect, hprof, hs_err, jcmd, smaps};
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
}

impl Figures {
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
        Figures { of: of.to_owned(), time_ms: None, list, cut: None }
    }
}

/// Reads `bytes`, already unwrapped, of a format that has figures instead of sites: smaps, `pmap -X`, hs_err, heap dumps and
/// `jcmd` outputs. (NMT text is recognised as [`Format::Nmt`]; its reader is the `nmt` crate.)
///
/// # Errors
/// It is of another format, or what its reader says.
pub fn read_figures(bytes: &[u8]) -> Result<Figures, Error> {
    match detect(bytes) {
        Some(Format::Smaps) => smaps::read_smaps(bytes).map(of_regions),
        Some(Format::Pmap) => smaps::read_pmap(bytes).map(of_regions),
        Some(Format::HsErr | Format::VmInfo) => hs_err::read(bytes).map(of_log),
        Some(Format::Hprof) => hprof::read(bytes).map(of_dump),
        Some(Format::Jcmd) => jcmd::read(bytes),
        Some(format) => Err(Error::NotThis {
            format: "file of figures",
            reason: format!("a file of format {:?} is read in another way", format.name()),
        }),
        None => {
            Err(Error::NotThis { format: "file of figures", reason: "its format is not recognised".into() })
        }
    }
}

fn of_regions(regions: smaps::Regions) -> Figures {
    let named = regions.regions.into_iter().map(|region| {
        // Paths of one library differ in nothing but their directory between smaps and pmap.
        let name = match region.name.rsplit('/').next().unwrap_or_default() {
            "" => "(anonymous)",
            name => name,
        };
        Named { name: name.to_owned(), bytes: region.rss_bytes, count: Some(1) }
    });
    Figures { cut: regions.cut, ..Figures::new("resident bytes by mapped file", named) }
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
    Figures { cut: log.cut, ..Figures::new("an hs_err log's memory", named) }
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
    let mut figures = Figures::new("instances by class", classes.chain([direct]));
    (figures.time_ms, figures.cut) = (Some(dump.time_ms), dump.cut);
    figures
}

//! What a report says, as plain data. Field names are those of the `offheap/nmt/v1` JSON.
//!
//! Every figure may have a `*_delta` beside it. It is present in diffs only (0: unchanged, as far
//! as the scale of the text can tell) and positive where the figure grew.

use serde::{Deserialize, Serialize};

/// Everything one NMT reply says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Report {
    /// The version of this shape.
    pub schema: Schema,
    /// What kind of reply it is.
    pub kind: Kind,
    /// The pid from the `PID:` line that `jcmd` puts before a reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// The status line of the attach protocol, where the text has one (0: the command was carried
    /// out).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<i64>,
    /// The scale that the JVM printed in: each figure was rounded to one of these.
    #[serde(default)]
    pub scale: Option<Scale>,
    /// What the JVM says instead of a report, such as that NMT is not enabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<Reply>,
    /// The JVM's own total.
    #[serde(default)]
    pub total: Option<Total>,
    /// The categories in the order of the text.
    #[serde(default)]
    pub categories: Vec<Category>,
    /// The virtual memory map (detail only).
    #[serde(default)]
    pub regions: Vec<Region>,
    /// Files in memory that back a heap (detail of JDK 25 and later, with ZGC).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub memory_files: Vec<MemoryFile>,
    /// Where memory was allocated or mapped (detail only).
    #[serde(default)]
    pub sites: Vec<Site>,
    /// How many sites the JVM left out because they weigh less than one unit of the scale.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub omitted_sites: u64,
    /// The tracker's own statistics: mode `statistics`, and what follows the summary in hs_err logs
    /// and VM.info.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub statistics: Vec<Statistic>,
    /// Lines that could not be read. At most [`Report::MAX_PROBLEMS`] are kept.
    #[serde(default)]
    pub problems: Vec<Problem>,
    /// How many more lines could not be read.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub problems_omitted: u64,
}

impl Report {
    /// How many [`problems`](Report::problems) are kept; of a file that is no NMT text at all each
    /// line is one.
    pub const MAX_PROBLEMS: usize = 1000;

    /// The category of that name, as NMT spells it (`Java Heap`, `Arena Chunk`…).
    pub fn category(&self, name: &str) -> Option<&Category> {
        self.categories.iter().find(|category| category.name == name)
    }

    /// Shows `f` the delta of each figure that is there.
    pub(crate) fn for_each_delta(&mut self, mut f: impl FnMut(&mut Option<i64>)) {
        if let Some(total) = &mut self.total {
            total.mapping.for_each_delta(&mut f);
            total.malloc.iter_mut().for_each(|malloc| malloc.for_each_delta(&mut f));
            total.mmap.iter_mut().for_each(|mmap| mmap.for_each_delta(&mut f));
        }
        for category in &mut self.categories {
            category.for_each_delta(&mut f);
        }
        for site in &mut self.sites {
            site.malloc.iter_mut().for_each(|malloc| malloc.for_each_delta(&mut f));
            site.mmap.iter_mut().for_each(|mmap| mmap.for_each_delta(&mut f));
        }
    }
}

impl Category {
    fn for_each_delta(&mut self, f: &mut impl FnMut(&mut Option<i64>)) {
        self.mapping.for_each_delta(f);
        self.malloc.iter_mut().chain(&mut self.arena).for_each(|allocations| allocations.for_each_delta(f));
        self.mmap.iter_mut().chain(&mut self.stack).for_each(|mapping| mapping.for_each_delta(f));
        let counts =
            [&mut self.threads, &mut self.classes, &mut self.instance_classes, &mut self.array_classes];
        counts.into_iter().flatten().for_each(|counted| f(&mut counted.count_delta));
        self.metadata.iter_mut().chain(&mut self.class_space).for_each(|space| space.for_each_delta(f));
        if self.tracking_overhead_bytes.is_some() {
            f(&mut self.tracking_overhead_bytes_delta);
        }
    }
}

impl Mapping {
    fn for_each_delta(&mut self, f: &mut impl FnMut(&mut Option<i64>)) {
        f(&mut self.reserved_bytes_delta);
        f(&mut self.committed_bytes_delta);
    }
}

impl Allocations {
    fn for_each_delta(&mut self, f: &mut impl FnMut(&mut Option<i64>)) {
        f(&mut self.bytes_delta);
        if self.count.is_some() {
            f(&mut self.count_delta);
        }
    }
}

impl Space {
    fn for_each_delta(&mut self, f: &mut impl FnMut(&mut Option<i64>)) {
        self.mapping.for_each_delta(f);
        let figures = [
            (self.used_bytes, &mut self.used_bytes_delta),
            (self.free_bytes, &mut self.free_bytes_delta),
            (self.waste_bytes, &mut self.waste_bytes_delta),
        ];
        for (_, delta) in figures.into_iter().filter(|(bytes, _)| bytes.is_some()) {
            f(delta);
        }
    }
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// The version of the JSON shape.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub enum Schema {
    /// The only one so far.
    #[default]
    #[serde(rename = "offheap/nmt/v1")]
    V1,
}

/// What kind of reply a text is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// `summary`.
    Summary,
    /// `detail`: with regions and sites.
    Detail,
    /// `summary.diff`; also a `detail.diff` in which no site changed.
    SummaryDiff,
    /// `detail.diff`.
    DetailDiff,
    /// `statistics`: the tracker about itself.
    Statistics,
    /// One line instead of a report: see [`Report::reply`].
    Reply,
    /// Nothing in the text is from NMT.
    #[default]
    Unrecognized,
}

impl Kind {
    /// Whether figures carry deltas.
    pub fn is_diff(self) -> bool {
        matches!(self, Kind::SummaryDiff | Kind::DetailDiff)
    }
}

/// The unit that the JVM rounds to (`scale=` of the command; KB unless told).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub enum Scale {
    /// Bytes: figures are exact.
    #[serde(rename = "b")]
    Bytes,
    /// 1024 bytes.
    #[serde(rename = "KB")]
    Kilobytes,
    /// 1024² bytes.
    #[serde(rename = "MB")]
    Megabytes,
    /// 1024³ bytes.
    #[serde(rename = "GB")]
    Gigabytes,
}

impl Scale {
    /// Bytes in one unit.
    pub fn bytes(self) -> u64 {
        match self {
            Scale::Bytes => 1,
            Scale::Kilobytes => 1 << 10,
            Scale::Megabytes => 1 << 20,
            Scale::Gigabytes => 1 << 30,
        }
    }
}

/// A one-line answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Reply {
    /// What it means.
    pub kind: ReplyKind,
    /// The JVM's words.
    pub text: String,
}

/// What a one-line answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ReplyKind {
    /// NMT is off; it can only be turned on at start (`-XX:NativeMemoryTracking=summary`).
    NotEnabled,
    /// NMT is on, but not at level `detail`.
    DetailNotEnabled,
    /// NMT was on and has been shut down; it cannot be turned on again.
    ShutDown,
    /// A diff was asked for without a baseline (or without a detail baseline).
    NoBaseline,
    /// A baseline was taken.
    BaselineTaken,
    /// The argument of `scale=` is not known to this JVM.
    BadScale,
    /// The command's arguments are not known to this JVM, or don't go together.
    BadArgument,
    /// Any other refusal.
    Refused,
}

/// The JVM's own total.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Total {
    /// Reserved and committed bytes.
    #[serde(flatten)]
    pub mapping: Mapping,
    /// What was malloc'ed, arenas and NMT's own overhead included (JDK 17 and later).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub malloc: Option<Allocations>,
    /// What was mapped, thread stacks included (JDK 17 and later).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mmap: Option<Mapping>,
}

/// Address space and what of it is backed by memory (or swap).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Mapping {
    /// Bytes of address space.
    pub reserved_bytes: u64,
    /// Its change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved_bytes_delta: Option<i64>,
    /// Bytes that may be used; not all of them need be resident.
    pub committed_bytes: u64,
    /// Its change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committed_bytes_delta: Option<i64>,
    /// The most that was ever committed (JDK 21 and later).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_bytes: Option<u64>,
}

/// Bytes in a number of allocations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Allocations {
    /// Bytes asked for.
    pub bytes: u64,
    /// Its change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_delta: Option<i64>,
    /// How many allocations; absent where the JVM prints none (arena chunks up to JDK 17).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Its change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count_delta: Option<i64>,
    /// The most there ever was (JDK 21 and later). The JVM's own total peak may lie below the
    /// present value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_bytes: Option<u64>,
    /// How many allocations there were at that peak.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_count: Option<u64>,
}

/// A number of things and its change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Counted {
    /// How many.
    pub count: u64,
    /// Its change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count_delta: Option<i64>,
}

/// One category of NMT: what a part of the JVM holds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Category {
    /// The JVM's name of it.
    pub name: String,
    /// Reserved and committed bytes, all kinds together.
    #[serde(flatten)]
    pub mapping: Mapping,
    /// The read-only part of the class data sharing archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readonly_bytes: Option<u64>,
    /// malloc'ed by this category, outside arenas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub malloc: Option<Allocations>,
    /// Mapped for this category.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mmap: Option<Mapping>,
    /// In arenas of this category.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arena: Option<Allocations>,
    /// Thread stacks (category `Thread`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<Mapping>,
    /// Threads (category `Thread`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<Counted>,
    /// Loaded classes (category `Class`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<Counted>,
    /// Of these, instance classes (JDK 11 and later).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_classes: Option<Counted>,
    /// Of these, array classes (JDK 11 and later).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub array_classes: Option<Counted>,
    /// Metaspace outside the class space (category `Class`, JDK 11 and later). Its bytes are part
    /// of the mmap of category `Class` up to JDK 15 and of category `Metaspace` from 16 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Space>,
    /// The compressed class space.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_space: Option<Space>,
    /// What NMT's own headers take of every allocation (category `Native Memory Tracking`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracking_overhead_bytes: Option<u64>,
    /// Its change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracking_overhead_bytes_delta: Option<i64>,
}

/// A metaspace: how much of it is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Space {
    /// Reserved and committed bytes.
    #[serde(flatten)]
    pub mapping: Mapping,
    /// Bytes in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_bytes: Option<u64>,
    /// Its change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_bytes_delta: Option<i64>,
    /// Bytes that are free for use (JDK 11 to 15).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_bytes: Option<u64>,
    /// Its change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_bytes_delta: Option<i64>,
    /// Committed bytes that are neither used nor free; from JDK 16 on, all that are not used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waste_bytes: Option<u64>,
    /// Its change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waste_bytes_delta: Option<i64>,
}

/// A reserved range of addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Region {
    /// The first address. In a [`MemoryFile`]: an offset.
    #[serde(with = "hex")]
    #[cfg_attr(feature = "schemars", schemars(with = "String"))]
    pub start: u64,
    /// The first address after it.
    #[serde(with = "hex")]
    #[cfg_attr(feature = "schemars", schemars(with = "String"))]
    pub end: u64,
    /// The category it is charged to.
    pub category: String,
    /// Bytes of address space.
    pub reserved_bytes: u64,
    /// Bytes of it that are committed. At scales above bytes the JVM leaves out committed parts
    /// below one unit.
    pub committed_bytes: u64,
    /// Who reserved it, innermost frame first; empty where the JVM gives no stack.
    pub frames: Vec<Frame>,
    /// Its committed parts. Empty where all of it is committed by the one who reserved it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub committed: Vec<CommittedRegion>,
}

/// A committed part of a [`Region`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct CommittedRegion {
    /// The first address.
    #[serde(with = "hex")]
    #[cfg_attr(feature = "schemars", schemars(with = "String"))]
    pub start: u64,
    /// The first address after it.
    #[serde(with = "hex")]
    #[cfg_attr(feature = "schemars", schemars(with = "String"))]
    pub end: u64,
    /// Its size.
    pub committed_bytes: u64,
    /// Who committed it; empty where the JVM gives no stack.
    pub frames: Vec<Frame>,
}

/// A file in memory that the JVM maps, perhaps more than once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct MemoryFile {
    /// What the JVM calls it.
    pub name: String,
    /// Its allocated ranges; addresses are offsets.
    pub regions: Vec<Region>,
}

/// A place in the code, with what it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Site {
    /// Whether it allocates or maps.
    pub kind: SiteKind,
    /// The category it is charged to; absent where the JVM doesn't say (JDK 8, category Unknown).
    pub category: Option<String>,
    /// What it has malloc'ed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub malloc: Option<Allocations>,
    /// What it has mapped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mmap: Option<Mapping>,
    /// The innermost frames (four at most), innermost first.
    pub frames: Vec<Frame>,
}

/// How a [`Site`] gets its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum SiteKind {
    /// By malloc.
    Malloc,
    /// By mmap.
    Mmap,
}

/// A frame of a native stack.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Frame {
    /// The return address.
    #[serde(with = "hex")]
    #[cfg_attr(feature = "schemars", schemars(with = "String"))]
    pub address: u64,
    /// The function, demangled by the JVM; absent in stripped builds and for code that has no
    /// symbol.
    pub name: Option<String>,
    /// Bytes from the function's start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// The library, where the JVM names it (JDK 21 and later, libraries other than libjvm).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module: Option<String>,
}

/// One line of mode `statistics`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Statistic {
    /// The heading it stands under; empty at the top.
    pub section: String,
    /// What is before the colon, or the whole line.
    pub name: String,
    /// What is after it.
    pub value: String,
}

/// A line that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Problem {
    /// Its number, from 1.
    pub line: u64,
    /// Why, and the line's beginning.
    pub text: String,
}

/// Addresses as `0x…` strings: JSON numbers lose digits above 2⁵³.
mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(address: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{address:#x}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits = text.strip_prefix("0x").ok_or_else(|| D::Error::custom("an address starts with 0x"))?;
        u64::from_str_radix(digits, 16).map_err(D::Error::custom)
    }
}

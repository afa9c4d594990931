//! A profile: allocation sites with their live bytes.

use serde::{Deserialize, Serialize};

/// What made a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum FrameKind {
    /// Java bytecode, interpreted or compiled.
    Java,
    /// Machine code of a library or the executable.
    Native,
    /// The JVM's own code.
    Jvm,
    /// Python bytecode.
    Python,
}

/// One frame of a stack.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Frame {
    /// Java: `package.Class.method` without the signature; native: demangled.
    pub name: String,
    /// What made it.
    pub kind: FrameKind,
    /// Source file, where known.
    pub file: Option<String>,
    /// Line, where known.
    pub line: Option<u32>,
    /// Library or jar, where known.
    pub module: Option<String>,
}

impl Frame {
    /// The file name of its library or jar; empty where that is not known.
    pub fn file_name(&self) -> &str {
        self.module.as_deref().unwrap_or_default().rsplit('/').next().unwrap_or_default()
    }
}

/// How the samples were taken.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Sampling {
    /// Mean bytes between two samples; 1 is every allocation; 0 where they are not taken by bytes,
    /// but by probes in bursts.
    pub interval_bytes: u64,
    /// Samples taken.
    pub samples: u64,
    /// Samples lost, for whatever reason.
    pub dropped: u64,
}

impl Sampling {
    /// Whether probes in bursts took the samples: what is large and rare may be missed.
    pub fn is_probed(&self) -> bool {
        self.interval_bytes == 0
    }
}

/// How old the live samples of a site are, seconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Age {
    /// Half are older.
    pub p50: f64,
    /// A tenth are older.
    pub p90: f64,
}

/// A stack with what it allocated; byte and count figures are scaled up from the samples.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct ProfileSite {
    /// Indices into [`Profile::frames`], innermost first.
    pub stack: Vec<u32>,
    /// Allocated and not freed.
    pub live_bytes: u64,
    /// How many blocks that is.
    pub live_count: u64,
    /// Of the live bytes, those allocated before the window's tail.
    pub leak_bytes: u64,
    /// Allocated since the start, freed or not.
    pub allocated_bytes: u64,
    /// How many blocks that is.
    pub allocated_count: u64,
    /// Growth of the live bytes over the window.
    pub slope_bytes_per_s: Option<f64>,
    /// Its 95 % confidence interval.
    pub slope_ci95: Option<[f64; 2]>,
    /// How old the live samples are.
    pub age_seconds: Option<Age>,
}

/// Sites with their live bytes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Profile {
    /// Begin of the window, milliseconds since the Unix epoch; 0 where unknown.
    pub start_ms: i64,
    /// Its length in seconds; 0 where unknown.
    pub seconds: f64,
    /// How the samples were taken.
    pub sampling: Sampling,
    /// Every distinct frame once.
    pub frames: Vec<Frame>,
    /// The sites, most `leak_bytes` first, then most `live_bytes`.
    pub sites: Vec<ProfileSite>,
    /// What must be said about it: what it can't see, what was cut off.
    pub notes: Vec<String>,
}

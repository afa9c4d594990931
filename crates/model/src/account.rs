//! The account: every resident byte in one domain.

use crate::Domain;
use serde::{Deserialize, Serialize};

/// One domain's part of the resident memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct DomainFigure {
    /// The domain.
    pub domain: Domain,
    /// Resident bytes; over all domains these sum to the process's RSS.
    pub rss_bytes: u64,
    /// Address space, touched or not.
    pub virtual_bytes: u64,
    /// Bytes swapped out.
    #[serde(default)]
    pub swap_bytes: u64,
    /// How much of the resident bytes sits in anonymous huge pages.
    #[serde(default)]
    pub huge_bytes: u64,
    /// Where the figure comes from, in words: `"vmStructs + pagemap"`.
    pub source: String,
    /// The parts it is made of; their `rss_bytes` sum to this figure's.
    #[serde(default)]
    pub detail: Vec<Detail>,
}

impl DomainFigure {
    /// `bytes` that are all resident, of which neither source nor parts are told yet.
    pub fn resident(domain: Domain, bytes: u64) -> DomainFigure {
        DomainFigure {
            domain,
            rss_bytes: bytes,
            virtual_bytes: bytes,
            swap_bytes: 0,
            huge_bytes: 0,
            source: String::new(),
            detail: Vec::new(),
        }
    }
}

/// A part of a domain: one code heap, one arena, one file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Detail {
    /// What it is: `"card table"`, `"mmapped chunks"`, a path.
    pub name: String,
    /// Resident bytes.
    pub rss_bytes: u64,
    /// Address space, touched or not.
    pub virtual_bytes: u64,
    /// Where the figure comes from.
    pub source: String,
}

/// Something the reader must know to read the account rightly: what can't be split and what would
/// split it, a check that failed, a figure that is approximate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Note {
    /// A stable word for programs: `"malloc-not-split"`.
    pub id: String,
    /// What is so, in a sentence.
    pub text: String,
    /// What would change it, as a command or an action; empty where nothing would.
    #[serde(default)]
    pub remedy: String,
}

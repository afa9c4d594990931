//! A finding: a cause with evidence, confidence and fix.

use crate::{Domain, Frame};
use serde::{Deserialize, Serialize};

/// What a finding, or the verdict, says of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Memory grows without bound and is not given back.
    Leak,
    /// What is needed, or may come to be needed, is more than there is room for.
    #[serde(rename = "does-not-fit")]
    DoesNotFit,
    /// Memory is free but held by the allocator or the heap.
    Retention,
    /// Nothing is wrong.
    Healthy,
    /// Not enough was seen to say.
    Inconclusive,
}

impl Status {
    /// The word of the contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Leak => "leak",
            Status::DoesNotFit => "does-not-fit",
            Status::Retention => "retention",
            Status::Healthy => "healthy",
            Status::Inconclusive => "inconclusive",
        }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// One observation that speaks for a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Evidence {
    /// The observation with its figures: `"threads of pool worker-*: 12 → 148"`.
    pub text: String,
    /// Where the figures come from.
    pub source: String,
}

/// The allocation site of a finding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Site {
    /// Live bytes.
    pub bytes: u64,
    /// Their growth.
    pub slope_bytes_per_s: f64,
    /// The stack, innermost first.
    pub frames: Vec<Frame>,
}

/// What would make a finding certain that is not.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", tag = "do")]
pub enum Next {
    /// A full collection in the target, then some more seconds: none came that could have freed
    /// what grew.
    Collect,
    /// A window of this length.
    Watch {
        /// Seconds in all.
        seconds: f64,
    },
}

/// A cause with evidence, confidence and fix. The verdict has the same shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Finding {
    /// What it says of the process.
    pub status: Status,
    /// The domain it speaks of; `None` is written `"none"`.
    #[serde(with = "domain_or_none")]
    #[cfg_attr(feature = "schemars", schemars(schema_with = "domain_or_none::schema"))]
    pub domain: Option<Domain>,
    /// The rule's id: `"thread-leak"`.
    pub cause: String,
    /// How sure: of verdicts given with 0.9, nine in ten are right.
    pub confidence: f64,
    /// One paragraph that stands alone in a ticket.
    pub summary: String,
    /// What speaks for it.
    #[serde(default)]
    pub evidence: Vec<Evidence>,
    /// Growth it explains, bytes per second.
    #[serde(default)]
    pub slope_bytes_per_s: f64,
    /// The 95 % interval of that growth, where it is growth in bytes.
    #[serde(default)]
    pub slope_ci95: Option<[f64; 2]>,
    /// The causes of findings that are consequences of this one.
    #[serde(default)]
    pub explains: Vec<String>,
    /// The code, where it is known.
    pub site: Option<Site>,
    /// What to do, best first.
    pub fix: Vec<String>,
    /// How to make sure.
    pub confirm: Vec<String>,
    /// What a program could do to make sure, where that is more than to watch for longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Next>,
}

mod domain_or_none {
    use crate::Domain;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(domain: &Option<Domain>, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(domain.map_or("none", Domain::as_str))
    }

    #[cfg(feature = "schemars")]
    pub fn schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let domain = generator.subschema_for::<Domain>();
        schemars::json_schema!({ "anyOf": [domain, { "const": "none" }] })
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Domain>, D::Error> {
        let word = String::deserialize(from)?;
        if word == "none" { Ok(None) } else { word.parse().map(Some).map_err(D::Error::custom) }
    }
}

//! The table of scenarios: what each program is, and what is true of it.

use std::collections::HashSet;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use crate::{Error, units};

/// The words of `verdict.status` (docs/design.md).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Memory is lost.
    Leak,
    /// Memory is free but held: by the allocator, or as committed heap.
    Retention,
    /// Nothing is wrong.
    Healthy,
    /// The window does not allow a verdict.
    Inconclusive,
}

impl Status {
    /// All of them, in the order in which tables show them.
    pub const ALL: [Status; 4] = [Status::Leak, Status::Retention, Status::Healthy, Status::Inconclusive];
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Status::Leak => "leak",
            Status::Retention => "retention",
            Status::Healthy => "healthy",
            Status::Inconclusive => "inconclusive",
        })
    }
}

/// What runs the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// A class below java/, run by the JVM that the start options give.
    Java,
    /// A C program in native/.
    C,
    /// A C++ program in native/.
    Cpp,
    /// A script in python/.
    Python,
}

/// What must have been built or fetched before the program runs; the classes below java/jdk always are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Need {
    /// The jars inside pyspark, and the classes below java/jars.
    Jars,
    /// The libraries and programs in native/.
    Native,
}

/// One program with its ground truth: an entry of scenarios.toml.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its name in this project: lower case, words joined by `-`.
    pub name: String,
    /// What the program does, in one line.
    pub about: String,
    /// What runs it.
    pub language: Language,
    /// The class, the native program or the script.
    pub program: String,
    /// The program's variant, its first argument.
    #[serde(default)]
    pub mode: String,
    /// Whether it leaks.
    pub leaking: bool,
    /// The right answers for `verdict.status`, the best one first.
    pub status: Vec<Status>,
    /// The right answers for `verdict.domain` when the status is the one that needs a domain, in the words of
    /// docs/design.md. A set where the domain cannot be told apart without NMT or the agent.
    #[serde(default)]
    pub domain: Vec<String>,
    /// Hints: the right `verdict.cause` contains one of these.
    #[serde(default)]
    pub cause: Vec<String>,
    /// Bytes per second: a leak's growth, or what healthy work turns over.
    #[serde(deserialize_with = "bytes")]
    pub rate: u64,
    /// The highest rate that the program keeps up with on two cores.
    #[serde(default, deserialize_with = "optional_bytes")]
    pub max_rate: Option<u64>,
    /// The Java frame that leaks, `package.Class.method`.
    pub java_site: Option<String>,
    /// The native function that leaks, or a part of its name that every build of the library has.
    pub native_site: Option<String>,
    /// Flags of the JVM.
    #[serde(default)]
    pub flags: Vec<String>,
    /// What must be there.
    #[serde(default)]
    pub needs: Vec<Need>,
    /// The first feature release of the JDK that runs it; 11 if not given.
    #[serde(default = "oldest_jdk")]
    pub min_jdk: u32,
    /// What else is known, above all why more than one answer is right.
    #[serde(default)]
    pub truth: String,
}

impl Scenario {
    /// Every scenario of the table.
    pub fn all() -> Result<Vec<Scenario>, Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            scenario: Vec<Scenario>,
        }
        let table: Table =
            toml::from_str(include_str!("../scenarios.toml")).map_err(|e| Error::Table(e.to_string()))?;
        let mut names = HashSet::new();
        for scenario in &table.scenario {
            scenario.check().map_err(|problem| Error::Table(format!("{}: {problem}", scenario.name)))?;
            if !names.insert(&scenario.name) {
                return Err(Error::Table(format!("{} stands there twice", scenario.name)));
            }
        }
        Ok(table.scenario)
    }

    /// The scenario of that name.
    pub fn named(name: &str) -> Result<Scenario, Error> {
        Scenario::all()?
            .into_iter()
            .find(|scenario| scenario.name == name)
            .ok_or_else(|| Error::Unknown(name.into()))
    }

    /// The status that the truth amounts to: the row of a confusion table.
    pub fn expected(&self) -> Status {
        self.status.first().copied().unwrap_or(Status::Inconclusive)
    }

    /// The rate at which it runs when `wanted` is asked for: the table's without a wish, and never above `max_rate`.
    pub fn rate_for(&self, wanted: Option<u64>) -> u64 {
        wanted.unwrap_or(self.rate).min(self.max_rate.unwrap_or(u64::MAX))
    }

    /// Whether the program needs `what`.
    pub fn needs(&self, what: Need) -> bool {
        self.needs.contains(&what)
    }

    fn check(&self) -> Result<(), &'static str> {
        if self.status.is_empty() {
            return Err("no status is right");
        }
        if self.leaking != (self.status == [Status::Leak]) {
            return Err("`leaking` and `status` contradict each other");
        }
        if self.leaking && (self.domain.is_empty() || self.cause.is_empty()) {
            return Err("a leaking scenario needs a domain and a cause");
        }
        Ok(())
    }
}

fn oldest_jdk() -> u32 {
    11
}

fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = String::deserialize(deserializer)?;
    units::parse_bytes(&text).map_err(serde::de::Error::custom)
}

fn optional_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    bytes(deserializer).map(Some)
}

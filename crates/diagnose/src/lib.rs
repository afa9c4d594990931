//! Statistics and one file per rule: evidence in, findings out. No clock, no I/O.
//!
//! [`Evidence`] turns snapshots into named series; each [`rules::Rule`] looks for one cause;
//! [`diagnose`] joins what they found into a verdict, [`check`](check()) judges slopes against a
//! limit for CI. Growth counts only if it is certain, lasts to the end of the window and outlived a
//! collection where a collector would have freed it; the statistics behind that are in [`stats`].
//!
//! ```
//! use offheap_diagnose::{Evidence, diagnose};
//! use offheap_model::{Snapshot, Status};
//!
//! let snapshots: Vec<Snapshot> = Vec::new();
//! let diagnosis = diagnose(&Evidence::of(&snapshots));
//! assert_eq!(diagnosis.verdict.status, Status::Inconclusive);
//! ```

mod bounded;
mod causes;
mod check;
mod classes;
mod code;
mod collections;
mod compare;
pub mod docs;
mod draft;
mod evidence;
mod growth;
mod headline;
mod holder;
mod level;
pub mod libraries;
mod local_references;
pub mod names;
mod next_step;
mod outlook;
mod power;
mod python_types;
mod references;
mod render;
pub mod rules;
mod series;
mod sites;
pub mod stats;
mod verdict;

pub use check::{CHECK_SCHEMA, CheckLine, CheckResult, Outcome, check};
pub use classes::{ClassGrowth, source_name};
pub use code::{Suspect, suspect};
pub use collections::{Collections, Outlived};
pub use compare::{COMPARE_SCHEMA, Comparison, Fixed, compare};
pub use evidence::{Evidence, Phase};
pub use growth::{Freed, Growth, Kind, certainty};
pub use level::{Level, Reclaimable};
pub use next_step::NextStep;
pub use offheap_model::Next;
pub use outlook::{Outlook, Part};
pub use power::{Power, not_looked_at, power};
pub use python_types::python_suspects;
pub use references::references_grow;
pub use render::{render_check_junit, render_check_markdown, render_markdown};
pub use series::{Key, Series};
pub use sites::{caller, domain_of, function, is_object, is_of_pages};
pub use verdict::{Diagnosis, DomainTrend, RssTrend, Runtime, SCHEMA, Target, Window, diagnose, needs_code};

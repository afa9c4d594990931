//! Statistics and one file per rule: evidence in, findings out. No clock, no I/O.

mod collections;
mod evidence;
mod growth;
mod series;
pub mod stats;

pub use collections::{Collections, Outlived};
pub use evidence::{Evidence, Phase};
pub use growth::{Freed, Growth, Kind, certainty};
pub use series::{Key, Series};

//! Leaking and healthy programs with their ground truth, and the harness that scores `offheap diagnose` on them.
//!
//! ```no_run
//! use offheap_scenarios::{Scenario, StartOptions, Workshop};
//!
//! # fn main() -> Result<(), offheap_scenarios::Error> {
//! let workshop = Workshop::open()?;
//! let scenario = Scenario::named("inflaters")?;
//! let running = scenario.start(&workshop, &StartOptions::default())?;
//! println!("{} runs as {}", scenario.name, running.pid());
//! # Ok(())
//! # }
//! ```

mod error;
mod jars;
mod jdk;
mod measure;
mod report;
mod score;
mod start;
mod table;
mod units;
mod workshop;

pub use error::Error;
pub use jdk::Jdk;
pub use measure::{Measurement, measure};
pub use report::markdown;
pub use score::{Answer, Attempt, Outcome, Plan, Verdict, run};
pub use start::{Running, StartOptions};
pub use table::{Language, Need, Scenario, Status};
pub use units::{parse_bytes, parse_duration};
pub use workshop::Workshop;

//! The report: what `offheap diagnose -o report.html` writes, and what `offheap serve` shows live.
//!
//! A [`Report`] is plain data out of the model and the diagnosis; [`render`] makes one HTML file of
//! it that needs nothing else: no network, no other file. Names from the target may hold anything.
//! They are only ever JSON in a `<script>` that is not run, and text nodes; a
//! Content-Security-Policy allows the page's own script and style, by their hashes, and nothing
//! besides.
//!
//! The page's source is in `web/`; its built bundle, in `web/dist/`, is committed, so cargo alone
//! builds the binary (`cargo xtask web` builds it anew, `cargo xtask test` fails where the two
//! differ).
//!
//! ```
//! use offheap_diagnose::{Evidence, diagnose};
//! use offheap_report::{Report, render};
//!
//! let diagnosis = diagnose(&Evidence::of(&[]));
//! let page = render(&Report::of(&diagnosis));
//! assert!(page.starts_with("<!DOCTYPE html>"));
//! ```

mod code;
mod data;
mod page;
mod series;
pub mod serve;

pub use data::{Data, data};
pub use page::{LIVE_POLICY, live_page, render};

use offheap_diagnose::Diagnosis;
use offheap_model::{Profile, Snapshot};

/// What a report is made of.
#[derive(Debug, Clone)]
pub struct Report<'a> {
    /// The verdict and what it rests on.
    pub diagnosis: &'a Diagnosis,
    /// The snapshots, oldest first; of more than a chart can show, some are left out evenly.
    pub snapshots: &'a [Snapshot],
    /// The allocation sites, where the agent looked.
    pub profile: Option<&'a Profile>,
    /// The same agent's profiles at several instants (milliseconds since the Unix epoch), oldest
    /// first: with at least two of them the page shows what grew between any two.
    pub instants: &'a [(i64, Profile)],
    /// Marks: milliseconds since the Unix epoch, and what.
    pub marks: &'a [(i64, String)],
    /// How the process ended, if it did.
    pub ended: Option<&'a str>,
    /// What else should be known of where this was measured: `("host", "web-3")`, `("kernel",
    /// "6.1.0")`.
    pub environment: &'a [(String, String)],
    /// When the report was made, milliseconds since the Unix epoch; 0 for unknown.
    pub made_ms: i64,
}

impl<'a> Report<'a> {
    /// A report of `diagnosis` alone; set what else is known.
    pub fn of(diagnosis: &'a Diagnosis) -> Report<'a> {
        Report {
            diagnosis,
            snapshots: &[],
            profile: None,
            instants: &[],
            marks: &[],
            ended: None,
            environment: &[],
            made_ms: 0,
        }
    }
}

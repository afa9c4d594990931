//! # Growth that no rule explains
//!
//! ## Signature
//! A domain that no other rule speaks of (libraries, CDS, kernel, unattributed) grows steadily to
//! the end of the window.
//!
//! ## Why
//! Not known. offheap says what it saw and calls it `inconclusive`.
//!
//! ## Confirm
//! - `offheap map PID --json`: the parts of the domain, twice.
//! - `offheap doctor PID`: what offheap can't see of this process, and what would let it.
//!
//! ## Fix
//! - If it is `unattributed`: run offheap with the rights that `offheap doctor` asks for.
//!
//! ## Example
//! *In process 4711, unattributed memory grew over 1 min (61 snapshots)…*

use super::Rule;
use super::native_mmap_growth::beside_the_heap;
use crate::draft::{Draft, Subject};
use crate::evidence::Evidence;
use crate::growth::{Freed, Growth, Kind};
use crate::next_step::NextStep;
use offheap_model::{Domain, Finding};

/// See the page.
pub struct UnexplainedGrowth;

const DOMAINS: [Domain; 4] = [Domain::Unattributed, Domain::Libraries, Domain::Cds, Domain::Kernel];

impl Rule for UnexplainedGrowth {
    fn id(&self) -> &'static str {
        "unexplained-growth"
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Option<Finding> {
        let (domain, mut growth): (Domain, Growth) = DOMAINS
            .into_iter()
            .filter_map(|domain| {
                let series = beside_the_heap(evidence, domain)?;
                Some((domain, evidence.growth_of(&series, Freed::ByProgram, evidence.material())))
            })
            .filter(|(_, growth)| growth.kind == Kind::Lasting)
            .max_by(|a, b| a.1.per_s.total_cmp(&b.1.per_s))?;
        growth.kind = Kind::Unclear;
        growth.certainty = 0.5;
        growth.why = "no rule explains growth of this domain".to_owned();
        growth.next = Some(NextStep::Doctor(evidence.pid()));
        let what = format!("the domain {domain}");
        let source = evidence.source(domain);
        let subject = Subject { what: &what, meaning: "", source: &source };
        let draft = Draft::of_growth(self.id(), evidence, domain, &growth, &subject)?
            .confirm([format!("offheap map {} --json, twice", evidence.pid())]);
        Some(draft.finish())
    }
}

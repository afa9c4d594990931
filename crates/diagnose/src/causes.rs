//! Causes and their consequences: one leak makes several domains grow, and the verdict is the one
//! that the others follow from.

use crate::rules::rule_of;
use offheap_model::{Finding, Status};

/// Notes in each leak which other findings are its consequences. A consequence is one that its rule
/// names, at no more bytes than the cause can make of it.
pub(crate) fn link(findings: &mut [Finding]) {
    let seen: Vec<(String, Status, f64)> =
        findings.iter().map(|f| (f.cause.clone(), f.status, f.slope_bytes_per_s)).collect();
    for finding in findings.iter_mut().filter(|finding| finding.status == Status::Leak) {
        let Some(rule) = rule_of(&finding.cause) else { continue };
        finding.explains = seen
            .iter()
            .filter(|(_, status, _)| {
                matches!(status, Status::Leak | Status::Inconclusive | Status::DoesNotFit)
            })
            .filter(|(cause, _, per_s)| {
                rule.explains()
                    .iter()
                    .any(|(id, most)| id == cause && *per_s <= most * finding.slope_bytes_per_s.max(1.0))
            })
            .map(|(cause, _, _)| cause.clone())
            .collect();
    }
}

/// The leak that the one at `index` follows from, and that from which that follows, up to the root.
pub(crate) fn root(findings: &[Finding], mut index: usize) -> usize {
    // Each step goes to another finding; a ring, should rules ever make one, ends as well.
    for _ in 0..findings.len() {
        let Some(here) = findings.get(index) else { break };
        let cause = findings
            .iter()
            .position(|other| other.explains.contains(&here.cause) && !here.explains.contains(&other.cause));
        match cause {
            Some(next) if next != index => index = next,
            _ => break,
        }
    }
    index
}

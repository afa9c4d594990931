//! # What is configured does not fit the limit
//!
//! Nothing need leak for the kernel to kill: the parts that may still grow by configuration,
//! together with those that are there already, come to more than the control group's limit.
//!
//! ## Signature
//! The sum of: the Java heap at `-Xmx` (twice what it is now where collections under load left it
//! at less than half of that); what the collector keeps beside it, in proportion; direct memory at
//! its limit and metaspace at its own where they grow in the window, else as they are; twice the
//! code cache while the JIT is at work; thread stacks, C heap and what malloc holds free as they
//! are; private copies of files' pages; kernel memory, tmpfs and the group's other processes; page
//! tables for all that. Clean pages of files are left out, since the kernel drops them before it
//! kills. `offheap fit PID` prints the table.
//!
//! ## Why
//! `-Xmx`, `MaxRAMPercentage` and `MaxDirectMemorySize` bind a part each, and nobody binds the
//! whole. A JVM under `-Xmx` takes its heap page by page over hours or days, so a container that
//! has run well all week is killed at its first peak.
//!
//! ## Confirm
//! - `offheap fit PID`: what each part is now, what it may come to, and why.
//! - `cat /sys/fs/cgroup/memory.events`: `oom_kill` counts what has happened already.
//!
//! ## Fix
//! - The `-Xmx` (or the limit) that the table's last lines say.
//! - `-XX:MaxDirectMemorySize`, `-XX:MaxMetaspaceSize`: an OutOfMemoryError with a stack instead of a kill without one.
//!
//! ## Example
//! *Process 4711 does not fit its limit of 1.00 GiB: java-heap 819 MiB + metaspace 140 MiB +
//! thread-stacks 98.0 MiB + malloc 61.2 MiB
//! + code-cache 48.0 MiB + all else 22.0 MiB = 1.16 GiB, limit 1.00 GiB…*

use super::Rule;
use crate::draft::Draft;
use crate::evidence::Evidence;
use crate::outlook::{Outlook, Part};
use offheap_model::{Finding, Status, units};

/// See the page.
pub struct DoesNotFit;

/// How sure the sum is: parts that are taken as they are may still grow or fall.
const CERTAINTY: f64 = 0.80;
/// A sum that is this many times the limit is surer.
/// Unit: times.
const CLEARLY: f64 = 1.1;

impl Rule for DoesNotFit {
    fn id(&self) -> &'static str {
        "does-not-fit"
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Option<Finding> {
        let outlook = Outlook::of(evidence, None);
        let limit = outlook.limit_bytes.filter(|_| outlook.fits == Some(false))?;
        let more = |part: &Part| part.may_grow_to_bytes.saturating_sub(part.now_bytes);
        let largest = outlook.parts.iter().max_by_key(|part| (more(part), part.may_grow_to_bytes))?;
        let most = if more(largest) > 0 {
            format!(
                "; {} has most left to grow: {} → {} ({})",
                largest.domain,
                units::bytes(largest.now_bytes),
                units::bytes(largest.may_grow_to_bytes),
                largest.because
            )
        } else {
            String::new()
        };
        let certainty =
            CERTAINTY + if outlook.ceiling_bytes as f64 >= CLEARLY * limit as f64 { 0.10 } else { 0.0 };
        let draft = Draft::new(self.id(), Status::DoesNotFit, largest.domain, certainty)
            .summary(format!(
                "What {} may come to by its configuration does not fit its limit of {}: {}. Nothing need leak for the kernel to \
                 kill it{most}. {}. Source: flags, the account and the control group.",
                evidence.who(),
                units::bytes(limit),
                outlook.arithmetic(),
                evidence.rss_words()
            ))
            .saw(outlook.arithmetic(), "flags, the account and the control group")
            .fix(outlook.settings.iter().cloned())
            .confirm([format!("offheap fit {}: the whole table", evidence.pid())]);
        Some(draft.finish())
    }
}

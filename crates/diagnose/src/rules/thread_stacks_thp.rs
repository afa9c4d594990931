//! # Thread stacks are blown up by huge pages
//!
//! ## Signature
//! At least half of the threads' resident stack bytes are in anonymous huge pages, and that is 64
//! MiB and a tenth of the RSS or more.
//!
//! ## Why
//! With `/sys/kernel/mm/transparent_hugepage/enabled` set to `always` the kernel backs an aligned 2
//! MiB of stack with one huge page at the first touch: a thread that needs 80 KiB then holds up to
//! 2 MiB. Since stacks are touched from the top it depends on their alignment, so the same program
//! differs from host to host.
//!
//! ## Confirm
//! - `cat /sys/kernel/mm/transparent_hugepage/enabled`
//! - `offheap map PID`: resident against reserved stack by pool, and what of it is huge.
//!
//! ## Fix
//! - `echo madvise > /sys/kernel/mm/transparent_hugepage/enabled` on the host; the JVM asks for huge pages where it wants
//!   them (`-XX:+UseTransparentHugePages`).
//! - Newer JVMs keep their stacks out by themselves (`-XX:+UnlockDiagnosticVMOptions -XX:+THPStackMitigation`, seen in
//!   17.0.15, 21.0.8 and 25, absent in 17.0.9); older: an `-Xss` that is no multiple of 2 MiB
//!   (`-Xss1000k`).
//!
//! ## Example
//! *312 MiB of the thread stacks of process 4711 are in huge pages, 91 % of what is resident…*

use super::Rule;
use crate::draft::Draft;
use crate::evidence::Evidence;
use crate::series::total;
use offheap_model::{Domain, Finding, Status, units};

/// See the page.
pub struct ThreadStacksThp;

/// Fewer bytes of stacks in huge pages are not worth a word.
const LEAST_BYTES: u64 = 64 << 20;

impl Rule for ThreadStacksThp {
    fn id(&self) -> &'static str {
        "thread-stacks-thp"
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Option<Finding> {
        let last = evidence.last()?;
        let resident = total(last.threads.iter().map(|p| p.resident_bytes));
        let huge = total(last.threads.iter().map(|p| p.huge_bytes));
        let count = total(last.threads.iter().map(|p| p.count));
        if huge < LEAST_BYTES || huge < resident / 2 || huge < last.memory.rss_bytes / 10 || count == 0 {
            return None;
        }
        let share = 100.0 * huge as f64 / resident.max(1) as f64;
        let figures = format!(
            "{} of {} resident stack ({share:.0} %) is in huge pages, {} a thread",
            units::bytes(huge),
            units::bytes(resident),
            units::bytes(resident / count)
        );
        let draft = Draft::new(self.id(), Status::Retention, Domain::ThreadStacks, 0.85)
            .summary(format!(
                "The kernel backs the thread stacks of {} with huge pages: {figures}, over {count} threads. Without \
                 them a thread's stack commonly takes 60 to 150 KiB. {}. Source: smaps of the stacks.",
                evidence.who(),
                evidence.rss_words()
            ))
            .saw(figures, "AnonHugePages of the stacks' mappings")
            .fix([
                "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled on the host",
                "or a JDK update that has THPStackMitigation (17.0.15, 21.0.8, 25); older: -Xss1000k, no multiple of 2 MiB",
            ])
            .confirm([
                "cat /sys/kernel/mm/transparent_hugepage/enabled".to_owned(),
                format!("offheap map {}", evidence.pid()),
            ]);
        Some(draft.finish())
    }
}

//! # Unsafe or foreign memory grows
//!
//! ## Signature
//! With native memory tracking on: the category Other (Internal in JDK 8) grows beyond what
//! `java.nio.Bits` counts. Without it such memory can't be told from the C heap's and shows as
//! `malloc`.
//!
//! ## Why
//! `Unsafe.allocateMemory`, explicit arenas of `java.lang.foreign` and Netty's no-cleaner buffers
//! take memory that no collection frees and `java.nio.Bits` never sees: an off-heap cache without
//! bound, an `Arena.ofShared()` that is never closed, a `ByteBuf` that is never released.
//!
//! ## Confirm
//! - `jcmd PID VM.native_memory summary.diff` after `baseline`: Other.
//! - The MXBean `java.nio:type=BufferPool,name=direct` stays where it is.
//! - `offheap profile PID`: the Java line that allocates.
//!
//! ## Fix
//! - `Unsafe`: bound the cache, `freeMemory` what it evicts.
//! - FFM: `try (Arena arena = Arena.ofConfined())`, or `Arena.ofAuto()` where a lifetime can't be named.
//! - Netty and Arrow: `release()`, `close()`; `-Dio.netty.maxDirectMemory=…` bounds it.
//!
//! ## Example
//! *In process 4711, memory from Unsafe or FFM (NMT Other beyond java.nio.Bits) grew steadily over
//! 1 min (61 snapshots)…*

use super::Rule;
use super::native_malloc_growth::rest_growth;
use crate::draft::{Draft, Subject};
use crate::evidence::Evidence;
use crate::growth::Freed;
use crate::series::Key;
use crate::sites;
use offheap_model::{Domain, Finding};

/// See the page.
pub struct DirectMemoryUncounted;

/// What to do, where no library's advice is known.
const FIX: [&str; 3] = [
    "Unsafe: bound the cache and freeMemory() what it evicts",
    "java.lang.foreign: close the Arena (try-with-resources), or use Arena.ofAuto()",
    "Netty without cleaner, Arrow: release() or close(); -Dio.netty.maxDirectMemory bounds it",
];

impl DirectMemoryUncounted {
    /// Without NMT the C heap's growth is all that is known; the agent's stacks tell that it is
    /// `Unsafe.allocateMemory`.
    fn by_its_code(&self, evidence: &Evidence<'_>) -> Option<Finding> {
        let origin =
            sites::best(evidence, Domain::Malloc).filter(|origin| origin.domain == Domain::DirectMemory)?;
        let subject = Subject {
            what: "memory from Unsafe or java.lang.foreign (java.nio.Bits does not count it)",
            meaning: "Nobody frees it: neither freeMemory() nor close() is called.",
            source: "walk of the C heap and the agent's live table",
        };
        let growth = rest_growth(evidence)?;
        let draft = Draft::of_growth(self.id(), evidence, Domain::DirectMemory, &growth, &subject)?
            .also(&format!("Most of what stays is allocated by {}.", origin.words()))
            .saw(sites::age_words(&origin, false), sites::LIVE_TABLE)
            .fix(origin.library.map(|library| library.advice()).unwrap_or_default())
            .fix(FIX)
            .confirm([format!("offheap diagnose {} again after the fix, with --compare", evidence.pid())]);
        let mut finding = draft.finish();
        finding.site = Some(sites::site(origin));
        Some(finding)
    }
}

impl Rule for DirectMemoryUncounted {
    fn id(&self) -> &'static str {
        "direct-memory-uncounted"
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Option<Finding> {
        let jvm = evidence.last()?.jvm.as_ref()?;
        if jvm.feature == 8 {
            return None;
        }
        let Some(other) = evidence.series(&Key::NmtMalloc("Other".to_owned())) else {
            return self.by_its_code(evidence);
        };
        let rest = match evidence.series(&Key::DirectReserved) {
            Some(counted) => other.without(counted, 1.0),
            None => other.without(other, 0.0),
        };
        let growth = evidence.growth_of(&rest, Freed::ByCollector, evidence.material());
        let subject = Subject {
            what: "memory from Unsafe or java.lang.foreign (NMT's Other beyond java.nio.Bits)",
            meaning: "Nobody frees it: neither freeMemory() nor close() is called.",
            source: "NMT counters and java.nio.Bits",
        };
        let draft = Draft::of_growth(self.id(), evidence, Domain::DirectMemory, &growth, &subject)?
            .fix(FIX)
            .confirm([
                format!(
                    "jcmd {0} VM.native_memory baseline, later jcmd {0} VM.native_memory summary.diff: Other",
                    evidence.pid()
                ),
                format!("offheap profile {}: the Java line that allocates", evidence.pid()),
            ]);
        Some(draft.finish())
    }
}

//! # NIO keeps a direct buffer for each thread
//!
//! ## Signature
//! Temporary direct buffers that `java.nio.Bits` does not count (JDK 25 hides them) hold 64 MiB and
//! a fifth of the RSS or more, or grow.
//!
//! ## Why
//! Reading or writing a channel with a heap buffer copies through a direct buffer as large as the
//! whole request, and the JDK keeps it for that thread. Many threads times one large write each is
//! much memory. It is bounded (threads × largest request) and given back when the thread ends.
//!
//! ## Confirm
//! - NMT's Other stands far above the MXBean `java.nio:type=BufferPool,name=direct` (JDK 25); on older JDKs both show it.
//! - It scales with threads that do I/O and with the largest request.
//!
//! ## Fix
//! - `-Djdk.nio.maxCachedBufferSize=262144`: larger ones are freed after use.
//! - Use direct buffers for channel I/O, or write in slices of at most 256 KiB.
//! - Fewer I/O threads.
//!
//! ## Example
//! *Process 4711 keeps 192 MiB in NIO's per-thread temporary buffers, which java.nio.Bits does not
//! count…*

use super::Rule;
use crate::draft::Draft;
use crate::evidence::Evidence;
use crate::growth::{Freed, Kind};
use crate::series::Key;
use offheap_model::{Domain, Finding, Status, units};

/// See the page.
pub struct NioThreadCache;

/// Less direct memory in such buffers is not worth a word.
const LEAST_BYTES: f64 = 64.0 * 1024.0 * 1024.0;
/// A smaller share of the process than this is not worth a word.
const LEAST_SHARE: f64 = 0.2;

impl Rule for NioThreadCache {
    fn id(&self) -> &'static str {
        "nio-thread-cache"
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Option<Finding> {
        let last = evidence.last()?;
        let hidden = evidence.series(&Key::DirectHidden)?.last();
        let growth = evidence.growth(&Key::DirectHidden, Freed::ByProgram, evidence.material())?;
        let large = hidden >= LEAST_BYTES && hidden >= LEAST_SHARE * last.memory.rss_bytes as f64;
        let grows = growth.kind == Kind::Lasting;
        if !large && !grows {
            return None;
        }
        // Bounded by threads times the largest request: growing is no leak, but not over either.
        let (status, confidence) = if grows { (Status::Inconclusive, 0.5) } else { (Status::Retention, 0.8) };
        let figures = format!(
            "{} in hidden temporary buffers, {}",
            units::bytes(hidden as u64),
            units::rate(growth.per_s)
        );
        let draft = Draft::new(self.id(), status, Domain::DirectMemory, confidence)
            .slope(growth.per_s)
            .summary(format!(
                "In {}, NIO keeps temporary direct buffers for its threads: {figures}, over {}, {} threads. It is bounded by \
                 threads times the largest channel read or write with a heap buffer. {}. Source: NMT or the buffers' own \
                 objects, beyond java.nio.Bits.",
                evidence.who(),
                evidence.window(),
                last.process.threads,
                evidence.rss_words()
            ))
            .saw(figures, "direct buffers beyond java.nio.Bits")
            .fix([
                "-Djdk.nio.maxCachedBufferSize=262144",
                "use direct buffers for channel I/O, or read and write at most 256 KiB at once",
            ])
            .confirm(["compare before and after with -Djdk.nio.maxCachedBufferSize=262144".to_owned()]);
        Some(draft.finish())
    }
}

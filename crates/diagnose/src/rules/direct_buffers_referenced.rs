//! # Direct buffers are kept
//!
//! ## Signature
//! What `java.nio.Bits` counts (every `ByteBuffer.allocateDirect`) grows steadily to the end of the
//! window, and collections came that did not take it away.
//!
//! ## Why
//! A direct buffer's memory is outside the heap and freed only after a collection finds its
//! `ByteBuffer` dead. If it grows across collections, the `ByteBuffer`s (or slices of them: a slice
//! of 16 bytes keeps the whole) are still referenced: a cache without bound, a queue nobody
//! empties, a connection that is never closed. The only limit is `-XX:MaxDirectMemorySize`, which
//! is `-Xmx` where it is not given; at that limit comes `OutOfMemoryError: Cannot reserve … bytes
//! of direct buffer memory`, unless the container's limit comes first.
//!
//! Garbage between two collections looks the same. Without a collection in the window offheap says
//! `inconclusive`.
//!
//! ## Confirm
//! - `jcmd PID GC.run`, then look again: what is still there is referenced.
//! - `jcmd PID GC.class_histogram | grep DirectByteBuffer`: the count grows.
//! - `offheap profile PID`: the allocating line; a heap dump names the holder (paths to GC roots of
//!   `java.nio.DirectByteBuffer`).
//!
//! ## Fix
//! - Bound or empty what holds them; copy instead of slicing when only a little is kept.
//! - `-XX:MaxDirectMemorySize=256m`: an exception with a stack instead of the kernel's kill.
//! - Buffers of the application's Netty: `release()` each `ByteBuf`; `-Dio.netty.leakDetection.level=paranoid` finds who
//!   forgets.
//!
//! ## Example
//! *In process 4711, direct buffers counted by java.nio.Bits grew steadily over 1 min (61
//! snapshots): 21.3 MiB → 81.9 MiB, +1.01 MiB/s … As for garbage: it outlived 3 collections of the
//! young generation, none of the old…*

use super::Rule;
use super::netty_pool_arenas::pool_chunks;
use crate::draft::{Draft, Subject};
use crate::evidence::Evidence;
use crate::growth::{Freed, Kind};
use crate::series::Key;
use offheap_model::{Domain, Finding, units};

/// See the page.
pub struct DirectBuffersReferenced;

impl Rule for DirectBuffersReferenced {
    fn id(&self) -> &'static str {
        "direct-buffers-referenced"
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Option<Finding> {
        let direct = evidence.last()?.jvm.as_ref()?.direct.as_ref()?;
        let growth = evidence.growth(&Key::DirectReserved, Freed::ByCollector, evidence.material())?;
        if pool_chunks(evidence, &Key::DirectReserved).is_some() {
            return None;
        }
        let subject = Subject {
            what: "direct buffers counted by java.nio.Bits",
            meaning: "The buffers are still referenced: collections do not free them.",
            source: "java.nio.Bits",
        };
        let count = evidence.trend(&Key::DirectCount).map(|t| (t.from, t.to)).unwrap_or_default();
        let mean = (growth.to - growth.from) / (count.1 - count.0).max(1.0);
        let draft = Draft::of_growth(self.id(), evidence, Domain::DirectMemory, &growth, &subject)?
            .also(&format!(
                "The JDK stops at {} (-XX:MaxDirectMemorySize{}).",
                units::bytes(direct.max_bytes),
                if evidence.last()?.jvm.as_ref()?.flag("MaxDirectMemorySize").is_some_and(|v| v != "0") {
                    ""
                } else {
                    ", not given, so about -Xmx"
                }
            ))
            .saw(
                format!("buffers: {:.0} → {:.0}, {} each", count.0, count.1, units::bytes(mean.max(0.0) as u64)),
                "java.nio.Bits",
            )
            .fix(match growth.kind {
                Kind::Garbage => [
                    "reuse buffers, or free them at once where the library can: garbage goes only when the heap is collected",
                    "-XX:MaxDirectMemorySize=256m (or what the program needs): at that limit the JDK collects by itself",
                ],
                _ => [
                    "bound or empty what holds the ByteBuffers; copy instead of slice() when little of a buffer is kept",
                    "-XX:MaxDirectMemorySize=256m (or what the program needs): an exception with a stack instead of the \
                     kernel's kill",
                ],
            })
            .confirm([
                format!("jcmd {} GC.run, then look again: what is left is referenced", evidence.pid()),
                format!("jcmd {} GC.class_histogram | grep DirectByteBuffer", evidence.pid()),
                format!("offheap profile {}: the line that allocates", evidence.pid()),
            ]);
        Some(draft.finish())
    }
}

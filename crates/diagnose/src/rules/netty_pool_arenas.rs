//! # A pool of direct memory takes chunk after chunk
//!
//! ## Signature
//! Direct memory grows in equal steps of a power of two from 1 to 16 MiB: the chunks of a pooling
//! allocator, of which Netty's is the best known (4 MiB in current versions, 16 MiB in older ones).
//!
//! ## Why
//! A pooled allocator takes whole chunks and hands out pieces. It takes another only if the pieces
//! it has are in use, so chunk after chunk means buffers that are never released, or more and more
//! of them really in use at once. Chunks that are merely kept after a burst do not grow and are no
//! leak.
//!
//! ## Confirm
//! - `PooledByteBufAllocator.DEFAULT.metric()`: `usedDirectMemory` against the sum of the pools' in-use bytes.
//! - `-Dio.netty.leakDetection.level=paranoid`: the log says `LEAK: ByteBuf.release() was not called`, with the accesses.
//! - `offheap profile PID`: who asks the pool for buffers that live.
//!
//! ## Fix
//! - `release()` every `ByteBuf` exactly once (`SimpleChannelInboundHandler` does it for you, `retain()` asks for another).
//! - `-Dio.netty.maxDirectMemory=268435456` bounds it with an exception.
//! - Fewer arenas: `-Dio.netty.allocator.numDirectArenas=4`; smaller chunks: `-Dio.netty.allocator.maxOrder=8`.
//!
//! ## Example
//! *In process 4711, direct memory taken in chunks of 4.00 MiB grew steadily over 1 min (61
//! snapshots)…*

use super::Rule;
use crate::draft::{Draft, Subject};
use crate::evidence::Evidence;
use crate::growth::Freed;
use crate::series::Key;
use offheap_model::{Domain, Finding, units};

/// See the page.
pub struct NettyPoolArenas;

/// Chunks that pools take, largest first: a step of 16 MiB is a multiple of 4 MiB too.
const CHUNKS: [u64; 5] = [16 << 20, 8 << 20, 4 << 20, 2 << 20, 1 << 20];
/// A chunk may be page-aligned and have a header.
const SLACK: f64 = 16.0 * 1024.0;

impl Rule for NettyPoolArenas {
    fn id(&self) -> &'static str {
        "netty-pool-arenas"
    }

    fn judge(&self, evidence: &Evidence<'_>) -> Option<Finding> {
        evidence.last()?.jvm.as_ref()?;
        let chunk = pool_chunks(evidence, &Key::DirectReserved)?;
        // Steps are coarse; the pages become resident smoothly. Whichever shows the growth more
        // clearly counts.
        let least = evidence.material();
        let counted = evidence.growth(&Key::DirectReserved, Freed::ByCollector, least)?;
        let resident = evidence.growth(&Key::Domain(Domain::DirectMemory), Freed::ByCollector, least);
        let growth = resident.filter(|g| g.certainty > counted.certainty && g.grew()).unwrap_or(counted);
        let what = format!("direct memory taken in chunks of {}", units::bytes(chunk));
        let subject = Subject {
            what: &what,
            meaning: "A pool takes another chunk only when the pieces of those it has are in use, so buffers are not \
                      released.",
            source: "java.nio.Bits",
        };
        let draft = Draft::of_growth(self.id(), evidence, Domain::DirectMemory, &growth, &subject)?
            .fix([
                "release() every pooled ByteBuf exactly once",
                "-Dio.netty.maxDirectMemory=268435456 bounds it with an exception",
                "-Dio.netty.allocator.numDirectArenas=4 keeps less in reserve",
            ])
            .confirm([
                "-Dio.netty.leakDetection.level=paranoid, then the log's lines with LEAK".to_owned(),
                "PooledByteBufAllocator.DEFAULT.metric(): used against pooled".to_owned(),
                format!("offheap profile {}: who asks for the buffers", evidence.pid()),
            ]);
        Some(draft.finish())
    }
}

/// The chunk by which `key` grows, if at least three of its rises and four fifths of its growth are
/// multiples of one.
pub(super) fn pool_chunks(evidence: &Evidence<'_>, key: &Key) -> Option<u64> {
    let points = evidence.series(key)?.points();
    let rises: Vec<f64> =
        points.iter().zip(points.iter().skip(1)).map(|(a, b)| b.v - a.v).filter(|rise| *rise > 0.0).collect();
    let total: f64 = rises.iter().sum();
    CHUNKS.into_iter().find(|&chunk| {
        let of_chunk: Vec<f64> = rises
            .iter()
            .copied()
            .filter(|rise| {
                let chunks = (rise / chunk as f64).round();
                chunks >= 1.0 && (rise - chunks * chunk as f64).abs() <= chunks * SLACK
            })
            .collect();
        of_chunk.len() >= 3 && of_chunk.iter().sum::<f64>() >= 0.8 * total
    })
}

//! gperftools' heap profiles in text: of the heap profiler (`HEAPPROFILE`) and of tcmalloc's sampler
//! (`MallocExtension::GetHeapSample`). Source: gperftools, docs/heapprofile.html and the header line of `pprof`.
//!
//! `heap profile: live: bytes [allocated: bytes] @ kind/interval`, then the same in each line with its stack, then
//! `MAPPED_LIBRARIES:`. The kind says how figures are scaled up: `heapprofile` not at all (every allocation is seen),
//! `heap_v2` as a Poisson process, `heap` as the older sampler did (interval halved, small blocks only).

use crate::maps::{Stacks, four, unbias};
use crate::{Error, Parsed};

const FORMAT: &str = "gperftools heap profile";

/// True where `head` begins like one.
pub(crate) fn is(head: &[u8]) -> bool {
    head.starts_with(b"heap profile:")
}

/// Reads a profile. Addresses are those of the calls, ready to be symbolised.
///
/// # Errors
/// The first line is not its header.
pub fn read(bytes: &[u8]) -> Result<Parsed, Error> {
    let text = String::from_utf8_lossy(bytes);
    let no_header =
        || Error::NotThis { format: FORMAT, reason: "its first line is not `heap profile: …`".into() };
    let header =
        text.lines().next().and_then(|line| line.strip_prefix("heap profile:")).ok_or_else(no_header)?;
    let (figures, kind) = header.split_once('@').unwrap_or((header, "heapprofile"));
    four(figures).ok_or_else(no_header)?;
    let (kind, interval) = kind.trim().split_once('/').unwrap_or((kind.trim(), ""));
    let interval: u64 = interval.parse().unwrap_or(0);
    let (stacks, cut) = Stacks::read(&text, |stacks, line| {
        if line.is_empty() || line.starts_with("heap profile:") {
            return Ok(());
        }
        let read =
            line.split_once('@').and_then(|(figures, stack)| Some((four(figures)?, stacks.frames(stack)?)));
        let (figures, stack) = read.ok_or("a stack with its figures")?;
        stacks.add(&stack, figures, |count, bytes| scale(kind, count, bytes, interval));
        Ok(())
    });
    Ok(stacks.finish(if kind == "heapprofile" { 1 } else { interval }, cut))
}

fn scale(kind: &str, count: u64, bytes: u64, interval: u64) -> (u64, u64) {
    match kind {
        "heap_v2" => unbias(count, bytes, interval),
        "heap" if count > 0 && interval > 1 => {
            let ratio = bytes as f64 / count as f64 / (interval as f64 / 2.0);
            if ratio > 0.0 && ratio < 1.0 {
                ((count as f64 / ratio).round() as u64, (bytes as f64 / ratio).round() as u64)
            } else {
                (count, bytes)
            }
        }
        _ => (count, bytes),
    }
}

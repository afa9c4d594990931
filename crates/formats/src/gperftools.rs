//! gperftools' heap profiles in text: of the heap profiler (`HEAPPROFILE`) and of tcmalloc's sampler
//! (`MallocExtension::GetHeapSample`). Source: gperftools, docs/heapprofile.html and the header line of `pprof`.
//!
//! `heap profile: live: bytes [allocated: bytes] @ kind/interval`, then the same in each line with its stack, then
//! `MAPPED_LIBRARIES:`. The kind says how figures are scaled up: `heapprofile` not at all (every allocation is seen),
//! `heap_v2` as a Poisson process, `heap` as the older sampler did (interval halved, small blocks only).

use crate::maps::{call_sites, mappings, module, unbias};
use crate::{Builder, Cut, Error, Parsed};
use offheap_model::ProfileSite;

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
    let (stacks, maps) = match text.find("\nMAPPED_LIBRARIES:") {
        Some(at) => text.split_at(at),
        None => (text.as_ref(), ""),
    };
    let mappings = mappings(maps);
    let mut builder = Builder::new();
    let (mut at, mut samples, mut cut) = (0u64, 0u64, None);
    for (number, line) in stacks.split_inclusive('\n').enumerate() {
        let here = at;
        at += line.len() as u64;
        if number == 0 || line.trim().is_empty() {
            continue;
        }
        let parsed =
            line.split_once('@').and_then(|(figures, stack)| Some((four(figures)?, call_sites(stack)?)));
        let Some(([count, bytes, all_count, all_bytes], addresses)) = parsed else {
            cut = Some(Cut { at: here, reading: "a stack with its figures".into() });
            break;
        };
        let frame = |address| builder.address(address, module(&mappings, address));
        let stack: Vec<u32> = addresses.into_iter().map(frame).collect();
        samples = samples.saturating_add(count);
        let (live_count, live_bytes) = scale(kind, count, bytes, interval);
        let (allocated_count, allocated_bytes) = scale(kind, all_count, all_bytes, interval);
        builder.add(
            &stack,
            &ProfileSite {
                live_count,
                live_bytes,
                allocated_count,
                allocated_bytes,
                ..ProfileSite::default()
            },
        );
    }
    if maps.is_empty() && cut.is_none() {
        cut = Some(Cut { at, reading: "the stacks: MAPPED_LIBRARIES does not follow".into() });
    }
    builder.profile().sampling.interval_bytes = if kind == "heapprofile" { 1 } else { interval };
    builder.profile().sampling.samples = samples;
    Ok(builder.finish(mappings, cut))
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

/// `n: n [n: n]`
fn four(text: &str) -> Option<[u64; 4]> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).filter(|word| !word.is_empty());
    let mut next = || numbers.next()?.parse().ok();
    Some([next()?, next()?, next()?, next()?])
}

//! jemalloc's heap profiles, `heap_v2` (`prof:true`; jemalloc(3), "HEAP PROFILE FORMAT").
//!
//! A stack of return addresses (`@ 0x…`), then its live and accumulated figures, for all threads (`t*`) and thread by thread;
//! at the end `/proc/self/maps`. Figures are those of the samples: here they are scaled up, as jeprof does.

use crate::maps::{call_sites, mappings, module, unbias};
use crate::{Builder, Cut, Error, Parsed};
use offheap_model::ProfileSite;

const FORMAT: &str = "jemalloc heap profile";

/// True where `head` begins like one.
pub(crate) fn is(head: &[u8]) -> bool {
    head.starts_with(b"heap_v2/")
}

/// Reads a profile. Addresses are those of the calls, ready to be symbolised.
///
/// # Errors
/// The first line is not `heap_v2/` and the sampling interval.
pub fn read(bytes: &[u8]) -> Result<Parsed, Error> {
    let text = String::from_utf8_lossy(bytes);
    let interval: u64 = text
        .strip_prefix("heap_v2/")
        .and_then(|rest| rest.lines().next()?.trim().parse().ok())
        .ok_or_else(|| Error::NotThis {
            format: FORMAT,
            reason: "it does not begin with heap_v2/ and the sampling interval".into(),
        })?;
    let (stacks, maps) = match text.find("\nMAPPED_LIBRARIES:") {
        Some(at) => text.split_at(at),
        None => (text.as_ref(), ""),
    };
    let mappings = mappings(maps);
    let mut builder = Builder::new();
    let mut stack: Option<Vec<u32>> = None;
    let (mut samples, mut total, mut at, mut cut) = (0u64, None, 0u64, None);
    for line in stacks.split_inclusive('\n') {
        let here = at;
        at += line.len() as u64;
        let line = line.trim();
        if let Some(addresses) = line.strip_prefix('@') {
            match call_sites(addresses) {
                Some(addresses) => {
                    let frame = |address| builder.address(address, module(&mappings, address));
                    stack = Some(addresses.into_iter().map(frame).collect());
                }
                None => {
                    cut = Some(Cut { at: here, reading: "a stack".into() });
                    break;
                }
            }
        } else if let Some(figures) = line.strip_prefix("t*:") {
            let Some([count, bytes, all_count, all_bytes]) = four(figures) else {
                cut = Some(Cut { at: here, reading: "the figures of a stack".into() });
                break;
            };
            let Some(stack) = &stack else {
                // Before the first stack: of all stacks together.
                total = Some(count);
                continue;
            };
            samples = samples.saturating_add(count);
            let (live_count, live_bytes) = unbias(count, bytes, interval);
            let (allocated_count, allocated_bytes) = unbias(all_count, all_bytes, interval);
            builder.add(
                stack,
                &ProfileSite {
                    live_count,
                    live_bytes,
                    allocated_count,
                    allocated_bytes,
                    ..ProfileSite::default()
                },
            );
        }
    }
    if maps.is_empty() && cut.is_none() {
        cut = Some(Cut { at, reading: "the stacks: MAPPED_LIBRARIES does not follow".into() });
    }
    let profile = builder.profile();
    profile.sampling.interval_bytes = interval;
    profile.sampling.samples = samples;
    if cut.is_some() && total.is_some_and(|total| total > samples) {
        profile.notes.push(format!("{samples} of {} samples are there", total.unwrap_or(0)));
    }
    Ok(builder.finish(mappings, cut))
}

/// `n: n [n: n]`
fn four(text: &str) -> Option<[u64; 4]> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).filter(|word| !word.is_empty());
    let mut next = || numbers.next()?.parse().ok();
    let four = [next()?, next()?, next()?, next()?];
    text.trim_end().ends_with(']').then_some(four)
}

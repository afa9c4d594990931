//! jemalloc's heap profiles, `heap_v2` (`prof:true`; jemalloc(3), "HEAP PROFILE FORMAT").
//!
//! A stack of return addresses (`@ 0x…`), then its live and accumulated figures, for all threads
//! (`t*`) and thread by thread; at the end `/proc/self/maps`. Figures are those of the samples:
//! here they are scaled up, as jeprof does.

use crate::maps::{Names, Stacks, four, unbias};
use crate::{Error, Parsed};

const FORMAT: &str = "jemalloc heap profile";

/// True where `head` starts like one.
pub(crate) fn is(head: &[u8]) -> bool {
    head.starts_with(b"heap_v2/")
}

/// True where one starts with `line`.
pub(crate) fn begins(line: &str) -> bool {
    line.strip_prefix("heap_v2/").is_some_and(|rest| rest.parse::<u64>().is_ok())
}

/// Reads a profile. Addresses are those of the calls, ready to be symbolised.
///
/// # Errors
/// The first line is not `heap_v2/` and the sampling interval.
pub fn read(bytes: &[u8]) -> Result<Parsed, Error> {
    read_named(&String::from_utf8_lossy(bytes), Names::default())
}

/// The same, of addresses that have `names`.
pub(crate) fn read_named(text: &str, names: Names) -> Result<Parsed, Error> {
    let interval: u64 = text
        .strip_prefix("heap_v2/")
        .and_then(|rest| rest.lines().next()?.trim().parse().ok())
        .ok_or_else(|| Error::NotThis {
            format: FORMAT,
            reason: "it does not begin with heap_v2/ and the sampling interval".into(),
        })?;
    let (mut stack, mut total): (Option<Vec<u32>>, u64) = (None, 0);
    let (mut stacks, cut) = Stacks::read(text, names, |stacks, line| {
        if let Some(addresses) = line.strip_prefix('@') {
            stack = Some(stacks.frames(addresses).ok_or("a stack")?);
        } else if let Some(figures) = line.strip_prefix("t*:") {
            let figures = four(figures).ok_or("the figures of a stack")?;
            match &stack {
                Some(stack) => stacks.add(stack, figures, |count, bytes| unbias(count, bytes, interval)),
                // Before the first stack: of all stacks together.
                None => total = figures[0],
            }
        }
        Ok(())
    });
    if cut.is_some() && total > stacks.samples() {
        stacks.note(format!("{} of {total} samples are there", stacks.samples()));
    }
    Ok(stacks.finish(interval, cut))
}

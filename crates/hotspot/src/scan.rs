//! Reads parts of the Java heap: their resident pages, a few megabytes at a time.

use crate::heap::Part;
use crate::vm::Vm;
use offheap_target::{PageKind, page_bytes, page_start};
use std::ops::Range;

/// Bytes read at once.
const CHUNK: u64 = 4 << 20;
/// Bytes that an object may reach over the end of a chunk.
const OVERLAP: u64 = 256;

/// How far a scan came.
#[derive(Debug, Default)]
pub(crate) struct Scanned {
    /// Bytes that were read.
    pub(crate) bytes: u64,
    /// Why not everything was looked at, if so.
    pub(crate) incomplete: Option<String>,
}

/// Calls `look` with chunk after chunk of the resident part of `heap`, at most `budget` bytes of
/// it: its address, the bytes, and how many of them objects may start in; the few after these are
/// there for an object that reaches over the end.
pub(crate) fn each_chunk(
    vm: &Vm<'_>,
    heap: &[Part],
    budget: u64,
    mut look: impl FnMut(u64, &[u8], usize),
) -> Scanned {
    let mut scanned = Scanned::default();
    let mut buffer = vec![0u8; (CHUNK + OVERLAP) as usize];
    // The places in the heap's memory that were looked at through an earlier mapping, ascending.
    let mut seen: Vec<Range<u64>> = Vec::new();
    for part in heap {
        let mut looked_at = Vec::new();
        let last = part.range.end.checked_next_multiple_of(page_bytes()).unwrap_or(part.range.end);
        for run in vm.target.runs(page_start(part.range.start), last) {
            if run.kind != PageKind::Present {
                scanned.incomplete = Some("part of the Java heap is in swap".to_owned());
                continue;
            }
            let place = |address: u64| address - part.range.start + part.offset;
            // Pages are whole; where objects lie ends anywhere.
            let run = run.start.max(part.range.start)..run.end.min(part.range.end);
            for new in without(place(run.start)..place(run.end), &seen) {
                let start = new.start - part.offset + part.range.start;
                let end = start + (new.end - new.start);
                if !each_of_run(vm, start..end, budget, &mut buffer, &mut scanned, &mut look) {
                    return scanned;
                }
                looked_at.push(new);
            }
        }
        // Mostly behind all others: the parts of one view are ascending.
        for range in looked_at {
            let at = seen.partition_point(|seen| seen.start < range.start);
            seen.insert(at, range);
        }
    }
    scanned
}

/// The parts of `range` that are not in `seen`, which is ascending and does not overlap.
pub(crate) fn without(range: Range<u64>, seen: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut rest = Vec::new();
    let mut at = range.start;
    let first = seen.partition_point(|seen| seen.end <= range.start);
    for seen in seen.iter().skip(first).take_while(|seen| seen.start < range.end) {
        if seen.start > at {
            rest.push(at..seen.start);
        }
        at = at.max(seen.end);
    }
    if at < range.end {
        rest.push(at..range.end);
    }
    rest
}

/// Looks at one run of present pages; false where the budget ended.
fn each_of_run(
    vm: &Vm<'_>,
    run: Range<u64>,
    budget: u64,
    buffer: &mut [u8],
    scanned: &mut Scanned,
    look: &mut impl FnMut(u64, &[u8], usize),
) -> bool {
    let mut at = run.start;
    while at < run.end {
        let wanted = (run.end - at).min(CHUNK);
        if scanned.bytes + wanted > budget {
            scanned.incomplete = Some(format!("the resident Java heap is larger than {budget} bytes"));
            return false;
        }
        let readable = (run.end - at).min(CHUNK + OVERLAP) as usize;
        let Some(chunk) = buffer.get_mut(..readable) else { break };
        let count = vm.target.read_bulk(at, chunk);
        let chunk = chunk.get(..count).unwrap_or_default();
        look(at, chunk, (wanted as usize).min(chunk.len()));
        scanned.bytes += wanted;
        at += wanted;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_is_left_out() {
        let rest = |start: u64, end: u64| -> Vec<(u64, u64)> {
            without(start..end, &[10..20, 30..40]).into_iter().map(|range| (range.start, range.end)).collect()
        };
        assert_eq!(rest(0, 5), [(0, 5)]);
        assert_eq!(rest(0, 50), [(0, 10), (20, 30), (40, 50)]);
        assert_eq!(rest(12, 35), [(20, 30)]);
        assert_eq!(rest(31, 39), []);
        assert_eq!(rest(40, 41), [(40, 41)]);
    }
}

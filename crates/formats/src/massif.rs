//! valgrind's massif (`massif.out.PID`): snapshots of the heap's size, some with a tree of stacks.
//! Source: valgrind, massif/ms_print.in.
//!
//! The tree's root is the heap; its children are the callers of malloc, and so on outwards. A
//! node's own part is what its children leave of it.

use crate::{Builder, Cut, Error, Parsed};
use offheap_model::{Frame, FrameKind, ProfileSite};

const FORMAT: &str = "massif file";

/// Stands for the stacks of the threads, which have no stack of their own.
const STACKS: &str = "(the threads' stacks, as --stacks=yes saw them)";

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// When, in the file's [time unit](Massif::time_unit).
    pub time: u64,
    /// Bytes the program asked for.
    pub heap_bytes: u64,
    /// What the allocator adds to them.
    pub extra_bytes: u64,
    /// Bytes of stacks, where `--stacks=yes`.
    pub stack_bytes: u64,
}

/// A massif file.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Massif {
    /// The command.
    pub command: String,
    /// `i` instructions, `ms`, or `B` bytes allocated.
    pub time_unit: String,
    /// The heap's size over time.
    pub snapshots: Vec<Snapshot>,
    /// The stacks of the peak, or of the last snapshot with a tree where none is marked as the
    /// peak.
    pub stacks: Parsed,
}

/// True where `head` starts like one.
pub(crate) fn is(head: &[u8]) -> bool {
    head.starts_with(b"desc:") && String::from_utf8_lossy(head).contains("\ntime_unit:")
}

/// Reads a file.
///
/// # Errors
/// It has no snapshot.
pub fn read(bytes: &[u8]) -> Result<Massif, Error> {
    let text = String::from_utf8_lossy(bytes);
    let mut massif = Massif::default();
    let mut cut = None;
    let mut best: Option<(bool, Builder)> = None;
    let mut lines = Lines { text: &text, at: 0 };
    while let Some(line) = lines.next() {
        let Some((key, value)) = line.split_once([':', '=']) else { continue };
        let value = value.trim();
        if key == "cmd" {
            massif.command = value.to_owned();
        } else if key == "time_unit" {
            massif.time_unit = value.to_owned();
        } else if key == "snapshot" {
            massif.snapshots.push(Snapshot::default());
        }
        let Some(snapshot) = massif.snapshots.last_mut() else { continue };
        let number = value.parse().unwrap_or(0);
        match key {
            "time" => snapshot.time = number,
            "mem_heap_B" => snapshot.heap_bytes = number,
            "mem_heap_extra_B" => snapshot.extra_bytes = number,
            "mem_stacks_B" => snapshot.stack_bytes = number,
            "heap_tree" if value == "peak" || value == "detailed" => {
                let (start, stacks) = (lines.at, snapshot.stack_bytes);
                let mut builder = Builder::new();
                if stacks > 0 {
                    // The tree is of the heap; what --stacks=yes saw stands beside it.
                    let frame = builder.frame(crate::builder::named(STACKS, FrameKind::Native));
                    builder.add(&[frame], &ProfileSite { live_bytes: stacks, ..ProfileSite::default() });
                }
                if tree(&mut lines, &mut builder).is_none() {
                    cut = Some(Cut { at: start as u64, reading: "a tree of stacks".into() });
                }
                let is_peak = value == "peak";
                if is_peak || best.as_ref().is_none_or(|(peak, _)| !peak) {
                    best = Some((is_peak, builder));
                }
            }
            _ => {}
        }
    }
    if massif.snapshots.is_empty() {
        return Err(Error::NotThis { format: FORMAT, reason: "it has no snapshot".into() });
    }
    let mut builder = best.map(|(_, builder)| builder).unwrap_or_default();
    if builder.profile().sites.is_empty() {
        let peak = massif.snapshots.iter().map(|snapshot| snapshot.heap_bytes).max().unwrap_or(0);
        builder.profile().notes.push(no_stacks(massif.snapshots.len() as u64, peak));
    }
    builder.profile().sampling.interval_bytes = 1;
    massif.stacks = builder.finish(Vec::new(), cut);
    Ok(massif)
}

struct Lines<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let rest = self.text.get(self.at..).filter(|rest| !rest.is_empty())?;
        let length = rest.find('\n').map_or(rest.len(), |end| end + 1);
        self.at += length;
        rest.get(..length).map(|line| line.trim_end_matches(['\n', '\r']))
    }
}

/// A node whose children are still to come.
struct Open {
    children: u64,
    own: u64,
}

/// Reads one tree; `None` where it is cut off.
fn tree(lines: &mut Lines<'_>, builder: &mut Builder) -> Option<()> {
    let mut path: Vec<Open> = Vec::new();
    // Frames of the path, without the root: innermost first, as the tree hangs.
    let mut stack: Vec<u32> = Vec::new();
    loop {
        let (children, bytes, text) = node(lines.next()?)?;
        if let Some(parent) = path.last_mut() {
            parent.children = parent.children.checked_sub(1)?;
            parent.own = parent.own.saturating_sub(bytes);
            stack.push(builder.frame(frame(text)));
        }
        path.push(Open { children, own: bytes });
        while path.last().is_some_and(|open| open.children == 0) {
            if let Some(open) = path.pop()
                && open.own > 0
            {
                builder.add(&stack, &ProfileSite { live_bytes: open.own, ..ProfileSite::default() });
            }
            stack.pop();
        }
        if path.is_empty() {
            return Some(());
        }
    }
}

/// `  n1: 400000 0x109256: app::big() (leak.cpp:10)` → children, bytes, the rest.
fn node(line: &str) -> Option<(u64, u64, &str)> {
    let (children, rest) = line.trim_start().strip_prefix('n')?.split_once(": ")?;
    let (bytes, text) = rest.split_once(' ')?;
    Some((children.parse().ok()?, bytes.parse().ok()?, text))
}

/// What must be said of `snapshots` none of which has a tree; the largest has `bytes`.
pub(crate) fn no_stacks(snapshots: u64, bytes: u64) -> String {
    format!("none of {snapshots} snapshots has stacks; the largest is {}", offheap_model::units::bytes(bytes))
}

/// `0x109256: app::big() (leak.cpp:10)`, as massif and ms_print have it behind a node's bytes.
pub(crate) fn frame(text: &str) -> Frame {
    match text.strip_prefix("0x").and_then(|rest| rest.split_once(": ")) {
        Some((_, described)) => crate::memcheck::frame(described),
        // "in 2 places, all below massif's threshold (1.00%)"
        None => crate::builder::named(&format!("({text})"), FrameKind::Native),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_stand_beside_the_heap() {
        let text = "desc: --stacks=yes\ncmd: ./a\ntime_unit: i\n#-----------\nsnapshot=0\n#-----------\ntime=5\nmem_heap_B=100\n\
            mem_heap_extra_B=0\nmem_stacks_B=4096\nheap_tree=peak\nn1: 100 (heap allocation functions) malloc\n n0: 100 0x1: main (a.c:1)\n";
        let profile = read(text.as_bytes()).unwrap().stacks.profile;
        let of: Vec<(&str, u64)> = profile
            .sites
            .iter()
            .map(|site| (profile.frames[site.stack[0] as usize].name.as_str(), site.live_bytes))
            .collect();
        assert_eq!(of, [(STACKS, 4096), ("main", 100)]);
    }
}

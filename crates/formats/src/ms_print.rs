//! What valgrind's `ms_print` makes of a massif file: a table of snapshots, and trees of those with
//! detail. Source: valgrind, massif/ms_print.in.
//!
//! A tree's line is `->98.43% (1,000B) 0x109151: main (memory.c:6)`, two characters deeper for each
//! caller.

use crate::words::number;
use crate::{Builder, Error, Parsed, massif};
use offheap_model::ProfileSite;

const FORMAT: &str = "ms_print output";

/// True where it starts with `line`.
pub(crate) fn begins(line: &str) -> bool {
    line.starts_with("ms_print arguments:")
}

/// True where it may start with it: the titles of the table of snapshots.
pub(crate) fn perhaps(line: &str) -> bool {
    line.starts_with("n ") && line.contains("total(B)") && line.contains("useful-heap(B)")
}

/// True where the first lines of `head` are of it.
pub(crate) fn is(head: &[u8]) -> bool {
    crate::words::any_of(head, 60, |line| begins(line) || perhaps(line))
}

/// Nodes of a tree in the order of its lines: depth, bytes, the rest.
type Tree<'a> = Vec<(usize, u64, &'a str)>;

/// A line of a tree: depth, bytes, the rest.
fn node(line: &str) -> Option<(usize, u64, &str)> {
    let (depth, rest) = match line.split_once("->") {
        Some((bars, rest)) if bars.bytes().all(|byte| matches!(byte, b' ' | b'|')) => {
            (bars.len() / 2 + 1, rest)
        }
        _ => (0, line),
    };
    let (percent, rest) = rest.split_once("% (")?;
    percent.trim().parse::<f64>().ok()?;
    let (bytes, text) = rest.split_once("B) ")?;
    Some((depth, number(bytes)?, text))
}

/// Reads the tree of the peak, or of the last snapshot that has one.
///
/// # Errors
/// It has neither a snapshot nor a tree.
pub fn read(bytes: &[u8]) -> Result<Parsed, Error> {
    let text = String::from_utf8_lossy(bytes);
    let peak = text.lines().find_map(|line| {
        let (before, _) = line
            .strip_prefix(" Detailed snapshots: [")
            .or(line.strip_prefix("Detailed snapshots: ["))?
            .split_once(" (peak)")?;
        number(before.rsplit(", ").next()?)
    });
    let mut trees: Vec<(u64, Tree<'_>)> = Vec::new();
    let (mut at, mut largest) = (0u64, 0u64);
    let mut snapshots = 0u64;
    for line in text.lines() {
        if let Some((depth, bytes, text)) = node(line) {
            match trees.last_mut() {
                Some((snapshot, tree)) if *snapshot == at && depth > 0 => tree.push((depth, bytes, text)),
                _ => trees.push((at, vec![(depth, bytes, text)])),
            }
            continue;
        }
        let words: Vec<Option<u64>> = line.split_ascii_whitespace().map(number).collect();
        if let [Some(snapshot), Some(_), Some(total), Some(_), Some(_), Some(_)] = words.as_slice() {
            (at, largest, snapshots) = (*snapshot, largest.max(*total), snapshots + 1);
        }
    }
    if snapshots == 0 && trees.is_empty() {
        return Err(Error::NotThis { format: FORMAT, reason: "it has no snapshot".into() });
    }
    let mut builder = Builder::new();
    builder.profile().sampling.interval_bytes = 1;
    let chosen = trees.iter().find(|(snapshot, _)| Some(*snapshot) == peak).or(trees.last());
    match chosen {
        Some((_, tree)) => stacks(tree, &mut builder),
        None => builder.profile().notes.push(massif::no_stacks(snapshots, largest)),
    }
    Ok(builder.finish(Vec::new(), None))
}

/// Adds what each node's children leave of it.
fn stacks(tree: &[(usize, u64, &str)], builder: &mut Builder) {
    // Of the path to the present node: what is left of it, and its frame; the root has none.
    let mut path: Vec<(u64, Option<u32>)> = Vec::new();
    let close = |path: &mut Vec<(u64, Option<u32>)>, builder: &mut Builder| {
        let frames: Vec<u32> = path.iter().filter_map(|(_, frame)| *frame).collect();
        if let Some((own, _)) = path.pop()
            && own > 0
        {
            builder.add(&frames, &ProfileSite { live_bytes: own, ..ProfileSite::default() });
        }
    };
    for (depth, bytes, text) in tree {
        while path.len() > *depth {
            close(&mut path, builder);
        }
        if path.len() < *depth && *depth > path.len() + 1 || path.len() >= crate::builder::MAX_DEPTH {
            continue;
        }
        if let Some((left, _)) = path.last_mut() {
            *left = left.saturating_sub(*bytes);
        }
        let has_frame = *depth > 0 || text.starts_with("0x");
        let frame = has_frame.then(|| builder.frame(massif::frame(text)));
        path.push((*bytes, frame));
    }
    while !path.is_empty() {
        close(&mut path, builder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Figure, collapsed};

    #[test]
    fn own_parts_of_a_tree() {
        let text = "--------\nCommand:            ./a.out\nMassif arguments:   (none)\nms_print arguments: massif.out.1\n--------\n\n \
            Detailed snapshots: [1 (peak), 2]\n\n  n        time(i)         total(B)   useful-heap(B) extra-heap(B)    stacks(B)\n--------\n  \
            0              0                0                0             0            0\n  \
            1        123,667            1,016            1,000            16            0\n\
            98.43% (1,000B) (heap allocation functions) malloc/new/new[], --alloc-fns, etc.\n\
            ->59.06% (600B) 0x109151: leak (memory.c:6)\n| ->39.37% (400B) 0x109200: main (memory.c:9)\n| ->19.68% (200B) 0x109210: other (memory.c:12)\n|   \n\
            ->39.37% (400B) in 2 places, all below ms_print's threshold (01.00%)\n  \
            2        123,999              516              500            16            0\n96.90% (500B) (heap allocation functions) malloc\n";
        assert!(is(text.as_bytes()));
        let parsed = read(text.as_bytes()).unwrap();
        let mut lines: Vec<String> =
            collapsed::write(&parsed.profile, Figure::LiveBytes, false).lines().map(str::to_owned).collect();
        lines.sort();
        assert_eq!(
            lines,
            ["(in 2 places, all below ms_print's threshold (01.00%)) 400", "main;leak 400", "other;leak 200"]
        );
        assert!(read(b"ms_print arguments: x\n").is_err());
    }
}

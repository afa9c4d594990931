//! OpenJ9's and IBM's `javacore`: its section of native memory. Source: OpenJ9,
//! runtime/rasdump/javadump.cpp, `writeNativeMemorySection`.
//!
//! A tree: `3MEMUSER       |  |  +--Memory Manager (GC): 800,000,000 bytes / 600 allocations`, a
//! number deeper for each level; a parent holds its children.

use crate::Error;
use crate::figures::{Figures, Named};
use crate::words::{any_of, number};
use offheap_model::units::bytes as in_words;

/// True where it may start with `line`.
pub(crate) fn perhaps(line: &str) -> bool {
    line.starts_with("0SECTION") && ["NATIVEMEMINFO", "TITLE"].iter().any(|section| line.contains(section))
        || line.starts_with("0MEMUSER")
        || line.starts_with("1MEMUSER")
}

/// True where `line` can be of it: all its lines have a tag.
pub(crate) fn has(line: &str) -> bool {
    let tag = line.split_ascii_whitespace().next().unwrap_or_default();
    tag == "NULL"
        || tag.len() > 4
            && tag.starts_with(|c: char| c.is_ascii_digit())
            && tag
                .get(1..)
                .is_some_and(|tag| tag.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()))
}

/// True where the first lines of `head` are of it.
pub(crate) fn is(head: &[u8]) -> bool {
    any_of(head, 30, perhaps)
}

/// Level, name, bytes, allocations.
fn node(line: &str) -> Option<(u8, &str, u64, u64)> {
    let (tag, rest) = line.trim().split_once([' ', '\t'])?;
    let level = tag.strip_suffix("MEMUSER")?.parse().ok()?;
    let rest = rest.trim_start_matches([' ', '\t', '|', '+', '-']);
    let (name, figures) = rest.rsplit_once(": ")?;
    let (bytes, rest) = figures.split_once(" bytes")?;
    let count = rest.trim_start_matches([' ', '/']).split(' ').next().and_then(number).unwrap_or(0);
    Some((level, name.trim(), number(bytes)?, count))
}

/// Reads its tree: each node with what its children leave of it.
///
/// # Errors
/// It has no section of native memory.
pub fn read(bytes: &[u8]) -> Result<Figures, Error> {
    let text = String::from_utf8_lossy(bytes);
    let mut nodes: Vec<(u8, &str, u64, u64)> = text.lines().filter_map(node).collect();
    let total = nodes.iter().filter(|node| node.0 == 1).fold(0u64, |sum, node| sum.saturating_add(node.2));
    let mut path: Vec<usize> = Vec::new();
    for at in 0..nodes.len() {
        let Some((level, _, bytes, count)) = nodes.get(at).copied() else { break };
        while path.last().and_then(|last| nodes.get(*last)).is_some_and(|(above, ..)| *above >= level) {
            path.pop();
        }
        // "Other" is a child like all, and what is left of its parent.
        if let Some(parent) = path.last().and_then(|last| nodes.get_mut(*last)) {
            parent.2 = parent.2.saturating_sub(bytes);
            parent.3 = parent.3.saturating_sub(count);
        }
        path.push(at);
        if path.len() > 64 {
            break;
        }
    }
    if nodes.is_empty() {
        return Err(Error::NotThis {
            format: "javacore",
            reason: "its section NATIVEMEMINFO is not in it, or has no figure; take a whole javacore (kill -3, or jcmd PID Dump.java)".into(),
        });
    }
    let threads = text.lines().filter(|line| line.starts_with("3XMTHREADINFO ")).count() as u64;
    let largest =
        nodes.iter().max_by_key(|node| node.2).map(|node| format!("{} ({})", node.1, in_words(node.2)));
    let named = nodes.iter().filter(|node| node.2 > 0).map(|(_, name, bytes, count)| Named {
        name: (*name).to_owned(),
        bytes: *bytes,
        count: Some(*count),
    });
    let mut figures = Figures::new("native memory by the JVM's own account", named);
    if let Some(largest) = largest {
        figures = figures
            .saying(format!("The JVM accounts for {}; the largest part is {largest}.", in_words(total)));
    }
    if threads > 0 {
        figures = figures.saying(format!("{threads} threads."));
    }
    Ok(figures.advising("What libraries allocate by themselves is not in it: compare with the process's resident memory (offheap map PID). A second javacore of a later time shows what grows: offheap diff FILE FILE."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_byte_counts_twice() {
        let text = "0SECTION       NATIVEMEMINFO subcomponent dump routine\nNULL           ====\n0MEMUSER\n\
            1MEMUSER       JRE: 1,000,000,000 bytes / 4000 allocations\n1MEMUSER       |\n2MEMUSER       +--VM: 900,000,000 bytes / 2000 allocations\n\
            2MEMUSER       |  |\n3MEMUSER       |  +--Memory Manager (GC): 800,000,000 bytes / 600 allocations\n2MEMUSER       +--JIT: 90,000,000 bytes / 100 allocations\n";
        assert!(is(text.as_bytes()));
        let figures = read(text.as_bytes()).unwrap();
        let of: Vec<(&str, u64)> =
            figures.list.iter().map(|named| (named.name.as_str(), named.bytes)).collect();
        assert_eq!(
            of,
            [
                ("Memory Manager (GC)", 800_000_000),
                ("VM", 100_000_000),
                ("JIT", 90_000_000),
                ("JRE", 10_000_000)
            ]
        );
        assert!(
            figures.says[0].contains("954 MiB; the largest part is Memory Manager (GC) (763 MiB)"),
            "{:?}",
            figures.says
        );
        assert!(read(b"0SECTION       NATIVEMEMINFO\n").is_err());
    }
}

//! A control group's `memory.stat`, of version 1 and 2. Source: Linux,
//! Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst.

use crate::Error;
use crate::figures::{Figures, Named, sum};
use crate::words::lines_of;
use offheap_model::units::bytes as in_words;

/// What adds up to the group's memory in version 2; the first [`USERS`] are not the kernel's own.
const VERSION_2: [(&str, &str); 9] = [
    ("anon", "anonymous: heaps, stacks, off-heap memory"),
    ("file", "page cache and tmpfs"),
    ("kernel_stack", "kernel: stacks of threads"),
    ("pagetables", "kernel: page tables"),
    ("sec_pagetables", "kernel: page tables of guests"),
    ("percpu", "kernel: per CPU"),
    ("sock", "kernel: sockets"),
    ("vmalloc", "kernel: vmalloc"),
    ("slab", "kernel: slab"),
];

/// Parts of version 2 that are not within `kernel`.
const USERS: usize = 2;

/// The same in version 1; `mapped_file` is a part of the cache.
const VERSION_1: [(&str, &str); 3] = [
    ("rss", "anonymous: heaps, stacks, off-heap memory"),
    ("cache", "page cache and tmpfs"),
    ("swap", "swapped out"),
];

/// `anon 4000000000`: a word and a number.
fn pair(line: &str) -> Option<(&str, u64)> {
    let (key, value) = line.trim().split_once(' ')?;
    let is_key = key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') && !key.is_empty();
    is_key.then(|| Some((key, value.trim().parse().ok()?))).flatten()
}

/// True where it starts with `line`.
pub(crate) fn begins(line: &str) -> bool {
    pair(line).is_some_and(|(key, _)| matches!(key, "anon" | "cache"))
}

/// True where `line` can be of it.
pub(crate) fn has(line: &str) -> bool {
    pair(line).is_some()
}

/// True where the first lines of `head` are of it.
pub(crate) fn is(head: &[u8]) -> bool {
    let lines = lines_of(head, 12);
    let mut lines = lines.iter().filter(|line| !line.is_empty());
    lines.next().is_some_and(|line| begins(line)) && lines.next().is_some_and(|line| has(line))
}

/// Reads it.
///
/// # Errors
/// It has neither version's first lines.
pub fn read(bytes: &[u8]) -> Result<Figures, Error> {
    let text = String::from_utf8_lossy(bytes);
    let value =
        |key: &str| text.lines().filter_map(pair).find(|(name, _)| *name == key).map(|(_, value)| value);
    let is_old = value("anon").is_none() && value("rss").is_some();
    let parts: &[(&str, &str)] = if is_old { &VERSION_1 } else { &VERSION_2 };
    // Of a group with groups in it only the total_ lines of version 1 hold those, too.
    let get = |key: &str| value(&format!("total_{key}")).filter(|_| is_old).or(value(key));
    let mut named: Vec<Named> = parts
        .iter()
        .filter_map(|(key, name)| Some(Named { name: (*name).to_owned(), bytes: get(key)?, count: None }))
        .collect();
    if named.is_empty() {
        return Err(Error::NotThis { format: "memory.stat", reason: "it has neither anon nor rss".into() });
    }
    // What the kernel counts and none of its parts says.
    if let Some(kernel) = value("kernel").filter(|_| !is_old) {
        let known =
            VERSION_2.iter().skip(USERS).filter_map(|(key, _)| value(key)).fold(0, u64::saturating_add);
        if kernel > known {
            named.push(Named { name: "kernel: other".to_owned(), bytes: kernel - known, count: None });
        }
    }
    let anonymous = get(if is_old { "rss" } else { "anon" }).unwrap_or(0);
    let sum = sum(&named);
    let cache = get(if is_old { "cache" } else { "file" }).unwrap_or(0);
    let mut says = format!(
        "{} of {} are anonymous: they are freed only when the process that holds them ends, or swapped out.",
        in_words(anonymous),
        in_words(sum)
    );
    if cache > anonymous {
        says = format!(
            "{} of {} are page cache or tmpfs: what is cache is dropped when memory is short, and is no leak.",
            in_words(cache),
            in_words(sum)
        );
    }
    Ok(Figures::new("a control group's memory", named).saying(says).advising(
        "Which process has it, and what for, is not in this file: offheap map PID, or its /proc/PID/smaps.",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions() {
        let new = "anon 4000000000\nfile 7000000\nkernel 30000000\nkernel_stack 12000000\npagetables 9000000\nsock 0\nshmem 0\npgfault 99999999999\n";
        assert!(is(new.as_bytes()));
        let figures = read(new.as_bytes()).unwrap();
        assert_eq!(figures.list.iter().map(|named| named.bytes).sum::<u64>(), 4_037_000_000);
        assert!(figures.says[0].starts_with("3.73 GiB of 3.76 GiB are anonymous"), "{:?}", figures.says);
        let old = "cache 500\nrss 100\nrss_huge 0\nmapped_file 50\nswap 0\npgpgin 77777\ntotal_cache 900\ntotal_rss 200\n";
        assert!(is(old.as_bytes()));
        let figures = read(old.as_bytes()).unwrap();
        assert_eq!(figures.list.iter().map(|named| named.bytes).collect::<Vec<_>>(), [900, 200, 0]);
        assert!(figures.says[0].contains("are page cache"));
        assert!(!is(b"cache me 1\nif you can\n"));
    }
}

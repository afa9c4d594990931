//! What glibc's `malloc_stats()` prints. Source: glibc, malloc/malloc.c, `__malloc_stats`.

use crate::Error;
use crate::figures::{Figures, Named};
use crate::words::any_of;
use offheap_model::units::bytes as in_words;

/// True where it starts with `line`.
pub(crate) fn begins(line: &str) -> bool {
    line == "Arena 0:"
}

/// True where it may start with it.
pub(crate) fn perhaps(line: &str) -> bool {
    line == "Total (incl. mmap):"
}

/// True where `line` can be of it.
pub(crate) fn has(line: &str) -> bool {
    let line = line.trim();
    figure(line).is_some() || line.starts_with("Arena ") || perhaps(line)
}

/// True where the first lines of `head` are of it.
pub(crate) fn is(head: &[u8]) -> bool {
    any_of(head, 8, |line| begins(line) || perhaps(line)) && any_of(head, 12, |line| figure(line).is_some())
}

/// `system bytes     =     135168`
fn figure(line: &str) -> Option<(&str, u64)> {
    let (key, value) = line.split_once('=')?;
    let key = key.trim();
    let known = ["system bytes", "in use bytes", "max mmap regions", "max mmap bytes"];
    Some((known.into_iter().find(|known| *known == key)?, value.trim().parse().ok()?))
}

/// Reads it.
///
/// # Errors
/// It has no figure.
pub fn read(bytes: &[u8]) -> Result<Figures, Error> {
    let text = String::from_utf8_lossy(bytes);
    // System bytes, bytes in use.
    let mut arenas: Vec<(u64, u64)> = Vec::new();
    let mut total: Option<(u64, u64)> = None;
    let mut in_total = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with("Arena ") {
            (in_total, _) = (false, arenas.push((0, 0)));
        } else if perhaps(line) {
            (in_total, total) = (true, Some((0, 0)));
        } else if let Some((key, value)) = figure(line) {
            let slot = if in_total { total.as_mut() } else { arenas.last_mut() };
            match (slot, key) {
                (Some(slot), "system bytes") => slot.0 = value,
                (Some(slot), "in use bytes") => slot.1 = value,
                _ => {}
            }
        }
    }
    let sum = |of: fn(&(u64, u64)) -> u64| arenas.iter().map(of).fold(0u64, u64::saturating_add);
    let (system, used) = (sum(|arena| arena.0), sum(|arena| arena.1));
    let (all, all_used) = total.unwrap_or((system, used));
    if all == 0 {
        return Err(Error::NotThis { format: "malloc_stats output", reason: "it has no figure".into() });
    }
    // Both wrap around at 4 GiB: they are ints.
    let wraps = all_used > all || system > all;
    let held = system.saturating_sub(used);
    let named = |name: &str, bytes: u64, count: Option<u64>| Named { name: name.to_owned(), bytes, count };
    let figures = Figures::new(
        "glibc's heap",
        [
            named("arenas, in use", used, Some(arenas.len() as u64)),
            named("arenas, free but held", held, None),
            named("blocks with a mapping of their own", all.saturating_sub(system), None),
        ],
    );
    let says = if wraps {
        "malloc_stats counts in ints, which wrap around at 4 GiB: these figures are wrong; take malloc_info (jcmd PID System.native_heap_info) instead.".to_owned()
    } else {
        format!(
            "{} of glibc's {} are free but held in {} arenas.",
            in_words(held),
            in_words(all),
            arenas.len()
        )
    };
    let figures = figures.saying(says);
    Ok(if held > used && !wraps {
        figures.advising("Most of it is free: offheap trim PID gives it back; MALLOC_ARENA_MAX=2 or MALLOC_TRIM_THRESHOLD_=131072 keeps it small.")
    } else {
        figures
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_free_is_told_from_what_is_in_use() {
        let text = "Arena 0:\nsystem bytes     =     135168\nin use bytes     =      67456\nArena 1:\nsystem bytes     =   67108864\n\
            in use bytes     =    1048576\nTotal (incl. mmap):\nsystem bytes     =   67772416\nin use bytes     =    1644416\n\
            max mmap regions =          2\nmax mmap bytes   =     528384\n";
        assert!(is(text.as_bytes()));
        let figures = read(text.as_bytes()).unwrap();
        let of: Vec<(&str, u64)> =
            figures.list.iter().map(|named| (named.name.as_str(), named.bytes)).collect();
        assert_eq!(
            of,
            [
                ("arenas, free but held", 66_128_000),
                ("arenas, in use", 1_116_032),
                ("blocks with a mapping of their own", 528_384)
            ]
        );
        assert!(
            figures.says[0].starts_with("63.1 MiB of glibc's 64.6 MiB are free but held in 2 arenas"),
            "{:?}",
            figures.says
        );
        assert_eq!(figures.advice.len(), 1);
        assert!(read(b"Arena 0:\n").is_err());
    }
}

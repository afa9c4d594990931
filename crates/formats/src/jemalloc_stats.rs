//! What jemalloc's `malloc_stats_print` prints (`MALLOC_CONF=stats_print:true`): its totals.
//! Source: jemalloc, src/stats.c.

use crate::Error;
use crate::figures::{Figures, Named};
use crate::words::any_of;
use offheap_model::units::bytes as in_words;

/// True where it starts with `line`.
pub(crate) fn begins(line: &str) -> bool {
    line.starts_with("___ Begin jemalloc statistics ___")
}

/// True where it may start with it.
pub(crate) fn perhaps(line: &str) -> bool {
    line.starts_with("Allocated: ") && line.contains(", active: ")
}

/// True where the first lines of `head` are of it.
pub(crate) fn is(head: &[u8]) -> bool {
    any_of(head, 200, |line| begins(line) || perhaps(line))
}

/// Reads its totals.
///
/// # Errors
/// They are not in it.
pub fn read(bytes: &[u8]) -> Result<Figures, Error> {
    let text = String::from_utf8_lossy(bytes);
    let line = text.lines().map(str::trim).rfind(|line| perhaps(line)).ok_or_else(|| Error::NotThis {
        format: "jemalloc's statistics",
        reason: "the line `Allocated: …, active: …` is not in it".into(),
    })?;
    let value = |key: &str| {
        line.split(", ").find_map(|part| {
            part.strip_prefix(key)?.strip_prefix(": ")?.split(' ').next()?.parse::<u64>().ok()
        })
    };
    let (allocated, active) = (value("Allocated").unwrap_or(0), value("active").unwrap_or(0));
    let (metadata, resident) = (value("metadata").unwrap_or(0), value("resident").unwrap_or(0));
    let retained = value("retained").unwrap_or(0);
    let named = |name: &str, bytes: u64| Named { name: name.to_owned(), bytes, count: None };
    let fragments = active.saturating_sub(allocated);
    let dirty = resident.saturating_sub(active.saturating_add(metadata));
    let figures = Figures::new(
        "jemalloc's memory",
        [
            named("allocated by the program", allocated),
            named("lost between blocks", fragments),
            named("jemalloc's own tables", metadata),
            named("free but held (dirty pages)", dirty),
            named("given back, address space kept (not resident)", retained),
        ],
    );
    let says = format!(
        "{} of {} resident are allocated by the program, {} are free but held.",
        in_words(allocated),
        in_words(resident),
        in_words(dirty)
    );
    let figures = figures.saying(says);
    Ok(if dirty.saturating_add(fragments) > allocated {
        figures.advising("Most of it is jemalloc's, not the program's: MALLOC_CONF=dirty_decay_ms:1000,muzzy_decay_ms:0,background_thread:true gives pages back sooner; fewer arenas (narenas:2) lose less between blocks.")
    } else {
        figures.advising("The program has allocated it: MALLOC_CONF=prof:true,lg_prof_interval:30 writes heap profiles that offheap convert reads; or offheap profile PID.")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals() {
        let text = "___ Begin jemalloc statistics ___\nVersion: \"5.3.0-0-g0\"\nAllocated: 8000000, active: 9000000, metadata: 2000000 (n_thp 0), \
            resident: 20000000, mapped: 24000000, retained: 7000000\n--- End jemalloc statistics ---\n";
        assert!(is(text.as_bytes()));
        let figures = read(text.as_bytes()).unwrap();
        let of = |name: &str| figures.list.iter().find(|named| named.name.starts_with(name)).unwrap().bytes;
        assert_eq!(
            (of("allocated"), of("lost"), of("free"), of("given back")),
            (8_000_000, 1_000_000, 9_000_000, 7_000_000)
        );
        assert!(figures.advice[0].contains("dirty_decay_ms"));
        assert!(read(b"___ Begin jemalloc statistics ___\n").is_err());
    }
}

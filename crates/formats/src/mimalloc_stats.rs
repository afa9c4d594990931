//! What mimalloc prints at its end (`MIMALLOC_SHOW_STATS=1`): a table with `peak`, `total`, `freed`
//! (later `current`). Source: mimalloc, src/stats.c, `_mi_stats_print`.

use crate::Error;
use crate::figures::{Figures, Named};
use crate::words::{Base, any_of, size};
use offheap_model::units::bytes as in_words;

/// True where it starts with `line`.
pub(crate) fn begins(line: &str) -> bool {
    (line.starts_with("heap stats:") || line.starts_with("arenas "))
        && line.contains("peak")
        && line.contains("total")
}

/// True where the first lines of `head` are of it.
pub(crate) fn is(head: &[u8]) -> bool {
    any_of(head, 40, begins)
}

/// Numbers with a unit of their own word: `1.0 GiB` → one figure; `-0 ` and `ok` are none.
fn figures_of(rest: &str) -> Vec<u64> {
    let words: Vec<&str> = rest.split_ascii_whitespace().collect();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(word) = words.get(at) {
        let with_unit = words.get(at + 1).and_then(|unit| {
            unit.starts_with(|c: char| c.is_ascii_alphabetic())
                .then(|| size(&format!("{word} {unit}"), Base::Binary))
                .flatten()
        });
        match (with_unit, size(word, Base::Binary)) {
            (Some(bytes), _) => {
                found.push(bytes);
                at += 1;
            }
            (None, Some(bytes)) => found.push(bytes),
            (None, None) if word.starts_with('-') => found.push(0),
            (None, None) => {}
        }
        at += 1;
    }
    found
}

/// Reads it.
///
/// # Errors
/// It has no row of memory.
pub fn read(bytes: &[u8]) -> Result<Figures, Error> {
    let text = String::from_utf8_lossy(bytes);
    let columns: Vec<&str> =
        text.lines().map(str::trim).find(|line| begins(line)).map_or(Vec::new(), |line| {
            line.split_ascii_whitespace().skip_while(|word| *word != "peak").collect()
        });
    let column = |name: &str| columns.iter().position(|column| column.starts_with(name));
    let rows = ["reserved", "committed", "reset", "purged", "touched"];
    let named: Vec<Named> = text
        .lines()
        .filter_map(|line| {
            let (name, rest) = line.trim().split_once(':')?;
            let name = rows.iter().find(|row| **row == name.trim())?;
            let found = figures_of(rest);
            // Where there is no column of what is there now, the peak is what is known.
            let (place, what) =
                column("current").map(|at| (at, "now")).or(column("peak").map(|at| (at, "at the peak")))?;
            Some(Named { name: format!("{name}, {what}"), bytes: *found.get(place)?, count: None })
        })
        .collect();
    let committed = named.iter().find(|named| named.name.starts_with("committed")).map(|named| named.bytes);
    let Some(committed) = committed else {
        return Err(Error::NotThis {
            format: "mimalloc's statistics",
            reason: "it has no row of committed memory".into(),
        });
    };
    Ok(Figures::new("mimalloc's memory", named)
        .saying(format!("mimalloc had {} committed.", in_words(committed)))
        .advising("What is reserved is no memory. MIMALLOC_PURGE_DELAY=0 gives pages back at once; which code allocates, offheap profile PID shows."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_there_is_now() {
        let text = "heap stats:     peak       total       freed     current        unit       count\n  \
            reserved:     1.0 GiB     1.0 GiB        0         1.0 GiB                          not all freed\n  \
            committed:   70.5 MiB    90.0 MiB    30.0 MiB    60.0 MiB                          not all freed\n     reset:      0           0\n";
        assert!(is(text.as_bytes()));
        let figures = read(text.as_bytes()).unwrap();
        let of: Vec<(&str, u64)> =
            figures.list.iter().map(|named| (named.name.as_str(), named.bytes)).collect();
        assert_eq!(of, [("reserved, now", 1 << 30), ("committed, now", 60 << 20)]);
        let third = " arenas          peak       total     current       block      total#\n  reserved  :     1.0 GiB     1.0 GiB     1.0 GiB\n  \
            committed :   700.0 MiB   700.0 MiB  -906.8 MiB\n";
        assert_eq!(
            read(third.as_bytes()).unwrap().list.iter().map(|named| named.bytes).collect::<Vec<_>>(),
            [1 << 30, 0]
        );
        assert!(read(b"heap stats:     peak\n").is_err());
    }
}

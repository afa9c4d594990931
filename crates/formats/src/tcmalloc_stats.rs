//! What tcmalloc's `MallocExtension::GetStats` prints: lines `MALLOC:  123 (  0.1 MiB) What it is`.
//! Source: gperftools, src/tcmalloc.cc, `DumpStats`.

use crate::Error;
use crate::figures::{Figures, Named, sum};
use crate::words::any_of;
use offheap_model::units::bytes as in_words;

/// `MALLOC: +     1234 (    0.0 MiB) Bytes in page heap freelist` → the text, bytes.
fn row(line: &str) -> Option<(&str, u64)> {
    let rest = line.trim().strip_prefix("MALLOC:")?.trim_start();
    let rest = rest.strip_prefix(['+', '=']).unwrap_or(rest).trim_start();
    let (number, rest) = rest.split_once(' ')?;
    let name = rest.split_once(')').map_or(rest, |(_, name)| name).trim();
    Some((name, number.parse().ok()?))
}

/// True where it starts with `line`.
pub(crate) fn begins(line: &str) -> bool {
    row(line).is_some_and(|(name, _)| name.starts_with("Bytes in use by application"))
}

/// True where `line` can be of it.
pub(crate) fn has(line: &str) -> bool {
    line.trim().starts_with("MALLOC")
}

/// True where the first lines of `head` are of it.
pub(crate) fn is(head: &[u8]) -> bool {
    any_of(head, 20, begins)
}

/// Reads it.
///
/// # Errors
/// It has no figure.
pub fn read(bytes: &[u8]) -> Result<Figures, Error> {
    let text = String::from_utf8_lossy(bytes);
    let is_part = |line: &&str| {
        let bare = line.trim().strip_prefix("MALLOC:").map(str::trim_start);
        bare.is_some_and(|bare| !bare.starts_with('='))
    };
    let named: Vec<Named> = text
        .lines()
        .filter(is_part)
        .filter_map(row)
        .filter(|(name, _)| name.starts_with("Bytes in "))
        .map(|(name, bytes)| Named { name: name.trim_start_matches("Bytes ").to_owned(), bytes, count: None })
        .collect();
    let Some(used) =
        named.iter().find(|named| named.name.starts_with("in use by application")).map(|named| named.bytes)
    else {
        return Err(Error::NotThis {
            format: "tcmalloc's statistics",
            reason: "bytes in use by the application are not in it".into(),
        });
    };
    let sum = sum(&named);
    let held = sum.saturating_sub(used);
    let figures = Figures::new("tcmalloc's memory", named).saying(format!(
        "{} of {} are in use by the program, {} are free but held.",
        in_words(used),
        in_words(sum),
        in_words(held)
    ));
    Ok(if held > used {
        figures.advising("Most of it is free: TCMALLOC_RELEASE_RATE=10 or MallocExtension::ReleaseFreeMemory() gives it back.")
    } else {
        figures.advising("The program has allocated it: HEAPPROFILE=/tmp/heap writes heap profiles that offheap convert reads; or offheap profile PID.")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_without_their_sums() {
        let text = "------------------------------------------------\nMALLOC:       50000000 (   47.7 MiB) Bytes in use by application\n\
            MALLOC: +    900000000 (  858.3 MiB) Bytes in page heap freelist\nMALLOC: +      1000000 (    1.0 MiB) Bytes in central cache freelist\n\
            MALLOC:   ------------\nMALLOC: =    951000000 (  907.0 MiB) Actual memory used (physical + swap)\nMALLOC:\nMALLOC:           4321              Spans in use\n";
        assert!(is(text.as_bytes()));
        let figures = read(text.as_bytes()).unwrap();
        assert_eq!(
            figures.list.iter().map(|named| named.bytes).collect::<Vec<_>>(),
            [900_000_000, 50_000_000, 1_000_000]
        );
        assert!(figures.advice[0].contains("RELEASE_RATE"));
    }
}

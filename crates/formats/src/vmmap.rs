//! macOS' `vmmap` and `vmmap --summary`: sizes by the type of region. Source: vmmap(1).

use crate::Error;
use crate::figures::{Figures, Named};
use crate::words::{Base, any_of, size};
use offheap_model::units::bytes as in_words;

/// True where it starts with `line`.
pub(crate) fn begins(line: &str) -> bool {
    line.starts_with("Physical footprint:")
}

/// True where it may start with it.
pub(crate) fn perhaps(line: &str) -> bool {
    is_titles(line)
}

fn is_titles(line: &str) -> bool {
    line.starts_with("REGION TYPE") && line.contains("SIZE")
}

/// True where the first lines of `head` are of it.
pub(crate) fn is(head: &[u8]) -> bool {
    any_of(head, 5000, |line| begins(line) || is_titles(line))
}

/// The row of a type: its name, then sizes. The columns are virtual, resident, dirty…
fn row(line: &str) -> Option<(&str, Vec<u64>)> {
    let (name, rest) = line.trim_end().split_once("  ")?;
    let sizes: Vec<u64> = rest
        .split_ascii_whitespace()
        .map_while(|word| size(word, Base::Binary).filter(|_| !word.ends_with('%')))
        .collect();
    (!name.is_empty() && !name.starts_with(' ') && sizes.len() >= 3).then_some((name, sizes))
}

/// Reads its table of types.
///
/// # Errors
/// There is none.
pub fn read(bytes: &[u8]) -> Result<Figures, Error> {
    let text = String::from_utf8_lossy(bytes);
    let footprint =
        text.lines().find_map(|line| size(line.trim().strip_prefix("Physical footprint:")?, Base::Binary));
    let (mut named, mut inside, mut resident) = (Vec::new(), false, true);
    for line in text.lines() {
        if is_titles(line.trim()) {
            // The long form has a list of regions, with addresses, before it.
            inside = true;
            resident = !line.contains("START");
        } else if inside && resident && !line.starts_with("===") && !line.starts_with("TOTAL") {
            if let Some((name, sizes)) = row(line) {
                let bytes = sizes.get(1).copied().unwrap_or(0);
                named.push(Named { name: name.to_owned(), bytes, count: None });
            }
        } else if line.starts_with("TOTAL") {
            inside = false;
        }
    }
    if named.is_empty() && footprint.is_none() {
        return Err(Error::NotThis {
            format: "vmmap output",
            reason: "its table of region types is not in it".into(),
        });
    }
    let mut figures = Figures::new("resident bytes by type of region", named);
    if let Some(footprint) = footprint {
        figures = figures.saying(format!("The process's footprint is {}.", in_words(footprint)));
    }
    Ok(figures.advising("offheap itself runs on Linux only. MALLOC_ regions are the C heap: `leaks PID` and `heap PID` of macOS name what is in it."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_with_what_is_resident() {
        let text = "Process:         java [77]\nPhysical footprint:         1.2G\nPhysical footprint (peak):  1.3G\n----\n\n                                VIRTUAL RESIDENT    DIRTY  SWAPPED VOLATILE   NONVOL    EMPTY   REGION \n\
            REGION TYPE                        SIZE     SIZE     SIZE     SIZE     SIZE     SIZE     SIZE    COUNT (non-coalesced) \n\
            ===========                     ======= ========    =====  ======= ========   ======    =====  ======= \n\
            MALLOC_LARGE                     512.0M   500.0M   500.0M       0K       0K       0K       0K       40         see MALLOC ZONE table below\n\
            Stack                             90.1M     2.0M     2.0M       0K       0K       0K       0K       60 \n\
            TOTAL                              2.0G   600.0M   550.0M       0K       0K       0K       0K      400 \n";
        assert!(is(text.as_bytes()));
        let figures = read(text.as_bytes()).unwrap();
        let of: Vec<(&str, u64)> =
            figures.list.iter().map(|named| (named.name.as_str(), named.bytes)).collect();
        assert_eq!(of, [("MALLOC_LARGE", 500 << 20), ("Stack", 2 << 20)]);
        assert_eq!(figures.says, ["The process's footprint is 1.20 GiB."]);
    }
}

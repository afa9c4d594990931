//! `docker stats`, `podman stats`, `kubectl top pod`: what containers use, in a table with titles.

use crate::Error;
use crate::figures::{Figures, Named};
use crate::words::{Base, any_of, size};
use offheap_model::units::bytes as in_words;

/// True where it starts with `line`: the titles.
pub(crate) fn begins(line: &str) -> bool {
    line.contains("MEM USAGE / LIMIT")
        || line.starts_with("NAME") && line.contains("MEMORY(bytes)")
        || line.starts_with("POD ") && line.contains("MEMORY(bytes)")
}

/// True where the first lines of `head` are of it.
pub(crate) fn is(head: &[u8]) -> bool {
    any_of(head, 4, begins)
}

/// A row: name, used, limit.
fn row(line: &str, is_docker: bool) -> Option<(String, u64, Option<u64>)> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    if is_docker {
        let slash = words.iter().position(|word| *word == "/")?;
        // `796 KiB`, of old ones, and `796KiB`.
        let is_unit = |word: &&&str| word.starts_with(|c: char| c.is_ascii_alphabetic());
        let last = *words.get(slash.checked_sub(1)?)?;
        let first = if is_unit(&&last) { slash.checked_sub(2)? } else { slash - 1 };
        let used = size(&words.get(first..slash)?.concat(), Base::Decimal)?;
        let unit = words.get(slash + 2).filter(is_unit).copied().unwrap_or_default();
        let limit = size(&[*words.get(slash + 1)?, unit].concat(), Base::Decimal)?;
        // CONTAINER ID, NAME, CPU %; without --format the id comes first.
        let before = words.get(..first)?;
        let name = before.iter().rev().find(|word| !word.ends_with('%')).copied()?;
        return Some((name.to_owned(), used, Some(limit)));
    }
    let used = size(words.last()?, Base::Decimal)?;
    Some((words.get(..words.len().checked_sub(2)?)?.join(" "), used, None))
}

/// Reads it.
///
/// # Errors
/// It has titles and no row.
pub fn read(bytes: &[u8]) -> Result<Figures, Error> {
    let text = String::from_utf8_lossy(bytes);
    let is_docker = text.lines().any(|line| line.contains("MEM USAGE / LIMIT"));
    let rows: Vec<_> =
        text.lines().filter(|line| !begins(line.trim())).filter_map(|line| row(line, is_docker)).collect();
    let Some((name, used, limit)) = rows.iter().max_by_key(|row| row.1).cloned() else {
        return Err(Error::NotThis { format: "table of docker stats", reason: "it has no row".into() });
    };
    let part = limit.filter(|limit| *limit > 0).map_or_else(String::new, |limit| {
        format!(" of {} ({:.0} %)", in_words(limit), used as f64 / limit as f64 * 100.0)
    });
    let named = rows.into_iter().map(|(name, bytes, _)| Named { name, bytes, count: None });
    Ok(Figures::new("what containers use", named)
        .saying(format!("{name} uses the most: {}{part}.", in_words(used)))
        .advising(
            "What is in it is not in this table: offheap map PID in the container, or its memory.stat.",
        ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_tables() {
        let docker = "CONTAINER ID   NAME      CPU %     MEM USAGE / LIMIT     MEM %     NET I/O       BLOCK I/O     PIDS\n\
            ab12cd34ef56   app       1.20%     1.5GiB / 2GiB         75.00%    1kB / 2kB     0B / 0B       42\n\
            ab12cd34ef57   db        0.10%     512MiB / 2GiB         25.00%    1kB / 2kB     0B / 0B       7\n";
        assert!(is(docker.as_bytes()));
        let figures = read(docker.as_bytes()).unwrap();
        assert_eq!(figures.says, ["app uses the most: 1.50 GiB of 2.00 GiB (75 %)."]);
        assert_eq!(figures.list[1].bytes, 512 << 20);
        let old = "CONTAINER           CPU %               MEM USAGE / LIMIT     MEM %               NET I/O\n\
            app                 0.07%               796 KiB / 64 MiB      1.21%               788 B / 648 B\n";
        assert_eq!(read(old.as_bytes()).unwrap().says, ["app uses the most: 796 KiB of 64.0 MiB (1 %)."]);
        let top = "NAME        CPU(cores)   MEMORY(bytes)\napp-7d      12m          900Mi\n";
        assert_eq!(read(top.as_bytes()).unwrap().list[0].bytes, 900 << 20);
        assert!(read(b"NAME        CPU(cores)   MEMORY(bytes)\n").is_err());
    }
}

//! `/proc/PID/status`: the kernel's totals of a process. Source: proc(5).

use crate::Error;
use crate::figures::{Figures, Named};
use crate::words::any_of;
use offheap_model::units::bytes as in_words;

/// The lines that are of memory, and what they are called here.
const LINES: [(&str, &str); 8] = [
    ("VmRSS", "resident"),
    ("RssAnon", "resident, anonymous"),
    ("RssFile", "resident, of files"),
    ("RssShmem", "resident, shared memory"),
    ("VmHWM", "resident at the highest"),
    ("VmSwap", "swapped out"),
    ("VmPTE", "page tables"),
    ("VmSize", "virtual"),
];

/// True where it may start with `line`.
pub(crate) fn perhaps(line: &str) -> bool {
    ["Name:\t", "VmPeak:", "VmSize:", "VmRSS:", "VmHWM:", "RssAnon:"].iter().any(|key| line.starts_with(key))
}

/// True where the first lines of `head` are of it.
pub(crate) fn is(head: &[u8]) -> bool {
    any_of(head, 60, |line| {
        ["VmRSS:", "RssAnon:", "VmSize:"].iter().any(|key| line.starts_with(key)) && line.ends_with(" kB")
    })
}

/// Reads it.
///
/// # Errors
/// None of its lines is of memory.
pub fn read(bytes: &[u8]) -> Result<Figures, Error> {
    let text = String::from_utf8_lossy(bytes);
    let value = |key: &str| {
        text.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix(':')).map(str::trim)
    };
    let kib = |key: &str| value(key)?.strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024);
    let named = LINES
        .iter()
        .filter_map(|(key, name)| Some(Named { name: (*name).to_owned(), bytes: kib(key)?, count: None }));
    let threads = value("Threads").and_then(|count| count.parse().ok());
    let threads = threads.map(|count| Named { name: "threads".to_owned(), bytes: 0, count: Some(count) });
    let figures = Figures::new("a process's totals", named.chain(threads));
    if figures.list.is_empty() {
        return Err(Error::NotThis {
            format: "/proc/PID/status",
            reason: "none of its lines is of memory".into(),
        });
    }
    let name = value("Name").map_or_else(|| "the process".to_owned(), str::to_owned);
    let says = match (kib("VmRSS"), kib("RssAnon")) {
        (Some(rss), Some(anonymous)) => {
            format!("{name} has {} resident, {} of that anonymous.", in_words(rss), in_words(anonymous))
        }
        (Some(rss), None) => format!("{name} has {} resident.", in_words(rss)),
        _ => return Ok(figures),
    };
    Ok(figures.saying(says).advising(
        "These are totals: what they are made of is in /proc/PID/smaps (offheap convert smaps.txt), or in offheap map PID.",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_of_a_process() {
        let text = "Name:\tjava\nUmask:\t0022\nPid:\t77\nVmPeak:\t 9000000 kB\nVmSize:\t 8000000 kB\nVmHWM:\t 1100000 kB\n\
            VmRSS:\t 1048576 kB\nRssAnon:\t 1000000 kB\nRssFile:\t   48576 kB\nThreads:\t42\n";
        assert!(is(text.as_bytes()));
        let figures = read(text.as_bytes()).unwrap();
        let of = |name: &str| figures.list.iter().find(|named| named.name == name).unwrap();
        assert_eq!((of("resident").bytes, of("threads").count), (1 << 30, Some(42)));
        assert_eq!(figures.says, ["java has 1.00 GiB resident, 977 MiB of that anonymous."]);
        assert!(read(b"Name:\tjava\n").is_err());
    }
}

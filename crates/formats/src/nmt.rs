//! How a report of Native Memory Tracking is told; its reader is the `nmt` crate.

/// What the JVM answers instead of a report, and what a report starts with where its title is not
/// pasted.
const BEGINS: [&str; 6] = [
    "Native memory tracking is not enabled",
    "Total: reserved=",
    "Baseline taken",
    "Baseline succeeded",
    "No baseline for comparison",
    "No detail baseline for comparison",
];

/// True where a report starts with `line`.
pub(crate) fn begins(line: &str) -> bool {
    line.starts_with("Native Memory Tracking")
}

/// True where one may start with it.
pub(crate) fn perhaps(line: &str) -> bool {
    BEGINS.iter().any(|begin| line.starts_with(begin)) || is_category(line)
}

/// `-   Java Heap (reserved=…, committed=…)`
fn is_category(line: &str) -> bool {
    line.contains(" (reserved=") && line.contains("committed=")
}

/// True where `head` is a report; hs_err logs, which hold one, are told before.
pub(crate) fn is(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head.get(..8 << 10).unwrap_or(head));
    let mut lines = text.lines().map(str::trim).skip_while(|line| {
        // "12345:" or the status of the attach protocol.
        line.is_empty() || line.trim_end_matches(':').parse::<i64>().is_ok()
    });
    // Some of its answers have no figures; the reader says which one it is.
    lines.next().is_some_and(|line| begins(line) || perhaps(line))
}

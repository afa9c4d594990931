//! The list of processes on a terminal.

use super::{Align, Style, Table, Tone};
use offheap_model::units::bytes;
use serde::Serialize;

/// One process of the list, as `offheap ps` shows it and `--json` writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Row {
    /// Pid as this tool sees it.
    pub pid: i32,
    /// Pid inside its own namespace.
    pub inner_pid: i32,
    /// User.
    pub user: String,
    /// `"jvm"` or `"python"`.
    pub kind: &'static str,
    /// Version, as far as it is known without rights.
    pub version: String,
    /// Main class, jar or script.
    pub main: String,
    /// Resident bytes.
    pub rss_bytes: u64,
    /// Heap in use.
    pub heap_used_bytes: Option<u64>,
    /// Heap committed.
    pub heap_committed_bytes: Option<u64>,
    /// RSS less the resident pages of the heap; needs the right to read the process's memory.
    pub outside_heap_bytes: Option<u64>,
    /// Limit of its control group.
    pub limit_bytes: Option<u64>,
    /// Until the limit.
    pub headroom_bytes: Option<u64>,
    /// Why something is missing.
    pub note: String,
}

/// The rows as a table.
pub fn render(rows: &[Row], style: Style) -> String {
    let mut table = Table::new(&[
        ("PID", Align::Right),
        ("INNER", Align::Right),
        ("USER", Align::Left),
        ("VERSION", Align::Left),
        ("RSS", Align::Right),
        ("HEAP USED", Align::Right),
        ("COMMITTED", Align::Right),
        ("OUTSIDE", Align::Right),
        ("LIMIT", Align::Right),
        ("HEADROOM", Align::Right),
        ("MAIN", Align::Left),
    ]);
    let size = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), bytes);
    for row in rows {
        let main =
            if row.note.is_empty() { row.main.clone() } else { format!("{} ({})", row.main, row.note) };
        let near_limit = matches!((row.limit_bytes, row.headroom_bytes), (Some(l), Some(h)) if h < l / 10);
        table.row(
            if near_limit { Tone::Warn } else { Tone::Plain },
            vec![
                row.pid.to_string(),
                if row.inner_pid == row.pid { String::new() } else { row.inner_pid.to_string() },
                row.user.clone(),
                row.version.clone(),
                bytes(row.rss_bytes),
                size(row.heap_used_bytes),
                size(row.heap_committed_bytes),
                size(row.outside_heap_bytes),
                size(row.limit_bytes),
                size(row.headroom_bytes),
                main,
            ],
        );
    }
    table.render(style)
}

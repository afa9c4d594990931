//! `offheap ps`

use crate::output;
use offheap_collect::targets::{self, Listed, Runtime};
use offheap_present::terminal::ps::{self, Row};
use std::process::ExitCode;

/// List every JVM and CPython of this host, in containers too, the largest first.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Write JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let rows: Vec<Row> = targets::list()?.into_iter().map(row).collect();
    if arguments.json {
        output::print_json(&serde_json::json!({ "schema": "offheap/ps/v1", "processes": rows }));
    } else if rows.is_empty() {
        output::print("No JVM and no CPython runs here, or none that this user may see.\n");
    } else {
        output::print(&ps::render(&rows, output::style(false)));
    }
    Ok(ExitCode::SUCCESS)
}

fn row(listed: Listed) -> Row {
    Row {
        pid: listed.pid,
        inner_pid: listed.inner_pid,
        user: listed.user,
        kind: match listed.runtime {
            Runtime::Jvm => "jvm",
            Runtime::Python => "python",
        },
        version: listed.version,
        main: listed.main,
        rss_bytes: listed.rss,
        outside_heap_bytes: listed.heap_resident.map(|resident| listed.rss.saturating_sub(resident)),
        heap_used_bytes: listed.heap_used,
        heap_committed_bytes: listed.heap_committed,
        limit_bytes: listed.limit,
        headroom_bytes: listed.headroom,
        note: listed.note,
    }
}

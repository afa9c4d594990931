//! The JSON contracts of docs/design.md, one function a verb.

use offheap_diagnose::Outlook;
use offheap_model::diff::SnapshotDiff;
use offheap_model::{Domain, Snapshot};
use serde_json::{Value, json};

/// `offheap diff --json`: every figure before, after, and the difference, whose sign is that of
/// growth.
pub fn diff(diff: &SnapshotDiff) -> Value {
    json!({
        "schema": "offheap/diff/v1",
        "before_ms": diff.before_ms,
        "after_ms": diff.after_ms,
        "same_process": diff.same_process,
        "rss": diff.rss,
        "domains": diff.domains,
        "arenas": diff.arenas,
        "threads": diff.threads,
        "files": diff.files,
        "size_classes": diff.size_classes,
        "nmt": diff.nmt,
    })
}

/// `offheap fit --json`: what the process `pid` may come to, part by part, against its limit.
pub fn fit(pid: i32, outlook: &Outlook) -> Value {
    json!({
        "schema": "offheap/fit/v1",
        "pid": pid,
        "limit_bytes": outlook.limit_bytes,
        "headroom_bytes": outlook.headroom_bytes,
        "ceiling_bytes": outlook.ceiling_bytes,
        "fits": outlook.fits,
        "parts": outlook.parts,
        "settings": outlook.settings,
    })
}

/// `offheap map --json`: the account, and beside it all that was learnt.
pub fn map(snapshot: &Snapshot) -> Value {
    json!({
        "schema": "offheap/map/v1",
        "time_ms": snapshot.time_ms,
        "took_us": snapshot.took_us,
        "longest_hold_us": snapshot.longest_hold_us,
        "pid": snapshot.process.pid,
        "process": snapshot.process,
        "rss_bytes": snapshot.memory.rss_bytes,
        "pss_bytes": snapshot.memory.pss_bytes,
        "uss_bytes": snapshot.memory.uss_bytes,
        "swap_bytes": snapshot.memory.swap_bytes,
        "memory": snapshot.memory,
        "cgroup": snapshot.cgroup,
        "domains": snapshot.domains,
        "unattributed_bytes": snapshot.rss_of(Domain::Unattributed),
        "jvm": snapshot.jvm,
        "malloc": snapshot.malloc,
        "threads": snapshot.threads,
        "files": snapshot.files,
        "python": snapshot.python,
        "notes": snapshot.notes,
    })
}

/// Reads what [`map`] wrote, so that two saved accounts can be compared.
///
/// # Errors
/// A sentence that says why the text is no saved account.
pub fn parse_map(text: &[u8]) -> Result<Snapshot, String> {
    let value: Value = serde_json::from_slice(text).map_err(|error| format!("this is not JSON: {error}"))?;
    match value.get("schema").and_then(Value::as_str) {
        Some("offheap/map/v1") => {}
        Some(other) => return Err(format!("this is {other:?}, not a saved account (offheap/map/v1)")),
        None => return Err("this JSON names no schema; write it with: offheap map PID --json".to_owned()),
    }
    serde_json::from_value(value).map_err(|error| format!("this saved account can't be understood: {error}"))
}

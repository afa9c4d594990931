//! The report of `offheap diagnose -o report.html`.

use anyhow::Context;
use offheap_diagnose::Diagnosis;
use offheap_model::{Profile, Snapshot};
use offheap_report::{Report, render};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// What a report shows beside the verdict.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen<'a> {
    /// The snapshots, oldest first.
    pub snapshots: &'a [Snapshot],
    /// The allocation sites, where the agent looked.
    pub profile: Option<&'a Profile>,
    /// The agent's profiles at several instants (milliseconds since the Unix epoch), oldest first; may be empty.
    pub instants: &'a [(i64, Profile)],
    /// Marks: when, and what.
    pub marks: &'a [(i64, String)],
    /// How the process ended, if it did.
    pub ended: Option<&'a str>,
}

/// Writes the report of `diagnosis` to `path`, one HTML file that needs nothing else.
///
/// # Errors
/// The file can't be written.
pub fn write(path: &Path, diagnosis: &Diagnosis, seen: Seen<'_>) -> anyhow::Result<()> {
    let line = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let mut environment = vec![
        ("Report made on".to_owned(), line("/proc/sys/kernel/hostname")),
        ("Kernel there".to_owned(), line("/proc/sys/kernel/osrelease")),
    ];
    environment.retain(|(_, value)| !value.is_empty());
    let page = render(&Report {
        diagnosis,
        snapshots: seen.snapshots,
        profile: seen.profile,
        instants: seen.instants,
        marks: seen.marks,
        ended: seen.ended,
        environment: &environment,
        made_ms: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64),
    });
    std::fs::write(path, page).with_context(|| format!("cannot write {}", path.display()))
}

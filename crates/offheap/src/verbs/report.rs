//! The report of `offheap diagnose -o report.html`.

use crate::clock::now_ms;
use crate::files;
use crate::session::Observed;
use offheap_diagnose::Diagnosis;
use offheap_report::{Report, render};
use std::path::Path;

/// Writes the report of `diagnosis` of what was `observed` to `path`, one HTML file that needs
/// nothing else.
///
/// # Errors
/// The file can't be written.
pub fn write(path: &Path, diagnosis: &Diagnosis, observed: &Observed) -> anyhow::Result<()> {
    let line = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let mut environment = vec![
        ("Report made on".to_owned(), line("/proc/sys/kernel/hostname")),
        ("Kernel there".to_owned(), line("/proc/sys/kernel/osrelease")),
    ];
    environment.retain(|(_, value)| !value.is_empty());
    let page = render(&Report {
        diagnosis,
        snapshots: &observed.snapshots,
        profile: observed.search.profile.as_ref(),
        instants: &observed.search.instants,
        marks: &observed.marks,
        ended: observed.ended.as_deref(),
        environment: &environment,
        made_ms: now_ms(),
    });
    files::write(path, page.as_bytes())
}

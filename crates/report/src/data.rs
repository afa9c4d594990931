//! Everything the page shows, as one JSON value.

use crate::Report;
use crate::code::Code;
use crate::series::{Series, thin};
use offheap_diagnose::{Diagnosis, render_markdown};
use offheap_model::Snapshot;
use offheap_model::diff::{SnapshotDiff, diff};
use serde::Serialize;

/// The schema of [`Data`] in JSON.
const SCHEMA: &str = "offheap/report/v1";
/// Rows of one list that a page shows: files, parts of a domain, arenas, pools.
const ROWS: usize = 400;
/// Characters of a command line.
const COMMAND: usize = 8_000;

/// What the page's script reads.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Data<'a> {
    schema: &'static str,
    version: &'static str,
    made_ms: i64,
    diagnosis: &'a Diagnosis,
    /// The verdict for a ticket.
    markdown: String,
    series: Series,
    /// The last snapshot, its lists bounded.
    last: Option<Snapshot>,
    /// The last snapshot against the first.
    diff: Option<SnapshotDiff>,
    code: Option<Code>,
    marks: &'a [(i64, String)],
    ended: Option<&'a str>,
    environment: &'a [(String, String)],
}

/// The page's data of `report`.
pub fn data<'a>(report: &Report<'a>) -> Data<'a> {
    let snapshots = thin(report.snapshots);
    let ends = snapshots.first().zip(snapshots.last());
    let profile = report.profile.or_else(|| report.instants.last().map(|(_, profile)| profile));
    Data {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION"),
        made_ms: report.made_ms,
        diagnosis: report.diagnosis,
        markdown: render_markdown(report.diagnosis),
        series: Series::of(&snapshots),
        last: snapshots.last().map(|snapshot| bounded(snapshot)),
        diff: ends.map(|(first, last)| {
            let mut diff = diff(first, last);
            for list in [
                &mut diff.domains,
                &mut diff.arenas,
                &mut diff.threads,
                &mut diff.files,
                &mut diff.size_classes,
                &mut diff.nmt,
            ] {
                list.truncate(ROWS);
            }
            diff
        }),
        code: profile.map(|profile| Code::of(profile, report.instants)),
        marks: report.marks,
        ended: report.ended,
        environment: report.environment,
    }
}

fn bounded(snapshot: &Snapshot) -> Snapshot {
    let mut snapshot = snapshot.clone();
    snapshot.domains.iter_mut().for_each(|figure| figure.detail.truncate(ROWS));
    snapshot.threads.truncate(ROWS);
    snapshot.files.truncate(ROWS);
    if let Some(malloc) = &mut snapshot.malloc {
        malloc.arenas.truncate(ROWS);
        malloc.size_classes.truncate(ROWS);
    }
    if let Some((end, _)) = snapshot.process.command.char_indices().nth(COMMAND) {
        snapshot.process.command.truncate(end);
    }
    snapshot
}

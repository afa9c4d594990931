//! The schemas of the JSON that is written, in docs/schemas: made of the types that are written,
//! and kept up to date here.

use super::document::{FiguresDocument, SeriesDocument};
use offheap_diagnose::{CheckResult, Comparison, Diagnosis};
use offheap_model::diff::SnapshotDiff;
use offheap_model::{
    Cgroup, DomainFigure, FileFigure, Handles, Jvm, Malloc, MemoryTotals, Note, Process, Python, ThreadPool,
};
use offheap_present::terminal::ps;
use schemars::{JsonSchema, Schema, schema_for};
use std::collections::BTreeMap;
use std::path::Path;

/// What `offheap map --json` writes, as `offheap_present::json::map` puts it together of a
/// snapshot.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is of use")]
struct MapDocument {
    /// `offheap/map/v1`
    schema: String,
    /// When the snapshot was begun, milliseconds since the Unix epoch.
    time_ms: i64,
    /// How long it took, microseconds.
    took_us: u64,
    /// How long looking held the lock of the process's address space in one go, at most;
    /// microseconds.
    longest_hold_us: Option<u64>,
    /// The process.
    pid: i32,
    /// Whose memory it is.
    process: Process,
    /// Resident bytes; the domains' sum.
    rss_bytes: u64,
    /// Resident bytes, shared pages in equal parts to those who share them.
    pss_bytes: Option<u64>,
    /// Resident bytes that nobody else has mapped.
    uss_bytes: Option<u64>,
    /// Bytes swapped out.
    swap_bytes: u64,
    /// The kernel's totals.
    memory: MemoryTotals,
    /// The control group the process is limited by.
    cgroup: Option<Cgroup>,
    /// One figure a domain, largest first.
    domains: Vec<DomainFigure>,
    /// Resident bytes of no domain.
    unattributed_bytes: u64,
    /// What is known of the JVM in it.
    jvm: Option<Jvm>,
    /// What is known of the C heap.
    malloc: Option<Malloc>,
    /// Threads by pool, largest resident first.
    threads: Vec<ThreadPool>,
    /// Files mapped, largest resident first.
    files: Vec<FileFigure>,
    /// What is known of the CPython interpreter in it.
    python: Option<Python>,
    /// What the reader must know.
    notes: Vec<Note>,
}

/// What `offheap diff --json` writes of two instants, as `offheap_present::json::diff` puts it
/// together.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is of use")]
struct DiffDocument {
    /// `offheap/diff/v1`
    schema: String,
    #[serde(flatten)]
    diff: SnapshotDiff,
}

/// What `offheap diagnose --json` writes.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is of use")]
struct DiagnoseDocument {
    #[serde(flatten)]
    diagnosis: Diagnosis,
    /// With `--compare`: whether the leak that was found before is gone.
    compare: Option<Comparison>,
}

/// What `offheap ps --json` writes.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is of use")]
struct PsDocument {
    /// `offheap/ps/v1`
    schema: String,
    /// Every JVM and CPython, the largest first.
    processes: Vec<ps::Row>,
}

/// What `offheap jcmd --json` writes.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is of use")]
struct JcmdDocument {
    /// `offheap/jcmd/v1`
    schema: String,
    /// The JVM.
    pid: i32,
    /// What was sent.
    command: String,
    /// 0: it was carried out. Anything else: it was not, and the text says why.
    status: i32,
    /// What the JVM answered.
    text: String,
}

/// What `offheap trim --json` writes.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is of use")]
struct TrimDocument {
    /// `offheap/trim/v1`
    schema: String,
    /// The JVM.
    pid: i32,
    /// By what means.
    how: String,
    /// How long it took.
    seconds: f64,
    /// What was expected to be given back.
    predicted_bytes: u64,
    /// Resident bytes before.
    rss_before_bytes: u64,
    /// Resident bytes after.
    rss_after_bytes: u64,
    /// Free but resident in the C heap before.
    free_resident_before_bytes: u64,
    /// Free but resident in the C heap after.
    free_resident_after_bytes: u64,
}

/// What `offheap doctor --json` writes.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is of use")]
struct DoctorDocument {
    /// `offheap/doctor/v1`
    schema: String,
    /// The process that was asked for.
    target: Option<DoctorTarget>,
    /// What works: `run` of the host; `account`, `attach`, `profile` of a target.
    can: BTreeMap<String, bool>,
    /// What was looked at.
    checks: Vec<DoctorCheck>,
}

/// A process.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is of use")]
struct DoctorTarget {
    /// Process id.
    pid: i32,
    /// Command line, where it could be read.
    command: Option<String>,
    /// The JVM's version.
    jvm: Option<String>,
    /// CPython's version.
    python: Option<String>,
}

/// One thing that was looked at.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is of use")]
struct DoctorCheck {
    /// Its name.
    id: String,
    /// How it came out.
    status: DoctorStatus,
    /// What was found.
    text: String,
    /// What it stands in the way of, of the names in `can`.
    blocks: Vec<String>,
    /// The next command, or change.
    fix: Option<String>,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "lowercase")]
#[expect(dead_code, reason = "only its schema is of use")]
enum DoctorStatus {
    Ok,
    Note,
    Problem,
}

/// What `offheap fit --json` writes, as `offheap_present::json::fit` puts it together.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is of use")]
struct FitDocument {
    /// `offheap/fit/v1`
    schema: String,
    /// The process.
    pid: i32,
    /// The limit it is held against; `None` where there is none.
    limit_bytes: Option<u64>,
    /// What is left until it.
    headroom_bytes: Option<u64>,
    /// What all parts may come to.
    ceiling_bytes: u64,
    /// Whether that is within the limit.
    fits: Option<bool>,
    /// Part by part.
    parts: Vec<offheap_diagnose::Part>,
    /// What to set where it does not fit, best first.
    settings: Vec<String>,
}

/// What `offheap serve` has at `views.json`; each view is a `report` at `views/ID.json`.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is of use")]
struct ServeDocument {
    /// `offheap/serve/v1`
    schema: String,
    /// What is shown.
    views: Vec<ServeView>,
}

/// What `offheap map CORE --json` writes, as `offheap_present::core::json` puts it together: of
/// each part what `map` writes of a process, with `held` for `resident` and without what a core
/// can't tell.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is of use")]
struct CoreDocument {
    /// `offheap/core/v1`
    schema: String,
    /// The process's ID inside its own pid namespace.
    pid: i32,
    /// Whose memory it was.
    process: serde_json::Map<String, serde_json::Value>,
    /// The signal that ended it; null where none did, as with gcore.
    signal: Option<i32>,
    /// Bytes of the pages that are not all zero; the domains' sum.
    held_bytes: u64,
    /// Bytes of the pages of zeros: never touched, or in use and zero.
    zero_bytes: u64,
    /// Bytes that its headers promise and the file doesn't have.
    missing_bytes: u64,
    /// The address space.
    virtual_bytes: u64,
    /// How many mappings there were.
    vma_count: u64,
    /// One figure a domain, largest first.
    domains: Vec<CoreDomain>,
    /// What is known of the JVM in it.
    jvm: Option<serde_json::Map<String, serde_json::Value>>,
    /// What is known of the C heap.
    malloc: Option<serde_json::Map<String, serde_json::Value>>,
    /// Threads by pool, largest first.
    threads: Vec<serde_json::Map<String, serde_json::Value>>,
    /// Files mapped, largest first.
    files: Vec<serde_json::Map<String, serde_json::Value>>,
    /// What is known of the CPython interpreter in it.
    python: Option<Python>,
    /// What the reader must know.
    notes: Vec<Note>,
}

/// A domain in a core file.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is of use")]
struct CoreDomain {
    /// Which one.
    domain: offheap_model::Domain,
    /// Bytes of its pages that are not all zero.
    held_bytes: u64,
    /// Its address space.
    virtual_bytes: u64,
    /// Where the figures come from.
    source: String,
    /// Its parts, largest first.
    detail: Vec<CoreDetail>,
}

/// A part of a domain in a core file.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is of use")]
struct CoreDetail {
    /// What it is.
    name: String,
    /// Bytes of its pages that are not all zero.
    held_bytes: u64,
    /// Its address space.
    virtual_bytes: u64,
    /// Where the figures come from.
    source: String,
}

/// A process or a recording.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is of use")]
struct ServeView {
    /// The ID in its address.
    id: String,
    /// The process's pid and command, or the recording's path.
    name: String,
    /// Why nothing more comes.
    ended: Option<String>,
}

/// The document's schema with its name as `schema`'s only value.
fn named(name: &str, mut schema: Schema) -> (String, String) {
    if let Some(member) = schema.pointer_mut("/properties/schema") {
        *member = serde_json::json!({ "const": name, "description": "The name and version of this schema." });
    }
    let file = name.trim_start_matches("offheap/").replace('/', ".") + ".json";
    (file, format!("{:#}\n", schema.to_value()))
}

/// What `offheap handles --json` writes.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is of use")]
struct HandlesDocument {
    /// `offheap/handles/v1`
    schema: String,
    /// The JVM.
    pid: i32,
    /// Between the two looks, with `--for`.
    seconds: Option<f64>,
    /// The first look, with `--for`.
    before: Option<Handles>,
    /// The references now.
    now: Handles,
}

/// With `OFFHEAP_BLESS=1` they are written anew.
#[test]
fn docs_schemas_are_those_of_the_types() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schemas");
    let schemas = [
        named("offheap/profile/v1", offheap_formats::json::schema()),
        named("offheap/figures/v1", schema_for!(FiguresDocument<'static>)),
        named("offheap/series/v1", schema_for!(SeriesDocument)),
        named("offheap/map/v1", schema_for!(MapDocument)),
        named("offheap/core/v1", schema_for!(CoreDocument)),
        named("offheap/diagnose/v1", schema_for!(DiagnoseDocument)),
        named("offheap/check/v1", schema_for!(CheckResult)),
        named("offheap/compare/v1", schema_for!(Comparison)),
        named("offheap/diff/v1", schema_for!(DiffDocument)),
        named("offheap/doctor/v1", schema_for!(DoctorDocument)),
        named("offheap/fit/v1", schema_for!(FitDocument)),
        named("offheap/handles/v1", schema_for!(HandlesDocument)),
        named("offheap/jcmd/v1", schema_for!(JcmdDocument)),
        named("offheap/nmt/v1", schema_for!(offheap_nmt::Report)),
        named("offheap/ps/v1", schema_for!(PsDocument)),
        named("offheap/python/v1", schema_for!(offheap_present::terminal::python::PythonReport)),
        named("offheap/report/v1", schema_for!(offheap_report::Data<'static>)),
        named("offheap/serve/v1", schema_for!(ServeDocument)),
        named("offheap/trim/v1", schema_for!(TrimDocument)),
    ];
    if std::env::var_os("OFFHEAP_BLESS").is_some() {
        std::fs::create_dir_all(&folder).unwrap();
    }
    for (name, schema) in schemas {
        let path = folder.join(name);
        if std::env::var_os("OFFHEAP_BLESS").is_some() {
            std::fs::write(&path, &schema).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            kept == schema,
            "{} is not what the types say: run this test with OFFHEAP_BLESS=1, and look at the difference",
            path.display()
        );
    }
}

//! The schemas of the JSON that is written, in docs/schemas: made of the types that are written, and kept up to date here.

use super::document::{FiguresDocument, SeriesDocument};
use offheap_model::{
    Cgroup, DomainFigure, FileFigure, Jvm, Malloc, MemoryTotals, Note, Process, Python, ThreadPool,
};
use schemars::{JsonSchema, Schema, schema_for};
use std::path::Path;

/// What `offheap map --json` writes, as `offheap_present::json::map` puts it together of a snapshot.
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

/// The document's schema with its name as `schema`'s only value.
fn named(name: &str, mut schema: Schema) -> (String, String) {
    if let Some(member) = schema.pointer_mut("/properties/schema") {
        *member = serde_json::json!({ "const": name, "description": "The name and version of this schema." });
    }
    let file = name.trim_start_matches("offheap/").replace('/', ".") + ".json";
    (file, format!("{:#}\n", schema.to_value()))
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
        named("offheap/diagnose/v1", schema_for!(offheap_diagnose::Diagnosis)),
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

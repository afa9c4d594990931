//! The edges between crates: data goes one way.

use crate::run;
use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The edges that are allowed: data goes one way (ARCHITECTURE.md). A crate not named here may have
/// none.
const EDGES: &[(&str, &[&str])] = &[
    ("offheap-model", &[]),
    ("offheap-knowledge", &["offheap-model"]),
    ("offheap-live", &[]),
    ("offheap-nmt", &[]),
    ("offheap-demangle", &[]),
    ("offheap-agent", &["offheap-live"]),
    ("offheap-target", &[]),
    ("offheap-linux", &["offheap-target"]),
    ("offheap-corefile", &["offheap-target", "offheap-linux"]),
    ("offheap-attach", &["offheap-linux"]),
    ("offheap-hotspot", &["offheap-linux", "offheap-target"]),
    ("offheap-cpython", &["offheap-target", "offheap-linux"]),
    ("offheap-heaps", &["offheap-target", "offheap-demangle"]),
    ("offheap-symbols", &["offheap-linux", "offheap-demangle"]),
    ("offheap-probe", &["offheap-linux", "offheap-heaps"]),
    (
        "offheap-collect",
        &[
            "offheap-model",
            "offheap-target",
            "offheap-linux",
            "offheap-corefile",
            "offheap-hotspot",
            "offheap-cpython",
            "offheap-heaps",
        ],
    ),
    ("offheap-formats", &["offheap-model", "offheap-demangle"]),
    ("offheap-diagnose", &["offheap-knowledge", "offheap-model"]),
    ("offheap-store", &["offheap-model"]),
    ("offheap-present", &["offheap-model", "offheap-diagnose"]),
    ("offheap-report", &["offheap-model", "offheap-diagnose"]),
    (
        "offheap",
        &[
            "offheap-knowledge",
            "offheap-model",
            "offheap-live",
            "offheap-linux",
            "offheap-attach",
            "offheap-nmt",
            "offheap-collect",
            "offheap-corefile",
            "offheap-formats",
            "offheap-symbols",
            "offheap-probe",
            "offheap-diagnose",
            "offheap-store",
            "offheap-present",
            "offheap-report",
        ],
    ),
    // Only for tests.
    ("offheap-testkit", &["offheap-live"]),
    ("offheap-xtask", &["offheap-testkit"]),
    ("offheap-scenarios", &[]),
];

/// Every dependency between our crates is an allowed edge, and every allowed edge is used.
/// Dev-dependencies are free: a test may look at anything.
pub fn check() -> Result<()> {
    let text = run::output(&run::cargo(), &["metadata", "--format-version", "1", "--no-deps"])?;
    let used = used(&serde_json::from_str(&text)?)?;
    let wrong = wrong(&used, EDGES);
    if wrong.is_empty() {
        return Ok(());
    }
    bail!(
        "edges between crates that are not as the table in crates/xtask/src/check/edges.rs has them:\n  {}",
        wrong.join("\n  ")
    )
}

/// The edges that there are, of each crate.
fn used(metadata: &Value) -> Result<Vec<(String, Vec<String>)>> {
    let packages = metadata["packages"].as_array().context("cargo metadata names no packages")?;
    let edges = |package: &Value| {
        let dependencies = package["dependencies"].as_array().map_or(&[][..], Vec::as_slice);
        let normal = dependencies.iter().filter(|dependency| dependency["kind"].as_str() != Some("dev"));
        let names = normal.filter_map(|dependency| dependency["name"].as_str());
        let ours = names.filter(|name| *name == "offheap" || name.starts_with("offheap-"));
        (package["name"].as_str().unwrap_or_default().to_owned(), ours.map(str::to_owned).collect())
    };
    Ok(packages.iter().map(edges).collect())
}

/// Edges that are used and not allowed, that are allowed and not used, and crates of the table that
/// there are not.
fn wrong(used: &[(String, Vec<String>)], allowed: &[(&str, &[&str])]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (from, edges) in used {
        let may = allowed.iter().find(|(name, _)| name == from).map_or(&[][..], |(_, to)| to);
        let not_allowed = edges.iter().filter(|to| !may.contains(&to.as_str()));
        wrong.extend(not_allowed.map(|to| format!("{from} -> {to} is not allowed")));
        let not_used = may.iter().filter(|to| !edges.iter().any(|edge| edge == *to));
        wrong.extend(not_used.map(|to| format!("{from} -> {to} is allowed and not used")));
    }
    let gone = allowed.iter().filter(|(from, _)| !used.iter().any(|(name, _)| name == from));
    wrong.extend(gone.map(|(from, _)| format!("{from} is in the table and in no Cargo.toml")));
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_edge_must_be_allowed_and_used() {
        let metadata = json!({ "packages": [
            { "name": "offheap-a", "dependencies": [
                { "name": "offheap-b", "kind": null },
                { "name": "serde", "kind": null },
                { "name": "offheap-test", "kind": "dev" },
                { "name": "offheap-c", "kind": "build" },
            ] },
            { "name": "offheap-b", "dependencies": [] },
        ] });
        let used = used(&metadata).unwrap();
        assert_eq!(wrong(&used, &[("offheap-a", &["offheap-b", "offheap-c"]), ("offheap-b", &[])]), [""; 0]);
        assert_eq!(wrong(&used, &[("offheap-a", &["offheap-b"])]), ["offheap-a -> offheap-c is not allowed"]);
        assert_eq!(
            wrong(
                &used,
                &[("offheap-a", &["offheap-b", "offheap-c"]), ("offheap-b", &["offheap-a"]), ("gone", &[])]
            ),
            ["offheap-b -> offheap-a is allowed and not used", "gone is in the table and in no Cargo.toml"]
        );
        assert!(super::used(&json!({})).is_err());
    }
}

//! What must hold of the code: the edges between crates, formatting, lints.

use crate::run;
use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The edges that are allowed: data goes one way (ARCHITECTURE.md). A crate not named here may have none.
const EDGES: &[(&str, &[&str])] = &[
    ("offheap-model", &[]),
    ("offheap-live", &[]),
    ("offheap-nmt", &[]),
    ("offheap-agent", &["offheap-live"]),
    ("offheap-linux", &[]),
    ("offheap-attach", &["offheap-linux"]),
    ("offheap-hotspot", &["offheap-linux"]),
    ("offheap-cpython", &["offheap-linux"]),
    ("offheap-heaps", &["offheap-linux"]),
    ("offheap-symbols", &["offheap-linux"]),
    ("offheap-probe", &["offheap-linux", "offheap-heaps"]),
    (
        "offheap-collect",
        &["offheap-model", "offheap-linux", "offheap-hotspot", "offheap-cpython", "offheap-heaps"],
    ),
    ("offheap-formats", &["offheap-model"]),
    ("offheap-diagnose", &["offheap-model"]),
    ("offheap-store", &["offheap-model"]),
    ("offheap-present", &["offheap-model", "offheap-diagnose"]),
    ("offheap-report", &["offheap-model", "offheap-diagnose"]),
    (
        "offheap",
        &[
            "offheap-model",
            "offheap-live",
            "offheap-linux",
            "offheap-hotspot",
            "offheap-attach",
            "offheap-nmt",
            "offheap-collect",
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
    ("offheap-xtask", &["offheap-diagnose", "offheap-testkit"]),
    ("offheap-scenarios", &[]),
];

/// All of it.
pub fn check() -> Result<()> {
    edges()?;
    let cargo = run::cargo();
    run::run(&cargo, &["fmt", "--all", "--check"])?;
    run::run(&cargo, &["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"])
}

/// Every dependency between our crates is an allowed edge. Dev-dependencies are free: a test may look at anything.
fn edges() -> Result<()> {
    let text = run::output(&run::cargo(), &["metadata", "--format-version", "1", "--no-deps"])?;
    let metadata: Value = serde_json::from_str(&text)?;
    let mut wrong = Vec::new();
    for package in metadata["packages"].as_array().context("cargo metadata names no packages")? {
        let name = package["name"].as_str().unwrap_or_default();
        let allowed = EDGES.iter().find(|(from, _)| *from == name).map_or(&[][..], |(_, to)| to);
        let dependencies = package["dependencies"].as_array().map_or(&[][..], Vec::as_slice);
        for dependency in dependencies {
            let to = dependency["name"].as_str().unwrap_or_default();
            let is_ours = to == "offheap" || to.starts_with("offheap-");
            if is_ours && dependency["kind"].as_str() != Some("dev") && !allowed.contains(&to) {
                wrong.push(format!("{name} -> {to}"));
            }
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    bail!("edges that ARCHITECTURE.md does not allow:\n  {}", wrong.join("\n  "))
}

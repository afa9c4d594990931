//! Running other programs, and where things are.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The workspace's root.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().and_then(Path::parent).unwrap_or(here).to_owned()
}

/// Where what was installed for development is kept: JREs, jars, built scenarios.
pub fn tools() -> PathBuf {
    root().join("target/offheap-tools")
}

/// Runs `program`, showing what it prints.
pub fn run(program: &str, arguments: &[&str]) -> Result<()> {
    eprintln!("+ {program} {}", arguments.join(" "));
    let status = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot start {program}"))?;
    if !status.success() {
        bail!("{program} {} failed ({status})", arguments.join(" "));
    }
    Ok(())
}

/// Runs `program` and gives what it prints on its standard output; its errors become ours.
pub fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {program}"))?;
    if !output.status.success() {
        bail!("{program} {} failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The cargo that runs us.
pub fn cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

/// The profile of everything that the tests build (the workspace's `Cargo.toml` says why it is
/// one).
pub const CHECKED: &str = "checked";

/// Builds the release binary; gives where it is.
pub fn build_release() -> Result<PathBuf> {
    build("release")
}

/// Builds the binary by a profile; gives where it is, which is elsewhere where `CARGO_TARGET_DIR`
/// says so.
pub fn build(profile: &str) -> Result<PathBuf> {
    run(&cargo(), &["build", "--profile", profile, "--package", "offheap"])?;
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    Ok(root().join(target).join(profile).join("offheap"))
}

//! `cargo xtask test`: set-up, then every test.

use crate::{check, run, setup, web};
use anyhow::{Result, bail};
use std::process::Command;

/// Sets up, checks, and runs every test; `filter` goes to cargo test.
pub fn test(filter: &[&str]) -> Result<()> {
    setup::setup()?;
    if filter.is_empty() {
        check::check()?;
        web::check()?;
    }
    // Tests drive the real binary; the figures they check are those of the build that is shipped.
    let offheap = run::build_release()?;
    // All of them, also behind a failure: one run shows everything that is broken.
    let arguments = [&["test", "--workspace", "--no-fail-fast"], filter].concat();
    eprintln!("+ cargo {}", arguments.join(" "));
    let status = Command::new(run::cargo())
        .args(&arguments)
        .env("OFFHEAP_JRES", setup::jres())
        .env("OFFHEAP_BIN", offheap)
        .status()?;
    if !status.success() {
        bail!("a test failed ({status})");
    }
    Ok(())
}

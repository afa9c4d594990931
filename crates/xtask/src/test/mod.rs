//! `cargo xtask test`: set-up, checks, and every test, several test programs at a time.

mod lanes;
mod programs;

use crate::{check, run, setup, web};
use anyhow::{Result, bail};
use std::process::Command;

/// Sets up, checks, and runs every test. With a `filter`, all of it goes to one `cargo test`,
/// unchanged.
pub fn test(filter: &[&str]) -> Result<()> {
    setup::setup()?;
    if filter.is_empty() {
        check::check()?;
        web::check()?;
    }
    // Tests drive the real binary, built as it is shipped, with arithmetic and assertions checked.
    let offheap = run::build(run::CHECKED)?;
    let environment =
        [("OFFHEAP_JRES", setup::jres().into_os_string()), ("OFFHEAP_BIN", offheap.into_os_string())];
    if !filter.is_empty() {
        let mut cargo = Command::new(run::cargo());
        cargo
            .args(["test", "--profile", run::CHECKED, "--workspace", "--no-fail-fast"])
            .args(filter)
            .envs(environment);
        return succeeded(&mut cargo);
    }
    let programs = programs::build()?;
    // All of them, also behind a failure: one run shows everything that is broken.
    let failed = lanes::run(&programs, &environment)?;
    let mut documentation = Command::new(run::cargo());
    documentation
        .args(["test", "--profile", run::CHECKED, "--workspace", "--doc", "--no-fail-fast"])
        .envs(environment);
    let documented = succeeded(&mut documentation);
    if !failed.is_empty() {
        bail!("tests failed in: {}", failed.join(", "));
    }
    documented
}

fn succeeded(command: &mut Command) -> Result<()> {
    let status = command.status()?;
    if !status.success() {
        bail!("a test failed ({status})");
    }
    Ok(())
}

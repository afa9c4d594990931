//! What must hold of the code: the edges between crates, style, where the processor is
//! named, names of types, generated pages, formatting, lints.

mod edges;
mod processor;
mod style;

use crate::{run, thresholds};
use anyhow::Result;

/// All of it.
pub fn check() -> Result<()> {
    edges::check()?;
    style::check(&run::root())?;
    processor::check(&run::root())?;
    thresholds::check(&run::root())?;
    let cargo = run::cargo();
    run::run(&cargo, &["fmt", "--all", "--check"])?;
    run::run(
        &cargo,
        &[
            "clippy",
            "--quiet",
            "--profile",
            run::CHECKED,
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ],
    )
}

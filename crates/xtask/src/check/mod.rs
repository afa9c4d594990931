//! What must hold of the code: the edges between crates, style, formatting, lints.

mod edges;
mod style;

use crate::run;
use anyhow::Result;

/// All of it.
pub fn check() -> Result<()> {
    edges::check()?;
    style::check(&run::root())?;
    let cargo = run::cargo();
    run::run(&cargo, &["fmt", "--all", "--check"])?;
    run::run(&cargo, &["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"])
}

//! `cargo xtask demo`: the main job on a real leaking JVM.

use crate::{run, setup};
use anyhow::Result;

/// Sets up, builds, and lets the binary's own demo run.
pub fn demo() -> Result<()> {
    setup::setup()?;
    let offheap = run::build_release()?;
    run::run(&offheap.to_string_lossy(), &["demo"])
}

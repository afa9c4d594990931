//! `offheap mark`

use crate::clock::now_ms;
use anyhow::bail;
use offheap_store::{Options, Recorder};
use std::path::PathBuf;
use std::process::ExitCode;

/// Write a mark into a recording: "load test starts", "load ends". Each opens a phase that lasts
/// until the next.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The recording; it may be written to at the same time.
    recording: PathBuf,
    /// What happens now.
    text: String,
}

/// Runs the verb.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if !arguments.recording.exists() {
        bail!("{} is not there; record first: offheap record PID -o FILE", arguments.recording.display());
    }
    // The journal mode is left alone: whoever records ends it.
    Recorder::create(&arguments.recording, Options::default())?.mark(now_ms(), &arguments.text)?;
    Ok(ExitCode::SUCCESS)
}

//! What a user knows of libraries of their own, beside what is built in.

use crate::files;
use anyhow::{Context, bail};
use offheap_knowledge::LIMIT_BYTES;
use std::io::Read;
use std::path::{Path, PathBuf};

/// More files than this are refused: each may have a megabyte.
const MOST_FILES: usize = 64;

/// The option of the verbs that give advice.
#[derive(Debug, Default, clap::Args)]
#[group(skip)]
pub struct Arguments {
    /// What is known of a library of your own: who owns what it allocates, what gives it back. A
    /// file as in offheap's folder knowledge/; can be given several times.
    #[arg(long, value_name = "FILE")]
    knowledge: Vec<PathBuf>,
}

impl Arguments {
    /// Adds the files to what is known. Called first of all: a bad file must show before the window,
    /// not after it.
    ///
    /// # Errors
    /// A file can't be read, or something in it is wrong: its place is said.
    pub fn add(&self) -> anyhow::Result<()> {
        if self.knowledge.len() > MOST_FILES {
            bail!("--knowledge takes {MOST_FILES} files at most");
        }
        if self.knowledge.is_empty() {
            return Ok(());
        }
        let read = |path: &PathBuf| Ok((path.display().to_string(), text(path)?));
        let files = self.knowledge.iter().map(read).collect::<anyhow::Result<Vec<_>>>()?;
        Ok(offheap_knowledge::add(&files)?)
    }
}

/// The text of a file, as far as a file of knowledge may be long.
fn text(path: &Path) -> anyhow::Result<String> {
    let cannot = || format!("cannot read {}", path.display());
    let mut bytes = Vec::new();
    // One more than may be: what is longer is refused by whoever parses it.
    files::open(path)?.take(LIMIT_BYTES as u64 + 1).read_to_end(&mut bytes).with_context(cannot)?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let line = 1 + error.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count();
            bail!("{}:{line}: no UTF-8, so no TOML", path.display())
        }
    }
}

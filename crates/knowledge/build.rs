//! Reads the files of `knowledge/`, checks them, and puts them into the binary in a form that is
//! read in a tenth of the time.

#[allow(dead_code)]
#[path = "src/file.rs"]
mod file;

use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join("../../knowledge").canonicalize()?;
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(&folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "toml") {
            files.push(path);
        }
    }
    files.sort();
    let mut libraries = Vec::new();
    for path in files {
        println!("cargo::rerun-if-changed={}", path.display());
        libraries.push(file::Library::parse(&path.display().to_string(), &std::fs::read_to_string(&path)?)?);
    }
    let out = Path::new(&std::env::var("OUT_DIR")?).join("knowledge.json");
    Ok(std::fs::write(out, serde_json::to_vec(&libraries)?)?)
}

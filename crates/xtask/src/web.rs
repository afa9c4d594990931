//! The report's page: its committed bundle, and the picture of it in the README.

use crate::{run, setup};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// Where the page's source is, and below it the committed bundle.
const SOURCE: &str = "crates/report/web";
/// The bundle's files.
const BUNDLE: [&str; 2] = ["report.js", "report.css"];

/// Bundles the page anew.
pub fn build() -> Result<()> {
    setup::packages()?;
    let built = bundle()?;
    for name in BUNDLE {
        std::fs::copy(built.join(name), Path::new(SOURCE).join("dist").join(name))?;
    }
    Ok(())
}

/// Fails where the committed bundle is not what its source gives.
pub fn check() -> Result<()> {
    let built = bundle()?;
    for name in BUNDLE {
        let committed = Path::new(SOURCE).join("dist").join(name);
        if std::fs::read(built.join(name))? != std::fs::read(&committed)? {
            bail!("{} is not what its source gives; run: cargo xtask web", committed.display());
        }
    }
    Ok(())
}

/// Bundles a copy of the source, so that the repository stays as it is; returns the folder of the
/// result.
fn bundle() -> Result<PathBuf> {
    let folder = run::tools().join("web");
    let source = Path::new(SOURCE);
    let _ = std::fs::remove_dir_all(folder.join("src"));
    std::fs::create_dir_all(folder.join("src"))?;
    for entry in std::fs::read_dir(source.join("src"))? {
        let path = entry?.path();
        std::fs::copy(&path, folder.join("src").join(path.file_name().context("a file has a name")?))?;
    }
    // The lock file pins the bundler to its last byte; what it says is installed already need not
    // be again.
    let lock = std::fs::read(source.join("package-lock.json"))?;
    let installed = folder.join("node_modules/.package-lock.of-ours");
    for name in ["package.json", "package-lock.json"] {
        std::fs::copy(source.join(name), folder.join(name))?;
    }
    let at = folder.to_string_lossy().into_owned();
    if std::fs::read(&installed).ok().as_ref() != Some(&lock) {
        run::run("npm", &["ci", "--prefix", &at, "--ignore-scripts", "--no-audit", "--no-fund"])
            .context("the page's bundler can't be installed; by hand: apt-get install nodejs npm, then npm ci in crates/report/web")?;
        std::fs::write(&installed, &lock)?;
    }
    run::run("npm", &["run", "--silent", "--prefix", &at, "build"])?;
    Ok(folder.join("dist"))
}

/// Makes `docs/img/report.png`: a JVM leaks in native code, `offheap` watches and profiles it, a
/// browser draws the report.
pub fn picture() -> Result<()> {
    setup::packages()?;
    run::build_release()?;
    run::run("docs/img/report.sh", &[])
}

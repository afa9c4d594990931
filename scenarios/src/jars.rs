//! The jars with native libraries that pyspark carries: the one way to RocksDB, zstd-jni and Netty with pip alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Error;
use crate::workshop::output_of;

/// The last line of pyspark whose libraries run on JDK 11.
const PYSPARK: &str = "3.5.8";

/// The jars that the programs below java/jars need, by the start of their names.
const WANTED: [&str; 12] = [
    "arrow-format-",
    "arrow-memory-core-",
    "arrow-memory-netty-",
    "arrow-vector-",
    "flatbuffers-java-",
    "lz4-java-",
    "netty-buffer-",
    "netty-common-",
    "rocksdbjni-",
    "slf4j-api-",
    "snappy-java-",
    "zstd-jni-",
];

/// The jars, fetched into `cache`/jars the first time: a download of 300 MB of which 70 MB are kept.
pub(crate) fn fetch(cache: &Path) -> Result<Vec<PathBuf>, Error> {
    let dir = cache.join(format!("jars-{PYSPARK}"));
    if !dir.is_dir() {
        eprintln!("downloading pyspark {PYSPARK} (300 MB, once) for its jars");
        download(cache, &dir).map_err(|reason| Error::Jars { version: PYSPARK, reason })?;
    }
    let mut jars = Vec::new();
    for wanted in WANTED {
        jars.push(jar(&dir, wanted).ok_or_else(|| Error::Jars {
            version: PYSPARK,
            reason: format!(
                "no {wanted}*.jar in {}; remove that directory to fetch them again",
                dir.display()
            ),
        })?);
    }
    Ok(jars)
}

fn jar(dir: &Path, start: &str) -> Option<PathBuf> {
    fs::read_dir(dir).ok()?.flatten().map(|entry| entry.path()).find(|path| {
        path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(start))
    })
}

/// Fetches the source distribution, unpacks the wanted jars beside their final place and moves them there in one
/// step, so that an interrupted download leaves nothing that looks complete.
fn download(cache: &Path, dir: &Path) -> Result<(), String> {
    let work = tempfile::tempdir_in(cache).map_err(|e| e.to_string())?;
    let archive = work.path().join(format!("pyspark-{PYSPARK}.tar.gz"));
    let jars = work.path().join("jars");
    fs::create_dir(&jars).map_err(|e| e.to_string())?;
    output_of(
        Command::new("python3")
            .args(["-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest"])
            .arg(work.path())
            .arg(format!("pyspark=={PYSPARK}")),
    )?;
    output_of(
        Command::new("tar")
            .args(["--extract", "--gzip", "--wildcards", "--strip-components=3"])
            .arg("--file")
            .arg(&archive)
            .arg("--directory")
            .arg(&jars)
            .args(WANTED.map(|start| format!("*/deps/jars/{start}*.jar"))),
    )?;
    fs::rename(&jars, dir).map_err(|e| e.to_string())
}

//! Which programs the workspace's tests are, as cargo tells when it builds them.

use crate::run;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// One program that cargo built of tests.
#[derive(Debug, PartialEq)]
pub struct Program {
    /// Package and target, as in `offheap::map`; a package's unit tests have its library's name.
    pub name: String,
    /// The file to run.
    pub file: PathBuf,
    /// The package's folder, which is a test's current one.
    pub folder: PathBuf,
}

/// Builds every test; gives the programs.
pub fn build() -> Result<Vec<Program>> {
    let arguments = [
        "test",
        "--profile",
        run::CHECKED,
        "--workspace",
        "--no-run",
        "--message-format",
        "json-render-diagnostics",
    ];
    eprintln!("+ cargo {}", arguments.join(" "));
    let mut cargo = Command::new(run::cargo()).args(arguments).stdout(Stdio::piped()).spawn()?;
    let messages = cargo.stdout.take().context("cargo has no standard output")?;
    let mut programs = Vec::new();
    for line in BufReader::new(messages).lines() {
        programs.extend(program(&line?));
    }
    let status = cargo.wait()?;
    if !status.success() {
        bail!("the tests do not build ({status})");
    }
    Ok(programs)
}

/// The test program that a message of cargo's tells of: a line of JSON, see "External tools" in
/// cargo's book.
fn program(message: &str) -> Option<Program> {
    let message: Value = serde_json::from_str(message).ok()?;
    let is_test = message["reason"] == "compiler-artifact" && message["profile"]["test"] == true;
    let file = message["executable"].as_str().filter(|_| is_test)?;
    let folder = Path::new(message["manifest_path"].as_str()?).parent()?;
    let package = folder.file_name()?.to_string_lossy();
    let target = message["target"]["name"].as_str()?;
    Some(Program { name: format!("{package}::{target}"), file: file.into(), folder: folder.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEST: &str = r#"{"reason":"compiler-artifact","package_id":"x","manifest_path":"/w/crates/heaps/Cargo.toml",
        "target":{"kind":["test"],"name":"glibc"},"profile":{"test":true},"executable":"/w/target/debug/deps/glibc-1"}"#;

    #[test]
    fn a_test_is_told_with_its_folder() {
        let told = program(TEST).expect("a program");
        assert_eq!(
            (told.name.as_str(), told.folder.as_path()),
            ("heaps::glibc", Path::new("/w/crates/heaps"))
        );
        assert_eq!(told.file, Path::new("/w/target/debug/deps/glibc-1"));
    }

    #[test]
    fn what_is_no_test_is_no_program() {
        for other in [
            TEST.replace(r#""test":true"#, r#""test":false"#),
            TEST.replace(r#""/w/target/debug/deps/glibc-1""#, "null"),
            TEST.replace("compiler-artifact", "build-script-executed"),
            "Compiling heaps".to_owned(),
        ] {
            assert_eq!(program(&other), None, "{other}");
        }
    }
}

use std::io;
use std::path::PathBuf;

/// Why a scenario could not be read, built or started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// scenarios.toml does not fit its description.
    #[error("scenarios.toml: {0}; README.md lists the fields")]
    Table(String),
    /// No scenario has that name.
    #[error("no scenario is called `{0}`; `offheap-scenarios list` prints the names")]
    Unknown(String),
    /// A size or a duration that cannot be read.
    #[error("`{text}` is no {what}; write it as {example}")]
    Unit {
        /// What was given.
        text: String,
        /// What it should have been.
        what: &'static str,
        /// A right one.
        example: &'static str,
    },
    /// No JDK of that kind is installed.
    #[error("no JDK {wanted} in {searched}; set OFFHEAP_JRES to a directory of JREs or give a Java home")]
    NoJdk {
        /// The version or path that was asked for.
        wanted: String,
        /// Where it was looked for.
        searched: String,
    },
    /// The scenario does not run on this JDK.
    #[error("{scenario} needs JDK {needs} or later, this is {given}")]
    JdkTooOld {
        /// The scenario's name.
        scenario: String,
        /// The first feature release that can run it.
        needs: u32,
        /// The feature release that was given.
        given: u32,
    },
    /// A tool that builds the programs failed or is missing.
    #[error("{tool} failed, so {what} could not be built:\n{output}")]
    Build {
        /// The command.
        tool: String,
        /// What it should have made.
        what: String,
        /// What it said.
        output: String,
    },
    /// The libraries inside pyspark could not be had.
    #[error("the jars inside pyspark {version} are missing: {reason}; scenarios that need them cannot run")]
    Jars {
        /// The release of pyspark.
        version: &'static str,
        /// What failed.
        reason: String,
    },
    /// The program ended or stayed silent instead of saying READY.
    #[error("{scenario} did not become ready: {reason}\n{stderr}")]
    NotReady {
        /// The scenario's name.
        scenario: String,
        /// Ended, or timed out.
        reason: String,
        /// What the program wrote to its standard error.
        stderr: String,
    },
    /// A file or a process could not be handled.
    #[error("{path}: {source}")]
    Io {
        /// The file, directory or program.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl Error {
    /// For `map_err` on everything that touches `path`.
    pub(crate) fn at(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { path, source }
    }
}

//! What can go wrong when looking at a process.

use std::io;

/// Why a process could not be looked at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No process has this pid.
    #[error("no process has pid {pid}{}", if *.hidden { " that this user may see: /proc is mounted with hidepid, so run as root or as the process's user" } else { "" })]
    NoSuchProcess {
        /// The pid asked for.
        pid: i32,
        /// True where `/proc` hides other users' processes.
        hidden: bool,
    },
    /// The process ended while it was looked at.
    #[error("process {pid} ended while {doing}")]
    Died {
        /// Its pid.
        pid: i32,
        /// What was being done.
        doing: String,
    },
    /// A kernel thread, or a process that has ended and waits for its parent.
    #[error("process {pid} has no memory of its own: it is a kernel thread or a zombie; see: offheap ps")]
    NoMemory {
        /// Its pid.
        pid: i32,
    },
    /// The kernel refused.
    #[error(
        "not allowed to read {what} of process {pid}: this needs the process's own user or CAP_SYS_PTRACE; \
         run: {remedy}"
    )]
    NotAllowed {
        /// Its pid.
        pid: i32,
        /// The file in `/proc/PID`.
        what: String,
        /// The exact next command.
        remedy: String,
    },
    /// Anything else.
    #[error("cannot read {what} of process {pid}: {source}")]
    Io {
        /// Its pid.
        pid: i32,
        /// The file in `/proc/PID`.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A file of `/proc` did not look as documented.
    #[error("{what} of process {pid} could not be understood: {text:?}")]
    Malformed {
        /// Its pid.
        pid: i32,
        /// The file in `/proc/PID`.
        what: String,
        /// The line.
        text: String,
    },
}

impl Error {
    /// True where the process is gone, so that what was learnt before is all there will be.
    pub fn is_gone(&self) -> bool {
        matches!(self, Error::NoSuchProcess { .. } | Error::Died { .. })
    }
}

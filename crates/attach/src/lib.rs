//! The HotSpot attach protocol, spoken natively: no JDK is needed, neither here nor on the target's
//! side.
//!
//! A running JVM listens on a socket `.java_pidN` below `/tmp`, once it has been asked to: by a
//! file `.attach_pidN` and a SIGQUIT (attachListener_linux.cpp and attachListener_posix.cpp of JDK
//! 8 to 26). [`Session::open`] finds out whether that can be done without harm, and does it;
//! [`Session::jcmd`] then runs a diagnostic command:
//!
//! ```no_run
//! let reply = offheap_attach::jcmd(4711, "VM.native_memory summary")?;
//! print!("{}", reply.text);
//! # Ok::<(), offheap_attach::AttachError>(())
//! ```
//!
//! It works across pid and mount namespaces, and as root on a JVM of any user: whatever happens in
//! the target's file system is done with the target's own effective user and group, which is also
//! what JDK 8 insists on.
//!
//! What it never does: send a signal to anything but a HotSpot JVM that has a handler for it
//! (`-Xrs` has none, and SIGQUIT would kill it), follow a symbolic link where the JVM puts its
//! files, talk to a socket that is not the target's own, or wait without an end.

mod error;
mod hsperf;
mod identity;
mod library;
mod load;
mod process;
mod prospects;
mod protocol;
mod session;
mod socket;
mod trigger;

use std::time::Duration;

pub use error::AttachError;
pub use library::{NoWay, Placed, Unfit, Way, loaded_as};
pub use load::LoadOutcome;
pub use prospects::{Prospects, Tmp, prospects};
pub use protocol::Reply;
pub use session::Session;

/// How to attach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// How long opening a session, and each command, may take.
    pub timeout: Duration,
    /// How many bytes a reply may have.
    pub max_reply_bytes: usize,
    /// Whether the JVM was started with its attach mechanism on (`-XX:-DisableAttachMechanism`, the
    /// default), where the caller knows. Otherwise its performance counters are asked.
    pub attach_enabled: Option<bool>,
}

impl Default for Options {
    fn default() -> Self {
        Options { timeout: Duration::from_secs(10), max_reply_bytes: 64 << 20, attach_enabled: None }
    }
}

/// Runs one diagnostic command, such as `VM.native_memory summary`, with the default [`Options`].
///
/// `pid` is the process id as this process sees it. A reply whose status is not 0 is the JVM's
/// refusal, not an error.
pub fn jcmd(pid: u32, command: &str) -> Result<Reply, AttachError> {
    Session::open(pid, &Options::default())?.jcmd(command)
}

/// The ways in which a library of `bytes` could be put where the process `pid` loads it, up to the
/// first that is open. Nothing is written.
pub fn library_ways(pid: u32, bytes: u64) -> Result<Vec<Way>, AttachError> {
    let process = process::Process::open(pid)?;
    let status = process.status()?;
    let identity = identity::Identity { uid: status.effective_uid, gid: status.effective_gid };
    Ok(library::ways(&process, identity, bytes))
}

/// Loads a native agent (`Agent_OnAttach`) with the default [`Options`]. See
/// [`Session::load_agent`].
pub fn load_agent(pid: u32, path: &str, options: &str) -> Result<LoadOutcome, AttachError> {
    Session::open(pid, &Options::default())?.load_agent(path, options)
}

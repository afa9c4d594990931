//! What can go wrong, why, and what to do then.

use std::io;
use std::time::Duration;

use thiserror::Error;

/// Why a JVM could not be attached to. Each message says what failed, why, and the next step.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AttachError {
    /// Nothing has that pid.
    #[error("there is no process {pid}; `offheap ps` lists the JVMs that run")]
    NoSuchProcess {
        /// The pid that was asked for.
        pid: u32,
    },
    /// Something has that pid, but /proc doesn't show it.
    #[error("process {pid} exists, but /proc hides it (hidepid): run offheap as its owner or as root")]
    Hidden {
        /// The pid that was asked for.
        pid: u32,
    },
    /// It is the id of a thread.
    #[error("{pid} is a thread of process {process}: use {process}")]
    IsThread {
        /// The pid that was asked for.
        pid: u32,
        /// The process it belongs to.
        process: u32,
    },
    /// The kernel doesn't let us.
    #[error(
        "no permission to {what} of process {pid}, which belongs to user {uid}: run offheap as that user \
         (sudo -u '#{uid}' offheap …) or as root (in a container: with CAP_SYS_PTRACE, CAP_KILL, CAP_SETUID, CAP_SETGID)"
    )]
    NoPermission {
        /// The process.
        pid: u32,
        /// Its effective user.
        uid: u32,
        /// What was refused.
        what: &'static str,
    },
    /// It is not a JVM, or not one with this protocol.
    #[error(
        "process {pid} is not a HotSpot JVM (no libjvm.so is mapped in it), so nothing was sent to it; \
         `offheap map` works for any process"
    )]
    NotHotSpot {
        /// The process.
        pid: u32,
    },
    /// It is an OpenJ9, whose attach protocol is another one.
    #[error(
        "process {pid} is an OpenJ9 JVM, which has no HotSpot attach protocol; `offheap map` still works"
    )]
    OpenJ9 {
        /// The process.
        pid: u32,
    },
    /// `-XX:+DisableAttachMechanism`.
    #[error(
        "JVM {pid} was started with -XX:+DisableAttachMechanism, so it takes no commands: \
         `offheap map` still works, and reads NMT's counters from memory where NMT is on"
    )]
    AttachDisabled {
        /// The process.
        pid: u32,
    },
    /// SIGQUIT would kill it.
    #[error(
        "JVM {pid} has no handler for SIGQUIT, which would kill it, so it was not sent: \
         if the JVM is still starting, try again in a moment; if it runs with -Xrs, its socket {socket} is gone and \
         only a restart brings it back; `offheap map` still works"
    )]
    SignalUnhandled {
        /// The process.
        pid: u32,
        /// Where it would listen, as the target sees it.
        socket: String,
    },
    /// It is stopped and can't answer.
    #[error(
        "process {pid} is stopped (SIGSTOP or a debugger), so it can't answer: continue it (kill -CONT {pid}) first"
    )]
    Stopped {
        /// The process.
        pid: u32,
    },
    /// Somebody else put something where the JVM's socket, or the file that asks for it, belongs.
    #[error(
        "{path} {why}, so it is not what JVM {pid} or an attach to it would make, and was not touched: \
         find out who made it, then remove it (rm {path})"
    )]
    Foreign {
        /// The process.
        pid: u32,
        /// Where it lies, as seen from here.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// The one who listens is not the target.
    #[error(
        "{path} is served by process {peer_pid} of user {peer_uid}, not by JVM {pid}; nothing was sent. \
         Find out what that process is, then remove the socket (rm {path})"
    )]
    WrongPeer {
        /// The process.
        pid: u32,
        /// Where the socket lies, as seen from here.
        path: String,
        /// Who listens on it; 0 for a process of a pid namespace that can't be seen from here.
        peer_pid: u32,
        /// That one's user.
        peer_uid: u32,
    },
    /// The file that announces an attach could not be made.
    #[error(
        "neither the working directory of JVM {pid} ({cwd}) nor its /tmp ({tmp}) can take the file {name} that asks \
         the JVM to listen: make one of them writable for its user"
    )]
    NoTrigger {
        /// The process.
        pid: u32,
        /// The file's name.
        name: String,
        /// Why not in the working directory.
        cwd: io::Error,
        /// Why not in /tmp.
        tmp: io::Error,
    },
    /// The JVM can't make its socket.
    #[error(
        "JVM {pid} can't make its socket in its /tmp, which {why}: {step}; `offheap map` still works without it"
    )]
    TmpUnusable {
        /// The process.
        pid: u32,
        /// What is wrong with it.
        why: String,
        /// What to do.
        step: &'static str,
    },
    /// It was asked to listen, and doesn't.
    #[error(
        "JVM {pid} was asked to listen and did not within {waited:.1?}: it is hung, starved of CPU or frozen; \
         try again with a longer timeout. With -XX:+DisableAttachMechanism it has printed a thread dump instead"
    )]
    NotListening {
        /// The process.
        pid: u32,
        /// How long it had.
        waited: Duration,
    },
    /// The answer did not come, or not to its end.
    #[error(
        "JVM {pid} did not answer completely within {waited:.1?} ({received} bytes came): it is at work on another \
         command, in a long safepoint, or hung; try again with a longer timeout"
    )]
    Timeout {
        /// The process.
        pid: u32,
        /// How long it had.
        waited: Duration,
        /// How much of the answer came.
        received: usize,
    },
    /// It went away.
    #[error("process {pid} ended before its answer did ({} bytes came)", partial.len())]
    Died {
        /// The process.
        pid: u32,
        /// What it had said.
        partial: Vec<u8>,
    },
    /// It closed the connection without a word.
    #[error(
        "JVM {pid} closed the connection without an answer: JDK 8 does that unless user and group of the caller are \
         its own; run offheap as user {uid}, group {gid}, or as root"
    )]
    Refused {
        /// The process.
        pid: u32,
        /// Its effective user.
        uid: u32,
        /// Its effective group.
        gid: u32,
    },
    /// The answer exceeds [`Options::max_reply_bytes`](crate::Options::max_reply_bytes).
    #[error("the answer of JVM {pid} is longer than {limit} bytes: ask for less, or raise the limit")]
    ReplyTooLong {
        /// The process.
        pid: u32,
        /// The limit.
        limit: usize,
    },
    /// The answer doesn't begin with a status.
    #[error("the answer of process {pid} is not in the attach protocol: it begins with {start:?}")]
    BadReply {
        /// The process.
        pid: u32,
        /// How it begins.
        start: String,
    },
    /// The command doesn't fit into a request.
    #[error("the command can't be sent: {why}")]
    BadRequest {
        /// What is wrong with it.
        why: String,
    },
    /// The agent's library is given by a path that depends on the working directory.
    #[error("the agent's path {path:?} must be absolute, as seen from inside the target")]
    RelativePath {
        /// The path.
        path: String,
    },
    /// Anything else the kernel refused.
    #[error("can't {what} of process {pid}: {source}")]
    System {
        /// The process.
        pid: u32,
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

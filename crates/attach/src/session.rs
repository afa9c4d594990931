//! A JVM that takes commands.

use std::os::fd::OwnedFd;

use crate::error::AttachError;
use crate::identity::Identity;
use crate::load::{LoadOutcome, outcome};
use crate::process::{Maps, Process};
use crate::protocol::{BAD_VERSION, Reply, Request, parse_reply, understands_version_2};
use crate::socket::{Connected, Deadline, Rendezvous, exchange};
use crate::{Options, trigger};

/// A JVM that was found fit to be attached to. Each command is a connection of its own: between
/// commands nothing is held open in the JVM.
#[derive(Debug)]
pub struct Session {
    pub(crate) process: Process,
    pub(crate) rendezvous: Rendezvous,
    maps: Maps,
    options: Options,
}

impl Session {
    /// Makes sure that `pid` is a HotSpot JVM that can be attached to without harm, and that it
    /// listens.
    ///
    /// `pid` is the process id as this process sees it, whatever the target's own namespace calls
    /// it.
    pub fn open(pid: u32, options: &Options) -> Result<Session, AttachError> {
        let deadline = Deadline::after(options.timeout);
        let process = Process::open(pid)?;
        let status = process.status()?;
        if status.tgid != pid {
            return Err(AttachError::IsThread { pid, process: status.tgid });
        }
        let maps = process.maps(status.inner_pid)?;
        if maps.openj9 {
            return Err(AttachError::OpenJ9 { pid });
        }
        if !maps.libjvm {
            return Err(AttachError::NotHotSpot { pid });
        }
        let identity = Identity { uid: status.effective_uid, gid: status.effective_gid };
        let rendezvous = Rendezvous { tmp: process.tmp()?, inner_pid: status.inner_pid, identity };
        let session = Session { process, rendezvous, maps, options: options.clone() };
        if session.rendezvous.find(&session.process)?.is_none() {
            session.make_listen(None, deadline)?;
        }
        Ok(session)
    }

    /// The process id that the session was opened with.
    pub fn pid(&self) -> u32 {
        self.process.pid
    }

    /// Runs a diagnostic command (`VM.native_memory summary`, `Thread.print`, `help`…).
    pub fn jcmd(&self, command: &str) -> Result<Reply, AttachError> {
        self.execute("jcmd", &[command])
    }

    /// Loads the native agent at `path`, an absolute path as seen from inside the target, and calls
    /// its `Agent_OnAttach` with `options`. JDK 21 and later print a warning to the application's
    /// output.
    pub fn load_agent(&self, path: &str, options: &str) -> Result<LoadOutcome, AttachError> {
        if !path.starts_with('/') {
            return Err(AttachError::RelativePath { path: path.to_owned() });
        }
        Ok(outcome(&self.execute("load", &[path, "true", options])?))
    }

    /// Runs any command of the attach listener (`jcmd`, `load`, `properties`, `threaddump`…) with
    /// at most three arguments. A status other than 0 is the JVM's refusal, not an error.
    pub fn execute(&self, command: &str, arguments: &[&str]) -> Result<Reply, AttachError> {
        let deadline = Deadline::after(self.options.timeout);
        let request = Request::new(command, arguments).map_err(|why| AttachError::BadRequest { why })?;
        if request.fits_version_1() {
            let reply = self.send(&request.version_1(), deadline)?;
            if reply.status != BAD_VERSION {
                return Ok(reply);
            }
        } else {
            let question =
                Request::new("getversion", &["options"]).map_err(|why| AttachError::BadRequest { why })?;
            if !understands_version_2(&self.send(&question.version_1(), deadline)?) {
                let why = "JVMs before 25 take at most 1024 bytes".to_owned();
                return Err(AttachError::BadRequest { why });
            }
        }
        self.send(&request.version_2(), deadline)
    }

    fn send(&self, request: &[u8], deadline: Deadline) -> Result<Reply, AttachError> {
        let pid = self.process.pid;
        let socket = self.connect(deadline)?;
        let bytes = exchange(&self.process, &socket, request, deadline, self.options.max_reply_bytes)?;
        if bytes.is_empty() {
            let Identity { uid, gid } = self.rendezvous.identity;
            return Err(AttachError::Refused { pid, uid, gid });
        }
        parse_reply(&bytes).ok_or_else(|| {
            let start = String::from_utf8_lossy(bytes.get(..80).unwrap_or(&bytes)).into_owned();
            AttachError::BadReply { pid, start }
        })
    }

    /// Connects. The socket may have been removed since, or be that of an earlier process with the
    /// same pid, as happens to containers whose /tmp outlives them: then the JVM is asked to make
    /// another.
    fn connect(&self, deadline: Deadline) -> Result<OwnedFd, AttachError> {
        if let Some(socket) = self.try_connect(deadline)? {
            return Ok(socket);
        }
        let stale = self.rendezvous.find(&self.process)?.map(|file| file.inode);
        self.make_listen(stale, deadline)?;
        let not_listening = AttachError::NotListening { pid: self.process.pid, waited: deadline.waited() };
        self.try_connect(deadline)?.ok_or(not_listening)
    }

    /// `None` where there is no socket, or nobody listens on it.
    fn try_connect(&self, deadline: Deadline) -> Result<Option<OwnedFd>, AttachError> {
        let Some(file) = self.rendezvous.find(&self.process)? else { return Ok(None) };
        match self.rendezvous.connect(&self.process, &file, deadline)? {
            Connected::To(socket) => Ok(Some(socket)),
            Connected::Stale => Ok(None),
        }
    }

    fn make_listen(&self, stale: Option<(u64, u64)>, deadline: Deadline) -> Result<(), AttachError> {
        let asked = || self.process.attach_enabled(&self.rendezvous, &self.maps);
        let enabled = self.options.attach_enabled.or_else(asked);
        if enabled == Some(false) {
            return Err(AttachError::AttachDisabled { pid: self.process.pid });
        }
        trigger::listen(&self.process, &self.rendezvous, stale, deadline)
    }
}

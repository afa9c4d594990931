//! The JVM's socket: found, checked, and talked to.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv, send,
    socket_with,
};

use crate::error::AttachError;
use crate::identity::Identity;
use crate::process::Process;

/// A point in time by which something must have happened.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    started: Instant,
    timeout: Duration,
}

impl Deadline {
    pub fn after(timeout: Duration) -> Self {
        Deadline { started: Instant::now(), timeout }
    }

    /// `None` when it has passed.
    pub fn remaining(&self) -> Option<Duration> {
        self.timeout.checked_sub(self.started.elapsed()).filter(|left| !left.is_zero())
    }

    pub fn waited(&self) -> Duration {
        self.started.elapsed()
    }
}

/// Where the JVM listens, or will.
#[derive(Debug)]
pub struct Rendezvous {
    /// The target's /tmp.
    pub tmp: OwnedFd,
    /// The pid that the JVM knows itself by: it is in the names of its files.
    pub inner_pid: u32,
    /// The target's effective user and group.
    pub identity: Identity,
}

/// A socket that may be the JVM's. Held itself, not by name: nobody can put another in its place.
#[derive(Debug)]
pub struct SocketFile {
    fd: OwnedFd,
    /// Device and inode.
    pub inode: (u64, u64),
}

/// What a connect came to.
pub enum Connected {
    To(OwnedFd),
    /// Nobody listens: it was left behind by a process that is gone.
    Stale,
}

impl Rendezvous {
    fn name(&self) -> String {
        format!(".java_pid{}", self.inner_pid)
    }

    /// As the target sees it.
    pub fn inner_path(&self) -> String {
        format!("/tmp/{}", self.name())
    }

    /// As it is seen from here.
    fn path(&self, process: &Process) -> String {
        format!("/proc/{}/root/tmp/{}", process.pid, self.name())
    }

    /// The socket file, if there is one: refused unless it is a socket that belongs to the target's
    /// user or to root.
    pub fn find(&self, process: &Process) -> Result<Option<SocketFile>, AttachError> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = match openat(&self.tmp, self.name(), flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(process.error("look for the socket", error)),
        };
        let stat = fstat(&fd).map_err(|error| process.error("look at the socket", error))?;
        let why = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Socket if stat.st_uid == self.identity.uid || stat.st_uid == 0 => {
                return Ok(Some(SocketFile { fd, inode: (stat.st_dev, stat.st_ino) }));
            }
            FileType::Socket => {
                format!("belongs to user {}, and the JVM runs as user {}", stat.st_uid, self.identity.uid)
            }
            FileType::Symlink => format!("is a symbolic link (of user {})", stat.st_uid),
            _ => format!("is not a socket (a file of user {})", stat.st_uid),
        };
        Err(AttachError::Foreign { pid: process.pid, path: self.path(process), why })
    }

    /// Connects with the target's own user and group, and makes sure that it is the target that
    /// listens.
    pub fn connect(
        &self,
        process: &Process,
        file: &SocketFile,
        deadline: Deadline,
    ) -> Result<Connected, AttachError> {
        let what = "connect to the socket";
        let failed = |error: io::Error| process.error(what, error);
        // Through the descriptor, so that neither the length of a path nor a mount namespace
        // matters.
        let path = format!("/proc/self/fd/{}", file.fd.as_raw_fd());
        let address = SocketAddrUnix::new(path).map_err(|error| failed(error.into()))?;
        loop {
            let connected = self.identity.run(|| {
                let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
                let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
                connect(&socket, &address).map(|()| socket)
            });
            match connected.map_err(failed)? {
                Ok(socket) => {
                    self.check_peer(process, &socket)?;
                    return Ok(Connected::To(socket));
                }
                Err(Errno::CONNREFUSED) => return Ok(Connected::Stale),
                // Too many are waiting to be accepted.
                Err(Errno::AGAIN) => {
                    let Some(left) = deadline.remaining() else {
                        return Err(AttachError::Timeout {
                            pid: process.pid,
                            waited: deadline.waited(),
                            received: 0,
                        });
                    };
                    if process.ended_within(left.min(Duration::from_millis(20))) {
                        return Err(AttachError::Died { pid: process.pid, partial: Vec::new() });
                    }
                }
                Err(error) => return Err(failed(error.into())),
            }
        }
    }

    /// The kernel says who listens, as they were when they began to.
    fn check_peer(&self, process: &Process, socket: &OwnedFd) -> Result<(), AttachError> {
        let peer = peer(socket).map_err(|error| process.error("ask who serves the socket", error))?;
        let peer_pid = u32::try_from(peer.pid).unwrap_or(0);
        if peer_pid == process.pid && (peer.uid == self.identity.uid || peer.uid == 0) {
            return Ok(());
        }
        Err(AttachError::WrongPeer {
            pid: process.pid,
            path: self.path(process),
            peer_pid,
            peer_uid: peer.uid,
        })
    }
}

/// SO_PEERCRED. Not by rustix, whose pid can't be 0, which the kernel gives for a process that
/// can't be seen.
fn peer(socket: &OwnedFd) -> io::Result<libc::ucred> {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the descriptor is open, and the kernel writes at most `length` bytes to `peer`, which
    // is plain data of that size.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(peer) } else { Err(io::Error::last_os_error()) }
}

/// Sends a request and reads the answer to its end.
pub fn exchange(
    process: &Process,
    socket: &OwnedFd,
    request: &[u8],
    deadline: Deadline,
    max_reply: usize,
) -> Result<Vec<u8>, AttachError> {
    let pid = process.pid;
    let mut answer = Vec::new();
    let mut left = request;
    while !left.is_empty() {
        wait(process, socket, PollFlags::OUT, deadline, 0)?;
        match send(socket, left, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Ok(sent) => left = left.get(sent..).unwrap_or_default(),
            Err(Errno::AGAIN | Errno::INTR) => {}
            // It doesn't want to hear the rest; it may have said why.
            Err(Errno::PIPE | Errno::CONNRESET) => break,
            Err(error) => return Err(process.error("send to the JVM", error)),
        }
    }
    let mut buffer = vec![0; 64 << 10];
    loop {
        wait(process, socket, PollFlags::IN, deadline, answer.len())?;
        match recv(socket, &mut buffer[..], RecvFlags::DONTWAIT) {
            Ok((0, _)) | Err(Errno::CONNRESET) => break,
            Ok((received, _)) => answer.extend(buffer.iter().take(received)),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(process.error("receive from the JVM", error)),
        }
        if answer.len() > max_reply {
            return Err(AttachError::ReplyTooLong { pid, limit: max_reply });
        }
    }
    if process.is_gone() {
        return Err(AttachError::Died { pid, partial: answer });
    }
    Ok(answer)
}

/// Waits until the socket is ready.
fn wait(
    process: &Process,
    socket: &OwnedFd,
    events: PollFlags,
    deadline: Deadline,
    received: usize,
) -> Result<(), AttachError> {
    loop {
        let timed_out = || AttachError::Timeout { pid: process.pid, waited: deadline.waited(), received };
        let left = deadline.remaining().ok_or_else(timed_out)?.try_into().map_err(|_| timed_out())?;
        match poll(&mut [PollFd::new(&socket.as_fd(), events)], Some(&left)) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(process.error("wait for the JVM", error)),
        }
    }
}

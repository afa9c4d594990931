//! Making a JVM listen: a file that says so, and a SIGQUIT. Without the file SIGQUIT prints a
//! thread dump; without a handler it kills.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{
    Access, AtFlags, FileType, Mode, OFlags, StatVfsMountFlags, accessat, fstatvfs, openat, statat, unlinkat,
};
use rustix::io::Errno;

use crate::error::AttachError;
use crate::identity::Identity;
use crate::process::Process;
use crate::socket::{Deadline, Rendezvous};

/// How long a JVM that has no handler for SIGQUIT is given to install one: it may just be starting.
const START: Duration = Duration::from_secs(1);

/// How long another attacher is given to finish what it began.
const PATIENCE: Duration = Duration::from_secs(2);

/// Makes the JVM listen, on another socket than `stale`, if that is given.
pub fn listen(
    process: &Process,
    rendezvous: &Rendezvous,
    stale: Option<(u64, u64)>,
    deadline: Deadline,
) -> Result<(), AttachError> {
    let is_up = || -> Result<bool, AttachError> {
        Ok(rendezvous.find(process)?.is_some_and(|socket| Some(socket.inode) != stale))
    };
    let starting = Deadline::after(START.min(deadline.remaining().unwrap_or_default()));
    if wait_for(process, starting, &|| {
        Ok(is_up()?
            || !matches!(check_handler(process, rendezvous), Err(AttachError::SignalUnhandled { .. })))
    })? && is_up()?
    {
        return Ok(());
    }
    check_handler(process, rendezvous)?;
    check_tmp(process, rendezvous)?;
    // Keeps the file until the end of this function, however it ends.
    let _file = match TriggerFile::create(process, rendezvous)? {
        Created::New(file) => file,
        Created::Exists(file) => {
            // Another attacher is at it, or one was killed here.
            let patience = Deadline::after(PATIENCE.min(deadline.remaining().unwrap_or_default() / 2));
            if wait_for(process, patience, &is_up)? {
                return Ok(());
            }
            file.take_over(process, rendezvous)?
        }
    };
    // Another attacher may have finished just before the file was made. A JVM that listens already
    // answers SIGQUIT with a thread dump.
    if is_up()? {
        return Ok(());
    }
    check_handler(process, rendezvous)?;
    process.send_sigquit()?;
    if wait_for(process, deadline, &is_up)? {
        return Ok(());
    }
    Err(diagnose(process, rendezvous)
        .unwrap_or(AttachError::NotListening { pid: process.pid, waited: deadline.waited() }))
}

/// Polls until `is_up`; `false` when the time is over.
fn wait_for(
    process: &Process,
    deadline: Deadline,
    is_up: &dyn Fn() -> Result<bool, AttachError>,
) -> Result<bool, AttachError> {
    let mut pause = Duration::from_millis(1);
    loop {
        if is_up()? {
            return Ok(true);
        }
        let Some(left) = deadline.remaining() else { return Ok(false) };
        if process.ended_within(left.min(pause)) {
            return Err(AttachError::Died { pid: process.pid, partial: Vec::new() });
        }
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// SIGQUIT must do no harm: it is caught, and the process can react.
fn check_handler(process: &Process, rendezvous: &Rendezvous) -> Result<(), AttachError> {
    let status = process.status()?;
    let pid = process.pid;
    match status.state {
        'T' | 't' => Err(AttachError::Stopped { pid }),
        _ if !status.catches_sigquit => {
            Err(AttachError::SignalUnhandled { pid, socket: rendezvous.inner_path() })
        }
        _ => Ok(()),
    }
}

/// The JVM has to make its socket in /tmp: where that can't work, it isn't asked to.
fn check_tmp(process: &Process, rendezvous: &Rendezvous) -> Result<(), AttachError> {
    let Ok(tmp) = fstatvfs(&rendezvous.tmp) else { return Ok(()) };
    let unusable = |why: &str, step| AttachError::TmpUnusable { pid: process.pid, why: why.to_owned(), step };
    if tmp.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Err(unusable(
            "is read-only",
            "mount something writable there (in a container: an emptyDir or tmpfs)",
        ));
    }
    if tmp.f_files > 0 && tmp.f_ffree == 0 {
        return Err(unusable("has no free inode", "remove files there"));
    }
    Ok(())
}

/// Why the JVM may have failed to make its socket.
fn diagnose(process: &Process, rendezvous: &Rendezvous) -> Option<AttachError> {
    let pid = process.pid;
    let writable = rendezvous
        .identity
        .run(|| accessat(&rendezvous.tmp, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS))
        .ok()?;
    if writable == Err(Errno::ACCESS) {
        let why = format!("user {} may not write to", rendezvous.identity.uid);
        return Some(AttachError::TmpUnusable {
            pid,
            why,
            step: "make it writable for that user (chmod 1777 /tmp)",
        });
    }
    let tmp = fstatvfs(&rendezvous.tmp).ok()?;
    let full = tmp.f_blocks > 0 && tmp.f_bavail == 0;
    full.then(|| AttachError::TmpUnusable { pid, why: "is full".to_owned(), step: "remove files there" })
}

/// `.attach_pidN`, removed when this is dropped if it is ours.
struct TriggerFile {
    directory: OwnedFd,
    name: String,
    identity: Identity,
    ours: bool,
    /// For messages.
    place: &'static str,
}

enum Created {
    New(TriggerFile),
    /// It was there already.
    Exists(TriggerFile),
}

impl TriggerFile {
    /// In the working directory, where the JVM looks first, or in /tmp. It is made with the
    /// target's user, so that it belongs to it, as the JVM demands, and so that nothing can be made
    /// that the target could not make itself.
    fn create(process: &Process, rendezvous: &Rendezvous) -> Result<Created, AttachError> {
        let name = format!(".attach_pid{}", rendezvous.inner_pid);
        let identity = rendezvous.identity;
        let attempt = |directory: OwnedFd, place| -> io::Result<Created> {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
            let mode = Mode::RUSR | Mode::WUSR;
            let made = identity.run(|| openat(&directory, name.as_str(), flags, mode).map(drop))?;
            let file = TriggerFile { directory, name: name.clone(), identity, ours: made.is_ok(), place };
            match made {
                Ok(()) => Ok(Created::New(file)),
                Err(Errno::EXIST) => Ok(Created::Exists(file)),
                Err(error) => Err(error.into()),
            }
        };
        let cwd = match process.directory("cwd").and_then(|cwd| attempt(cwd, "cwd")) {
            Ok(created) => return Ok(created),
            Err(error) => error,
        };
        let tmp = rendezvous.tmp.as_fd().try_clone_to_owned();
        let tmp = match tmp.and_then(|tmp| attempt(tmp, "root/tmp")) {
            Ok(created) => return Ok(created),
            Err(error) => error,
        };
        // Should it have ended, that is why.
        process.status()?;
        Err(AttachError::NoTrigger { pid: process.pid, name, cwd, tmp })
    }

    /// Makes a file that was left behind ours. The JVM ignores one that belongs to anyone but its
    /// user or root.
    fn take_over(mut self, process: &Process, rendezvous: &Rendezvous) -> Result<Self, AttachError> {
        // If its maker has removed it since, this attach has failed as that one did.
        let stat = statat(&self.directory, self.name.as_str(), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|_| AttachError::NotListening { pid: process.pid, waited: PATIENCE })?;
        let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        if regular && (stat.st_uid == rendezvous.identity.uid || stat.st_uid == 0) {
            self.ours = true;
            return Ok(self);
        }
        let path = format!("/proc/{}/{}/{}", process.pid, self.place, self.name);
        let kind = if regular { "a file" } else { "not a regular file, and" };
        let why = format!("is {kind} of user {}", stat.st_uid);
        Err(AttachError::Foreign { pid: process.pid, path, why })
    }
}

impl Drop for TriggerFile {
    fn drop(&mut self) {
        if self.ours {
            let _ = self.identity.run(|| unlinkat(&self.directory, self.name.as_str(), AtFlags::empty()));
        }
    }
}

//! What /proc tells about the target, as far as attaching needs it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use offheap_linux::foreign::{self, Expect, Links};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags, fstat, open, openat, readlinkat};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal, test_kill_process,
};

use crate::error::AttachError;
use crate::socket::Rendezvous;

/// /proc/PID/status has 1.5 KB.
const STATUS_BYTES: u64 = 64 << 10;
/// Performance counters have 32 KB (`PerfDataMemorySize`); nobody makes them larger than this.
const COUNTERS_BYTES: u64 = 1 << 20;

/// A process, held by its /proc directory: should its pid be given to another process, reads fail.
#[derive(Debug)]
pub struct Process {
    pub pid: u32,
    id: Pid,
    directory: OwnedFd,
    /// Absent on kernels before 5.3 and where a sandbox forbids it.
    pidfd: Option<OwnedFd>,
}

/// Of /proc/PID/status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The process that a thread belongs to.
    pub tgid: u32,
    /// The pid as the target knows it itself: that of the innermost pid namespace.
    pub inner_pid: u32,
    /// `R`, `S`, `D`, `T`, `t`, `Z`, `X`.
    pub state: char,
    pub effective_uid: u32,
    pub effective_gid: u32,
    pub catches_sigquit: bool,
    /// It has memory. Kernel threads have none, and neither has a process that is about to end: its
    /// memory goes before its sockets do, so this tells why a connection broke off.
    pub has_memory: bool,
}

/// Of /proc/PID/maps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Maps {
    /// Code of a libjvm.so is mapped.
    pub libjvm: bool,
    /// Code of OpenJ9 is mapped.
    pub openj9: bool,
    /// The directory of its performance counters, `hsperfdata_USER`.
    pub hsperfdata: Option<String>,
}

impl Process {
    pub fn open(pid: u32) -> Result<Process, AttachError> {
        let id = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(AttachError::NoSuchProcess { pid })?;
        let absent = |_: Errno| match test_kill_process(id) {
            Ok(()) | Err(Errno::PERM) => AttachError::Hidden { pid },
            Err(_) => AttachError::NoSuchProcess { pid },
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = open(format!("/proc/{pid}"), flags, Mode::empty()).map_err(absent)?;
        // With hidepid the directory can be had this way, but nothing in it.
        openat(&directory, "status", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(absent)?;
        Ok(Process { pid, id, directory, pidfd: pidfd_open(id, PidfdFlags::empty()).ok() })
    }

    /// What an error of the kernel means. The process may be gone: whatever failed then, that is
    /// why.
    pub fn error(&self, what: &'static str, source: impl Into<io::Error>) -> AttachError {
        let source = source.into();
        let pid = self.pid;
        match self.status() {
            Err(gone) => gone,
            Ok(status) if source.kind() == io::ErrorKind::PermissionDenied => {
                AttachError::NoPermission { pid, uid: status.effective_uid, what }
            }
            Ok(_) => AttachError::System { pid, what, source },
        }
    }

    fn file(&self, name: &str) -> io::Result<File> {
        Ok(File::from(openat(&self.directory, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?))
    }

    pub fn status(&self) -> Result<Status, AttachError> {
        let gone = AttachError::NoSuchProcess { pid: self.pid };
        let Ok(text) = self.file("status").and_then(|file| foreign::read(file, STATUS_BYTES)) else {
            return Err(gone);
        };
        parse_status(&String::from_utf8_lossy(&text))
            .filter(|status| !matches!(status.state, 'Z' | 'X'))
            .ok_or(gone)
    }

    /// Whether the process has ended, or is about to.
    pub fn is_gone(&self) -> bool {
        self.status().map_or(true, |status| !status.has_memory)
    }

    /// `inner_pid` is the pid as it knows itself.
    pub fn maps(&self, inner_pid: u32) -> Result<Maps, AttachError> {
        let file = self.file("maps").map_err(|error| self.error("read the memory map", error))?;
        parse_maps(BufReader::new(file), inner_pid).map_err(|error| self.error("read the memory map", error))
    }

    /// A directory of the target's own, through one of the magic links `root` and `cwd` of
    /// /proc/PID.
    pub fn directory(&self, link: &'static str) -> io::Result<OwnedFd> {
        Ok(openat(&self.directory, link, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
    }

    /// The target's /tmp. Should it be a symbolic link there, it is followed as the target would
    /// follow it: it never leads out of the target's root.
    pub fn tmp(&self) -> Result<OwnedFd, AttachError> {
        let root = self.directory("root").map_err(|error| self.error("look into the file system", error))?;
        foreign::directory(root, "tmp", Links::Followed)
            .map_err(|refused| self.error("open the /tmp", refused))
    }

    /// Its working directory as it sees it itself; `None` where it was removed, or lies outside of
    /// its root.
    pub fn cwd(&self) -> Option<String> {
        let path = readlinkat(&self.directory, "cwd", Vec::new()).ok()?.into_string().ok()?;
        let (root, cwd) = (self.directory("root").ok()?, self.directory("cwd").ok()?);
        let (seen, held) =
            (fstat(foreign::directory(root, &path, Links::Followed).ok()?).ok()?, fstat(cwd).ok()?);
        (path.starts_with('/') && (seen.st_dev, seen.st_ino) == (held.st_dev, held.st_ino)).then_some(path)
    }

    /// Whether it is in the same namespace as we, of the `kind` that /proc/PID/ns names.
    pub fn shares(&self, kind: &str) -> bool {
        let own = open("/proc/self/ns", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let name = |directory: &OwnedFd, path: &str| readlinkat(directory, path, Vec::new()).ok();
        let own = own.ok().and_then(|own| name(&own, kind));
        own.is_some() && own == name(&self.directory, &format!("ns/{kind}"))
    }

    /// Whether it may use every capability that we could, without which it may not look into us.
    pub fn has_our_capabilities(&self) -> bool {
        let read = |file: io::Result<File>, name: &str| {
            let text = foreign::read(file.ok()?, STATUS_BYTES).ok()?;
            let text = String::from_utf8_lossy(&text).into_owned();
            u64::from_str_radix(field(&text, name)?, 16).ok()
        };
        let own = Process::open(std::process::id());
        let ours = own.ok().and_then(|own| read(own.file("status"), "CapPrm"));
        let its = read(self.file("status"), "CapEff");
        ours.zip(its).is_some_and(|(ours, its)| ours & !its == 0)
    }

    /// Whether the performance counters say that it takes attaches: a file that its user has
    /// written, in its /tmp.
    pub fn attach_enabled(&self, rendezvous: &Rendezvous, maps: &Maps) -> Option<bool> {
        let expect = Expect::written_by(rendezvous.identity.uid, COUNTERS_BYTES);
        let path = format!("{}/{}", maps.hsperfdata.as_deref()?, rendezvous.inner_pid);
        let file = foreign::open(&rendezvous.tmp, path, &expect).ok()?;
        crate::hsperf::attach_enabled(&foreign::read(file, COUNTERS_BYTES).ok()?)
    }

    /// Waits until the process has ended, but not longer than `timeout`. Whether it has.
    pub fn ended_within(&self, timeout: Duration) -> bool {
        let Some(pidfd) = &self.pidfd else {
            std::thread::sleep(timeout);
            return self.status().is_err();
        };
        let timeout = timeout.try_into().ok();
        poll(&mut [PollFd::new(pidfd, PollFlags::IN)], timeout.as_ref()).is_ok_and(|ready| ready > 0)
    }

    /// Asks the JVM to look for the trigger file. Only to be called when it catches the signal.
    pub fn send_sigquit(&self) -> Result<(), AttachError> {
        let sent = match &self.pidfd {
            Some(pidfd) => pidfd_send_signal(pidfd.as_fd(), Signal::QUIT),
            None => kill_process(self.id, Signal::QUIT),
        };
        sent.map_err(|error| self.error("signal the JVM", error))
    }
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

fn parse_status(text: &str) -> Option<Status> {
    let field = |name: &str| field(text, name);
    // Real, effective, saved, file system.
    let effective = |name: &str| field(name)?.split_whitespace().nth(1)?.parse().ok();
    let tgid = field("Tgid")?.parse().ok()?;
    let caught = u64::from_str_radix(field("SigCgt")?, 16).ok()?;
    let sigquit = 1 << (libc::SIGQUIT - 1);
    Some(Status {
        tgid,
        // Kernels before 4.1 don't say.
        inner_pid: field("NStgid")
            .and_then(|pids| pids.split_whitespace().last()?.parse().ok())
            .unwrap_or(tgid),
        state: field("State")?.chars().next()?,
        effective_uid: effective("Uid")?,
        effective_gid: effective("Gid")?,
        catches_sigquit: caught & sigquit != 0,
        has_memory: field("VmSize").is_some(),
    })
}

fn parse_maps(mut lines: impl BufRead, inner_pid: u32) -> io::Result<Maps> {
    let counters = inner_pid.to_string();
    let mut maps = Maps::default();
    let mut line = Vec::new();
    while {
        line.clear();
        lines.by_ref().take(16 << 10).read_until(b'\n', &mut line)? > 0
    } {
        let line = String::from_utf8_lossy(&line);
        // START-END rwxp OFFSET DEVICE INODE PATH
        let Some(permissions) = line.split(' ').nth(1) else { continue };
        let Some((_, path)) = line.split_once('/') else { continue };
        let path = path.trim_end().trim_end_matches(" (deleted)");
        let mut names = path.rsplit('/');
        let (name, directory) = (names.next().unwrap_or_default(), names.next().unwrap_or_default());
        if permissions.contains('x') {
            maps.libjvm |= name == "libjvm.so";
            maps.openj9 |= name.starts_with("libj9vm");
        }
        // A JVM that watches others has theirs mapped too.
        if directory.starts_with("hsperfdata_") && name == counters {
            maps.hsperfdata = Some(directory.to_owned());
        }
    }
    Ok(maps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_in_a_pid_namespace() {
        let text = "Name:\tjava\nState:\tS (sleeping)\nTgid:\t4711\nUid:\t0\t1000\t0\t1000\nGid:\t0\t1001\t0\t0\n\
                    NStgid:\t4711\t12\t1\nNSpid:\t4711\t12\t1\nVmSize:\t  9 kB\nSigCgt:\t2000000181005ccf\n";
        let status = parse_status(text).expect("a status");
        assert_eq!((status.tgid, status.inner_pid, status.state), (4711, 1, 'S'));
        assert_eq!((status.effective_uid, status.effective_gid, status.catches_sigquit), (1000, 1001, true));
        assert!(status.has_memory);
        let without = text.replace("5ccf", "5ccb");
        assert!(!parse_status(&without).expect("a status").catches_sigquit);
        assert_eq!(parse_status("State:\tS\n"), None);
    }

    #[test]
    fn maps_of_a_jvm() {
        let text = "7f00-7f01 r--p 00000000 fe:00 1 /opt/jdk/lib/server/libjvm.so\n\
                    7f01-7f02 r-xp 00000000 fe:00 1 /opt/jdk/lib/server/libjvm.so (deleted)\n\
                    7f02-7f03 rw-s 00000000 00:2a 9 /tmp/hsperfdata_app user/1\n\
                    7f02-7f03 rw-s 00000000 00:2a 9 /tmp/hsperfdata_other/4711\n\
                    7f03-7f04 rw-p 00000000 00:00 0 \n";
        let maps = parse_maps(text.as_bytes(), 1).expect("maps");
        assert_eq!(
            maps,
            Maps { libjvm: true, openj9: false, hsperfdata: Some("hsperfdata_app user".into()) }
        );
        let read_only = "7f00-7f01 r--p 00000000 fe:00 1 /opt/jdk/lib/server/libjvm.so\n";
        assert!(
            !parse_maps(read_only.as_bytes(), 1).expect("maps").libjvm,
            "somebody who reads the file is no JVM"
        );
        let other = "7f00-7f01 r-xp 00000000 fe:00 1 /opt/notlibjvm.so\n";
        assert!(!parse_maps(other.as_bytes(), 1).expect("maps").libjvm);
    }
}

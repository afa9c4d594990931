//! A command that is started with the agent preloaded.

use super::agent::{LIBRARY, LIBRARY_NAME, tag};
use super::lease::{self, Heart};
use super::live;
use anyhow::{Context, bail};
use offheap_linux::folder::guarded_here;
use rustix::fs::{StatVfsMountFlags, statfs, statvfs};
use std::ffi::{OsStr, OsString};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

/// How a command is profiled.
#[derive(Debug)]
pub struct Options<'a> {
    /// Mean bytes between two samples.
    pub interval: u64,
    /// Bytes of the live file.
    pub size: u64,
    /// Where the live file is made; it stays there.
    pub live: Option<&'a Path>,
    /// The processes that the command starts are profiled too, each into a live file of its own.
    pub children: bool,
}

/// A started command. Dropping it removes the library, and the live file unless that was asked for
/// by name.
#[derive(Debug)]
pub struct Launched {
    /// The process.
    pub child: Child,
    library: PathBuf,
    /// The live file as it was asked for; of its children the names begin so.
    all: PathBuf,
    own: PathBuf,
    keep: bool,
    /// Renews the leases of the agents in the command and its children.
    _heart: Heart,
}

/// Why a command did not start.
#[derive(Debug)]
pub enum Failure {
    /// The command itself can't be executed.
    Command(io::Error),
    /// The agent can't be put in place.
    Agent(anyhow::Error),
}

impl Launched {
    /// Starts `command` with its arguments.
    ///
    /// # Errors
    /// See [`Failure`].
    pub fn start(command: &[OsString], options: &Options<'_>) -> Result<Launched, Failure> {
        let tag = tag();
        let library = install(&format!("{LIBRARY_NAME}{tag}.so")).map_err(Failure::Agent)?;
        let keep = options.live.is_some();
        let live = match options.live {
            // The command may go elsewhere before it loads anything.
            Some(path) => std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
            None => in_memory(options.size).join(format!("offheap-live-{tag}")),
        };
        let mut pattern = live.clone().into_os_string();
        if options.children {
            pattern.push(".%p");
        }
        let mut preload = library.clone().into_os_string();
        if let Some(others) = std::env::var_os("LD_PRELOAD").filter(|others| !others.is_empty()) {
            preload.push(":");
            preload.push(others);
        }
        let (program, arguments) = command.split_first().map_or((OsStr::new(""), &[][..]), |(a, b)| (a, b));
        let mut child = Command::new(program);
        child
            .args(arguments)
            .env("LD_PRELOAD", preload)
            .env("OFFHEAP_FILE", &pattern)
            .env("OFFHEAP_SIZE", options.size.to_string())
            .env("OFFHEAP_INTERVAL", options.interval.to_string())
            .env("OFFHEAP_LEASE", lease::SECONDS.to_string());
        if options.children {
            child.env("OFFHEAP_CHILDREN", "1");
        }
        match child.spawn() {
            Ok(child) => {
                let own = if options.children { with_pid(&live, child.id()) } else { live.clone() };
                let (first, others) = (own.clone(), options.children.then(|| live.clone()));
                let heart = Heart::start(move || renew(&first, others.as_deref()));
                Ok(Launched { child, library, all: live, own, keep, _heart: heart })
            }
            Err(error) => {
                let _ = std::fs::remove_file(&library);
                Err(Failure::Command(error))
            }
        }
    }

    /// The live file's path.
    pub fn live(&self) -> &Path {
        &self.own
    }

    /// The live file as it is now; `None` as long as the agent has made none.
    pub fn read(&self) -> Option<Vec<u8>> {
        live::read(&self.own).ok()
    }

    /// The live files of the processes that the command started.
    pub fn of_children(&self) -> Vec<PathBuf> {
        let mut found = all_of(&self.all);
        found.retain(|path| *path != self.own);
        found
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.library);
        if !self.keep {
            let _ = std::fs::remove_file(&self.own);
        }
    }
}

/// The live files whose names are that of `pattern` with a pid behind it, sorted.
fn all_of(pattern: &Path) -> Vec<PathBuf> {
    let (Some(folder), Some(name)) = (pattern.parent(), pattern.file_name()) else {
        return Vec::new();
    };
    let start = format!("{}.", name.to_string_lossy());
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&start))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}

/// Renews the lease of the agent whose live file is `own`, and of those of its children, `others`
/// and a pid.
fn renew(own: &Path, others: Option<&Path>) {
    let of_children = others.map(all_of).unwrap_or_default();
    for path in std::iter::once(own).chain(of_children.iter().map(PathBuf::as_path)) {
        // One that is not there yet has just begun its lease.
        if let Ok(word) = live::lease_in(path) {
            let _ = word.renew();
        }
    }
}

/// A folder for a live file of `size` bytes, in memory where there is one: hooks that write to a
/// file on a disk wait for it.
fn in_memory(size: u64) -> PathBuf {
    /// tmpfs, as statfs names it (linux/magic.h).
    const TMPFS: u64 = 0x0102_1994;
    /// What is left to the programs that use `/dev/shm` themselves.
    const SPARE: u64 = 8 << 20;
    let shm = Path::new("/dev/shm");
    let fits = statfs(shm).is_ok_and(|stat| {
        let free = stat.f_bavail.saturating_mul(u64::try_from(stat.f_bsize).unwrap_or(0));
        u64::try_from(stat.f_type) == Ok(TMPFS) && free >= size.saturating_add(SPARE)
    });
    let writable = rustix::fs::access(shm, rustix::fs::Access::WRITE_OK).is_ok();
    if fits && writable { shm.to_owned() } else { std::env::temp_dir() }
}

fn with_pid(path: &Path, pid: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{pid}"));
    name.into()
}

/// Writes the library where the loader can take it from.
fn install(name: &str) -> anyhow::Result<PathBuf> {
    if LIBRARY.is_empty() {
        bail!("this offheap was built without its agent, which knows x86-64 only");
    }
    let folders = [std::env::temp_dir(), "/tmp".into(), "/var/tmp".into(), "/dev/shm".into()];
    let mut reason = None;
    for folder in folders {
        // LD_PRELOAD's separators.
        if folder.to_string_lossy().contains([' ', ':']) {
            continue;
        }
        match statvfs(&folder) {
            Ok(stat) if stat.f_flag.contains(StatVfsMountFlags::NOEXEC) => {
                reason = reason.or(Some(format!("{} is mounted noexec", folder.display())));
                continue;
            }
            Ok(_) => {}
            Err(_) => continue,
        }
        if let Err(unguarded) = guarded_here(&folder) {
            reason = reason.or(Some(unguarded.to_string()));
            continue;
        }
        let path = folder.join(name);
        match write(&path) {
            Ok(()) => return Ok(path),
            Err(error) => reason = Some(format!("cannot write {}: {error}", path.display())),
        }
    }
    Err(anyhow::anyhow!(reason.unwrap_or_else(|| "there is no folder for temporary files".to_owned())))
        .context("the agent must be a file that programs can be loaded from: set TMPDIR to a folder of your own where that works")
}

fn write(path: &Path) -> io::Result<()> {
    // Readable for a command that changes its user (setpriv, gosu) before it starts the program.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?;
    file.write_all(LIBRARY).inspect_err(|_| {
        let _ = std::fs::remove_file(path);
    })
}

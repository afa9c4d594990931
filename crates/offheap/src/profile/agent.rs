//! The agent in a running JVM: loading it, reading its live file, stopping it.

use super::lease::{self, Heart};
use super::live::LiveFile;
use crate::room;
use anyhow::bail;
use offheap_attach::{LoadOutcome, Placed, Session, loaded_as};
use offheap_linux::Process;
use std::borrow::Borrow;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Instant;

/// The library, as build.rs built it; empty where there is none for this processor.
pub(super) const LIBRARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/liboffheap_agent.so"));
/// The agent only works under a file name with this in it.
pub(super) const LIBRARY_NAME: &str = ".offheap_agent-";

/// The agent at work in a target. Dropping it stops the sampling.
#[derive(Debug)]
pub struct Agent<S: Borrow<Session>> {
    session: S,
    /// The library's path in the target, under which the loader knows it also once the file is
    /// gone.
    library: String,
    live: LiveFile,
    lease: Lease,
    /// The agent was there before, with what it has sampled since.
    pub was_there: bool,
    running: bool,
}

/// How the agent is shown that its reader lives.
#[derive(Debug)]
enum Lease {
    /// It needs no sign: its live file was named, so that it outlives both.
    None,
    /// A thread of ours renews it.
    Renewed { _heart: Heart },
    /// Only commands renew it: this one was given last.
    ByCommands(Instant),
}

impl<S: Borrow<Session>> Agent<S> {
    /// Loads the agent into `session`'s JVM and starts sampling, one sample each `interval` bytes.
    /// Its library is gone from the target's file system when this returns, whatever the result;
    /// its live file lies in memory, and we keep it open.
    ///
    /// # Errors
    /// The JVM takes no agents, there is no way to put one before it, there is too little memory
    /// below the target's limit, or the agent's own reason.
    pub fn start(session: S, process: &Process, interval: u64) -> anyhow::Result<Self> {
        Self::begin(session, process, interval, None)
    }

    /// As [`Agent::start`]; the live file is made at `path`, in the target's own file system, and
    /// stays there, to be read after the target *and* this process were killed.
    ///
    /// # Errors
    /// As [`Agent::start`]; also that an agent is at work there already, which has its live file
    /// elsewhere.
    pub fn start_at(session: S, process: &Process, interval: u64, path: &str) -> anyhow::Result<Self> {
        if !path.starts_with('/') || path.contains([',', '%']) {
            bail!(
                "the live file's path is an absolute one in the target's file system, without , and %: not {path}"
            );
        }
        Self::begin(session, process, interval, Some(path))
    }

    fn begin(session: S, process: &Process, interval: u64, keep: Option<&str>) -> anyhow::Result<Self> {
        let jvm = session.borrow();
        // An agent from an earlier run is still in the target: asleep, without a live file, or at
        // work for somebody else.
        let earlier = Earlier::find(process)?;
        let at_work = earlier.as_ref().is_some_and(|earlier| earlier.live.is_some());
        if at_work && keep.is_some() {
            bail!(
                "an agent is at work in the target already and goes on with the live file that it has; leave --live out, or \
                 wait until it has stopped"
            );
        }
        let mut options = format!("interval={interval}");
        if !at_work {
            options.push_str(&format!(",size={}", room::for_agent(process)?));
            match keep {
                Some(path) => options.push_str(&format!(",file={path}")),
                None => options.push_str(&format!(",lease={}", lease::SECONDS)),
            }
        }
        if let Some(Earlier { library: Some(library), .. }) = &earlier
            && let Ok(LoadOutcome::Loaded) = jvm.load_agent(library, &options)
        {
            let library = library.clone();
            return if at_work {
                Self::join(session, library, process)
            } else {
                Self::open(session, library, process, keep)
            };
        }
        let library = put_library(jvm, &tag())?;
        let path = library.path().to_owned();
        let outcome = jvm.load_agent(&path, &options);
        drop(library);
        explain(outcome?, keep)?;
        Self::open(session, path, process, keep)
    }

    /// Takes over the live file that an agent has just made.
    fn open(session: S, library: String, process: &Process, keep: Option<&str>) -> anyhow::Result<Self> {
        let made = match keep {
            Some(path) => LiveFile::named(process, path).map(|live| (live, None)),
            None => LiveFile::handed_over(process),
        };
        // The new copy of the library may have handed the command on to one that was there.
        let Some((live, word)) = made else { return Self::join(session, library, process) };
        let lease = match word {
            _ if keep.is_some() => Lease::None,
            Some(word) => Lease::Renewed { _heart: Heart::of(word) },
            None => Lease::ByCommands(Instant::now()),
        };
        // The target need not keep the descriptors open; that it does is no harm either.
        let _ = session.borrow().load_agent(&library, "cmd=close");
        Ok(Agent { session, library, live, lease, was_there: false, running: true })
    }

    fn join(session: S, library: String, process: &Process) -> anyhow::Result<Self> {
        let Some(live) = Earlier::find(process)?.and_then(|earlier| earlier.live) else {
            let _ = session.borrow().load_agent(&library, "cmd=stop");
            bail!(
                "an agent that another tool or -agentpath started is in the target; read its live file where it was put"
            );
        };
        let lease = LiveFile::lease(process).map_or_else(
            || Lease::ByCommands(Instant::now()),
            |word| Lease::Renewed { _heart: Heart::of(word) },
        );
        Ok(Agent { session, library, live, lease, was_there: true, running: true })
    }

    /// A copy of the live file as it is now. After the target has ended only where the file could
    /// be opened: that is of the first run, or as root.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn read(&mut self) -> std::io::Result<Vec<u8>> {
        if let Lease::ByCommands(last) = &mut self.lease
            && last.elapsed() >= lease::EVERY
        {
            *last = Instant::now();
            // What is wrong shows in the reading.
            let _ = self.session.borrow().load_agent(&self.library, "cmd=status");
        }
        self.live.read()
    }

    /// Samples each `interval` bytes from now on.
    ///
    /// # Errors
    /// The target has ended, or does not answer.
    pub fn set_interval(&mut self, interval: u64) -> anyhow::Result<()> {
        explain(self.session.borrow().load_agent(&self.library, &format!("interval={interval}"))?, None)
    }

    /// Samples Java objects too from now on, each `interval` bytes; whether the JVM lets it stands
    /// in the live file.
    ///
    /// # Errors
    /// The target has ended, or does not answer.
    pub fn sample_objects(&mut self, interval: u64) -> anyhow::Result<()> {
        explain(self.session.borrow().load_agent(&self.library, &format!("objects={interval}"))?, None)
    }

    /// Has the agent find out which of the sampled objects a collection has freed; it does so by
    /// and by without being told.
    ///
    /// # Errors
    /// The target has ended, or does not answer.
    pub fn sweep_objects(&mut self) -> anyhow::Result<()> {
        explain(self.session.borrow().load_agent(&self.library, "cmd=sweep")?, None)
    }

    /// Stops the sampling. The library stays loaded and passes every call through.
    ///
    /// # Errors
    /// The target has ended, or does not answer.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        if !std::mem::take(&mut self.running) {
            return Ok(());
        }
        // The loader knows the library by this name and does not look for the file.
        explain(self.session.borrow().load_agent(&self.library, "cmd=stop")?, None)
    }
}

impl<S: Borrow<Session>> Drop for Agent<S> {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

/// Has glibc in `session`'s JVM give back what is free, by the agent: `malloc_trim(0)`. No sampling
/// is started; the library stays loaded and does nothing.
///
/// # Errors
/// As [`Agent::start`].
pub fn trim(session: &Session, process: &Process) -> anyhow::Result<()> {
    if let Some(Earlier { library: Some(library), .. }) = Earlier::find(process)?
        && let Ok(LoadOutcome::Loaded) = session.load_agent(&library, "cmd=trim")
    {
        return Ok(());
    }
    let library = put_library(session, &tag())?;
    explain(session.load_agent(library.path(), "cmd=trim")?, None)
}

/// Puts the agent's library where the target can load it and nobody exchange it.
fn put_library(session: &Session, tag: &str) -> anyhow::Result<Placed> {
    if LIBRARY.is_empty() {
        bail!("this offheap was built without its agent, which knows x86-64 only");
    }
    Ok(session.place(&format!("{LIBRARY_NAME}{tag}"), LIBRARY)?)
}

/// What an agent that came earlier has mapped.
#[derive(Debug)]
struct Earlier {
    library: Option<String>,
    live: Option<LiveFile>,
}

impl Earlier {
    fn find(process: &Process) -> anyhow::Result<Option<Earlier>> {
        let vmas = process.maps()?;
        let is_agent =
            |path: &str| path.rsplit('/').next().is_some_and(|name| name.contains("offheap_agent"));
        let library = vmas.iter().find(|vma| vma.exec && is_agent(&vma.path)).map(|vma| loaded_as(&vma.path));
        if library.is_none() {
            return Ok(None);
        }
        Ok(Some(Earlier { library, live: LiveFile::find(process)? }))
    }
}

/// What no other file is named.
pub(super) fn tag() -> String {
    format!("{}-{:016x}", std::process::id(), RandomState::new().build_hasher().finish())
}

/// The outcome in words; the codes are the agent's own (crates/agent/src/lib.rs). `file`: the live
/// file, where one was named.
fn explain(outcome: LoadOutcome, file: Option<&str>) -> anyhow::Result<()> {
    match outcome {
        LoadOutcome::Loaded => Ok(()),
        LoadOutcome::AgentFailed { code: 102 } => bail!(
            "the agent could not make its live file {}: it takes 4 to 32 MiB there, and the target's user must be allowed \
             to write there, also files of that size (df /proc/PID/root/tmp; prlimit --fsize --pid PID); not over \
             a network (NFS, SMB, Ceph)",
            file.unwrap_or_default()
        ),
        LoadOutcome::AgentFailed { code: 106 } => bail!(
            "the agent could make no live file in memory: the kernel gives the target neither a memfd nor a file in its \
             /dev/shm, or the target may not make files of 4 MiB (prlimit --fsize --pid PID); offheap profile --live PATH \
             makes it on a disk"
        ),
        LoadOutcome::AgentFailed { code: 104 } => {
            bail!("the agent found no allocator in the target that it knows")
        }
        LoadOutcome::AgentFailed { code: 105 } => {
            bail!("another offheap is starting the agent in the target; try again")
        }
        LoadOutcome::AgentFailed { code } => bail!("the agent refused to start (code {code})"),
        LoadOutcome::Disabled { .. } => bail!(
            "the JVM takes no agents while it runs (-XX:-EnableDynamicAgentLoading); start it without that flag"
        ),
        LoadOutcome::Refused { text } if text.is_empty() => bail!(
            "the JVM did not load the agent and gives no reason: -XX:-EnableDynamicAgentLoading, or a C library other \
             than glibc"
        ),
        LoadOutcome::Refused { text } => bail!("the JVM did not load the agent: {text}"),
        outcome => bail!("the JVM did not load the agent: {outcome:?}"),
    }
}

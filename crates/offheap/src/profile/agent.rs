//! The agent in a running JVM: loading it, reading its live file, stopping it.

use anyhow::{Context, bail};
use offheap_attach::{LoadOutcome, Session};
use offheap_linux::Process;
use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{Read, Seek, SeekFrom};

/// The library, as build.rs built it; empty where there is none for this processor.
const LIBRARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/liboffheap_agent.so"));
/// The agent only works under a file name with this in it.
const LIBRARY_NAME: &str = ".offheap_agent-";
const LIVE_NAME: &str = ".offheap-live-";
/// No live file is larger.
const LIVE_LIMIT: u64 = 4 << 30;

/// The agent at work in a target. Dropping it stops the sampling.
#[derive(Debug)]
pub struct Agent<'a> {
    session: &'a Session,
    /// The library's path in the target, under which the loader knows it also once the file is gone.
    library: String,
    live: File,
    /// The agent was there before, with what it has sampled since.
    pub was_there: bool,
    running: bool,
}

impl<'a> Agent<'a> {
    /// Loads the agent into `session`'s JVM and starts sampling, one sample each `interval` bytes. Both files are gone
    /// from the target's `/tmp` when this returns, whatever the result: the target keeps what it has mapped, and we keep
    /// the live file open.
    ///
    /// # Errors
    /// The JVM takes no agents, `/tmp` is read-only, full or `noexec`, or the agent's own reason.
    pub fn start(session: &'a Session, process: &Process, interval: u64) -> anyhow::Result<Agent<'a>> {
        // An agent from an earlier run is still in the target, asleep: it is woken, and goes on with its live file.
        let earlier = Earlier::find(process)?;
        if let Some(Earlier { library: Some(library), live: Some(_) }) = &earlier
            && let Ok(LoadOutcome::Loaded) = session.load_agent(library, &format!("interval={interval}"))
        {
            let library = library.clone();
            return Self::join(session, library, earlier);
        }
        let tag = tag();
        let (library, live) = (format!("{LIBRARY_NAME}{tag}.so"), format!("{LIVE_NAME}{tag}"));
        put_library(session, &library)?;
        let path = format!("/tmp/{library}");
        let outcome = session.load_agent(&path, &format!("file=/tmp/{live},interval={interval}"));
        let opened = session.open_in_tmp(&live);
        let _ = session.remove_from_tmp(&library);
        let _ = session.remove_from_tmp(&live);
        explain(outcome?)?;
        match opened {
            Ok(live) => Ok(Agent { session, library: path, live, was_there: false, running: true }),
            // The new copy of the library has handed the command on to one that was there.
            Err(_) => Self::join(session, path, Earlier::find(process)?),
        }
    }

    fn join(session: &'a Session, library: String, earlier: Option<Earlier>) -> anyhow::Result<Agent<'a>> {
        let live = earlier.and_then(|earlier| earlier.live);
        let agent = live.map(|live| Agent {
            session,
            library: library.clone(),
            live,
            was_there: true,
            running: true,
        });
        agent.with_context(|| {
            let _ = session.load_agent(&library, "cmd=stop");
            "an agent that another tool or -agentpath started is in the target; read its live file where it was put"
        })
    }

    /// A copy of the live file as it is now, also after the target has ended.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn read(&mut self) -> std::io::Result<Vec<u8>> {
        self.live.seek(SeekFrom::Start(0))?;
        let mut bytes = Vec::with_capacity(self.live.metadata()?.len().min(LIVE_LIMIT) as usize);
        (&self.live).take(LIVE_LIMIT).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Samples each `interval` bytes from now on.
    ///
    /// # Errors
    /// The target has ended, or does not answer.
    pub fn set_interval(&mut self, interval: u64) -> anyhow::Result<()> {
        explain(self.session.load_agent(&self.library, &format!("interval={interval}"))?)
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
        explain(self.session.load_agent(&self.library, "cmd=stop")?)
    }
}

impl Drop for Agent<'_> {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

/// Has glibc in `session`'s JVM give back what is free, by the agent: `malloc_trim(0)`. No sampling is started; the library
/// stays loaded and does nothing.
///
/// # Errors
/// As [`Agent::start`].
pub fn trim(session: &Session, process: &Process) -> anyhow::Result<()> {
    if let Some(Earlier { library: Some(library), .. }) = Earlier::find(process)?
        && let Ok(LoadOutcome::Loaded) = session.load_agent(&library, "cmd=trim")
    {
        return Ok(());
    }
    let library = format!("{LIBRARY_NAME}{}", tag() + ".so");
    put_library(session, &library)?;
    let outcome = session.load_agent(&format!("/tmp/{library}"), "cmd=trim");
    let _ = session.remove_from_tmp(&library);
    explain(outcome?)
}

/// What no other run's files have in their names.
fn tag() -> String {
    format!("{}-{:016x}", std::process::id(), RandomState::new().build_hasher().finish())
}

/// Writes the agent's library into the target's `/tmp`.
fn put_library(session: &Session, library: &str) -> anyhow::Result<()> {
    if LIBRARY.is_empty() {
        bail!("this offheap was built without its agent, which knows x86-64 only");
    }
    if session.tmp_is_noexec() {
        bail!(
            "the target's /tmp is mounted noexec, so no library can be loaded from there; mount it with exec"
        );
    }
    session.create_in_tmp(library, LIBRARY).context(
        "cannot write the agent into the target's /tmp; it must be writable for the target's user and have room for the \
         agent and 32 MiB",
    )
}

/// What an agent of an earlier run has mapped.
#[derive(Debug)]
struct Earlier {
    library: Option<String>,
    live: Option<File>,
}

impl Earlier {
    fn find(process: &Process) -> anyhow::Result<Option<Earlier>> {
        let vmas = process.maps()?;
        let library = vmas.iter().find(|vma| vma.path.starts_with(&format!("/tmp/{LIBRARY_NAME}")));
        let live = vmas.iter().find(|vma| vma.shared && vma.path.starts_with(&format!("/tmp/{LIVE_NAME}")));
        if library.is_none() && live.is_none() {
            return Ok(None);
        }
        let live = live
            .map(|vma| process.file(&format!("map_files/{:x}-{:x}", vma.start, vma.end)))
            .transpose()
            .context(
                "the agent of an earlier run is in the target, and its live file, which has no name any more, can't be \
                 opened: that takes root (/proc/PID/map_files), or a restart of the target",
            )?;
        Ok(Some(Earlier { library: library.map(|vma| vma.path.clone()), live }))
    }
}

/// The outcome in words; the codes are the agent's own (crates/agent/src/lib.rs).
fn explain(outcome: LoadOutcome) -> anyhow::Result<()> {
    match outcome {
        LoadOutcome::Loaded => Ok(()),
        LoadOutcome::AgentFailed { code: 102 } => bail!(
            "the agent could not make its live file in the target's /tmp: it takes 32 MiB there (df /proc/PID/root/tmp)"
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

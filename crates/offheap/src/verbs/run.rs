//! `offheap run`

use super::profile::{Shown, check_interval};
use crate::clock::now_ns;
use crate::output;
use crate::profile::Window;
use crate::profile::launch::{Failure, Launched, Options};
use crate::sampler::Stop;
use anyhow::{Context, bail};
use offheap_linux::Process;
use offheap_model::Profile;
use offheap_model::units::{bytes, duration, parse_bytes, parse_duration};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Time between two readings of the live file, to begin with and at the most.
const READING: std::ops::RangeInclusive<Duration> = Duration::from_millis(500)..=Duration::from_secs(30);
/// How long a command that was asked to end may take before its profile is shown.
const GRACE: Duration = Duration::from_secs(5);
/// How long the agent may take to be there, after the command has started.
const BEGIN: Duration = Duration::from_secs(2);
/// Exit codes of a shell for a command that is not there, and for one that can't be executed.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

/// Run a command with the agent in it from its begin, and show which code allocates.
///
/// For anything that is linked dynamically against glibc: Java, C, C++, Python, … Shows the profile
/// when the command ends, or on Ctrl-C. The table goes to standard error, so that the command's own
/// output stays whole. Exit code: the command's own (128 + N when signal N ended it); 127 and 126
/// when it could not be started; 2 when offheap could not do its work.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The command and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<OsString>,
    /// Show the profile after that time; the command goes on.
    #[arg(long = "for", value_parser = parse_duration)]
    length: Option<Duration>,
    /// Mean bytes between two samples; 1 is every allocation.
    #[arg(long, default_value = "512k", value_parser = parse_bytes)]
    interval: u64,
    /// Bytes of the live file.
    #[arg(long, default_value = "32M", value_parser = parse_bytes)]
    size: u64,
    /// Make the live file here and keep it, for offheap profile --from [default: in /dev/shm, or
    /// TMPDIR where that is full or missing; removed at the end].
    #[arg(long, value_name = "FILE")]
    live: Option<PathBuf>,
    /// Also profile the processes that the command starts, each into FILE.PID.
    #[arg(long, requires = "live")]
    children: bool,
    #[command(flatten)]
    shown: Shown,
}

/// Runs the verb.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    check_interval(arguments.interval)?;
    if offheap_live::Layout::new(arguments.size).is_none() {
        bail!("a live file of {} can't be made: use 4 MiB to 1 GiB", bytes(arguments.size));
    }
    arguments.shown.check()?;
    let stop = Stop::catch()?;
    // A terminal sends SIGINT to all in front of it, but nobody sends SIGTERM to the command as
    // well.
    let terminated = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGTERM, Arc::clone(&terminated))?;
    let options = Options {
        interval: arguments.interval,
        size: arguments.size,
        live: arguments.live.as_deref(),
        children: arguments.children,
    };
    let mut launched = match Launched::start(&arguments.command, &options) {
        Ok(launched) => launched,
        Err(Failure::Agent(error)) => return Err(error),
        Err(Failure::Command(error)) => {
            let name = arguments.command.first().map(|word| word.to_string_lossy().into_owned());
            let missing = error.kind() == std::io::ErrorKind::NotFound;
            output::complain(&anyhow::Error::new(error).context(name.unwrap_or_default()));
            return Ok(ExitCode::from(if missing { NOT_FOUND } else { NOT_EXECUTABLE }));
        }
    };
    offheap_linux::be_killed_first();
    let pid = i32::try_from(launched.child.id()).context("a pid is positive")?;
    let target = json!({
        "pid": pid,
        "command": words(&arguments.command),
        "jvm": Value::Null,
        "python": Value::Null,
    });
    let title = format!("{} ({pid})", words(&arguments.command));
    let seen = watch(&mut launched, arguments, &stop, &terminated)?;
    match &seen.profile {
        Some(profile) => {
            let text = arguments.shown.text(profile, &title, target)?;
            if arguments.shown.json {
                output::print(&text);
            } else {
                output::print_beside(&text);
            }
        }
        None => output::note(&format!(
            "{}: no profile, the agent was never at work in it. That is so for programs that are linked statically, or \
             against another C library than glibc 2.17 or later, or that change their user (setuid); also where the live file can't be made: over a network, or \
             beyond a limit on file sizes (ulimit -f).",
            words(&arguments.command)
        )),
    }
    for path in launched.of_children().iter().filter(|_| arguments.children) {
        output::note(&format!("A process of it: offheap profile --from {}", path.display()));
    }
    let status = match seen.status {
        Some(status) => status,
        None => launched.child.wait()?,
    };
    if seen.profile.is_none() && status.success() {
        bail!("the command ended well, but there is nothing to show");
    }
    Ok(exit_code(status))
}

/// What came of a command.
struct Seen {
    profile: Option<Profile>,
    /// How it ended; `None`: it runs on.
    status: Option<ExitStatus>,
}

/// Reads the live file until the command has ended, the time is over, or the user wants to see it.
fn watch(
    launched: &mut Launched,
    arguments: &Arguments,
    stop: &Stop,
    terminated: &AtomicBool,
) -> anyhow::Result<Seen> {
    let process = i32::try_from(launched.child.id()).ok().and_then(|pid| Process::open(pid).ok());
    let begun = Instant::now();
    let end = arguments.length.map(|length| begun + length);
    let mut window: Option<Window> = None;
    let mut every = *READING.start();
    let mut next = begun;
    let mut status = None;
    let mut progress = output::Progress::new();
    let mut count = 0u32;
    loop {
        let stopped = stop.is_wanted() || end.is_some_and(|end| Instant::now() >= end);
        status = status.or(launched.child.try_wait()?);
        if stopped || status.is_some() || Instant::now() >= next {
            take(&mut window, launched.read());
            count += 1;
            // A long run is read the less often the longer it is.
            if count.is_multiple_of(64) {
                every = (every * 2).min(*READING.end());
            }
            next = Instant::now() + every;
        }
        if stopped || status.is_some() {
            break;
        }
        if window.is_none() && begun.elapsed() > BEGIN {
            progress.show("the agent is not at work yet");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    progress.clear();
    if stop.is_wanted() && status.is_none() {
        let told = !terminated.load(Ordering::Relaxed) && output::is_foreground();
        status = ask_to_end(launched, told)?;
    }
    let Some(window) = window else { return Ok(Seen { profile: None, status }) };
    let mut profile = window.profile_of(process.as_ref())?;
    notes(&mut profile, launched, arguments, status);
    Ok(Seen { profile: Some(profile), status })
}

/// Adds a reading. The agent begins again, with a new live file, when a process replaces itself
/// (exec).
fn take(window: &mut Option<Window>, bytes: Option<Vec<u8>>) {
    let Some(bytes) = bytes else { return };
    match window {
        Some(window) if window.goes_on_with(&bytes) => {
            let _ = window.add(bytes, now_ns());
        }
        // Still being made: looked at again at the next reading.
        _ => {
            if let Ok(new) = Window::from_begin(bytes, now_ns()) {
                *window = Some(new);
            }
        }
    }
}

/// Ends the command as the user has ended us, and waits a little for it. `told`: Ctrl-C on a
/// terminal has reached it already; another signal would cut its orderly end short.
fn ask_to_end(launched: &mut Launched, told: bool) -> anyhow::Result<Option<ExitStatus>> {
    if !told
        && let Some(pid) = i32::try_from(launched.child.id()).ok().and_then(rustix::process::Pid::from_raw)
    {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
    let until = Instant::now() + GRACE;
    while Instant::now() < until {
        if let Some(status) = launched.child.try_wait()? {
            return Ok(Some(status));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    output::note("The command has not ended yet; once more Ctrl-C leaves it alone.");
    Ok(None)
}

fn notes(profile: &mut Profile, launched: &Launched, arguments: &Arguments, status: Option<ExitStatus>) {
    if let Some(signal) = status.and_then(|status| status.signal()) {
        profile.notes.push(format!("Signal {signal} ended the command; this is its last state."));
    }
    profile.notes.push(format!(
        "leak: live bytes that were allocated before the last third of the run (older than {}).",
        duration(profile.seconds / 3.0)
    ));
    if profile.sampling.dropped > 0 {
        profile.notes.push(format!(
            "{} of {} samples could not be kept; a larger --interval takes fewer, a larger --size has room for more.",
            profile.sampling.dropped, profile.sampling.samples
        ));
    }
    if arguments.live.is_some() {
        profile
            .notes
            .push(format!("The live file stays: offheap profile --from {}", launched.live().display()));
    }
}

fn words(command: &[OsString]) -> String {
    let words: Vec<_> = command.iter().map(|word| word.to_string_lossy()).collect();
    offheap_model::secrets::masked(words.iter().map(|word| &**word))
}

/// As a shell reports it.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    ExitCode::from(u8::try_from(code & 0xff).unwrap_or(1))
}

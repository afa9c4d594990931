//! `offheap trim`

use super::jcmd;
use crate::output;
use crate::profile;
use crate::target;
use anyhow::bail;
use offheap_collect::{Collector, Effort};
use offheap_linux::Process;
use offheap_model::Snapshot;
use offheap_model::units::{bytes, duration};
use serde_json::json;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The JDK's own command for it.
const COMMAND: &str = "System.trim_native_heap";
/// All of the C heap, and no objects.
const EFFORT: Effort = Effort { objects: false, ..Effort::FULL };
/// A trim walks every free chunk; many gigabytes take seconds.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Give back what is free in the C heap of a running JVM, and say what that gained.
///
/// Uses the JVM's own System.trim_native_heap (JDK 18 and later, and updates of 11 and 17), else
/// loads the agent, which calls malloc_trim. Threads that allocate from an arena wait while it is
/// trimmed, some milliseconds each 100 MiB. What a trim gains comes back with the next peak, if
/// nothing else is changed.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A pid, or a part of exactly one command line.
    target: String,
    /// Never load the agent.
    #[arg(long)]
    no_agent: bool,
    /// Write JSON.
    #[arg(long)]
    json: bool,
}

/// Why a heap that is not glibc's is not trimmed, and what its own way is.
fn not_glibc(pid: i32, allocator: Option<&str>) -> String {
    let Some(allocator) = allocator else {
        return format!(
            "no allocator that is known serves malloc in process {pid}, so nothing can be trimmed"
        );
    };
    match offheap_collect::gives_back_by(allocator) {
        Some(way) => format!(
            "process {pid} uses {allocator}, which a trim of glibc's heap doesn't reach; what the program can call itself: {way}"
        ),
        None => format!("process {pid} uses {allocator}, which has no way of giving back what it holds free"),
    }
}

/// Runs the verb.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let pid = target::resolve(&arguments.target)?;
    let mut collector = Collector::open(pid)?;
    let before = collector.snapshot(EFFORT)?;
    let Some(malloc) = before.malloc.as_ref().filter(|malloc| malloc.allocator == "glibc") else {
        bail!("{}", not_glibc(pid, before.malloc.as_ref().map(|malloc| malloc.allocator.as_str())));
    };
    if before.jvm.is_none() {
        bail!(
            "process {pid} is no JVM, and only a JVM can be told to trim: restart it, or call malloc_trim(0) in it"
        );
    }
    let predicted = malloc.trimmable_bytes;
    let begun = Instant::now();
    let how = trim(pid, arguments.no_agent)?;
    let took = begun.elapsed();
    let after = collector.snapshot(EFFORT)?;
    show(arguments, &before, &after, predicted, how, took);
    Ok(ExitCode::SUCCESS)
}

/// Trims; by what means.
fn trim(pid: i32, no_agent: bool) -> anyhow::Result<&'static str> {
    let session = jcmd::open(pid, TIMEOUT)?;
    let reply = session.jcmd(COMMAND)?;
    if reply.status == 0 && !reply.text.contains("Unknown diagnostic command") {
        return Ok(COMMAND);
    }
    if no_agent {
        bail!("this JVM has no {COMMAND}; without --no-agent the agent would call malloc_trim in it");
    }
    profile::trim(&session, &Process::open(pid)?)?;
    Ok("the agent's malloc_trim")
}

fn show(
    arguments: &Arguments,
    before: &Snapshot,
    after: &Snapshot,
    predicted: u64,
    how: &str,
    took: Duration,
) {
    let (from, to) = (before.memory.rss_bytes, after.memory.rss_bytes);
    let free = |snapshot: &Snapshot| snapshot.malloc.as_ref().map_or(0, |malloc| malloc.free_resident_bytes);
    if arguments.json {
        output::print_json(&json!({
            "schema": "offheap/trim/v1",
            "pid": before.process.pid,
            "how": how,
            "seconds": took.as_secs_f64(),
            "predicted_bytes": predicted,
            "rss_before_bytes": from,
            "rss_after_bytes": to,
            "free_resident_before_bytes": free(before),
            "free_resident_after_bytes": free(after),
        }));
        return;
    }
    let gained =
        if to <= from { format!("−{}", bytes(from - to)) } else { format!("+{}", bytes(to - from)) };
    output::print(&format!(
        "RSS {} → {} ({gained}; {} were predicted), by {how} in {}\nFree but resident in the C heap: {} → {}\n",
        bytes(from),
        bytes(to),
        bytes(predicted),
        duration(took.as_secs_f64()),
        bytes(free(before)),
        bytes(free(after)),
    ));
    if from.saturating_sub(to) < predicted / 2 {
        output::print("The process allocated meanwhile: what was given back is in use again.\n");
    }
}

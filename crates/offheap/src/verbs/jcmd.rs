//! `offheap jcmd`

use crate::output;
use anyhow::Context;
use offheap_attach::{Options, Session};
use offheap_collect::targets;
use std::process::ExitCode;
use std::time::Duration;

/// Send a diagnostic command to a running JVM, as jcmd does, without a JDK.
///
/// Without a command the JVM lists the ones it has (help). Works into containers and on other
/// users' JVMs. Control characters in the answer, as in names that a program chose for its threads,
/// are shown as · unless --raw is given before the command.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A pid, or a part of exactly one command line.
    target: String,
    /// The command with its arguments: VM.flags, GC.heap_info, Thread.print -l …
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
    /// How long the JVM may take for its answer.
    #[arg(long, default_value = "30s", value_parser = offheap_model::units::parse_duration)]
    timeout: Duration,
    /// Write JSON.
    #[arg(long)]
    json: bool,
    /// Write the answer as it came, with whatever a terminal may act on.
    #[arg(long, conflicts_with = "json")]
    raw: bool,
}

/// Runs the verb.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let pid = targets::resolve(&arguments.target)?;
    let command = if arguments.command.is_empty() { "help".to_owned() } else { arguments.command.join(" ") };
    let reply = open(pid, arguments.timeout)?.jcmd(&command)?;
    if arguments.json {
        output::print_json(&serde_json::json!({
            "schema": "offheap/jcmd/v1",
            "pid": pid,
            "command": command,
            "status": reply.status,
            "text": reply.text,
        }));
    } else {
        let end = if reply.text.ends_with('\n') { "" } else { "\n" };
        let text = format!("{}{end}", reply.text);
        if arguments.raw { output::print_raw(&text) } else { output::print_plain(&text) }
    }
    // A refusal by the JVM is not a failure of the tool, but a script must see it.
    Ok(if reply.status == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A session with the JVM `pid`.
pub fn open(pid: i32, timeout: Duration) -> anyhow::Result<Session> {
    let pid = u32::try_from(pid).context("a pid is positive")?;
    Ok(Session::open(pid, &Options { timeout, ..Options::default() })?)
}

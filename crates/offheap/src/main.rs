//! The `offheap` binary: one file a verb, glue only.

mod clock;
mod doctor;
mod files;
mod foreign;
mod instants;
mod knowledge;
mod observe;
mod output;
mod profile;
mod room;
mod sampler;
mod session;
mod target;
mod verbs;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Names the cause when a JVM's resident memory grows while its heap stays flat.
///
/// Point it at a running process: no restart, no JVM flags, no JDK tools. TARGET is a pid or a part
/// of exactly one command line.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, max_term_width = 100, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Ps(verbs::ps::Arguments),
    Map(verbs::map::Arguments),
    Diagnose(verbs::diagnose::Arguments),
    Fit(verbs::fit::Arguments),
    Check(verbs::check::Arguments),
    Watch(verbs::watch::Arguments),
    Record(verbs::record::Arguments),
    Serve(verbs::serve::Arguments),
    Profile(verbs::profile::Arguments),
    Python(verbs::python::Arguments),
    Trim(verbs::trim::Arguments),
    Run(verbs::run::Arguments),
    Doctor(verbs::doctor::Arguments),
    Handles(verbs::handles::Arguments),
    Mark(verbs::mark::Arguments),
    Diff(verbs::diff::Arguments),
    Jcmd(verbs::jcmd::Arguments),
    Nmt(verbs::nmt::Arguments),
    Convert(verbs::convert::Arguments),
    Demo(verbs::demo::Arguments),
}

/// The exit code for "the tool could not do its work".
const FAILED: u8 = 2;

fn main() -> ExitCode {
    // Rust ignores SIGPIPE, so that `offheap map PID | head` would end with an error message.
    offheap_linux::restore_sigpipe();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { FAILED } else { 0 });
        }
    };
    // Those that start programs of others do so once these are started.
    if !matches!(cli.verb, Verb::Run(_) | Verb::Demo(_)) {
        offheap_linux::be_killed_first();
    }
    // Those that start a program do nothing else, those that read files are not near anybody.
    if !matches!(cli.verb, Verb::Run(_) | Verb::Demo(_) | Verb::Convert(_) | Verb::Diff(_) | Verb::Mark(_))
        && let Err(error) = room::for_offheap()
    {
        output::complain(&error);
        return ExitCode::from(FAILED);
    }
    let result = match cli.verb {
        Verb::Ps(arguments) => verbs::ps::run(&arguments),
        Verb::Map(arguments) => verbs::map::run(&arguments),
        Verb::Diagnose(arguments) => verbs::diagnose::run(&arguments),
        Verb::Fit(arguments) => verbs::fit::run(&arguments),
        Verb::Check(arguments) => verbs::check::run(&arguments),
        Verb::Watch(arguments) => verbs::watch::run(&arguments),
        Verb::Record(arguments) => verbs::record::run(&arguments),
        Verb::Serve(arguments) => verbs::serve::run(&arguments),
        Verb::Profile(arguments) => verbs::profile::run(&arguments),
        Verb::Python(arguments) => verbs::python::run(&arguments),
        Verb::Trim(arguments) => verbs::trim::run(&arguments),
        Verb::Run(arguments) => verbs::run::run(&arguments),
        Verb::Doctor(arguments) => verbs::doctor::run(&arguments),
        Verb::Handles(arguments) => verbs::handles::run(&arguments),
        Verb::Mark(arguments) => verbs::mark::run(&arguments),
        Verb::Diff(arguments) => verbs::diff::run(&arguments),
        Verb::Jcmd(arguments) => verbs::jcmd::run(&arguments),
        Verb::Nmt(arguments) => verbs::nmt::run(&arguments),
        Verb::Convert(arguments) => verbs::convert::run(&arguments),
        Verb::Demo(arguments) => verbs::demo::run(&arguments),
    };
    result.unwrap_or_else(|error| {
        output::complain(&error);
        ExitCode::from(FAILED)
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Cli::command().debug_assert();
    }
}

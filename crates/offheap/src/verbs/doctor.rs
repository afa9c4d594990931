//! `offheap doctor`

use crate::doctor::{Ability, Check, Status, can, host, target};
use crate::output;
use offheap_collect::targets;
use offheap_present::terminal::{Style, Tone, clean, wrap};
use serde_json::{Value, json};
use std::process::ExitCode;

/// Columns before the text of a check.
const INDENT: usize = 21;

/// Say what works here and what does not, and the exact next command.
///
/// With a target: whether it can be accounted, attached to and profiled. Only looks: nothing is
/// sent to the target and nothing written. Exit codes: 0 everything works, 1 something does not.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A pid, or a part of exactly one command line.
    target: Option<String>,
    /// Write JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut checks = host();
    let mut abilities = vec![Ability::Run];
    let mut about = Value::Null;
    if let Some(name) = &arguments.target {
        let pid = targets::resolve(name)?;
        let examined = target(pid, name);
        checks.extend(examined.checks);
        abilities = vec![Ability::Account, Ability::Attach, Ability::Profile];
        let account = examined.account.as_ref();
        about = json!({
            "pid": pid,
            "command": account.map(|account| &account.process.command),
            "jvm": account.and_then(|account| account.jvm.as_ref()).map(|jvm| &jvm.version),
            "python": account.and_then(|account| account.python.as_ref()).map(|python| &python.version),
        });
        if let Some(jvm) = account.and_then(|account| account.jvm.as_ref()) {
            let text = format!("{} {}", jvm.vendor, jvm.version);
            // Those that the tests run on; others are read by the same tables.
            let check = match jvm.feature {
                11 | 17 | 21 | 25 => Check::ok("version", text),
                _ => Check::note("version", format!("{text}: a release that offheap was not tested with")),
            };
            checks.push(check);
        }
    }
    let works = abilities.iter().all(|ability| can(&checks, *ability));
    if arguments.json {
        let can: serde_json::Map<String, Value> = abilities
            .iter()
            .map(|ability| (ability.words().0.to_owned(), can(&checks, *ability).into()))
            .collect();
        let checks: Vec<Value> = checks.iter().map(Check::json).collect();
        output::print_json(
            &json!({ "schema": "offheap/doctor/v1", "target": about, "can": can, "checks": checks }),
        );
    } else {
        output::print(&render(&checks, &abilities, output::style(false)));
    }
    Ok(if works { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn render(checks: &[Check], abilities: &[Ability], style: Style) -> String {
    let mut out = String::new();
    for check in checks {
        let (mark, tone) = match check.status {
            Status::Ok => ("ok", Tone::Good),
            Status::Note => ("note", Tone::Warn),
            Status::Problem => ("NO", Tone::Bad),
        };
        let text = wrap(&check.text, style.width.saturating_sub(INDENT), INDENT);
        let text = text.trim();
        out.push_str(&format!("{}  {:<14} {text}\n", style.paint(tone, &format!("{mark:<4}")), check.id));
        if let Some(fix) = &check.fix {
            // A command must stay in one piece.
            out.push_str(&format!("{:INDENT$}{} {}\n", "", style.paint(Tone::Strong, "→"), clean(fix)));
        }
    }
    out.push('\n');
    for ability in abilities {
        let (name, verbs) = ability.words();
        let (mark, tone) = if can(checks, *ability) { ("yes", Tone::Good) } else { ("no", Tone::Bad) };
        out.push_str(&format!("{}  {name:<14} {verbs}\n", style.paint(tone, &format!("{mark:<4}"))));
    }
    out
}

//! What works here and what does not: each check says what it found, what that stands in the way
//! of, and the next command.

mod host;
mod target;

use serde_json::{Value, json};

pub use host::host;
pub use target::target;

/// What offheap can do to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ability {
    /// `map`, `watch`, `record`, `diagnose`, `check`.
    Account,
    /// `jcmd`, `nmt PID`.
    Attach,
    /// `profile`, `record --profile`.
    Profile,
    /// `run`.
    Run,
}

impl Ability {
    /// Its name in JSON, and the verbs it stands for.
    pub fn words(self) -> (&'static str, &'static str) {
        match self {
            Ability::Account => ("account", "map, watch, record, diagnose, check"),
            Ability::Attach => ("attach", "jcmd, nmt PID"),
            Ability::Profile => ("profile", "profile, record --profile"),
            Ability::Run => ("run", "run"),
        }
    }
}

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Nothing is in the way.
    Ok,
    /// Something is known or cannot be known that matters later.
    Note,
    /// It stands in the way of something.
    Problem,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Its name.
    pub id: &'static str,
    /// How it came out.
    pub status: Status,
    /// What was found.
    pub text: String,
    /// What it stands in the way of.
    pub blocks: Vec<Ability>,
    /// The next command, or change.
    pub fix: Option<String>,
}

impl Check {
    /// Nothing is in the way.
    pub fn ok(id: &'static str, text: impl Into<String>) -> Check {
        Check { id, status: Status::Ok, text: text.into(), blocks: Vec::new(), fix: None }
    }

    /// Something that matters later.
    pub fn note(id: &'static str, text: impl Into<String>) -> Check {
        Check { status: Status::Note, ..Check::ok(id, text) }
    }

    /// Something that stands in the way of `blocks`.
    pub fn problem(id: &'static str, text: impl Into<String>, blocks: &[Ability]) -> Check {
        Check { status: Status::Problem, blocks: blocks.to_vec(), ..Check::ok(id, text) }
    }

    /// With what is to be done.
    pub fn fix(self, fix: impl Into<String>) -> Check {
        Check { fix: Some(fix.into()), ..self }
    }

    /// As in `offheap/doctor/v1`.
    pub fn json(&self) -> Value {
        let status = match self.status {
            Status::Ok => "ok",
            Status::Note => "note",
            Status::Problem => "problem",
        };
        let blocks: Vec<&str> = self.blocks.iter().map(|ability| ability.words().0).collect();
        json!({ "id": self.id, "status": status, "text": self.text, "blocks": blocks, "fix": self.fix })
    }
}

/// Whether nothing is in the way of `ability`.
pub fn can(checks: &[Check], ability: Ability) -> bool {
    !checks.iter().any(|check| check.blocks.contains(&ability))
}

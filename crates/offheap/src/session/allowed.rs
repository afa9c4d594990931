//! What a session may do to the process beyond looking from outside.

use super::pauses::in_words;
use crate::output;
use offheap_present::terminal;
use std::io::{BufRead, IsTerminal, Write};
use std::time::Duration;

/// When a full collection may be run in the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Gc {
    /// If only that can tell a leak from garbage, and the pause that it is expected to make fits
    /// --max-pause.
    Auto,
    /// Never.
    Never,
    /// If only that can tell, however large the heap is.
    Always,
}

/// What may be done to the target beyond looking from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed {
    /// Load the agent, if the answer needs code.
    pub agent: bool,
    /// From the begin, whatever grows.
    pub agent_at_once: bool,
    /// Run a collection.
    pub gc: Gc,
    /// The longest pause that a collection or a count of the objects may be expected to make.
    pub max_pause: Duration,
    /// Only after asking, where somebody can be asked.
    pub ask: bool,
}

impl Allowed {
    /// Only look.
    pub const NOTHING: Allowed =
        Allowed { agent: false, agent_at_once: false, gc: Gc::Never, max_pause: Duration::ZERO, ask: false };
    /// The agent from the begin, and nothing else; not asked for.
    pub const AGENT: Allowed = Allowed { agent: true, agent_at_once: true, ..Allowed::NOTHING };

    /// Asks on the terminal, once, before the window begins. Where nobody can be asked the command
    /// itself is the consent: `--no-agent` is how to withhold it.
    pub fn ask(self, target: &str) -> Allowed {
        if !self.agent || !self.ask || !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
            return self;
        }
        let question = format!(
            "If the answer needs code, offheap loads its agent into {target} (it stays there, asleep, afterwards; JDK 21 \
             and later print a warning about it){}. Allow that? [Y/n]",
            match self.gc {
                Gc::Never => String::new(),
                Gc::Auto => format!(
                    ", and may have it collect and count its objects where that is expected to stop it for at most {}",
                    in_words(self.max_pause)
                ),
                Gc::Always =>
                    ", and may have it collect and count its objects, however long that stops it".to_owned(),
            }
        );
        let _ = write!(std::io::stderr(), "{} ", terminal::wrap(&question, output::style(false).width, 0));
        let _ = std::io::stderr().flush();
        let mut answer = String::new();
        let said = std::io::stdin().lock().read_line(&mut answer).is_ok_and(|read| read > 0);
        let yes = said && matches!(answer.trim().to_lowercase().as_str(), "" | "y" | "yes");
        if yes { self } else { Allowed::NOTHING }
    }
}

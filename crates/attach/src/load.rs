//! What a JVM says to loading an agent.

use crate::protocol::Reply;

/// How the loading of an agent ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoadOutcome {
    /// `Agent_OnAttach` ran and returned 0.
    Loaded,
    /// `Agent_OnAttach` returned something else.
    AgentFailed {
        /// What it returned.
        code: i32,
    },
    /// The JVM takes no agents while it runs (`-XX:-EnableDynamicAgentLoading`). JDK 21 and later
    /// say so; before that it can't be told from [`Refused`](LoadOutcome::Refused).
    Disabled {
        /// The JVM's words.
        text: String,
    },
    /// The library could not be loaded, is no agent, or the JVM takes none.
    Refused {
        /// The JVM's words; empty where it gives none.
        text: String,
    },
}

/// Reads the answer to `load`.
pub fn outcome(reply: &Reply) -> LoadOutcome {
    let text = reply.text.trim();
    // From JDK 9 on `return code: 0`, before that the number alone.
    let code = text.lines().find_map(|line| line.trim().strip_prefix("return code:")).unwrap_or(text);
    match code.trim().parse() {
        Ok(0) if reply.status == 0 => LoadOutcome::Loaded,
        Ok(code) if reply.status == 0 => LoadOutcome::AgentFailed { code },
        _ if text.contains("Dynamic agent loading is not enabled") => {
            LoadOutcome::Disabled { text: text.to_owned() }
        }
        _ => LoadOutcome::Refused { text: text.to_owned() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: i32, text: &str) -> LoadOutcome {
        outcome(&Reply { status, text: text.into() })
    }

    #[test]
    fn outcomes_of_all_jdks() {
        assert_eq!(of(0, "return code: 0\n"), LoadOutcome::Loaded);
        assert_eq!(of(0, "return code: 7\n"), LoadOutcome::AgentFailed { code: 7 });
        assert_eq!(of(0, "0\n"), LoadOutcome::Loaded, "JDK 8");
        assert_eq!(of(0, "-4\n"), LoadOutcome::AgentFailed { code: -4 }, "JDK 8");
        let disabled =
            "Dynamic agent loading is not enabled. Use -XX:+EnableDynamicAgentLoading to launch target VM.";
        assert!(matches!(of(0, disabled), LoadOutcome::Disabled { .. }));
        assert_eq!(of(-1, ""), LoadOutcome::Refused { text: String::new() });
        assert_eq!(
            of(0, "x.so was not loaded."),
            LoadOutcome::Refused { text: "x.so was not loaded.".into() }
        );
    }
}

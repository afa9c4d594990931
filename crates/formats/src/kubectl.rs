//! `kubectl describe pod`: what the containers may have, and what ended them. Source: kubectl,
//! pkg/describe.

use crate::Error;
use crate::figures::{Figures, Named};
use crate::words::{Base, any_of, size};
use offheap_model::units::bytes as in_words;

/// True where it may begin with `line`.
pub(crate) fn perhaps(line: &str) -> bool {
    ["Namespace:", "Last State:", "Reason:", "Container ID:", "Restart Count:"]
        .iter()
        .any(|key| line.starts_with(key))
        || line == "Containers:"
}

/// True where the first lines of `head` are of it.
pub(crate) fn is(head: &[u8]) -> bool {
    let has = |key: &str| any_of(head, 300, |line| line.starts_with(key));
    has("Reason:") && (has("Exit Code:") || has("Last State:") || has("Restart Count:"))
        || has("Container ID:") && has("State:")
}

/// A container.
#[derive(Default)]
struct Container {
    name: String,
    reason: String,
    exit_code: Option<i64>,
    restarts: Option<u64>,
    limit: Option<u64>,
    request: Option<u64>,
}

/// Reads it.
///
/// # Errors
/// It has no container.
pub fn read(bytes: &[u8]) -> Result<Figures, Error> {
    let text = String::from_utf8_lossy(bytes);
    let (mut all, mut part, mut is_last): (Vec<Container>, &str, bool) = (Vec::new(), "", false);
    for line in text.lines() {
        let bare = line.trim();
        let Some((key, value)) = bare.split_once(':') else { continue };
        let value = value.trim();
        // The name of a container stands alone, before its id.
        if value.is_empty() && line.starts_with("  ") && !line.starts_with("   ") && !key.contains(' ') {
            all.push(Container { name: key.to_owned(), ..Container::default() });
            part = "";
            continue;
        }
        if all.is_empty()
            && matches!(key, "State" | "Last State" | "Reason" | "Limits" | "Container ID" | "Exit Code")
        {
            all.push(Container::default());
        }
        let Some(container) = all.last_mut() else { continue };
        match key {
            "State" | "Last State" => is_last = key == "Last State",
            // What ended it last is what counts, whether it is up again or not.
            "Reason" if is_last || container.reason.is_empty() => container.reason = value.to_owned(),
            "Exit Code" if is_last || container.exit_code.is_none() => {
                container.exit_code = value.parse().ok()
            }
            "Restart Count" => container.restarts = value.parse().ok(),
            "Limits" | "Requests" => part = if key == "Limits" { "Limits" } else { "Requests" },
            // `2Gi`, `512Mi`, `500M`, `1073741824`.
            "memory" if part == "Limits" => container.limit = size(value, Base::Decimal),
            "memory" if part == "Requests" => container.request = size(value, Base::Decimal),
            _ => {}
        }
    }
    let all: Vec<Container> = all
        .into_iter()
        .filter(|one| !one.reason.is_empty() || one.limit.is_some() || one.exit_code.is_some())
        .take(1000)
        .collect();
    if all.is_empty() {
        return Err(Error::NotThis {
            format: "kubectl describe",
            reason: "no container with a state or a limit is in it".into(),
        });
    }
    let named = all.iter().flat_map(|one| {
        let name = if one.name.is_empty() { "the container" } else { &one.name };
        [("memory limit", one.limit), ("memory request", one.request)]
            .into_iter()
            .filter_map(move |(what, bytes)| {
                Some(Named { name: format!("{name}, {what}"), bytes: bytes?, count: one.restarts })
            })
            .collect::<Vec<_>>()
    });
    let mut figures = Figures::new("what containers may have", named);
    let mut killed = false;
    for one in &all {
        let name = if one.name.is_empty() { "The container" } else { &one.name };
        let limit = one.limit.map_or_else(
            || "no memory limit of its own".to_owned(),
            |limit| format!("a memory limit of {}", in_words(limit)),
        );
        let restarts = match one.restarts {
            None | Some(0) => String::new(),
            Some(1) => ", restarted once".to_owned(),
            Some(count) => format!(", restarted {count} times"),
        };
        match (one.reason.as_str(), one.exit_code) {
            ("OOMKilled", _) => {
                killed = true;
                figures = figures.saying(format!(
                    "{name} was killed because it ran out of memory (OOMKilled): it has {limit}{restarts}."
                ));
            }
            (reason, Some(137)) => {
                figures = figures.saying(format!("{name} was killed by SIGKILL (exit code 137, reason {reason}), which does not have to mean that memory ran out: {limit}{restarts}."));
            }
            (reason, Some(code)) if code != 0 => {
                let signal = if code > 128 { format!(", by signal {}", code - 128) } else { String::new() };
                figures = figures.saying(format!(
                    "{name} ended with exit code {code}{signal} ({reason}): {limit}{restarts}."
                ));
            }
            _ => figures = figures.saying(format!("{name} has {limit}{restarts}.")),
        }
    }
    Ok(if killed {
        figures
            .advising("The limit counts everything in the container: the Java heap, what the JVM has beside it, native libraries, tmpfs. offheap fit PID adds up what the process may grow to.")
            .advising("The kernel's own message (dmesg, or the node's journal) says how much was resident, and whose: offheap convert takes it.")
            .advising("offheap record --profile in the pod keeps the last state of a process that is killed.")
    } else {
        figures
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_killed_and_its_limit() {
        let text = "Name:         app-7d\nNamespace:    prod\nContainers:\n  app:\n    Container ID:   containerd://ab12\n    State:          Running\n      Started:      Mon\n    \
            Last State:     Terminated\n      Reason:       OOMKilled\n      Exit Code:    137\n    Ready:          True\n    Restart Count:  4\n    \
            Limits:\n      cpu:     2\n      memory:  2Gi\n    Requests:\n      memory:  512Mi\n  sidecar:\n    State:          Running\n    Limits:\n      memory:  128M\n";
        assert!(is(text.as_bytes()));
        let figures = read(text.as_bytes()).unwrap();
        assert_eq!(
            figures.says[0],
            "app was killed because it ran out of memory (OOMKilled): it has a memory limit of 2.00 GiB, restarted 4 times."
        );
        assert_eq!(figures.says[1], "sidecar has a memory limit of 122 MiB.");
        let once = text.replace("Restart Count:  4", "Restart Count:  1");
        assert!(read(once.as_bytes()).unwrap().says[0].ends_with("2.00 GiB, restarted once."));
        let part = "Last State:     Terminated\n  Reason:       Error\n  Exit Code:    137\n";
        assert!(is(part.as_bytes()));
        assert!(read(part.as_bytes()).unwrap().says[0].contains("does not have to mean that memory ran out"));
    }
}

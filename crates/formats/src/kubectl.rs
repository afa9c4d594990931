//! `kubectl describe pod` and `kubectl get pod -o yaml`: what the containers may have, and what
//! ended them. Source: kubectl, pkg/describe; Kubernetes' API, `ContainerStatus`.

use crate::Error;
use crate::figures::{Figures, Named};
use crate::words::{Base, any_of, size};
use offheap_model::units::bytes as in_words;

/// True where it may start with `line`.
pub(crate) fn perhaps(line: &str) -> bool {
    ["Namespace:", "Last State:", "Reason:", "Container ID:", "Restart Count:"]
        .iter()
        .any(|key| line.starts_with(key))
        || matches!(line, "Containers:" | "containerStatuses:" | "lastState:")
        || line.starts_with("- containerID: ")
}

/// True where the first lines of `head` are of it.
pub(crate) fn is(head: &[u8]) -> bool {
    let has = |key: &str| any_of(head, 300, |line| line.starts_with(key));
    has("Reason:") && (has("Exit Code:") || has("Last State:") || has("Restart Count:"))
        || has("Container ID:") && has("State:")
        || is_yaml(&String::from_utf8_lossy(head))
}

/// Whether it is the pod itself, or its state, in YAML.
fn is_yaml(text: &str) -> bool {
    let has = |key: &str| text.lines().any(|line| line.trim().trim_start_matches("- ").starts_with(key));
    (has("lastState:") || has("containerStatuses:")) && has("reason:")
}

/// The containers of a pod in YAML: its lists `containers` and `containerStatuses` joined by name.
fn yaml(text: &str) -> Vec<Container> {
    let mut all: Vec<Container> = Vec::new();
    // The indent of the list that is being read, the path to its current keys, by indent.
    let (mut list, mut path): (Option<usize>, Vec<(usize, String)>) = (None, Vec::new());
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let item = line.trim_start().strip_prefix("- ");
        let bare = item.unwrap_or(line.trim_start()).trim();
        let at = line.len() - line.trim_start().len();
        if list.is_some_and(|list| at < list || at == list && item.is_none()) {
            list = None;
        }
        let Some((key, value)) = bare.split_once(':') else { continue };
        if matches!(key, "containers" | "containerStatuses" | "initContainerStatuses") {
            list = Some(at);
            path.clear();
            continue;
        }
        let indent = at + if item.is_some() { 2 } else { 0 };
        let is_container = item.is_some()
            && match list {
                // Lists may be indented, or stand below their key.
                Some(list) => path.first().is_none_or(|(first, _)| *first == indent) && at <= list + 2,
                None => key == "containerID",
            };
        if all.len() > 2 * MOST {
            break;
        }
        if is_container || all.is_empty() && matches!(key, "lastState" | "state") {
            all.push(Container::default());
            path.clear();
        }
        path.retain(|(before, _)| *before < indent);
        path.push((indent, key.to_owned()));
        let inside = |key: &str| path.iter().any(|(_, known)| known == key);
        let (value, is_last) = (value.trim().trim_matches(['"', '\'']), inside("lastState"));
        let Some(container) = all.last_mut() else { continue };
        match key {
            "name" if path.len() == 1 => container.name = value.to_owned(),
            "restartCount" => container.restarts = value.parse().ok(),
            "reason" if is_last || container.reason.is_empty() => container.reason = value.to_owned(),
            "exitCode" if is_last || container.exit_code.is_none() => {
                container.exit_code = value.parse().ok()
            }
            "memory" if inside("limits") => container.limit = size(value, Base::Decimal),
            "memory" if inside("requests") => container.request = size(value, Base::Decimal),
            _ => {}
        }
    }
    let mut joined: Vec<Container> = Vec::new();
    for one in all {
        let has_room = joined.len() < MOST;
        match joined.iter_mut().find(|known| known.name == one.name && !one.name.is_empty()) {
            Some(known) => {
                known.limit = known.limit.or(one.limit);
                known.request = known.request.or(one.request);
                known.exit_code = known.exit_code.or(one.exit_code);
                known.restarts = known.restarts.or(one.restarts);
                if known.reason.is_empty() {
                    known.reason = one.reason;
                }
            }
            None if has_room => joined.push(one),
            None => {}
        }
    }
    joined
}

/// Containers that are looked at: a pod has a few.
const MOST: usize = 1000;

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
    figures(if is_yaml(&text) { yaml(&text) } else { described(&text) })
}

/// The containers of `kubectl describe`.
fn described(text: &str) -> Vec<Container> {
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
    all
}

fn figures(all: Vec<Container>) -> Result<Figures, Error> {
    let all: Vec<Container> = all
        .into_iter()
        .filter(|one| !one.reason.is_empty() || one.limit.is_some() || one.exit_code.is_some())
        .take(MOST)
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
    fn a_pod_in_yaml() {
        let text = "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - args:\n    - -Xmx4g\n    env:\n    - name: A\n      value: b\n    \
            image: registry/api:1.2\n    name: api\n    resources:\n      limits:\n        memory: 4Gi\n      requests:\n        memory: 1Gi\n  - image: proxy\n    name: proxy\n\
            status:\n  containerStatuses:\n  - containerID: containerd://aa\n    lastState:\n      terminated:\n        exitCode: 137\n        reason: OOMKilled\n    \
            name: api\n    restartCount: 12\n    state:\n      running:\n        startedAt: \"2024\"\n";
        assert!(is(text.as_bytes()));
        let figures = read(text.as_bytes()).unwrap();
        assert_eq!(
            figures.says,
            [
                "api was killed because it ran out of memory (OOMKilled): it has a memory limit of 4.00 GiB, restarted 12 times."
            ]
        );
        assert_eq!(figures.list.len(), 2);
        let part = "lastState:\n  terminated:\n    exitCode: 137\n    reason: OOMKilled\n";
        assert!(read(part.as_bytes()).unwrap().says[0].starts_with("The container was killed"));
    }

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

//! JVMs that have little memory left, and an offheap that is ended in the middle: the target notices nothing.

use offheap_testkit::{is_root, jdk, killed, near};
use std::time::Duration;

#[test]
fn near_its_limit_no_process_is_killed_by_a_look() {
    if !is_root("a memory group of its own") {
        return;
    }
    let outside = [(4, "profile"), (4, "diagnose"), (8, "profile"), (16, "profile"), (32, "profile")];
    // As in `kubectl exec`: offheap is charged to the same limit.
    let inside = [(4, "profile"), (8, "diagnose"), (16, "profile"), (32, "profile"), (32, "diagnose")];
    let looks = outside.map(|look| (look, false)).into_iter().chain(inside.map(|look| (look, true)));
    for ((left, verb), inside) in looks {
        let verb = &format!("{verb}{}", if inside { ", inside" } else { "" });
        match near::look(jdk(17), left << 20, &[verb.split(',').next().unwrap(), "--for", "1s"], inside) {
            Ok(look) => {
                assert!(look.kills == 0 && look.lives, "{verb}, {left} MiB left: {look:?}");
                // What remains of the agent after it was stopped.
                assert!(look.left[1] < 4 << 20, "{verb}, {left} MiB left: {look:?}");
            }
            Err(error) => {
                eprintln!("NOT TESTED: near the limit: {error}");
                return;
            }
        }
    }
}

/// A terminal that closes and a pipe whose reader is gone end offheap as Ctrl-C does: the agent is stopped first. What is killed can't
/// do that: the agent's lease ends a minute later (`cargo xtask soak --only killed`).
#[test]
fn an_offheap_that_is_hung_up_on_stops_its_agent() {
    for signal in ["HUP", "PIPE", "TERM", "INT"] {
        killed::one(jdk(17), signal, Duration::from_secs(5)).unwrap();
    }
}

//! JVMs that have little memory left, and an offheap that is ended in the middle: the target
//! notices nothing.

use offheap_testkit::{is_root, jdk, killed, near};
use std::time::Duration;

#[test]
fn near_its_limit_no_process_is_killed_by_a_look() {
    if !is_root("a memory group of its own") {
        return;
    }
    for (left, verb, inside) in [
        (4, "profile", false),
        (4, "diagnose", false),
        (8, "profile", false),
        (16, "profile", false),
        (32, "profile", false),
        // As in `kubectl exec`: offheap is charged to the same limit.
        (4, "profile", true),
        (8, "diagnose", true),
        (16, "profile", true),
        (32, "profile", true),
        (32, "diagnose", true),
    ] {
        match near::look(jdk(17), left << 20, &[verb, "--for", "1s"], inside) {
            Ok(look) => {
                let context = format!("{verb}, inside {inside}, {left} MiB left: {look:?}");
                assert!(look.kills == 0 && look.lives, "{context}");
                // What remains of the agent after it was stopped.
                assert!(look.left[1] < 4 << 20, "{context}");
            }
            Err(error) => {
                eprintln!("NOT TESTED: near the limit: {error}");
                return;
            }
        }
    }
}

/// A terminal that closes and a pipe whose reader is gone end offheap as Ctrl-C does: the agent is
/// stopped first. What is killed can't do that: the agent's lease ends a minute later (`cargo xtask
/// soak --only killed`).
#[test]
fn an_offheap_that_is_hung_up_on_stops_its_agent() {
    for signal in ["HUP", "PIPE", "TERM", "INT"] {
        killed::one(jdk(17), signal, Duration::from_secs(5)).unwrap();
    }
}

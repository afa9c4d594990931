//! Disks that stop answering: the target notices nothing.

use offheap_testkit::{frozen, is_root, jdk};
use std::time::Duration;

/// By numbers that a disk decides: half of the freeze, which is a second and a half.
const WAITED: Duration = Duration::from_millis(700);

#[test]
fn a_frozen_disk_keeps_nobody_from_allocating() {
    if !is_root("a disk of its own") {
        return;
    }
    let judge = |what: &str, result: Result<frozen::Slowest, String>| match result {
        // A machine so busy that the control waits as long says nothing.
        Ok(slowest) => assert!(slowest.with < WAITED.max(slowest.without), "{what}: {slowest:?}"),
        Err(error) => eprintln!("NOT TESTED: {what}: {error}"),
    };
    judge("run", frozen::of_run());
    judge("a JVM while the agent runs", frozen::of_jvm(jdk(17), false));
    judge("a JVM after the stop", frozen::of_jvm(jdk(17), true));
}

//! Signal handlers that jump out of what they interrupted.

use offheap_testkit::{build_harm, run_within};
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

/// A handler that jumps out of a hook leaves no lock taken: maps are still recorded afterwards, by
/// every thread.
#[test]
fn a_jump_out_of_a_hook_leaves_nothing_locked() {
    let program = build_harm("jumps", &["targets/jumps.c"], &[]);
    let mut command = Command::new(offheap_testkit::offheap());
    let ended = run_within(command.args(["run", "--interval", "1", "--json", "--"]).arg(program), LIMIT);
    assert_eq!(ended.code(), Some(0), "{:?} {} {:.300}", ended.status, ended.err, ended.out);
    let (said, document) = ended.out.split_once('{').unwrap();
    assert!(said.starts_with("jumped "), "{said}");
    let document: serde_json::Value = serde_json::from_str(&format!("{{{document}")).unwrap();
    let kept: u64 = document["sites"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|site| site["frames"].as_array().unwrap().iter().any(|frame| frame["name"] == "keep_a_map"))
        .filter_map(|site| site["live_bytes"].as_u64())
        .sum();
    assert_eq!(kept, 50 << 20, "50 maps of 1 MiB were kept after the jumps");
}

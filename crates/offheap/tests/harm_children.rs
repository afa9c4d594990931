//! Children that a process forks, with fewer rights than it has.

use offheap_testkit::{build_harm, run_within};
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

/// A worker that dropped its privileges reaches nothing of its master's agent.
#[test]
fn forked_children_hold_nothing_of_the_agent() {
    let program = build_harm("forked_child", &["targets/forked_child.c"], &[]);
    for interval in ["1", "64"] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(offheap_testkit::offheap());
        command.args(["run", "--interval", interval, "--json", "--"]).arg(&program);
        let ended = run_within(command.env("TMPDIR", folder.path()), LIMIT);
        assert_eq!(ended.code(), Some(0), "{:?} {} {:.300}", ended.status, ended.err, ended.out);
        assert!(ended.out.starts_with("reached 0, overwritten 0\n"), "{:.300}", ended.out);
    }
}

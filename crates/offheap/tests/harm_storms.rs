//! JVMs and C programs in bad weather of every kind (`harm/storm`), and JVMs that end while the
//! agent is being loaded: nobody dies of the agent, no byte is wrong, no errno lost. For as long as
//! asked: `cargo xtask soak`.

use offheap_testkit::{exits, jdk, run_within, storm};
use std::process::Command;
use std::time::{Duration, Instant};

/// Storms of 15 s until the agent has come and gone in one.
const ROUNDS: u32 = 6;

#[test]
fn jvms_survive_all_weather_at_once() {
    for (feature, collector) in [(17, "-XX:+UseSerialGC"), (25, "-XX:+UseG1GC")] {
        // The weather has limits on files in it, under which the agent rightly refuses to start:
        // then once more.
        let mut rounds = (0..ROUNDS).map(|_| {
            let report = storm::run(&storm::Storm {
                jdk: jdk(feature),
                flags: &[collector],
                kinds: storm::KINDS,
                variables: &[],
                cycles: 12,
                until: Instant::now() + Duration::from_secs(15),
            });
            assert!(report.harm.is_empty(), "JDK {feature}: {report:#?}");
            report.cycles
        });
        assert!(rounds.any(|cycles| cycles > 0), "JDK {feature}: the agent never came in");
    }
}

/// In whose hooks samples are taken all the while.
#[test]
fn a_c_program_survives_all_weather_at_once() {
    for interval in ["1", "64k"] {
        let mut command = Command::new(offheap_testkit::offheap());
        command
            .args(["run", "--interval", interval, "--json", "--"])
            .arg(storm::alone())
            .arg(storm::libraries());
        let ended = run_within(
            command.arg(format!(",{},", storm::KINDS.join(","))).arg("4"),
            Duration::from_secs(120),
        );
        assert_eq!(ended.code(), Some(0), "{:?}\n{}\n{}", ended.status, ended.err, ended.out);
        assert!(ended.out.contains("\nbad 0 "), "{:.2000}", ended.out);
    }
}

#[test]
fn a_jvm_that_ends_while_the_agent_is_loaded_ends_as_it_would() {
    for way in 0..5 {
        for after in [20, 90, 250] {
            exits::one(jdk(17), way, Duration::from_millis(after)).unwrap();
        }
    }
}

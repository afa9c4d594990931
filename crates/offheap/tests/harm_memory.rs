//! Programs whose memory is unusual, or hostile: the agent reads and writes only what it may
//! (`harm/targets`).

use offheap_testkit::{Program, build_harm, build_harm_java, jdk, jdks, run_within};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

/// Guard pages, read-only tables, pages under userfaultfd, of a file that was cut short, unmapped;
/// and all of that.
const GUARDED: &[&str] = &["0", "1", "2", "4", "8", "16", "32", "63"];

/// A JVM with a library of harm in it.
fn host(feature: u32, library: &PathBuf, mode: &str) -> Program {
    let jdk = jdk(feature);
    let mut command = Command::new(&jdk.java);
    command.args([
        "-Xmx64m",
        "-XX:+UseSerialGC",
        "-XX:-CreateCoredumpOnCrash",
        "-XX:ErrorFile=/dev/null",
        "-cp",
    ]);
    Program::start(command.arg(build_harm_java("Host")).arg("Host").arg(library).arg(mode))
}

/// Loads the agent; the JVM must go on, and its library too.
fn survives_a_profile(mut jvm: Program, use_it: &str, what: &str) {
    let pid = jvm.pid().to_string();
    let mut command = Command::new(offheap_testkit::offheap());
    let ended = run_within(command.args(["profile", &pid, "--for", "300ms", "--interval", "4k"]), LIMIT);
    assert_eq!(ended.code(), Some(0), "{what}: {:?} {}", ended.status, ended.err);
    assert_eq!(jvm.try_ask(use_it).as_deref(), Some("0"), "{what}: the JVM ended: {:?}", jvm.ended());
    // The allocations of a while, with the agent asleep.
    assert_eq!(jvm.try_ask(use_it).as_deref(), Some("0"), "{what}");
}

fn survives_a_run(words: &[&str], variables: &[(&str, &str)], what: &str) {
    let host = build_harm("host", &["targets/host.c"], &["-ldl"]);
    let mut command = Command::new(offheap_testkit::offheap());
    command.args(["run", "--interval", "1", "--json", "--"]).arg(&host).args(words);
    let ended = run_within(command.envs(variables.iter().copied()), LIMIT);
    assert_eq!(ended.code(), Some(0), "{what}: {:?} {} {:.300}", ended.status, ended.err, ended.out);
    assert!(ended.out.starts_with("lives\n"), "{what}: {:.300}", ended.out);
}

#[test]
fn jvms_with_guarded_data_survive_the_agent() {
    let library = build_harm("guarded", &["targets/guarded.c"], &["-shared", "-DJNI"]);
    for mode in GUARDED {
        survives_a_profile(host(17, &library, mode), "64", &format!("guarded {mode}"));
    }
    if jdks().iter().any(|jdk| jdk.feature == 25) {
        survives_a_profile(host(25, &library, "63"), "64", "guarded 63, JDK 25");
    }
}

#[test]
fn programs_with_guarded_data_survive_the_hook_of_dlopen() {
    let library = build_harm("guarded", &["targets/guarded.c"], &["-shared"]);
    let library = library.to_str().unwrap();
    for mode in GUARDED {
        // Guarded by the constructor, before dlopen returns, and once more by the program.
        survives_a_run(&[library, "64"], &[("HARM_MODE", mode)], &format!("guarded {mode}"));
        survives_a_run(&[library, mode, library, "64"], &[], &format!("guarded {mode} later"));
    }
}

#[test]
fn import_slots_that_are_read_only_are_left_alone_or_written_safely() {
    let flags = ["-Wl,-z,notext", "-Wl,-z,norelro", "-Wl,-z,now"];
    let jni = build_harm(
        "readonly_slots",
        &["targets/readonly_slots.c"],
        &[&["-shared", "-DJNI"][..], &flags].concat(),
    );
    let plain =
        build_harm("readonly_slots", &["targets/readonly_slots.c"], &[&["-shared"][..], &flags].concat());
    let plain = plain.to_str().unwrap();
    for mode in ["0", "1"] {
        survives_a_profile(host(17, &jni, mode), mode, &format!("slots {mode}"));
        survives_a_run(&[plain, mode, plain, mode], &[("HARM_MODE", mode)], &format!("slots {mode}"));
    }
}

/// Two kinds of coroutines on one pool that is cut anew by mprotect, walked at every allocation.
#[test]
fn coroutines_on_stacks_that_are_cut_anew_are_walked_safely() {
    use offheap_testkit::storm;
    for interval in ["1", "4k"] {
        let mut command = Command::new(offheap_testkit::offheap());
        command
            .args(["run", "--interval", interval, "--json", "--"])
            .arg(storm::alone())
            .arg(storm::libraries());
        let ended = run_within(command.args([",coroutines,altstack,mprotect,", "2"]), LIMIT);
        assert_eq!(ended.code(), Some(0), "{:?} {} {:.300}", ended.status, ended.err, ended.out);
        assert!(ended.out.contains("bad 0 "), "{:.300}", ended.out);
    }
}

/// Its own allow-list kills a program for any system call that its malloc would not make.
#[test]
fn a_program_with_its_own_seccomp_filter_is_not_killed() {
    let program = build_harm("seccomp", &["targets/seccomp.c"], &[]);
    for (interval, threads) in [("1", false), ("512k", false), ("1", true), ("64k", true)] {
        let mut command = Command::new(offheap_testkit::offheap());
        command.args(["run", "--interval", interval, "--json", "--"]).arg(&program);
        if threads {
            command.env("HARM_THREADS", "1");
        }
        let ended = run_within(&mut command, LIMIT);
        assert_eq!(
            ended.code(),
            Some(0),
            "{interval} {threads}: {:?} {} {:.300}",
            ended.status,
            ended.err,
            ended.out
        );
        assert!(ended.out.starts_with("lives\n"), "{:.300}", ended.out);
    }
}

//! `offheap doctor`: as root and as nobody, on JVMs in namespaces of their own with a /tmp of every
//! kind.

mod common;

use offheap_testkit::{Jdk, Program, build_c, build_java, jdks};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const SLEEPER: &str = r#"
public class Sleeper {
    public static void main(String[] a) throws Exception { System.out.println("READY"); System.in.read(); }
}
"#;

/// An ordinary user.
const NOBODY: &str = "65534";

/// A folder that is not below /tmp, readable for everybody: its class path, and a copy of the
/// binary.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let classes = build_java("Sleeper", SLEEPER);
        std::fs::copy(classes.join("Sleeper.class"), folder.path().join("Sleeper.class")).unwrap();
        std::fs::copy(offheap_testkit::offheap(), folder.path().join("offheap")).unwrap();
        Place { folder }
    }

    fn offheap(&self) -> PathBuf {
        self.folder.path().join("offheap")
    }

    /// A JVM below `prefix`, with `flags`.
    fn start(&self, jdk: &Jdk, prefix: &[&str], flags: &[&str]) -> Program {
        let mut command = Command::new(prefix.first().copied().unwrap_or("env"));
        command.args(prefix.get(1..).unwrap_or_default()).arg(&jdk.java).arg("-Xmx64m").args(flags);
        Program::start(command.arg("-cp").arg(self.folder.path()).arg("Sleeper"))
    }

    /// What `doctor` says as root or, with `user`, as that one; and its exit code.
    fn doctor(&self, user: Option<&str>, pid: &str) -> (Value, i32) {
        let output = as_user(user, &self.offheap()).args(["doctor", pid, "--json"]).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        let document: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{error}"));
        assert_eq!(document["schema"], "offheap/doctor/v1");
        (document, output.status.code().unwrap())
    }
}

fn as_user(user: Option<&str>, program: &Path) -> Command {
    let Some(user) = user else { return Command::new(program) };
    let mut command = Command::new("setpriv");
    command.args(["--reuid", user, "--regid", user, "--clear-groups"]).arg(program);
    command
}

/// A recent JDK with a readable path: nobody must be able to start it.
fn jdk() -> &'static Jdk {
    jdks().iter().rfind(|jdk| jdk.java.starts_with("/usr")).unwrap_or(&jdks()[0])
}

/// The process that `program`, which only prepared things, has started as `java`.
fn java_below(program: &Program) -> String {
    let mut pid = program.pid();
    loop {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
        if name.trim() == "java" {
            return pid.to_string();
        }
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        pid = children.split_whitespace().next().expect("it has started java").parse().unwrap();
    }
}

fn check<'a>(document: &'a Value, id: &str) -> &'a Value {
    let checks = document["checks"].as_array().unwrap();
    checks.iter().find(|check| check["id"] == id).unwrap_or_else(|| panic!("no {id}: {document:#}"))
}

fn can(document: &Value) -> [bool; 3] {
    ["account", "attach", "profile"].map(|ability| document["can"][ability].as_bool().unwrap())
}

#[test]
fn where_everything_works_it_says_so() {
    let place = Place::new();
    for jdk in jdks() {
        let program = place.start(jdk, &[], &[]);
        let (document, code) = place.doctor(None, &program.pid().to_string());
        assert_eq!((can(&document), code), ([true; 3], 0), "{}: {document:#}", jdk.name);
        assert!(check(&document, "libc")["text"].as_str().unwrap().starts_with("glibc 2."), "{document:#}");
        assert_eq!(document["target"]["pid"], program.pid());
        assert!(document["target"]["jvm"].is_string());
    }
    // Without a target: this machine.
    let output = common::offheap(&["doctor"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stdout).contains("yes   run"));
}

#[test]
fn another_users_process_needs_rights_and_ones_own_needs_none() {
    let place = Place::new();
    let program = place.start(jdk(), &[], &[]);
    let (document, code) = place.doctor(Some(NOBODY), &program.pid().to_string());
    assert_eq!((can(&document), code), ([false; 3], 1));
    let fix = check(&document, "rights")["fix"].as_str().unwrap();
    assert!(fix.starts_with(&format!("sudo offheap map {}", program.pid())), "{fix}");

    let prefix = ["setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"];
    let program = place.start(jdk(), &prefix, &[]);
    let pid = program.pid().to_string();
    let (document, code) = place.doctor(Some(NOBODY), &pid);
    assert_eq!((can(&document), code), ([true; 3], 0), "{document:#}");
    // What it promises holds, also for the second time, when the live file has no name any more.
    for _ in 0..2 {
        let arguments = ["profile", &pid, "--for", "1s", "--json"];
        let output = as_user(Some(NOBODY), &place.offheap()).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(document["schema"], "offheap/profile/v1");
    }
}

/// Each with what `/tmp` is like, which abilities are left, and what the fix says.
#[test]
fn a_tmp_that_takes_nothing_is_found_out_before_the_attempt() {
    let place = Place::new();
    for (options, wanted, fix) in
        [("ro", [true, false, false], "remount,rw"), ("nr_inodes=1", [true, false, false], "remove files")]
    {
        let script = format!("mount -t tmpfs -o {options} tmpfs /tmp && exec \"$@\"");
        let program =
            place.start(jdk(), &["unshare", "-m", "sh", "-c", &script, "sh"], &["-XX:-UsePerfData"]);
        let pid = java_below(&program);
        let (document, code) = place.doctor(None, &pid);
        assert_eq!((can(&document), code), (wanted, 1), "{options}: {document:#}");
        let tmp = check(&document, "tmp");
        assert!(tmp["fix"].as_str().unwrap().contains(fix), "{options}: {tmp:#}");
        assert!(check(&document, "namespaces")["text"].as_str().unwrap().contains("mnt"), "{document:#}");
        // The attempt fails with a reason, and not for long.
        let output = common::offheap(&["profile", &pid, "--for", "1s"]);
        assert_eq!(output.status.code(), Some(2), "{options}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("/tmp"), "{options}");
    }
}

/// Of a `/tmp` of each kind: which folder the agent comes from, or what stands in every way.
#[test]
fn the_agent_is_loaded_only_from_where_nobody_can_exchange_it() {
    let place = Place::new();
    let victim = ["setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"];
    // An emptyDir of Kubernetes is one that everybody may write to, without a sticky bit.
    let open = "mount -t tmpfs -o mode=0777 tmpfs /tmp";
    // The class path lies in /var/tmp and must stay there.
    let shut = "mount -t tmpfs -o ro tmpfs /dev/shm && mount --bind /var/tmp /var/tmp && \
                mount -o remount,bind,noexec /var/tmp";
    for (setup, user, from) in [
        (
            "mount -t tmpfs -o noexec tmpfs /tmp",
            &[][..],
            Some("/dev/shm only, not from /tmp: it is mounted noexec"),
        ),
        (open, &victim, Some("/dev/shm only, not from /tmp: everybody may write to /tmp")),
        (
            "mount -t tmpfs -o uid=4711,mode=1777 tmpfs /tmp",
            &victim,
            Some("not from /tmp: /tmp belongs to user 4711"),
        ),
        // Nothing is left in a container of its own; who sees us can still be given memory.
        (&format!("{open} && {shut} && mount -t proc proc /proc"), &victim, None),
        (&format!("{open} && {shut}"), &victim, Some("memory only")),
        (&format!("{open} && {shut}"), &[], Some("memory only")),
    ] {
        let script = format!("cd / && {setup} && exec \"$@\"");
        let unshare: &[&str] = if from.is_some() { &["-m"] } else { &["-m", "-p", "-f", "--kill-child"] };
        let prefix = [&["unshare"], unshare, &["sh", "-c", &script, "sh"], user].concat();
        let program = place.start(jdk(), &prefix, &["-XX:-UsePerfData"]);
        let pid = java_below(&program);
        let (document, _) = place.doctor(None, &pid);
        let library = check(&document, "library");
        let text = library["text"].as_str().unwrap();
        assert!(text.contains(from.unwrap_or("no place to load the agent from")), "{setup}: {text}");
        assert_eq!(can(&document), [true, true, from.is_some()], "{setup}: {document:#}");
        let output = common::offheap(&["profile", &pid, "--for", "1s", "--json"]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), from.is_some(), "{setup}: {error}");
        if from.is_none() {
            let fix = format!("chmod +t /proc/{pid}/root/tmp");
            assert!(
                library["fix"].as_str().unwrap().starts_with(&fix) && error.contains(&fix),
                "{library:#} {error}"
            );
        }
        // For the second time, by whatever way it came, there is but one.
        assert_eq!(common::offheap(&["profile", &pid, "--for", "1s"]).status.success(), from.is_some());
        let maps = common::mappings(pid.parse().unwrap());
        let copies =
            maps.lines().filter(|line| line.contains("offheap_agent") && line.contains("r-xp")).count();
        assert_eq!(copies, usize::from(from.is_some()), "{setup}: {maps}");
    }
}

#[test]
fn a_container_of_its_own_is_no_obstacle() {
    let place = Place::new();
    let prefix = ["unshare", "-m", "-p", "-f", "--mount-proc", "--kill-child"];
    let program = place.start(jdk(), &prefix, &[]);
    let pid = java_below(&program);
    let (document, code) = place.doctor(None, &pid);
    assert_eq!((can(&document), code), ([true; 3], 0), "{document:#}");
    let text = check(&document, "namespaces")["text"].as_str().unwrap();
    assert!(text.contains("pid, mnt") && text.contains("as pid 1"), "{text}");
    let output = common::offheap(&["profile", &pid, "--for", "1s", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn what_a_jvm_or_a_program_does_not_allow_is_named() {
    let place = Place::new();
    let program = place.start(jdk(), &[], &["-XX:+DisableAttachMechanism"]);
    let (document, code) = place.doctor(None, &program.pid().to_string());
    assert_eq!((can(&document), code), ([true, false, false], 1));
    assert!(check(&document, "attach")["text"].as_str().unwrap().contains("DisableAttachMechanism"));

    let program = place.start(jdk(), &[], &["-XX:-EnableDynamicAgentLoading"]);
    let (document, _) = place.doctor(None, &program.pid().to_string());
    assert_eq!(can(&document), [true, true, false]);

    let source = "#include <stdio.h>\n#include <unistd.h>\nint main(void) { puts(\"READY\"); fflush(stdout); pause(); }";
    // A dynamic one has glibc's malloc, which the kernel's breakpoints can probe where the machine
    // has some.
    let probes = std::path::Path::new("/sys/bus/event_source/devices/breakpoint").exists();
    for (name, flags, text, probed) in
        [("doctor_static", &["-static"][..], "statically", false), ("doctor_plain", &[], "glibc 2.", probes)]
    {
        let program = Program::start(&mut Command::new(build_c(name, source, flags)));
        let (document, _) = place.doctor(None, &program.pid().to_string());
        assert_eq!(can(&document), [true, false, probed], "{document:#}");
        assert!(check(&document, "libc")["text"].as_str().unwrap().contains(text), "{document:#}");
        let probes = check(&document, "probes");
        assert!(probed || probes["fix"].as_str().unwrap().contains("offheap run"), "{probes:#}");
    }
}

//! Other users who plant files, exchange libraries and put pipes in the way of root: offheap
//! neither waits for them, nor opens what is not meant, nor carries their code into the target.

use offheap_testkit::{Program, build_harm, build_harm_java, is_root, jdk, run_within};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Users that no machine has: the victim, whose JVM it is, and the villain.
const VICTIM: &str = "61001";
const VILLAIN: &str = "61002";

const LIMIT: Duration = Duration::from_secs(30);

fn as_user(user: &str, program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", user, "--regid", user, "--clear-groups"]).arg(program);
    command
}

fn host(user: &str) -> Program {
    let java = &jdk(17).java;
    Program::start(
        as_user(user, java)
            .args(["-Xmx32m", "-XX:+UseSerialGC", "-cp"])
            .arg(build_harm_java("Host"))
            .arg("Host"),
    )
}

/// A folder in /tmp that goes with the test.
struct Planted(std::path::PathBuf);
impl Planted {
    fn folder(name: &str) -> Planted {
        let path = Path::new("/tmp").join(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        std::os::unix::fs::chown(&path, Some(61002), Some(61002)).unwrap();
        Planted(path)
    }
}
impl Drop for Planted {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn fifo(path: &Path) {
    assert!(Command::new("mkfifo").arg("-m666").arg(path).status().unwrap().success());
}

/// Every verb that looks at JVMs, with counters planted for one: as a pipe, a link to a device, a
/// link to a pipe, a huge file.
#[test]
fn planted_counters_are_neither_waited_for_nor_followed() {
    if !is_root("planted counters") {
        return;
    }
    let jvm = host(VICTIM);
    let pid = jvm.pid().to_string();
    let folders: Vec<Planted> =
        (1..6).map(|n| Planted::folder(&format!("hsperfdata_harm{n}-{pid}"))).collect();
    let pipe = folders[0].0.join("pipe");
    fifo(&pipe);
    fifo(&folders[0].0.join(&pid));
    // Opening a terminal that is not there fails; what is traced is whether it is opened.
    symlink("/dev/ttyS0", folders[1].0.join(&pid)).unwrap();
    symlink(&pipe, folders[2].0.join(&pid)).unwrap();
    symlink("/proc/self/root/dev/zero", folders[3].0.join(&pid)).unwrap();
    std::fs::File::create(folders[4].0.join(&pid)).unwrap().set_len(1 << 40).unwrap();
    for words in [&["ps"][..], &["map", &pid], &["doctor", &pid], &["profile", &pid, "--for", "100ms"]] {
        let trace = tempfile::NamedTempFile::new().unwrap();
        let mut command = Command::new("strace");
        let has_strace = Command::new("strace").arg("-V").output().is_ok();
        if has_strace {
            command
                .args(["-f", "-e", "trace=openat,open,openat2", "-o"])
                .arg(trace.path())
                .arg(offheap_testkit::offheap());
        } else {
            command = Command::new(offheap_testkit::offheap());
        }
        let ended = run_within(command.args(words), LIMIT);
        assert!(ended.status.is_some(), "{words:?} hung");
        assert!(ended.peak_bytes < 300 << 20, "{words:?}: {} bytes", ended.peak_bytes);
        let opened = std::fs::read_to_string(trace.path()).unwrap_or_default();
        for line in opened.lines().filter(|line| line.contains("hsperfdata_harm")) {
            // Of an open that would have waited or followed, the flags say so.
            let safe = line.contains("O_NOFOLLOW")
                || line.contains("RESOLVE_")
                || line.contains("O_DIRECTORY")
                || line.contains("O_PATH");
            assert!(safe, "{words:?}: {line}");
        }
    }
}

/// A /tmp that anybody may write to and that has no sticky bit, as an emptyDir has it; and such a
/// TMPDIR for `run`.
#[test]
fn no_library_is_loaded_from_a_folder_where_others_can_exchange_it() {
    if !is_root("exchanging the library") {
        return;
    }
    for owner in [VICTIM, "0"] {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let open = folder.path().join("open");
        std::fs::create_dir(&open).unwrap();
        for path in [folder.path(), &open] {
            std::fs::set_permissions(
                path,
                std::fs::Permissions::from_mode(if path == open { 0o777 } else { 0o755 }),
            )
            .unwrap();
        }
        let place = format!("-DWHERE=\"{}\"", open.display());
        let evil = build_harm("evil", &["targets/evil.c"], &["-shared", &place]);
        let exchanger = build_harm("exchanger", &["targets/exchanger.c"], &[]);
        let ours = folder.path().join("evil.so");
        std::fs::copy(&evil, &ours).unwrap();
        std::fs::set_permissions(&ours, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mine = open.join("mine");
        std::fs::copy(&evil, &mine).unwrap();
        std::os::unix::fs::chown(&mine, Some(61002), Some(61002)).unwrap();
        let _villain = Program::start(as_user(VILLAIN, &exchanger).arg(&open).arg(&ours));

        // A JVM whose /tmp this is.
        let jdk = jdk(17);
        let classes = build_harm_java("Host");
        let class_path = folder.path().join("classes");
        std::fs::create_dir(&class_path).unwrap();
        std::fs::copy(classes.join("Host.class"), class_path.join("Host.class")).unwrap();
        let line = "mount --bind \"$0\" /tmp && exec setpriv --reuid \"$1\" --regid \"$1\" --clear-groups \"$2\" -Xmx32m -XX:+UseSerialGC -cp \"$3\" Host";
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--propagation", "private", "sh", "-c", line])
            .arg(&open)
            .arg(owner)
            .arg(&jdk.java)
            .arg(&class_path);
        let mut jvm = Program::start(&mut command);
        let pid = jvm.pid().to_string();
        for _ in 0..3 {
            let mut command = Command::new(offheap_testkit::offheap());
            let ended = run_within(command.args(["profile", &pid, "--for", "300ms"]), LIMIT);
            assert!(ended.status.is_some(), "it hung");
            let pwned = std::fs::read_to_string(open.join("PWNED"));
            assert!(pwned.is_err(), "the villain's code ran as {pwned:?}; offheap said {}", ended.err);
            assert_eq!(jvm.try_ask("alive").as_deref(), Some("alive"));
        }

        // And a command that is run by that user with that folder for its temporary files.
        let copy = folder.path().join("offheap");
        std::fs::copy(offheap_testkit::offheap(), &copy).unwrap();
        for _ in 0..3 {
            let mut command = as_user(owner, &copy);
            let ended = run_within(command.args(["run", "--", "/bin/true"]).env("TMPDIR", &open), LIMIT);
            let pwned = std::fs::read_to_string(open.join("PWNED"));
            assert!(pwned.is_err(), "run: the villain's code ran as {pwned:?}; offheap said {}", ended.err);
        }
    }
}

/// A library that is a pipe by the time it is opened; without the rights that would open what is
/// mapped.
#[test]
fn a_pipe_in_a_librarys_place_is_not_waited_for() {
    let program = build_harm("fifo_library", &["targets/fifo_library.c"], &["-ldl"]);
    let java = jdk(17).java.canonicalize().unwrap();
    let library = java.ancestors().nth(2).unwrap().join("lib/server/libjvm.so");
    let folder = tempfile::tempdir().unwrap();
    let target = Program::start(Command::new(program).arg(library).arg(folder.path()));
    let pid = target.pid().to_string();
    for words in [
        &["map", &pid, "--json"][..],
        &["ps", "--json"],
        &["doctor", &pid],
        &["profile", &pid, "--for", "200ms"],
    ] {
        for drop in [
            &[][..],
            &["--bounding-set=-sys_admin,-checkpoint_restore", "--inh-caps=-sys_admin,-checkpoint_restore"],
        ] {
            let mut command = Command::new("setpriv");
            let ended = run_within(command.args(drop).arg(offheap_testkit::offheap()).args(words), LIMIT);
            assert!(ended.status.is_some(), "{words:?} {drop:?} hung");
        }
    }
}

/// `offheap` given by name under a wrapper whose command line has that name too, and names that
/// look like files.
#[test]
fn a_name_matches_neither_the_wrapper_nor_stands_for_a_file() {
    let offheap = offheap_testkit::offheap();
    for name in ["nosuch.offheap", "./nosuch", "folder/nosuch", "/no/such/recording"] {
        for verb in ["map", "diagnose", "profile", "doctor"] {
            let mut command = Command::new("timeout");
            let ended = run_within(command.arg("20").arg(&offheap).args([verb, name]), LIMIT);
            assert_eq!(ended.code(), Some(2), "{verb} {name}: {} {:.200}", ended.err, ended.out);
        }
    }
    // No process has this word but the wrappers themselves.
    let word = format!("harm-name-{}", std::process::id());
    let line = format!("'{}' map {word}; exit $?", offheap.display());
    let mut command = Command::new("timeout");
    let ended = run_within(command.args(["20", "sh", "-c", &line]), LIMIT);
    assert_eq!(ended.code(), Some(2), "{} {:.200}", ended.err, ended.out);
}

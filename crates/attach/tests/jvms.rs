//! Every JVM on this machine, started in all the ways that matter to attaching.

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{Jvm, any_java, attach, javas, namespaces, open, refusal, root, version_of};
use offheap_attach::{AttachError, LoadOutcome, Options, Session, jcmd};
use rustix::fs::FileType;
use rustix::process::Signal;

const NOBODY: u32 = 65534;

#[test]
fn commands() {
    for java in javas() {
        let mut jvm = Jvm::start(&java, &["-XX:NativeMemoryTracking=summary"]);
        let session = attach(&jvm);
        jvm.assert_tidy();
        let version = session.jcmd("VM.version").expect("a reply");
        assert_eq!(version.status, 0);
        assert!(
            version.text.contains("JDK") && version.text.contains(&version_of(&java).to_string()),
            "{version:?}"
        );
        let help = session.jcmd("help").expect("a reply");
        assert!(help.text.contains("VM.native_memory"), "{help:?}");
        let nmt = jcmd(jvm.pid, "VM.native_memory summary scale=KB").expect("a reply");
        assert!(nmt.text.contains("Total: reserved="), "{nmt:?}");
        let bogus = session.jcmd("VM.no_such_command").expect("a reply");
        assert_ne!(bogus.status, 0);
        assert!(!bogus.text.is_empty());
        let properties = session.execute("properties", &[]).expect("a reply");
        assert!(properties.text.contains("java.specification.version"), "{properties:?}");
        jvm.assert_unharmed();
    }
}

#[test]
fn a_jvm_that_is_just_starting() {
    for java in javas() {
        let mut starting = Command::new(&java)
            .args(["-Xmx32m", "-XX:+UseSerialGC", "-XshowSettings:all", "-version"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("java");
        // As early as can be, and all the time until it ends by itself: it must not be killed by a
        // signal.
        while starting.try_wait().expect("a child").is_none() {
            let _ = jcmd(starting.id(), "VM.version");
        }
        let status = starting.wait().expect("a child");
        assert!(status.success(), "{java:?}: {status}");
    }
}

#[test]
fn nmt_that_is_off() {
    for java in javas() {
        let mut jvm = Jvm::start(&java, &[]);
        let reply = jcmd(jvm.pid, "VM.native_memory summary").expect("a reply");
        assert_eq!((reply.status, reply.text.trim()), (0, "Native memory tracking is not enabled"));
        jvm.assert_unharmed();
    }
}

#[test]
fn long_commands_need_version_2() {
    for java in javas() {
        let mut jvm = Jvm::start(&java, &[]);
        let long = format!("VM.version{}", " ".repeat(5000));
        match attach(&jvm).jcmd(&long) {
            Ok(reply) => {
                assert!(version_of(&java) >= 25, "{reply:?}");
                assert!(reply.status == 0 && reply.text.contains("JDK"), "{reply:?}");
            }
            Err(error) => {
                assert!(version_of(&java) < 25, "{error}");
                assert!(matches!(error, AttachError::BadRequest { .. }), "{error}");
            }
        }
        jvm.assert_unharmed();
    }
}

#[test]
fn reduced_signals() {
    for java in javas() {
        let mut jvm = Jvm::start(&java, &["-Xrs"]);
        assert_eq!(attach(&jvm).jcmd("VM.version").expect("a reply").status, 0);
        jvm.assert_unharmed();
        // Without its socket there is no way that doesn't kill it.
        fs::remove_file(jvm.tmp(&format!(".java_pid{}", jvm.pid))).expect("the socket");
        let error = refusal(&jvm);
        assert!(matches!(error, AttachError::SignalUnhandled { .. }), "{error}");
        jvm.assert_unharmed();
        jvm.assert_tidy();
    }
}

#[test]
fn disabled() {
    for java in javas() {
        let mut jvm = Jvm::start(&java, &["-XX:+DisableAttachMechanism"]);
        assert!(matches!(refusal(&jvm), AttachError::AttachDisabled { .. }));
        let mut unknown = Jvm::start(&java, &["-XX:+DisableAttachMechanism", "-XX:-UsePerfData"]);
        let told = Options { attach_enabled: Some(false), ..Options::default() };
        let error = Session::open(unknown.pid, &told).expect_err("it takes no attaches");
        assert!(matches!(error, AttachError::AttachDisabled { .. }), "{error}");
        for jvm in [&mut jvm, &mut unknown] {
            jvm.assert_unharmed();
            jvm.assert_tidy();
        }
    }
}

#[test]
fn a_jvm_of_another_user() {
    if !root() {
        return;
    }
    for java in javas() {
        let theirs = tempfile::tempdir().expect("a directory");
        chown(theirs.path(), Some(NOBODY), Some(NOBODY)).expect("root may");
        // In / that user can't make the trigger file, so it has to be /tmp.
        for directory in [theirs.path(), "/".as_ref()] {
            let mut jvm = Jvm::start_with(&java, &[], |command| {
                command.uid(NOBODY).gid(NOBODY).current_dir(directory);
            });
            assert_eq!(attach(&jvm).jcmd("VM.version").expect("a reply").status, 0);
            jvm.assert_unharmed();
            jvm.assert_tidy();
        }
    }
}

#[test]
fn in_a_mount_namespace() {
    if !namespaces() {
        return;
    }
    for java in javas() {
        let mut jvm = Jvm::start_unshared(&java, &["-m"], PRIVATE_TMP, &[]);
        let socket = format!(".java_pid{}", jvm.pid);
        assert_eq!(attach(&jvm).jcmd("VM.version").expect("a reply").status, 0);
        assert!(jvm.tmp(&socket).exists());
        assert!(!std::path::Path::new("/tmp").join(&socket).exists(), "it is in the JVM's own /tmp");
        jvm.assert_unharmed();
        jvm.assert_tidy();
    }
}

/// Only the namespace sees it.
const PRIVATE_TMP: &str = "mount -t tmpfs -o mode=1777 none /tmp";

#[test]
fn in_a_pid_namespace() {
    if !namespaces() {
        return;
    }
    for java in javas() {
        let unshare = ["-m", "-p", "-f", "--mount-proc", "--kill-child"];
        let mut jvm =
            Jvm::start_unshared(&java, &unshare, PRIVATE_TMP, &["-XX:NativeMemoryTracking=summary"]);
        assert!(!jvm.tmp(".java_pid1").exists());
        let reply = attach(&jvm).jcmd("VM.native_memory summary").expect("a reply");
        assert!(reply.text.contains("Total: reserved="), "{reply:?}");
        assert!(jvm.tmp(".java_pid1").exists(), "it is pid 1 to itself");
        jvm.assert_unharmed();
        jvm.assert_tidy();
    }
}

#[test]
fn what_others_planted_is_refused() {
    if !root() {
        return;
    }
    let java = any_java();
    let mut jvm = Jvm::start(&java, &[]);
    let path = jvm.tmp(&format!(".java_pid{}", jvm.pid));

    for kind in KINDS {
        kind.make(&path);
        assert_foreign(&refusal(&jvm), "is not a socket");
        kind.remove(&path);
    }

    let elsewhere = tempfile::tempdir().expect("a directory");
    let target = elsewhere.path().join("socket");
    let behind_link = UnixListener::bind(&target).expect("a socket");
    symlink(&target, &path).expect("root may");
    assert_foreign(&refusal(&jvm), "is a symbolic link");
    assert_nobody_came(&behind_link);
    fs::remove_file(&path).expect("root may");

    let listener = UnixListener::bind(&path).expect("a socket");
    chown(&path, Some(NOBODY), Some(NOBODY)).expect("root may");
    assert_foreign(&refusal(&jvm), "belongs to user 65534");
    assert_nobody_came(&listener);

    // With the right owner, but served by another process: that shows after connecting only, and
    // nothing is sent.
    chown(&path, Some(0), Some(0)).expect("root may");
    let error = attach(&jvm).jcmd("VM.version").expect_err("not the JVM");
    let ours = std::process::id();
    assert!(matches!(error, AttachError::WrongPeer { peer_pid, .. } if peer_pid == ours), "{error}");
    let (mut connection, _) = listener.accept().expect("it did connect");
    assert_eq!(std::io::Read::read(&mut connection, &mut [0; 16]).expect("an end"), 0, "something was sent");
    drop(listener);

    jvm.assert_unharmed();
    jvm.assert_tidy();

    // Left behind by a process that is gone: the JVM makes its own in its place.
    assert!(path.exists());
    assert_eq!(attach(&jvm).jcmd("VM.version").expect("a reply").status, 0);
    jvm.assert_unharmed();
    jvm.assert_tidy();
}

/// What can lie where a file is expected.
#[derive(Clone, Copy)]
enum Kind {
    File,
    Pipe,
    /// That of /dev/full, which nobody is hurt by.
    Device,
    Directory,
}

const KINDS: [Kind; 4] = [Kind::File, Kind::Pipe, Kind::Device, Kind::Directory];

impl Kind {
    fn make(self, path: &Path) {
        let node = |kind, device| {
            rustix::fs::mknodat(rustix::fs::CWD, path, kind, 0o666.into(), device).expect("root may")
        };
        match self {
            Kind::File => fs::write(path, "").expect("root may"),
            Kind::Pipe => node(FileType::Fifo, 0),
            Kind::Device => node(FileType::CharacterDevice, rustix::fs::makedev(1, 7)),
            Kind::Directory => fs::create_dir(path).expect("root may"),
        }
    }

    fn remove(self, path: &Path) {
        if let Kind::Directory = self { fs::remove_dir(path) } else { fs::remove_file(path) }
            .expect("root may");
    }
}

fn assert_foreign(error: &AttachError, what: &str) {
    assert!(matches!(error, AttachError::Foreign { .. }) && error.to_string().contains(what), "{error}");
}

fn assert_nobody_came(listener: &UnixListener) {
    listener.set_nonblocking(true).expect("a socket");
    let error = listener.accept().expect_err("nobody connects");
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn a_trigger_file_of_somebody_else() {
    if !root() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let mut jvm = Jvm::start_with(&any_java(), &[], |command| {
        command.current_dir(directory.path());
    });
    let file = directory.path().join(format!(".attach_pid{}", jvm.pid));
    fs::write(&file, "").expect("root may");
    chown(&file, Some(NOBODY), Some(NOBODY)).expect("root may");
    assert_foreign(&refusal(&jvm), "is a file of user 65534");
    assert!(file.exists(), "it is not ours to remove");
    fs::remove_file(&file).expect("root may");
    for kind in KINDS.into_iter().skip(1) {
        kind.make(&file);
        assert_foreign(&refusal(&jvm), "is not a regular file");
        kind.remove(&file);
    }
    // One that was left behind by an attacher that was killed is used up.
    fs::write(&file, "").expect("root may");
    chown(&file, Some(0), Some(0)).expect("root may");
    assert_eq!(attach(&jvm).jcmd("VM.version").expect("a reply").status, 0);
    jvm.assert_unharmed();
    jvm.assert_tidy();
}

#[test]
fn what_is_no_jvm_gets_no_signal() {
    let mut sleep = Command::new("sleep").arg("60").spawn().expect("sleep");
    let error = jcmd(sleep.id(), "VM.version").expect_err("no JVM");
    assert!(matches!(error, AttachError::NotHotSpot { .. }), "{error}");
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(sleep.try_wait().expect("a child"), None, "it was killed");
    sleep.kill().expect("a child");
    // A zombie is as good as gone.
    let pid = sleep.id();
    while fs::read_to_string(format!("/proc/{pid}/stat")).expect("a zombie").split(' ').nth(2) != Some("Z") {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(matches!(jcmd(pid, "help"), Err(AttachError::NoSuchProcess { .. })));
    sleep.wait().expect("a child");
    assert!(matches!(jcmd(pid, "help"), Err(AttachError::NoSuchProcess { .. })));
    assert!(matches!(jcmd(0, "help"), Err(AttachError::NoSuchProcess { .. })));
    assert!(matches!(jcmd(u32::MAX, "help"), Err(AttachError::NoSuchProcess { .. })));
}

#[test]
fn a_thread_is_no_process() {
    let jvm = Jvm::start(&any_java(), &[]);
    let thread = fs::read_dir(format!("/proc/{}/task", jvm.pid))
        .expect("threads")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .find(|&thread: &u32| thread != jvm.pid)
        .expect("a second thread");
    let error = jcmd(thread, "help").expect_err("a thread");
    assert!(matches!(error, AttachError::IsThread { process, .. } if process == jvm.pid), "{error}");
}

#[test]
fn a_stopped_jvm() {
    let mut jvm = Jvm::start(&any_java(), &[]);
    jvm.stop();
    assert!(matches!(refusal(&jvm), AttachError::Stopped { .. }));
    jvm.signal(Signal::CONT);
    let options = Options { timeout: Duration::from_millis(300), ..Options::default() };
    attach(&jvm);
    let session = Session::open(jvm.pid, &options).expect("a session");
    jvm.stop();
    let error = session.jcmd("VM.version").expect_err("it is stopped");
    assert!(matches!(error, AttachError::Timeout { received: 0, .. }), "{error}");
    jvm.signal(Signal::CONT);
    assert_eq!(attach(&jvm).jcmd("VM.version").expect("a reply").status, 0);
    jvm.assert_unharmed();
}

#[test]
fn a_jvm_that_dies_half_way() {
    let jvm = Jvm::start(&any_java(), &[]);
    let session = attach(&jvm);
    jvm.stop();
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| session.jcmd("VM.version"));
        std::thread::sleep(Duration::from_millis(100));
        jvm.signal(Signal::KILL);
        let error = asked.join().expect("no panic").expect_err("it died");
        assert!(matches!(error, AttachError::Died { .. } | AttachError::NoSuchProcess { .. }), "{error:?}");
    });
    assert!(session.jcmd("VM.version").is_err());
}

#[test]
fn many_at_once() {
    for java in javas() {
        let mut jvm = Jvm::start(&java, &[]);
        std::thread::scope(|scope| {
            let attachers: Vec<_> = (0..6).map(|_| scope.spawn(|| attach(&jvm).jcmd("VM.version"))).collect();
            for attacher in attachers {
                assert_eq!(attacher.join().expect("no panic").expect("a reply").status, 0);
            }
        });
        jvm.assert_unharmed();
        jvm.assert_tidy();
    }
}

#[test]
fn a_reply_that_is_too_long() {
    let mut jvm = Jvm::start(&any_java(), &[]);
    let options = Options { max_reply_bytes: 100, ..Options::default() };
    let error = Session::open(jvm.pid, &options).expect("a session").jcmd("help").expect_err("too long");
    assert!(matches!(error, AttachError::ReplyTooLong { limit: 100, .. }), "{error}");
    jvm.assert_unharmed();
}

#[test]
fn a_tmp_that_takes_nothing() {
    if !namespaces() {
        return;
    }
    let java = any_java();
    for (mount, what) in [
        ("mount -t tmpfs -o ro,mode=1777 none /tmp", "read-only"),
        ("mount -t tmpfs -o nr_inodes=1,mode=1777 none /tmp", "no free inode"),
    ] {
        let mut jvm = Jvm::start_unshared(&java, &["-m"], mount, &["-XX:-UsePerfData"]);
        let error = refusal(&jvm);
        assert!(
            matches!(error, AttachError::TmpUnusable { .. }) && error.to_string().contains(what),
            "{error}"
        );
        jvm.assert_unharmed();
        jvm.assert_tidy();
    }
}

#[test]
fn a_tmp_that_the_user_may_not_write_to() {
    if !namespaces() {
        return;
    }
    let java = any_java();
    let drop_user = "mount -t tmpfs -o mode=0755 none /tmp; cd /; \
                     exec setpriv --reuid 65534 --regid 65534 --clear-groups \"$0\" \"$@\"";
    let mut jvm = Jvm::start_unshared(&java, &["-m"], drop_user, &["-XX:-UsePerfData"]);
    let error = refusal(&jvm);
    assert!(matches!(error, AttachError::NoTrigger { .. }), "{error}");
    jvm.assert_unharmed();
}

/// A library with an agent in it that does nothing.
fn agent() -> (tempfile::TempDir, PathBuf) {
    let directory =
        tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir().expect("one");
    let source = directory.path().join("agent.rs");
    let library = directory.path().join("libagent.so");
    fs::write(&source, AGENT).expect("a file");
    let built = Command::new("rustc")
        .args(["--edition=2024", "--crate-type=cdylib", "-Cpanic=abort", "-o"])
        .args([&library, &source])
        .status()
        .expect("rustc");
    assert!(built.success());
    (directory, library)
}

/// Where every folder is shut but what `open` makes, as another user and as root.
#[test]
fn a_library_goes_where_it_can_be_loaded_from_and_not_exchanged() {
    if !namespaces() {
        return;
    }
    let (_directory, library) = agent();
    let bytes = fs::read(library).expect("a library");
    // The class path lies in /var/tmp and must stay there.
    let shut = "cd / && mount -t tmpfs -o mode=0777 tmpfs /tmp && mount -t tmpfs -o noexec tmpfs /dev/shm && \
                mount --bind /var/tmp /var/tmp && mount -o remount,bind,noexec /var/tmp";
    let nobody = "exec setpriv --reuid 65534 --regid 65534 --clear-groups \"$0\" \"$@\"";
    for java in javas() {
        for (open, user, from) in [
            ("true", "", "/tmp/"),
            (shut, "", "/proc/"),
            (shut, nobody, "/proc/"),
            (&format!("{shut} && mount -t tmpfs -o mode=1777 tmpfs /dev/shm"), nobody, "/dev/shm/"),
            (
                &format!("{shut} && mkdir -m 755 /tmp/own && chown 65534 /tmp/own && cd /tmp/own"),
                nobody,
                "/proc/",
            ),
            (
                &format!("{shut} && mount -t tmpfs -o mode=700,uid=65534 tmpfs /mnt && cd /mnt"),
                nobody,
                "/mnt/",
            ),
        ] {
            let mut jvm = Jvm::start_unshared(&java, &["-m"], &format!("{open}\n{user}"), &[]);
            let session = attach(&jvm);
            let placed =
                session.place("offheap_test", &bytes).unwrap_or_else(|no_way| panic!("{open}: {no_way}"));
            let path = placed.path().to_owned();
            assert!(path.starts_with(from), "{}: {open}: {path}", java.display());
            for (option, outcome) in
                [("", LoadOutcome::Loaded), ("seven", LoadOutcome::AgentFailed { code: 7 })]
            {
                assert_eq!(session.load_agent(&path, option).expect("an answer"), outcome, "{path}");
            }
            drop(placed);
            let maps = fs::read_to_string(format!("/proc/{}/maps", jvm.pid)).expect("maps");
            let mapped: Vec<&str> =
                maps.lines().filter(|line| line.contains("offheap_test") && line.contains("r-xp")).collect();
            let [mapped] = mapped[..] else { panic!("{mapped:?}") };
            assert!(mapped.ends_with(" (deleted)"), "{mapped}");
            // It is known by that name for ever, which can be told from the map.
            let name = &mapped[mapped.find('/').expect("a path")..].trim_end_matches(" (deleted)");
            assert_eq!(offheap_attach::loaded_as(name), path);
            assert_eq!(
                session.load_agent(&path, "seven").expect("an answer"),
                LoadOutcome::AgentFailed { code: 7 }
            );
            jvm.assert_unharmed();
        }
        // In a container of its own it does not see who holds the memory.
        let unshare = ["-m", "-p", "-f", "--mount-proc"];
        let mut jvm = Jvm::start_unshared(&java, &unshare, &format!("{shut}\n{nobody}"), &[]);
        let text = attach(&jvm).place("offheap_test", &bytes).expect_err("all ways are shut").to_string();
        for word in
            ["/tmp: everybody may", "/dev/shm: it is mounted noexec", "memory: the target is in a container"]
        {
            assert!(text.contains(word), "{word}: {text}");
        }
        assert!(text.ends_with(&format!("\nchmod +t /proc/{}/root/tmp", jvm.pid)), "{text}");
        jvm.assert_unharmed();
    }
}

#[test]
fn agents() {
    let (_directory, library) = agent();
    let library = library.to_str().expect("text");
    for java in javas() {
        let mut jvm = Jvm::start(&java, &[]);
        let session = attach(&jvm);
        assert_eq!(session.load_agent(library, "").expect("an answer"), LoadOutcome::Loaded);
        assert_eq!(
            session.load_agent(library, "seven").expect("an answer"),
            LoadOutcome::AgentFailed { code: 7 }
        );
        let missing = session.load_agent("/no/such/agent.so", "").expect("an answer");
        assert!(matches!(missing, LoadOutcome::Refused { .. }), "{missing:?}");
        let relative = session.load_agent("agent.so", "").expect_err("relative");
        assert!(matches!(relative, AttachError::RelativePath { .. }), "{relative}");
        jvm.assert_unharmed();

        let mut strict = Jvm::start(&java, &["-XX:-EnableDynamicAgentLoading"]);
        let outcome = attach(&strict).load_agent(library, "").expect("an answer");
        match version_of(&java) {
            21.. => assert!(matches!(outcome, LoadOutcome::Disabled { .. }), "{outcome:?}"),
            _ => assert!(!matches!(outcome, LoadOutcome::Loaded), "{outcome:?}"),
        }
        strict.assert_unharmed();
    }
}

const AGENT: &str = r#"
#[unsafe(no_mangle)]
pub extern "C" fn Agent_OnAttach(_vm: *mut (), options: *const std::ffi::c_char, _reserved: *mut ()) -> i32 {
    if options.is_null() { return 0; }
    match unsafe { std::ffi::CStr::from_ptr(options) }.to_bytes() { b"seven" => 7, _ => 0 }
}
"#;

#[test]
fn somebody_without_rights() {
    if !root() {
        return;
    }
    let mut jvm = Jvm::start(&any_java(), &[]);
    // This test's own program again, as nobody.
    let program =
        tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir().expect("one");
    let copy = program.path().join("jvms");
    // By another process: one that is forked here while a copy is written could not run it ("text
    // file busy").
    let copied = Command::new("cp").arg(std::env::current_exe().expect("a program")).arg(&copy).status();
    assert!(copied.expect("cp").success());
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).expect("permissions");
    let ask = |program: &mut Command| {
        program.args(["--exact", "as_nobody", "--ignored", "--nocapture"]);
        program.env("OFFHEAP_TEST_PID", jvm.pid.to_string()).current_dir("/");
        let output = program.stderr(Stdio::inherit()).output().expect("it runs");
        assert!(output.status.success());
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let said = ask(Command::new(&copy).uid(NOBODY).gid(NOBODY));
    assert!(said.contains("no permission to") && said.contains("sudo -u '#0'"), "{said}");
    if namespaces() {
        let hide = "mount -t proc -o hidepid=2 proc /proc\n\
                    exec setpriv --reuid 65534 --regid 65534 --clear-groups \"$0\" \"$@\"";
        let said = ask(Command::new("unshare").args(["-m", "sh", "-c", hide]).arg(&copy));
        assert!(said.contains("/proc hides it (hidepid)"), "{said}");
    }
    jvm.assert_unharmed();
}

#[test]
#[ignore = "run by somebody_without_rights"]
fn as_nobody() {
    let pid = std::env::var("OFFHEAP_TEST_PID").expect("a pid").parse().expect("a pid");
    println!("{}", jcmd(pid, "VM.version").expect_err("nobody may not"));
}

#[test]
fn every_command_makes_its_socket_again() {
    let mut jvm = Jvm::start(&any_java(), &[]);
    let session = attach(&jvm);
    // tmpwatch and the like remove it.
    fs::remove_file(jvm.tmp(&format!(".java_pid{}", jvm.pid))).expect("the socket");
    assert_eq!(session.jcmd("VM.version").expect("a reply").status, 0);
    assert!(open(&jvm).is_ok());
    jvm.assert_unharmed();
}

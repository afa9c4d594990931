//! A process that looks like a JVM and answers in ways that a real one does only rarely, or only in
//! JDK 8.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use offheap_attach::{AttachError, LoadOutcome, Options, Reply, Session};

const NOBODY: u32 = 65534;

struct Imposter {
    child: Child,
    _directory: tempfile::TempDir,
}

impl Imposter {
    /// This test's own program again, in a role.
    fn start(role: &str, user: Option<u32>) -> Imposter {
        let directory = tempfile::tempdir_in("/var/tmp").expect("a directory");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("permissions");
        let program = directory.path().join("imposter");
        // By another process: one that is forked here while a copy is written could not run it
        // ("text file busy").
        let copied =
            Command::new("cp").arg(std::env::current_exe().expect("a program")).arg(&program).status();
        assert!(copied.expect("cp").success());
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("permissions");
        fs::write(directory.path().join("libjvm.so"), "no library at all").expect("a file");
        remove_old_sockets();
        let mut command = Command::new(program);
        command
            .args(["--exact", "play", "--ignored", "--nocapture"])
            .env("OFFHEAP_TEST_ROLE", role)
            .current_dir(directory.path())
            .stdout(Stdio::piped());
        if let Some(user) = user {
            command.uid(user).gid(user);
        }
        let mut child = command.spawn().expect("it starts");
        let mut said = String::new();
        let stdout = child.stdout.as_mut().expect("piped");
        let mut byte = [0];
        while !said.ends_with("listening\n") {
            assert_eq!(stdout.read(&mut byte).expect("text"), 1, "it ended: {said}");
            said.push(byte[0].into());
        }
        Imposter { child, _directory: directory }
    }

    fn ask(&self, options: &Options) -> Result<Reply, AttachError> {
        Session::open(self.child.id(), options)?.jcmd("VM.version")
    }
}

impl Drop for Imposter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(socket_of(self.child.id()));
    }
}

/// A JVM that is killed leaves its socket behind, and an imposter may get its pid.
fn remove_old_sockets() {
    for entry in fs::read_dir("/tmp").expect("the folder").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.strip_prefix(".java_pid").and_then(|pid| pid.parse::<u32>().ok());
        if pid.is_some_and(|pid| !PathBuf::from(format!("/proc/{pid}")).exists()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn socket_of(pid: u32) -> PathBuf {
    PathBuf::from(format!("/tmp/.java_pid{pid}"))
}

#[test]
#[ignore = "run by the other tests, in a role"]
fn play() {
    let role = std::env::var("OFFHEAP_TEST_ROLE").expect("a role");
    let library = fs::File::open("libjvm.so").expect("the library");
    // SAFETY: a new mapping of a file, at an address of the kernel's choice, that nothing reads or
    // runs.
    let mapped = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            4096,
            libc::PROT_READ | libc::PROT_EXEC,
            libc::MAP_PRIVATE,
            library.as_raw_fd(),
            0,
        )
    };
    assert_ne!(mapped, libc::MAP_FAILED);
    let listener = UnixListener::bind(socket_of(std::process::id())).expect("a socket");
    // A short queue, so that it can be filled.
    rustix::net::listen(&listener, 1).expect("a socket");
    println!("listening");
    loop {
        let (mut connection, _) = listener.accept().expect("a connection");
        match role.as_str() {
            // JDK 8 to 10: only its own user and group may ask.
            "choosy" => {
                let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
                let mut length = size_of::<libc::ucred>() as libc::socklen_t;
                // SAFETY: an open socket, and a buffer of the size that is passed.
                let result = unsafe {
                    libc::getsockopt(
                        connection.as_raw_fd(),
                        libc::SOL_SOCKET,
                        libc::SO_PEERCRED,
                        (&raw mut peer).cast(),
                        &raw mut length,
                    )
                };
                // SAFETY: these always succeed.
                let own = unsafe { (libc::geteuid(), libc::getegid()) };
                if result == 0 && (peer.uid, peer.gid) == own {
                    read_request(&mut connection);
                    let _ = connection.write_all(format!("0\n{} {}", peer.uid, peer.gid).as_bytes());
                }
            }
            "silent" => {}
            "garbage" => {
                read_request(&mut connection);
                let _ = connection.write_all(b"HTTP/1.1 400 Bad Request\r\n");
            }
            "dying" => {
                read_request(&mut connection);
                let _ = connection.write_all(b"0\nhalf of");
                std::process::exit(1);
            }
            "endless" => {
                read_request(&mut connection);
                while connection.write_all(&[b'0'; 65536]).is_ok() {}
            }
            "slow" => {
                read_request(&mut connection);
                while connection.write_all(b"0").is_ok() {
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
            "deaf" => std::thread::sleep(Duration::from_secs(60)),
            // A JVM that has forgotten version 1.
            "modern" => {
                let request = read_request(&mut connection);
                let answer: &[u8] = match request.as_slice() {
                    b"2\x0018\0jcmd\0VM.version\0\0\0" => b"0\nunderstood",
                    b"2\x0017\0load\0/a\0true\0b c\0" => b"0\nreturn code: 0\n",
                    _ => b"101\n",
                };
                let _ = connection.write_all(answer);
            }
            other => panic!("{other} is no role"),
        }
    }
}

/// A request's bytes: its end shows in that it was sent at once.
fn read_request(connection: &mut impl Read) -> Vec<u8> {
    let mut request = vec![0; 4096];
    let read = connection.read(&mut request).expect("a request");
    request.truncate(read);
    request
}

#[test]
fn jdk_8_is_asked_by_its_own_user_and_group() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: this test needs root");
        return;
    }
    let imposter = Imposter::start("choosy", Some(NOBODY));
    let reply = imposter.ask(&Options::default()).expect("a reply");
    assert_eq!(reply, Reply { status: 0, text: "65534 65534".into() });
    // Also of many threads at once, and without changing who they are.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                imposter.ask(&Options::default()).expect("a reply");
                assert!(rustix::process::geteuid().is_root());
            });
        }
    });
}

#[test]
fn an_answer_that_is_none() {
    let error = Imposter::start("silent", None).ask(&Options::default()).expect_err("nothing");
    assert!(matches!(error, AttachError::Refused { .. }), "{error}");
    let error = Imposter::start("garbage", None).ask(&Options::default()).expect_err("garbage");
    assert!(matches!(error, AttachError::BadReply { ref start, .. } if start.starts_with("HTTP")), "{error}");
}

#[test]
fn an_answer_that_breaks_off() {
    let error = Imposter::start("dying", None).ask(&Options::default()).expect_err("half");
    assert!(matches!(error, AttachError::Died { ref partial, .. } if partial == b"0\nhalf of"), "{error:?}");
}

#[test]
fn answers_without_an_end() {
    let options = Options { max_reply_bytes: 1 << 20, ..Options::default() };
    let error = Imposter::start("endless", None).ask(&options).expect_err("too long");
    assert!(matches!(error, AttachError::ReplyTooLong { limit: 1_048_576, .. }), "{error}");
    let options = Options { timeout: Duration::from_millis(200), ..Options::default() };
    let error = Imposter::start("slow", None).ask(&options).expect_err("too slow");
    assert!(matches!(error, AttachError::Timeout { received: 1.., .. }), "{error}");
    let error = Imposter::start("deaf", None).ask(&options).expect_err("too slow");
    assert!(matches!(error, AttachError::Timeout { received: 0, .. }), "{error}");
}

#[test]
fn one_that_never_accepts() {
    let imposter = Imposter::start("deaf", None);
    let options = Options { timeout: Duration::from_millis(300), ..Options::default() };
    // More than its queue takes: connecting must not block for ever.
    let session = Session::open(imposter.child.id(), &options).expect("a session");
    std::thread::scope(|scope| {
        for _ in 0..200 {
            scope.spawn(|| {
                let error = session.jcmd("VM.version").expect_err("too slow");
                assert!(matches!(error, AttachError::Timeout { received: 0, .. }), "{error}");
            });
        }
    });
}

#[test]
fn version_2_where_version_1_is_not_known() {
    let imposter = Imposter::start("modern", None);
    let session = Session::open(imposter.child.id(), &Options::default()).expect("a session");
    assert_eq!(session.jcmd("VM.version").expect("a reply").text, "understood");
    assert_eq!(session.load_agent("/a", "b c").expect("an answer"), LoadOutcome::Loaded);
}

//! Every kind of thing that can lie where a file is expected, each reached with openat2 and
//! without.

use super::*;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use std::fs;
use std::mem::MaybeUninit;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

/// A root directory with a file `file` in it.
struct Root {
    folder: tempfile::TempDir,
    held: OwnedFd,
}

impl Root {
    fn new() -> Root {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "of the root").unwrap();
        let held = fs::File::open(folder.path()).unwrap().into();
        Root { folder, held }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What comes of opening `path`: the same with openat2 and without it.
    fn open(&self, path: &str, expect: &Expect) -> Result<File, Refused> {
        let walked = walk(self.held.as_fd(), Path::new(path), expect.links, &mut |_, _| Ok(()))
            .and_then(|held| reopen(held.as_fd(), expect));
        let opened = open(&self.held, path, expect);
        match (&opened, &walked) {
            (Ok(one), Ok(other)) => {
                assert_eq!(one.metadata().unwrap().ino(), other.metadata().unwrap().ino(), "{path}");
            }
            (Err(one), Err(other)) => assert_eq!(one.to_string(), other.to_string(), "{path}"),
            different => panic!("{path}: {different:?}"),
        }
        opened
    }

    fn refusal(&self, path: &str, expect: &Expect) -> String {
        self.open(path, expect).map(|_| ()).expect_err(path).to_string()
    }
}

const ANYBODYS: Expect = Expect { owner: None, links: Links::Followed, most_bytes: 1 << 20 };

fn own() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn is_root() -> bool {
    let root = own() == 0;
    if !root {
        eprintln!("SKIPPED: this test needs root");
    }
    root
}

/// Tells when what is at a path is opened, however briefly; holding it with O_PATH does not count.
struct Watched(OwnedFd);

impl Watched {
    fn new(path: &Path) -> Watched {
        let events = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
        inotify::add_watch(&events, path, WatchFlags::OPEN).unwrap();
        Watched(events)
    }

    fn was_opened(&self) -> bool {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        inotify::Reader::new(&self.0, &mut buffer)
            .next()
            .is_ok_and(|event| event.events().contains(ReadFlags::OPEN))
    }
}

#[test]
fn a_regular_file_is_read_and_not_beyond_its_limit() {
    let root = Root::new();
    let watched = Watched::new(&root.at("file"));
    let file = root.open("/file", &Expect::written_by(own(), 11)).unwrap();
    assert!(watched.was_opened(), "this is what the other tests rely on");
    assert_eq!(read(file, 6).unwrap(), b"of the");
    assert!(root.refusal("/file", &Expect::written_by(own(), 10)).contains("11 bytes, and more than 10"));
    fs::create_dir_all(root.at("a/b")).unwrap();
    root.open("a/./b/../../file", &ANYBODYS).unwrap();
    root.open("//file", &ANYBODYS).unwrap();
    assert!(root.refusal("/nothing", &ANYBODYS).contains("No such file"));
    assert!(root.refusal("/file/below", &ANYBODYS).contains("Not a directory"));
}

#[test]
fn a_pipe_a_socket_a_device_and_a_directory_are_refused_without_being_opened() {
    let root = Root::new();
    let make = |name: &str, kind, device| {
        rustix::fs::mknodat(&root.held, name, kind, Mode::from_raw_mode(0o666), device)
    };
    make("pipe", FileType::Fifo, 0).unwrap();
    let _socket = UnixListener::bind(root.at("socket")).unwrap();
    fs::create_dir(root.at("directory")).unwrap();
    let mut kinds = vec![("pipe", "a pipe"), ("socket", "a socket"), ("directory", "a directory")];
    // That of /dev/full, which nobody is hurt by.
    match make("device", FileType::CharacterDevice, rustix::fs::makedev(1, 7)) {
        Ok(()) => kinds.push(("device", "a device")),
        Err(error) => eprintln!("SKIPPED: no device node can be made here ({error})"),
    }
    for (name, called) in kinds {
        symlink(name, root.at(&format!("to-{name}"))).unwrap();
        let watched = Watched::new(&root.at(name));
        for path in [name.to_owned(), format!("to-{name}")] {
            assert_eq!(root.refusal(&path, &ANYBODYS), format!("it is {called}"), "{path}");
            assert_eq!(open_named(root.at(&path)).unwrap_err().to_string(), format!("it is {called}"));
            assert!(open_here(root.at(&path), &ANYBODYS).is_err());
        }
        assert!(!watched.was_opened(), "{name}");
    }
}

#[test]
fn a_link_is_followed_inside_the_root_only_and_not_at_all_where_none_belongs() {
    let root = Root::new();
    let refusing = Expect { links: Links::Refused, ..ANYBODYS };
    fs::create_dir(root.at("folder")).unwrap();
    symlink("/file", root.at("folder/absolute")).unwrap();
    symlink("../file", root.at("folder/relative")).unwrap();
    symlink("../../../../../file", root.at("folder/above")).unwrap();
    symlink("folder", root.at("alias")).unwrap();
    for path in ["folder/absolute", "folder/relative", "folder/above", "alias/absolute", "alias/../file"] {
        let file = root.open(path, &ANYBODYS).unwrap();
        assert_eq!(read(file, 100).unwrap(), b"of the root", "{path}");
        if path != "alias/../file" {
            assert_eq!(root.refusal(path, &refusing), "a symbolic link is on the way", "{path}");
        }
    }
    // Of our own root, which the path must not come to.
    let outside = tempfile::NamedTempFile::new().unwrap();
    symlink(outside.path(), root.at("out")).unwrap();
    assert!(root.refusal("out", &ANYBODYS).contains("No such file"));
    assert!(root.refusal("../../../../../etc/passwd", &ANYBODYS).contains("No such file"));
    symlink("loop", root.at("loop")).unwrap();
    assert!(root.refusal("loop", &ANYBODYS).contains("Too many levels of symbolic links"));
}

#[test]
fn the_kernels_magic_links_lead_nowhere() {
    let outside = fs::File::open("/proc/self/exe").unwrap();
    let magic = format!("/proc/self/fd/{}", outside.as_raw_fd());
    assert!(open_here(&magic, &ANYBODYS).is_err());
    let walked = walk(
        own_root().unwrap().as_fd(),
        Path::new("/proc/self/root/proc/self/exe"),
        Links::Refused,
        &mut |_, _| Ok::<_, Refused>(()),
    );
    assert!(matches!(walked, Err(Refused::Link)), "{walked:?}");
    // The user's own word is another thing: /dev/stdin is such a link.
    open_named(&magic).unwrap();
}

#[test]
fn a_file_of_another_user_is_refused_where_an_owner_is_expected() {
    if !is_root() {
        return;
    }
    let root = Root::new();
    chown(root.at("file"), Some(4711), None).unwrap();
    root.open("file", &Expect::written_by(4711, 100)).unwrap();
    root.open("file", &ANYBODYS).unwrap();
    let refused = root.refusal("file", &Expect::written_by(4712, 100));
    assert_eq!(refused, "it belongs to user 4711, not to 4712");
}

#[test]
fn a_file_with_a_lease_makes_nobody_wait() {
    let root = Root::new();
    let path = root.at("file");
    let leased = fs::OpenOptions::new().write(true).open(&path).unwrap();
    /// include/uapi/asm-generic/fcntl.h
    const F_SETSIG: libc::c_int = 10;
    // SAFETY: system calls on a descriptor that is open. SIGURG tells of a break of the lease, and
    // does nothing, in place of SIGIO, which would end us.
    let taken = unsafe {
        libc::fcntl(leased.as_raw_fd(), F_SETSIG, libc::SIGURG);
        libc::fcntl(leased.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK)
    };
    if taken != 0 {
        eprintln!("SKIPPED: this file system gives no leases ({})", io::Error::last_os_error());
        return;
    }
    let begun = std::time::Instant::now();
    let refused = open(&root.held, "file", &ANYBODYS).unwrap_err();
    assert!(
        matches!(&refused, Refused::System(error) if error.kind() == io::ErrorKind::WouldBlock),
        "{refused}"
    );
    // /proc/sys/fs/lease-break-time is 45 s.
    assert!(begun.elapsed().as_secs() < 20);
}

#[test]
fn an_exchange_at_any_moment_ends_in_a_refusal_at_worst() {
    let root = Root::new();
    let mode = Mode::from_raw_mode(0o666);
    rustix::fs::mknodat(&root.held, "pipe", FileType::Fifo, mode, 0).unwrap();
    symlink("pipe", root.at("link")).unwrap();
    let watched = Watched::new(&root.at("pipe"));
    let done = AtomicBool::new(false);
    let (mut opened, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let exchange = |a: &str, b: &str| {
                let how = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(&root.held, a, &root.held, b, how).unwrap();
            };
            while !done.load(Ordering::Relaxed) {
                exchange("file", "pipe");
                exchange("file", "link");
            }
        });
        // The thread stops also where an assertion fails here.
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            while (opened == 0 || refused == 0 || opened + refused < 20_000) && opened + refused < 2_000_000 {
                match open(&root.held, "file", &ANYBODYS) {
                    Ok(file) => {
                        opened += 1;
                        assert!(file.metadata().unwrap().is_file());
                    }
                    Err(Refused::Kind(_) | Refused::System(_)) => refused += 1,
                    Err(other) => panic!("{other}"),
                }
            }
        }));
        done.store(true, Ordering::Relaxed);
        caught.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    assert!(!watched.was_opened());
    assert!(opened > 0 && refused > 0, "{opened} {refused}");
}

#[test]
fn what_a_process_has_mapped_is_opened_and_only_that() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("library");
    fs::write(&path, vec![7; 8192]).unwrap();
    let file = fs::File::open(&path).unwrap();
    // SAFETY: a new mapping at an address of the kernel's choice.
    let at = unsafe {
        libc::mmap(std::ptr::null_mut(), 8192, libc::PROT_READ, libc::MAP_PRIVATE, file.as_raw_fd(), 0)
    } as u64;
    let process = Process::open(std::process::id() as i32).unwrap();
    let vmas = process.maps().unwrap();
    let vma = vmas.iter().find(|vma| vma.contains(at)).unwrap();
    let inode = |file: &File| file.metadata().unwrap().ino();
    assert_eq!(inode(&process.mapped_file(vma, &Expect::LIBRARY).unwrap()), vma.inode);
    // By its path alone, as without the right to map_files: a stale range makes the link go.
    let stale = Vma { start: vma.start + 1, ..vma.clone() };
    assert_eq!(inode(&process.mapped_file(&stale, &Expect::LIBRARY).unwrap()), vma.inode);
    fs::rename(&path, folder.path().join("old")).unwrap();
    fs::write(&path, "another").unwrap();
    assert!(matches!(process.mapped_file(&stale, &Expect::LIBRARY), Err(Refused::Exchanged)));
    fs::remove_file(&path).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o666), 0).unwrap();
    let watched = Watched::new(&path);
    assert!(matches!(process.mapped_file(&stale, &Expect::LIBRARY), Err(Refused::Kind("a pipe"))));
    assert!(!watched.was_opened());
    let anonymous = vmas.iter().find(|vma| vma.is_anonymous()).unwrap();
    assert!(process.mapped_file(anonymous, &Expect::LIBRARY).is_err());
}

#[test]
fn only_a_file_in_memory_is_opened_to_be_written_to() {
    let ourselves = crate::Process::open(std::process::id() as i32).unwrap();
    let any = Expect { owner: None, links: Links::Refused, most_bytes: 1 << 20 };
    let number = |fd: &dyn AsRawFd| fd.as_raw_fd().to_string();
    let memory = File::from(memfd_create("offheap-lease", MemfdFlags::CLOEXEC).unwrap());
    let opened = ourselves.memory_file(&number(&memory), &any).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&opened, b"x", 0).unwrap();
    assert_eq!(memory.metadata().unwrap().len(), 1);

    // One that has its name, and is on a file system in memory too.
    for folder in ["/dev/shm", "/tmp"] {
        let folder = tempfile::tempdir_in(folder).unwrap();
        let path = folder.path().join("memfd:offheap-lease");
        std::fs::write(&path, "precious").unwrap();
        let file = File::open(&path).unwrap();
        assert!(matches!(ourselves.memory_file(&number(&file), &any), Err(Refused::Kind(_))));
        assert!(ourselves.descriptor(&number(&file), &any).is_ok());
    }
    let (pipe, _other) = rustix::pipe::pipe().unwrap();
    assert!(matches!(ourselves.descriptor(&number(&pipe), &any), Err(Refused::Kind(_))));
    let others = Expect { owner: Some(u32::MAX - 1), ..any };
    assert!(matches!(ourselves.memory_file(&number(&memory), &others), Err(Refused::Owner { .. })));
}

//! Nothing foreign is opened but by `offheap_linux::foreign`: every other place that opens a file
//! is listed here, with whose file that is.

use std::path::{Path, PathBuf};

/// What opens a file, or makes the path by which a foreign one could be opened.
const OPENS: [&str; 11] = [
    "File::open(",
    "fs::read(",
    "fs::read_to_string(",
    "fs::read_dir(",
    "OpenOptions",
    "fs::open(",
    "openat(",
    "openat2(",
    "libc::open",
    "map_files/",
    "path_in_root(",
];

/// The kernel's own files: nobody else's lie there.
const KERNEL: &str = "files of /proc, /sys and /dev that the kernel makes";
/// Files that the user names on the command line, which he means.
const NAMED: &str = "files that the user names";

/// Where files are opened otherwise, and whose they are.
const ALLOWED: &[(&str, &str)] = &[
    ("attach/src/library.rs", "makes our library, in a folder that is held and was judged"),
    ("attach/src/process.rs", KERNEL),
    ("attach/src/socket.rs", "holds the JVM's socket, by O_PATH, and judges it"),
    ("attach/src/trigger.rs", "makes our trigger file, in folders that are held"),
    ("collect/src/totals.rs", KERNEL),
    ("linux/src/cgroup.rs", KERNEL),
    ("linux/src/foreign.rs", "here it is done"),
    ("linux/src/hugetlb.rs", KERNEL),
    ("linux/src/process.rs", KERNEL),
    ("linux/src/shares.rs", KERNEL),
    ("linux/src/users.rs", "/etc/passwd, which only root writes"),
    ("offheap/src/doctor/host.rs", KERNEL),
    ("offheap/src/files.rs", "makes files that the user names, and reads them by the one door"),
    ("offheap/src/foreign/corpus.rs", "only for a test"),
    ("offheap/src/foreign/mod.rs", NAMED),
    ("offheap/src/foreign/schemas.rs", "only for a test"),
    ("offheap/src/profile/launch.rs", "makes our library"),
    ("offheap/src/profile/live.rs", "the target's memory, and our own live file"),
    ("offheap/src/room.rs", KERNEL),
    ("offheap/src/verbs/record.rs", KERNEL),
    ("offheap/src/verbs/report.rs", KERNEL),
    ("report/src/serve/mod.rs", KERNEL),
    ("target/src/arch/aarch64.rs", KERNEL),
    ("store/src/files.rs", "makes recordings, and opens those that the user names"),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// The code of a source file: without comments, and without its tests.
fn code(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn nothing_foreign_is_opened_elsewhere() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&crates).unwrap() {
        let folder = entry.unwrap().path();
        // The agent runs inside the target and has laws of its own; the others are no part of the
        // product.
        if !["agent", "testkit", "xtask"].iter().any(|name| folder.ends_with(name))
            && folder.join("src").is_dir()
        {
            sources(&folder.join("src"), &mut files);
        }
    }
    assert!(files.len() > 200, "the sources were found");
    let (mut wrong, mut used) = (Vec::new(), Vec::new());
    for file in files {
        let name = file.strip_prefix(&crates).unwrap().to_str().unwrap();
        if name.ends_with("/tests.rs") {
            continue;
        }
        let text = code(&std::fs::read_to_string(&file).unwrap());
        let opens: Vec<&str> = OPENS.iter().copied().filter(|how| text.contains(how)).collect();
        match ALLOWED.iter().find(|(allowed, _)| *allowed == name) {
            Some(entry) if !opens.is_empty() => used.push(entry.0),
            None if !opens.is_empty() => wrong.push(format!("{name}: {}", opens.join(" "))),
            _ => {}
        }
    }
    assert!(
        wrong.is_empty(),
        "files are opened past offheap_linux::foreign; use it, or say in ALLOWED whose files these are:\n  {}",
        wrong.join("\n  ")
    );
    let idle: Vec<&str> = ALLOWED.iter().map(|entry| entry.0).filter(|name| !used.contains(name)).collect();
    assert!(idle.is_empty(), "these open nothing any more: {idle:?}");
}

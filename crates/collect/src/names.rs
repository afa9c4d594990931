//! Which process a name means: never offheap itself, nor what only stands before it.

use crate::targets::kind;
use offheap_linux::Process;
use std::path::Path;

/// Why a target's name does not name one process.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// Nothing fits.
    #[error("no process has {0:?} in its command line; see: offheap ps")]
    None(String),
    /// It is the name of a file.
    #[error(
        "{text:?} is taken for a file, {}; a process is named by its pid or a part of its command line without a \
         path: offheap ps",
        if *.exists { "and what it holds is not what this command reads" } else { "and there is none" }
    )]
    File {
        /// What was asked for.
        text: String,
        /// There is such a file.
        exists: bool,
    },
    /// Only what has started offheap, or only passes it on, fits.
    #[error(
        "only what this command itself was started by has {text:?} in its command line (pid {pid}); if that one is \
         meant: name its pid"
    )]
    Ourselves {
        /// What was asked for.
        text: String,
        /// One that fits.
        pid: i32,
    },
    /// Too much fits.
    #[error("{count} processes have {text:?} in their command line; name one by its pid:\n{list}")]
    Many {
        /// What was asked for.
        text: String,
        /// How many fit.
        count: usize,
        /// One line a process.
        list: String,
    },
    /// `/proc` can't be listed.
    #[error("cannot list /proc: {0}")]
    Proc(#[from] std::io::Error),
}

/// The pid of the process that `target` names: a pid, or a part of exactly one command line. JVMs
/// and Pythons are preferred, so that the shell that started a JVM doesn't count. What looks like a
/// file is one: it fits no process.
///
/// # Errors
/// None or several fit.
pub fn resolve(target: &str) -> Result<i32, TargetError> {
    if let Ok(pid) = target.parse() {
        return Ok(pid);
    }
    if is_file_name(target) {
        return Err(TargetError::File { text: target.to_owned(), exists: Path::new(target).exists() });
    }
    let ourselves = Ourselves::find();
    let mut found: Vec<(i32, String, bool)> = Vec::new();
    let mut passed_over = None;
    for pid in Process::list()? {
        let Ok(process) = Process::open(pid) else { continue };
        let Ok(arguments) = process.arguments() else { continue };
        let command = arguments.join(" ");
        if !command.contains(target) {
            continue;
        }
        let runtime = kind(&process).is_some();
        if ourselves.are(&process) || (!runtime && ourselves.pass_on(&process, &command)) {
            passed_over = passed_over.or((pid != ourselves.pid).then_some(pid));
        } else {
            found.push((pid, command, runtime));
        }
    }
    if found.iter().any(|(.., runtime)| *runtime) {
        found.retain(|(.., runtime)| *runtime);
    }
    let text = target.to_owned();
    match (found.as_slice(), passed_over) {
        ([], Some(pid)) => Err(TargetError::Ourselves { text, pid }),
        ([], None) => Err(TargetError::None(text)),
        ([(pid, ..)], _) => Ok(*pid),
        (many, _) => Err(TargetError::Many { text, count: many.len(), list: list(many) }),
    }
}

fn list(found: &[(i32, String, bool)]) -> String {
    let line = |(pid, command, _): &(i32, String, bool)| format!("  {pid:>8}  {}", printable(command));
    let mut lines: Vec<String> = found.iter().take(20).map(line).collect();
    if let Some(more) = found.len().checked_sub(20).filter(|more| *more > 0) {
        lines.push(format!("  and {more} more"));
    }
    lines.join("\n")
}

/// The start of a command line, without anything that a terminal acts on: a process may call itself
/// what it likes.
fn printable(command: &str) -> String {
    let turns =
        |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    command.chars().take(90).map(|c| if c.is_control() || turns(c) { '·' } else { c }).collect()
}

/// The ends of names of files that offheap reads and writes. Not those that Java packages end with
/// as well (map, live, perf).
const ENDINGS: [&str; 19] = [
    "offheap",
    "html",
    "json",
    "jfr",
    "hprof",
    "phd",
    "txt",
    "log",
    "core",
    "gz",
    "zst",
    "zip",
    "pb",
    "pprof",
    "heap",
    "collapsed",
    "folded",
    "svg",
    "csv",
];

/// Whether `target` is rather a file's name than a part of a command line.
fn is_file_name(target: &str) -> bool {
    let ending = target.rsplit_once('.').map_or("", |(_, ending)| ending);
    target.contains('/')
        || ENDINGS.contains(&ending.to_ascii_lowercase().as_str())
        || Path::new(target).is_file()
}

/// Us, and who has started us.
struct Ourselves {
    pid: i32,
    ancestors: Vec<i32>,
    /// What offheap's executable is called, here and now.
    names: [String; 2],
    /// Our standard input and output as the kernel calls them.
    pipes: [String; 2],
}

impl Ourselves {
    fn find() -> Ourselves {
        /// Shells in shells: nobody nests them deeper, and a loop in what `/proc` says ends here.
        const MOST: usize = 64;
        let pid = std::process::id() as i32;
        let mut ancestors = Vec::new();
        let mut at = pid;
        while ancestors.len() < MOST
            && let Ok(stat) = Process::open(at).and_then(|process| process.stat())
            && stat.parent > 0
        {
            at = stat.parent;
            ancestors.push(at);
        }
        let own = Process::open(pid).ok();
        let exe = own.as_ref().and_then(|own| own.exe().ok()).unwrap_or_default();
        let link = |name: &str| own.as_ref().and_then(|own| own.link(name).ok()).unwrap_or_default();
        Ourselves {
            pid,
            ancestors,
            names: ["offheap".to_owned(), base(&exe).to_owned()],
            pipes: [link("fd/0"), link("fd/1")],
        }
    }

    /// Whether `process` is us or has started us.
    fn are(&self, process: &Process) -> bool {
        process.pid() == self.pid || self.ancestors.contains(&process.pid())
    }

    /// Whether `process`, which has no runtime of its own, is there for an offheap: a wrapper or a
    /// remote hand that has it in its command line (`docker exec app offheap map app`), or the next
    /// or last one in our pipe (`offheap ps | grep app`).
    fn pass_on(&self, process: &Process, command: &str) -> bool {
        let word = |word: &str| self.names.iter().any(|name| !name.is_empty() && base(word) == name.as_str());
        let [from, to] = &self.pipes;
        let same = |name: &str, ours: &str| {
            ours.starts_with("pipe:") && process.link(name).is_ok_and(|theirs| theirs == ours)
        };
        command.split_whitespace().any(word) || same("fd/0", to) || same("fd/1", from)
    }
}

fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command, Stdio};

    /// A part of a command line that nothing else has.
    fn tag(of: &str) -> String {
        format!("{of}{}.4", std::process::id())
    }

    /// A child that runs as `command` by the time this returns: one just forked still has our own
    /// words.
    struct Running(Child);

    impl Running {
        fn start(command: &mut Command, tag: &str) -> Running {
            let child = command.spawn().unwrap();
            let process = Process::open(child.id() as i32).unwrap();
            while !process.arguments().unwrap().iter().any(|argument| argument.contains(tag)) {
                std::thread::yield_now();
            }
            Running(child)
        }

        fn pid(&self) -> i32 {
            self.0.id() as i32
        }
    }

    impl Drop for Running {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn a_name_must_be_of_exactly_one_process() {
        assert_eq!(resolve("4711").unwrap(), 4711);
        assert!(matches!(resolve("no process has this in it \u{1}"), Err(TargetError::None(_))));
        let tag = tag("98765");
        let sleeper = || Running::start(Command::new("sleep").arg(&tag), &tag);
        let (first, second) = (sleeper(), sleeper());
        assert!(matches!(resolve(&tag), Err(TargetError::Many { count: 2, .. })));
        assert_eq!(crate::targets::behind(first.pid()), None, "it has started nothing");
        drop(first);
        assert_eq!(resolve(&tag).unwrap(), second.pid());
    }

    #[test]
    fn what_has_an_offheap_in_its_words_or_stands_in_its_pipe_is_not_meant() {
        let tag = tag("87654");
        // As `docker exec app offheap map 87654…` would look, or another offheap that watches the
        // same.
        let script = "sleep 60; true";
        let wrapper =
            Running::start(Command::new("sh").args(["-c", script, "/usr/bin/offheap", "map", &tag]), &tag);
        let refused = resolve(&tag);
        assert!(
            matches!(&refused, Err(TargetError::Ourselves { pid, .. }) if *pid == wrapper.pid()),
            "{refused:?}"
        );
        // Beside one that is meant they don't count.
        let meant = Running::start(Command::new("sleep").arg(tag.as_str()), &tag);
        assert_eq!(resolve(&tag).unwrap(), meant.pid());
        // Only a word of its own is a command.
        let about =
            Command::new("sh").args(["-c", script, "not-offheap", &tag]).spawn().map(Running).unwrap();
        drop(meant);
        while !matches!(resolve(&tag), Ok(pid) if pid == about.pid()) {
            std::thread::yield_now();
        }
    }

    #[test]
    fn nobody_who_has_started_us_is_meant() {
        let own = Ourselves::find();
        let parent = std::os::unix::process::parent_id() as i32;
        assert_eq!(own.ancestors.first(), Some(&parent));
        for pid in [own.pid, parent] {
            assert!(own.are(&Process::open(pid).unwrap()));
        }
        let child = Running(Command::new("sleep").arg("60").stdin(Stdio::piped()).spawn().unwrap());
        let child = Process::open(child.pid()).unwrap();
        assert!(!own.are(&child) && !own.pass_on(&child, "sleep 60"));
        // The next one in a pipe.
        let pipes = [String::new(), child.link("fd/0").unwrap()];
        assert!(Ourselves { pipes, ..own }.pass_on(&child, "sleep 60"));
    }

    #[test]
    fn what_looks_like_a_file_is_none() {
        let folder = tempfile::tempdir().unwrap();
        for missing in ["run.offheap", "nosuch/app", "/", "dump.HPROF", "a.b.json", "./app"] {
            let refused = resolve(missing);
            assert!(
                matches!(&refused, Err(TargetError::File { exists, .. }) if *exists == (missing == "/")),
                "{missing}: {refused:?}"
            );
        }
        let file = folder.path().join("app");
        std::fs::write(&file, "").unwrap();
        assert!(matches!(resolve(file.to_str().unwrap()), Err(TargetError::File { exists: true, .. })));
        for name in ["app", "com.example.App", "server.jar", "myapp.service", "offheap", "a.live.b"] {
            assert!(!is_file_name(name), "{name}");
        }
    }

    #[test]
    fn a_list_of_candidates_can_be_printed() {
        let found = vec![(1, "a\x1b]0;x\x07b\u{202e}c\nd".to_owned(), false); 22];
        let list = list(&found);
        assert!(list.starts_with("         1  a·]0;x·b·c·d\n") && list.ends_with("  and 2 more"), "{list}");
    }
}

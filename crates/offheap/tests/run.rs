//! `offheap run`: commands with the agent in them from their begin; and what a killed one leaves
//! behind.

mod common;

use offheap_testkit::{build_c, build_java, jdks};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;

/// Forgets 3000 blocks of 10,000 bytes, frees as many of 20,000, and says what of the agent its
/// children would inherit. Then `exit` ends it with 3, `wait` waits, `exec…` replaces it by itself
/// with the function of that name, and `child` starts itself.
const LEAK: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

__attribute__((noinline)) void *keep_a_block(void) {
    void *block = malloc(10000);
    memset(block, 1, 10000);
    return block;
}
__attribute__((noinline)) void return_a_block(void) {
    void *volatile block = malloc(20000);
    free(block);
}
static void end(int signal) { _exit(9); }

int main(int count, char **words) {
    const char *what = words[1];
    if (!strncmp(what, "exec", 4) || !strncmp(what, "fexec", 5)) {
        char *me = words[0], *again[] = {me, "exit", NULL};
        int fd = open(me, O_RDONLY | O_CLOEXEC);
        if (!strcmp(what, "execv")) execv(me, again);
        if (!strcmp(what, "execve")) execve(me, again, environ);
        if (!strcmp(what, "execvp")) execvp(me, again);
        if (!strcmp(what, "execvpe")) execvpe(me, again, environ);
        if (!strcmp(what, "execl")) execl(me, me, "exit", NULL);
        if (!strcmp(what, "execl_long")) execl(me, me, "exit", "3", "4", "5", "6", "7", "8", "9", NULL);
        if (!strcmp(what, "execle")) execle(me, me, "exit", "3", "4", "5", "6", "7", NULL, environ);
        if (!strcmp(what, "execlp")) execlp(me, me, "exit", NULL);
        if (!strcmp(what, "fexecve")) fexecve(fd, again, environ);
#if __GLIBC_PREREQ(2, 34)
        if (!strcmp(what, "execveat")) execveat(fd, "", again, environ, AT_EMPTY_PATH);
#endif
        return 1;
    }
    for (int i = 2; i < count; i++) {
        if (atoi(words[i]) != i + 1) return 2;
    }
    for (int i = 0; i < 3000; i++) {
        void *volatile block = keep_a_block();
        return_a_block();
    }
    const char *preload = getenv("LD_PRELOAD");
    printf("preload=%s file=%d\n", preload ? preload : "", getenv("OFFHEAP_FILE") != NULL);
    fflush(stdout);
    signal(SIGTERM, end);
    if (!strcmp(what, "wait")) for (;;) pause();
    if (!strcmp(what, "child")) {
        char line[1000];
        snprintf(line, sizeof line, "%s exit; true", words[0]);
        return system(line) < 0;
    }
    return 3;
}
"#;

fn program() -> String {
    build_c("run_leak", LEAK, &[]).to_str().unwrap().to_owned()
}

/// Starts `offheap run` with `arguments`; returns it with the folder that it has for its temporary
/// files.
fn start(arguments: &[&str]) -> (Child, TempDir) {
    let temporary = tempfile::tempdir().unwrap();
    let mut command = Command::new(offheap_testkit::offheap());
    command.arg("run").args(arguments).env("TMPDIR", temporary.path());
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    (child, temporary)
}

fn run(arguments: &[&str]) -> Output {
    let (child, temporary) = start(arguments);
    let output = child.wait_with_output().unwrap();
    assert_eq!(left(&temporary), Vec::<PathBuf>::new());
    output
}

fn left(temporary: &TempDir) -> Vec<PathBuf> {
    std::fs::read_dir(temporary.path()).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn json(bytes: &[u8]) -> Value {
    let text = text(bytes);
    // What the command printed comes first.
    let document = text.find('{').and_then(|begin| text.get(begin..)).unwrap_or_default();
    serde_json::from_str(document).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Sum of a figure over the sites with a frame of that name.
fn sum(document: &Value, frame: &str, figure: &str) -> f64 {
    let sites = document["sites"].as_array().unwrap();
    let has = |site: &&Value| site["frames"].as_array().unwrap().iter().any(|f| f["name"] == frame);
    sites.iter().filter(has).filter_map(|site| site[figure].as_f64()).sum()
}

/// What the program keeps and gives back, to a byte: at interval 1.
fn assert_exact(document: &Value) {
    assert_eq!(sum(document, "keep_a_block", "live_bytes"), 30e6);
    assert_eq!(sum(document, "keep_a_block", "live_count"), 3000.0);
    assert_eq!(sum(document, "return_a_block", "live_bytes"), 0.0);
    assert_eq!(sum(document, "return_a_block", "allocated_bytes"), 60e6);
}

#[test]
fn a_command_keeps_its_output_and_exit_code_and_hands_nothing_on() {
    let output = run(&["--interval", "1", "--tree", "--", &program(), "exit"]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), "preload= file=0\n");
    let table = text(&output.stderr);
    // Named with its line: the program has debugging information.
    assert!(table.contains("run_leak.c:"), "{table}");
    assert!(table.contains("28.6 MiB live") && table.contains("keep_a_block"), "{table}");
    assert!(table.contains("Tree of the"), "{table}");
    // Others that are preloaded stay.
    let library = build_c("nothing", "int offheap_test_nothing;", &["-shared", "-fPIC"]);
    let mut command = Command::new(offheap_testkit::offheap());
    command.args(["run", "--json", "--", &program(), "exit"]).env("LD_PRELOAD", &library);
    let output = command.output().unwrap();
    assert!(text(&output.stdout).starts_with(&format!("preload={} file=0\n", library.display())));
}

#[test]
fn figures_are_exact_and_a_process_that_replaces_itself_takes_the_agent_along() {
    let (program, forms) =
        (program(), "execv execve execvp execvpe execl execl_long execle execlp fexecve execveat");
    let shell = format!("exec {program} execv");
    let commands = ["exit"].into_iter().chain(forms.split(' ')).map(|what| vec![program.as_str(), what]);
    for command in commands.chain([vec!["sh", "-c", &shell]]) {
        let output = run(&[&["--interval", "1", "--json", "--"][..], &command].concat());
        assert_eq!(output.status.code(), Some(3), "{command:?}: {}", text(&output.stderr));
        let document = json(&output.stdout);
        assert_eq!(document["schema"], "offheap/profile/v1");
        assert_exact(&document);
        assert!(text(&output.stdout).starts_with("preload= file=0\n"), "{}", text(&output.stdout));
    }
}

#[test]
fn children_are_profiled_only_when_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let live = folder.path().join("run.live");
    let live = live.to_str().unwrap();
    let output = run(&["--interval", "1", "--live", live, "--", &program(), "child"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "one live file");
    let output = run(&["--interval", "1", "--children", "--live", live, "--", &program(), "child"]);
    assert_eq!(output.status.code(), Some(0));
    let error = text(&output.stderr);
    let files: Vec<&str> =
        error.lines().filter_map(|l| l.split_once("profile --from ")).map(|l| l.1).collect();
    // The program itself, the shell between, and the child.
    let exact = files.iter().filter(|file| {
        let output = common::offheap(&["profile", "--from", file, "--json"]);
        output.status.success() && sum(&json(&output.stdout), "keep_a_block", "live_bytes") == 30e6
    });
    assert_eq!(exact.count(), 2, "{error}");
}

#[test]
fn what_a_killed_process_leaves_behind_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let live = folder.path().join("killed.live");
    let live = live.to_str().unwrap();
    let (mut child, temporary) =
        start(&["--interval", "1", "--json", "--live", live, "--", &program(), "wait"]);
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).unwrap();
    // Both at once, as the kernel does to a whole container: nobody is left to show anything.
    for pid in [child.id().to_string().as_str(), children.trim()] {
        assert!(Command::new("kill").args(["-9", pid]).status().unwrap().success());
    }
    child.wait().unwrap();
    // Killed itself, it could not take its library away.
    assert_eq!(left(&temporary).len(), 1);
    let output = common::offheap(&["profile", "--from", live, "--json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_exact(&json(&output.stdout));
    // Cut, damaged, or something else: said, not believed.
    let bytes = std::fs::read(live).unwrap();
    for wrong in [&bytes[..bytes.len() / 2], &bytes[..100], b"something else, of some length"] {
        std::fs::write(live, wrong).unwrap();
        let output = common::offheap(&["profile", "--from", live]);
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains("live file"), "{}", text(&output.stderr));
    }
}

#[test]
fn a_signal_ends_the_command_too_and_shows_what_there_is() {
    for signal in ["-INT", "-TERM"] {
        let (mut child, _temporary) = start(&["--interval", "1", "--json", "--", &program(), "wait"]);
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        let mut rest = Vec::new();
        out.read_to_end(&mut rest).unwrap();
        assert_exact(&json(&rest));
        assert_eq!(child.wait().unwrap().code(), Some(9), "the command's own");
    }
}

#[test]
fn java_methods_are_named() {
    let source = r#"
public class RunMe {
    static java.util.List<java.nio.ByteBuffer> kept = new java.util.ArrayList<>();
    static void keep() { kept.add(java.nio.ByteBuffer.allocateDirect(100_000)); }
    public static void main(String[] a) { for (int i = 0; i < 100; i++) keep(); System.out.println("DONE"); }
}"#;
    let classes = build_java("RunMe", source);
    for jdk in jdks() {
        let java = jdk.java.to_str().unwrap();
        let command = [java, "-Xmx64m", "-cp", classes.to_str().unwrap(), "RunMe"];
        let output = run(&[&["--interval", "4k", "--json", "--"][..], &command].concat());
        assert_eq!(output.status.code(), Some(0), "{}: {}", jdk.name, text(&output.stderr));
        assert!(text(&output.stdout).starts_with("DONE\n"), "{}", jdk.name);
        let document = json(&output.stdout);
        let live = sum(&document, "RunMe.keep", "live_bytes");
        assert!((9.9e6..10.8e6).contains(&live), "{}: {live}", jdk.name);
        // What the JVM maps for its own spaces is no leak, and is told apart from all else.
        assert!(sum(&document, "[space of the JVM]", "live_bytes") > 0.0, "{}", jdk.name);
        assert_eq!(sum(&document, "[space of the JVM]", "leak_bytes"), 0.0, "{}", jdk.name);
        assert!(text(&output.stderr).contains("the JVM's own spaces"), "{}", jdk.name);
        // Reserved is not committed: 64 MiB of address space are no memory. A malloc below that
        // function may have been sampled.
        let reserved = sum(&document, "Universe::reserve_heap(unsigned long, unsigned long)", "live_bytes");
        assert!(reserved < 1e6, "{}: {reserved}", jdk.name);
    }
}

#[test]
fn what_can_not_be_run_is_said() {
    assert_eq!(run(&["--", "/no/such/command"]).status.code(), Some(127));
    assert_eq!(run(&["--", "/etc/passwd"]).status.code(), Some(126));
    assert_eq!(run(&["--size", "1k", "--", "true"]).status.code(), Some(2));
    let fixed = build_c("fixed", "int main(void) { return 0; }", &["-static"]);
    let output = run(&["--", fixed.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("statically"), "{}", text(&output.stderr));
}

//! `offheap diagnose` with all it may do: the agent where the answer needs code, a collection where
//! only that tells; and the questions after it: is it fixed, what does a trim gain.

mod common;

use common::offheap;
use offheap_testkit::{Jdk, Program, build_c, build_java, jdks};
use serde_json::Value;
use std::process::Command;

/// Does what its first argument says, 2 MiB a second; stops when it is told to. `malloc`:
/// `Busy.handle` keeps blocks of the C heap, and collections come. `buffers`: `Busy.serve` keeps
/// direct buffers, and Java code allocates so little that no collection comes. `garbage`: the same
/// with buffers that nobody keeps. `peers`: drops Deflaters, which a Cleaner frees. `scatter`:
/// frees most of what it took, so that the allocator holds it.
const BUSY: &str = r#"
import java.io.*;
import java.nio.ByteBuffer;
import java.util.*;

public class Busy {
    static final List<ByteBuffer> kept = new ArrayList<>();
    static volatile boolean working = true;
    static native void take(int bytes);
    static native void scatter(int megabytes);

    static volatile byte[] garbage;

    /** Beside the leak there is garbage, as in most programs: the collector comes by and takes nothing of what leaks. */
    static void handle() {
        for (int i = 0; i < 20; i++) take(1024);
        for (int i = 0; i < 100; i++) garbage = new byte[4096];
    }
    static void serve(boolean keep) {
        ByteBuffer buffer = ByteBuffer.allocateDirect(20 * 1024);
        for (int i = 0; i < buffer.capacity(); i += 4096) buffer.put(i, (byte) 1);
        if (keep) kept.add(buffer);
    }

    public static void main(String[] arguments) throws Exception {
        System.load(arguments[1]);
        String mode = arguments[0];
        if (mode.equals("scatter")) scatter(64);
        Thread worker = new Thread(() -> {
            long begun = System.nanoTime();
            for (long done = 0; ; done++) {
                if (working) {
                    if (mode.equals("malloc")) handle();
                    if (mode.equals("buffers")) serve(true);
                    if (mode.equals("garbage")) serve(false);
                    if (mode.equals("peers") && done % 10 == 0) new java.util.zip.Deflater().setInput(new byte[9]);
                }
                long wait = begun + done * 10_000_000L - System.nanoTime();
                try { if (wait > 0) Thread.sleep(wait / 1_000_000); } catch (InterruptedException e) { return; }
            }
        }, "worker");
        worker.setDaemon(true);
        worker.start();
        System.out.println("READY");
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
        while (input.readLine() != null) { working = false; System.out.println("stopped"); }
    }
}
"#;

const LIBRARY: &str = r#"
#include <jni.h>
#include <stdlib.h>
#include <string.h>

static void *volatile last;

__attribute__((noinline)) void *block_new(int bytes) {
    void *block = malloc(bytes);
    memset(block, 1, bytes);
    return block;
}

JNIEXPORT void JNICALL Java_Busy_take(JNIEnv *env, jclass c, jint bytes) {
    last = block_new(bytes);
    /* Or the call above is the last thing it does, and the compiler makes a jump of it. */
    __asm__ volatile("" ::: "memory");
}

JNIEXPORT void JNICALL Java_Busy_scatter(JNIEnv *env, jclass c, jint megabytes) {
    int count = megabytes * 1024;
    void **blocks = malloc(count * sizeof *blocks);
    for (int i = 0; i < count; i++) { blocks[i] = malloc(1000); memset(blocks[i], 1, 1000); }
    /* One block in fifty stays, so that neither the top nor a whole heap comes free. */
    for (int i = 0; i < count; i++) if (i % 50) free(blocks[i]);
    last = blocks;
}
"#;

fn jdk(feature: u32) -> &'static Jdk {
    let found = jdks().iter().rfind(|jdk| jdk.feature == feature);
    found.unwrap_or_else(|| panic!("no JDK {feature} is here; run: cargo xtask setup"))
}

fn start(jdk: &Jdk, mode: &str) -> Program {
    let include = "/usr/lib/jvm/java-17-openjdk-amd64/include";
    let (headers, linux) = (format!("-I{include}"), format!("-I{include}/linux"));
    let library = build_c("busy", LIBRARY, &["-O2", "-shared", "-fPIC", &headers, &linux]);
    let classes = build_java("Busy", BUSY);
    let mut command = Command::new(&jdk.java);
    let command =
        command.args(["-Xms256m", "-Xmx256m", "-cp"]).arg(classes).arg("Busy").arg(mode).arg(library);
    Program::start(command)
}

/// Runs `offheap diagnose` on it; its verdict, whole document, standard error and exit code.
fn diagnose(program: &Program, more: &[&str]) -> (Value, String, i32) {
    let pid = program.pid().to_string();
    let output = offheap(&[&["diagnose", &pid, "--json"], more].concat());
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    let code = output.status.code().unwrap();
    let document =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|why| panic!("{more:?}: {why}: {error}"));
    (document, error, code)
}

fn frames(verdict: &Value) -> Vec<&str> {
    verdict["site"]["frames"]
        .as_array()
        .map_or_else(Vec::new, |frames| frames.iter().filter_map(|frame| frame["name"].as_str()).collect())
}

fn maps(program: &Program) -> String {
    std::fs::read_to_string(format!("/proc/{}/maps", program.pid())).unwrap()
}

#[test]
fn the_leaking_code_is_named_and_gone_when_it_stops() {
    let mut program = start(jdk(17), "malloc");
    let recording = tempfile::tempdir().unwrap();
    let recording = recording.path().join("before.offheap");
    let recording = recording.to_str().unwrap();

    // From outside alone: what grows, but not whose code.
    let pid = program.pid().to_string();
    let recorded = offheap(&["record", &pid, "-o", recording, "--every", "1s", "--for", "35s"]);
    assert!(recorded.status.success(), "{}", String::from_utf8_lossy(&recorded.stderr));
    assert!(!maps(&program).contains(".offheap"), "nothing was asked to be loaded");

    let (document, error, code) = diagnose(&program, &["--for", "30s", "--yes"]);
    let verdict = &document["verdict"];
    assert_eq!((code, verdict["status"].as_str()), (1, Some("leak")), "{verdict:#} {error}");
    assert_eq!(verdict["domain"], "native-malloc", "the agent knows whose malloc it is: {verdict:#}");
    let names = frames(verdict);
    for name in ["block_new", "Java_Busy_take", "Busy.handle"] {
        assert!(names.contains(&name), "{name} is not in {names:?}\n{error}");
    }
    let rate = verdict["site"]["slope_bytes_per_s"].as_f64().unwrap();
    assert!((0.5e6..4e6).contains(&rate), "2 MiB/s are lost there, not {rate}: {error}");

    program.ask("stop");
    let (document, error, code) = diagnose(&program, &["--for", "20s", "--no-agent", "--compare", recording]);
    assert_eq!(document["compare"]["fixed"], "gone", "{:#} {error}", document["compare"]);
    assert_eq!(code, 0);
}

#[test]
fn the_gate_judges_code_and_lets_pass_what_is_allowed() {
    let program = start(jdk(17), "malloc");
    let pid = program.pid().to_string();
    let gate = |more: &[&str]| {
        let all =
            [&["check", &pid, "--sites", "--max-growth", "10MB/s", "--for", "20s", "--json"], more].concat();
        let output = offheap(&all);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        let result: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|why| panic!("{why}: {error}"));
        (output.status.code(), result)
    };
    let (code, result) = gate(&["--max-site-growth", "200k/s"]);
    let failed: Vec<&str> = result["lines"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|line| line["outcome"] == "fail")
        .filter_map(|line| line["subject"].as_str())
        .collect();
    assert_eq!(code, Some(1), "{result:#}");
    assert!(
        failed.len() == 1 && failed[0].contains("block_new") && failed[0].contains("Busy."),
        "{result:#}"
    );
    let (code, result) = gate(&["--max-site-growth", "200k/s", "--allow", "Busy.handle"]);
    assert_eq!(code, Some(0), "{result:#}");
}

#[test]
fn without_leave_nothing_is_put_into_the_target() {
    let program = start(jdk(17), "malloc");
    let (document, error, code) = diagnose(&program, &["--for", "35s", "--no-agent"]);
    let verdict = &document["verdict"];
    assert_eq!((code, verdict["status"].as_str()), (1, Some("leak")), "{verdict:#} {error}");
    assert_eq!(verdict["domain"], "malloc", "whose malloc it is can't be known from outside: {verdict:#}");
    assert!(verdict["site"].is_null(), "nobody looked for code");
    assert!(!maps(&program).contains(".offheap"), "{error}");
}

#[test]
fn without_a_collection_kept_buffers_are_told_from_garbage() {
    let kept = start(jdk(17), "buffers");
    let (document, error, code) = diagnose(&kept, &["--for", "30s", "--no-agent"]);
    let verdict = &document["verdict"];
    assert_eq!((code, verdict["status"].as_str()), (1, Some("leak")), "{verdict:#} {error}");
    assert_eq!(verdict["domain"], "direct-memory", "{verdict:#} {error}");
    let summary = verdict["summary"].as_str().unwrap();
    assert!(
        summary.contains("static field Busy.kept (java.util.ArrayList)"),
        "its holder is named: {verdict:#}"
    );
    let (document, error, code) = diagnose(&kept, &["--for", "30s", "--yes"]);
    let verdict = &document["verdict"];
    assert_eq!((code, verdict["status"].as_str()), (1, Some("leak")), "{verdict:#} {error}");
    assert!(frames(verdict).contains(&"Busy.serve"), "{verdict:#} {error}");

    let garbage = start(jdk(17), "garbage");
    let (document, error, _) = diagnose(&garbage, &["--for", "30s", "--no-agent"]);
    assert_eq!(document["verdict"]["status"], "healthy", "{:#} {error}", document["verdict"]);
}

/// A program without a JVM: `remember` keeps 1 MB/s, `forget` takes and frees ten times that.
const NATIVE: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void **newest;
__attribute__((noinline)) static void remember(void) {
    void **block = malloc(1000);
    memset(block, 1, 1000);
    *block = newest;
    newest = block;
}
__attribute__((noinline)) static void forget(void) {
    void *volatile block = malloc(10000);
    memset(block, 1, 10000);
    free(block);
}
int main(void) {
    puts("READY");
    fflush(stdout);
    for (;;) {
        for (int i = 0; i < 10; i++) remember(), forget();
        usleep(10000);
    }
}
"#;

#[test]
fn without_a_jvm_the_code_is_named_by_probes_or_by_the_agent_that_came_with_it() {
    let built = build_c("native_leak", NATIVE, &[]);
    let alone = Program::start(&mut Command::new(&built));
    let mut command = Command::new(offheap_testkit::offheap());
    command.args(["run", "--interval", "16k", "--"]).arg(&built);
    let run = Program::start(&mut command);
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", run.pid())).unwrap();
    let judge = |pid: &str, how: &str| {
        let output = offheap(&["diagnose", pid, "--for", "32s", how, "--json"]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        let document: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|why| panic!("{why}: {error}"));
        let verdict = document["verdict"].clone();
        let is_leak = (output.status.code(), verdict["status"].as_str()) == (Some(1), Some("leak"));
        assert!(is_leak, "{verdict:#} {error}");
        (verdict, error)
    };
    let pid = alone.pid().to_string();
    std::thread::scope(|scope| {
        let probed = scope.spawn(|| judge(&pid, "--yes"));
        let untouched = scope.spawn(|| judge(&pid, "--no-agent"));
        let (verdict, error) = judge(children.trim(), "--yes");
        assert!(frames(&verdict).starts_with(&["remember", "main"]), "{verdict:#} {error}");
        assert!(error.contains("the agent came with the program"), "{error}");
        let (verdict, error) = probed.join().unwrap();
        if std::path::Path::new("/sys/bus/event_source/devices/breakpoint").exists() {
            assert!(frames(&verdict).starts_with(&["remember", "main"]), "{verdict:#} {error}");
        } else {
            assert!(error.contains("no code can be named"), "{error}");
        }
        let (verdict, error) = untouched.join().unwrap();
        assert!(verdict["site"].is_null() && !error.contains("probing"), "{verdict:#} {error}");
    });
    // It does not end with the command that has started it, if that is killed.
    assert!(Command::new("kill").arg(children.trim()).status().unwrap().success());
}

#[test]
fn where_only_a_collection_tells_one_is_run() {
    let peers = start(jdk(17), "peers");
    let (document, error, _) = diagnose(&peers, &["--for", "24s", "--yes", "--gc", "never"]);
    assert_eq!(document["verdict"]["status"], "inconclusive", "nothing has tested it: {error}");
    assert!(!error.contains("the collection took"), "{error}");
    let (document, error, _) = diagnose(&peers, &["--for", "30s", "--yes"]);
    assert_ne!(document["verdict"]["status"], "leak", "{:#} {error}", document["verdict"]);
    assert!(error.contains("the collection took"), "it is said what was done to the target: {error}");
}

#[test]
fn a_trim_gains_what_was_predicted() {
    // JDK 17 has a command for it; the JRE 11 has none, and there the agent trims.
    for feature in [17, 11] {
        let program = start(jdk(feature), "scatter");
        let pid = program.pid().to_string();
        let output = offheap(&["trim", &pid, "--json"]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        let document: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|why| panic!("{why}: {error}"));
        let figure = |name: &str| document[name].as_u64().unwrap();
        let predicted = figure("predicted_bytes");
        assert!(predicted > 30 << 20, "JDK {feature}: 62 MiB were freed, not {predicted}");
        let gained = figure("rss_before_bytes").saturating_sub(figure("rss_after_bytes"));
        assert!(gained as f64 > 0.9 * predicted as f64, "JDK {feature}: {document:#}");
        assert!(figure("free_resident_after_bytes") < figure("free_resident_before_bytes") / 2);
        let again = offheap(&["trim", &pid]);
        assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    }
}

#[test]
fn files_of_other_tools_show_what_grows_and_one_alone_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let minute = std::time::Duration::from_secs(60);
    let begin = std::time::SystemTime::now() - 10 * minute;
    let paths: Vec<String> = (1..=5)
        .map(|number| {
            let path = folder.path().join(format!("{number}.collapsed"));
            std::fs::write(&path, format!("main;serve;keep {}\nmain;pool 20000000\n", number * 5_000_000))
                .unwrap();
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(begin + number * minute).unwrap();
            path.to_string_lossy().into_owned()
        })
        .collect();
    let judge = |paths: &[String]| {
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        let output = offheap(&[&["diagnose", "--json"], paths.as_slice()].concat());
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        let document: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|why| panic!("{why}: {error}"));
        (output.status.code(), document)
    };
    let (code, document) = judge(&paths);
    let verdict = &document["verdict"];
    assert_eq!((code, verdict["status"].as_str()), (Some(1), Some("leak")), "{document:#}");
    assert_eq!(frames(verdict), ["keep", "serve", "main"]);
    let rate = verdict["slope_bytes_per_s"].as_f64().unwrap();
    assert!((rate - 5e6 / 60.0).abs() < 1.0, "{rate}");
    assert_eq!(document["findings"].as_array().unwrap().len(), 1, "the pool holds still: {document:#}");
    let (code, document) = judge(&paths[..1]);
    assert_eq!((code, document["verdict"]["cause"].as_str()), (Some(3), Some("one-instant")), "{document:#}");
}

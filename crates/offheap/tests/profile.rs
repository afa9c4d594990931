//! `offheap profile` on running JVMs: a leak through JNI beside code that frees what it takes.

mod common;

use common::offheap;
use offheap_testkit::{Jdk, Program, build_c, build_java, jdks};
use serde_json::Value;
use std::process::Command;

/// `Leak.keep` forgets blocks of 1000 bytes, `Leak.churn` frees ten times as many. Each line on
/// standard input is answered with how many blocks have been kept so far.
const LEAK: &str = r#"
import java.io.*;

public class Leak {
    static volatile long kept;
    static native void take();
    static native void churn0();

    static void keep() { take(); kept++; }
    static void churn() { churn0(); }

    public static void main(String[] arguments) throws Exception {
        System.load(arguments[0]);
        Thread worker = new Thread(() -> {
            while (true) {
                for (int i = 0; i < 20; i++) keep();
                for (int i = 0; i < 200; i++) churn();
                try { Thread.sleep(10); } catch (InterruptedException e) { return; }
            }
        }, "worker");
        worker.setDaemon(true);
        worker.start();
        System.out.println("READY");
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
        while (input.readLine() != null) System.out.println(kept);
    }
}
"#;

const LIBRARY: &str = r#"
#include <jni.h>
#include <stdlib.h>
#include <string.h>

static void *last;

__attribute__((noinline)) void *take_a_block(void) {
    void *block = malloc(1000);
    memset(block, 1, 1000);
    return block;
}

JNIEXPORT void JNICALL Java_Leak_take(JNIEnv *env, jclass c) { last = take_a_block(); }

__attribute__((noinline)) void borrow_a_block(void) {
    void *volatile block = malloc(1000);
    memset(block, 2, 1000);
    free(block);
}

JNIEXPORT void JNICALL Java_Leak_churn0(JNIEnv *env, jclass c) { borrow_a_block(); }
"#;

/// The last JDK 17 and 25 of the list: one whose agents load silently, and one that warns of them.
fn tried() -> Vec<&'static Jdk> {
    let of = |feature| jdks().iter().rfind(|jdk| jdk.feature == feature);
    let tried: Vec<_> = [17, 25].into_iter().filter_map(of).collect();
    assert!(!tried.is_empty(), "neither JDK 17 nor 25 is here; run: cargo xtask setup");
    tried
}

fn start(jdk: &Jdk) -> Program {
    let include = "/usr/lib/jvm/java-17-openjdk-amd64/include";
    let (headers, linux) = (format!("-I{include}"), format!("-I{include}/linux"));
    let library = build_c("leak", LIBRARY, &["-shared", "-fPIC", &headers, &linux]);
    let classes = build_java("Leak", LEAK);
    let mut command = Command::new(&jdk.java);
    Program::start(command.arg("-Xmx64m").arg("-cp").arg(classes).arg("Leak").arg(library))
}

fn names(site: &Value) -> Vec<&str> {
    site["frames"].as_array().unwrap().iter().filter_map(|frame| frame["name"].as_str()).collect()
}

/// Files that profiles of this process, or any that is not running, have left in /tmp.
fn left_behind(tag: &str) -> Vec<String> {
    std::fs::read_dir("/tmp")
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with(".offheap") && name.contains(tag))
        .collect()
}

/// Runs `offheap` with `arguments`; returns its standard output and error, and what its files are
/// tagged with.
fn profile(arguments: &[&str]) -> (Vec<u8>, String, String) {
    use std::process::Stdio;
    let mut command = Command::new(offheap_testkit::offheap());
    let child = command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let tag = format!("-{}-", child.id());
    let output = child.wait_with_output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "offheap {arguments:?}: {error}");
    (output.stdout, error, tag)
}

#[test]
fn the_leaking_method_is_named_and_the_freeing_one_is_not() {
    for jdk in tried() {
        let mut program = start(jdk);
        let pid = program.pid().to_string();
        let count = |program: &mut Program| program.ask("?").parse::<u64>().unwrap();
        let before = count(&mut program);
        let (out, error, tag) = profile(&["profile", &pid, "--for", "8s", "--interval", "1k", "--json"]);
        let kept = (count(&mut program) - before) * 1000;
        let document: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(document["schema"], "offheap/profile/v1");
        assert_eq!(document["sampling"]["interval_bytes"], 1024);
        assert_eq!(document["target"]["pid"], program.pid());
        assert_eq!(error.contains("EnableDynamicAgentLoading"), jdk.feature >= 21, "{}: {error}", jdk.name);

        let sites = document["sites"].as_array().unwrap();
        let top = &sites[0];
        let frames = names(top);
        let place = |name: &str| frames.iter().position(|frame| *frame == name);
        let native = place("take_a_block").unwrap_or_else(|| panic!("{}: {frames:?}", jdk.name));
        let jni = place("Java_Leak_take").unwrap_or_else(|| panic!("{}: {frames:?}", jdk.name));
        let java = place("Leak.keep").unwrap_or_else(|| panic!("{}: {frames:?}", jdk.name));
        assert!(native < jni && jni < java, "{}: {frames:?}", jdk.name);
        assert_eq!(top["frames"][java]["kind"], "java");
        assert_eq!(top["frames"][java]["file"], "Leak.java");

        // All of the leak, whichever way its Java frames were compiled, against what the program
        // knows: never more than it kept while we looked, nothing of it freed, and a tenth of what
        // the other one takes.
        let sum = |name: &str, figure: &str| -> u64 {
            sites.iter().filter(|s| names(s).contains(&name)).filter_map(|s| s[figure].as_u64()).sum()
        };
        let live = sum("take_a_block", "live_bytes");
        println!("{}: live {live} of {kept} kept", jdk.name);
        let taken = sum("take_a_block", "allocated_bytes");
        assert!(live > 0 && live * 10 <= kept * 11, "{}: {live} of {kept}", jdk.name);
        // The totals lie behind the blocks in the file, and are copied a little later.
        assert!(live * 10 >= taken * 7, "{}: {live} live of {taken}", jdk.name);
        let churned = sum("borrow_a_block", "allocated_bytes");
        assert!((8 * taken..12 * taken).contains(&churned), "{}: {churned} beside {taken}", jdk.name);
        let leak = sum("take_a_block", "leak_bytes");
        assert!(leak > 0 && leak < live, "{}: {leak} of {live}", jdk.name);
        // A busy machine may have had too few readings for a slope.
        let slope = top["slope_bytes_per_s"].as_f64();
        assert!(slope.is_none_or(|slope| slope > 0.0 && top["slope_ci95"][0].is_f64()), "{}", jdk.name);
        assert!(top["age_seconds"]["p50"].as_f64().unwrap() <= top["age_seconds"]["p90"].as_f64().unwrap());
        // The other one was seen, and gave back what it took.
        assert!(sum("borrow_a_block", "allocated_bytes") > 3 * live, "{}", jdk.name);
        assert!(sum("borrow_a_block", "live_bytes") * 20 < live, "{}", jdk.name);

        // The process lives, samples no more, and nothing of ours lies about.
        assert!(count(&mut program) > 0);
        assert_eq!(left_behind(&tag), Vec::<String>::new());
    }
}

#[test]
fn a_second_run_goes_on_and_every_ending_is_written() {
    let folder = tempfile::tempdir().unwrap();
    for jdk in tried() {
        let mut program = start(jdk);
        let pid = program.pid().to_string();
        let libraries = |program: &Program| {
            let maps = common::mappings(program.pid());
            maps.lines().filter(|l| l.contains(".offheap_agent") && l.contains("r-xp")).count()
        };
        for ending in ["json", "pb.gz", "collapsed", "speedscope.json", "firefox.json", "csv", "html"] {
            let out = folder.path().join(format!("{}.{ending}", jdk.feature));
            let file = out.to_str().unwrap();
            let (text, _, tag) = profile(&["profile", &pid, "--for", "1s", "--interval", "1k", "-o", file]);
            let text = String::from_utf8(text).unwrap();
            assert!(text.contains("take_a_block < Leak.take"), "{}: {text}", jdk.name);
            assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
            let written = std::fs::read(&out).unwrap();
            assert!(written.len() > 100, "{ending}");
            if !ending.ends_with(".gz") {
                assert!(String::from_utf8_lossy(&written).contains("Leak.keep"), "{ending}");
            }
            assert_eq!(left_behind(&tag), Vec::<String>::new());
            assert_eq!(libraries(&program), 1, "{}: the library that is there is used again", jdk.name);
        }
        assert!(program.ask("?").parse::<u64>().unwrap() > 0);
    }
}

/// Waits until `Leak.keep` has forgotten that many more blocks.
fn wait_until_kept(program: &mut Program, more: u64) {
    let mut kept = || program.ask("?").parse::<u64>().unwrap();
    let until = kept() + more;
    common::wait_until("blocks are kept", || kept() >= until);
}

#[test]
fn ctrl_c_shows_what_there_is_and_stops_the_agent() {
    let mut program = start(tried()[0]);
    let pid = program.pid().to_string();
    let child = Command::new(offheap_testkit::offheap())
        .args(["profile", &pid, "--for", "10m", "--interval", "1k", "--json"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // Interrupted once the agent is at work: before that there is nothing to show.
    common::wait_for_the_agent(program.pid());
    wait_until_kept(&mut program, 4_000);
    let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupted.success());
    let tag = format!("-{}-", child.id());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(document["sites"].as_array().unwrap().iter().any(|site| names(site).contains(&"Leak.keep")));
    assert!(document["window"]["seconds"].as_f64().unwrap() < 300.0);
    assert_eq!(left_behind(&tag), Vec::<String>::new());
}

#[test]
fn what_can_not_be_done_is_said_before_anything_is() {
    let program = start(tried()[0]);
    let pid = program.pid().to_string();
    for (arguments, reason) in
        [(["-o", "/tmp/profile.xyz"], "names no format"), (["--interval", "0"], "takes no samples")]
    {
        let output = offheap(&[&["profile", &pid][..], &arguments[..]].concat());
        assert_eq!(output.status.code(), Some(2));
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(reason), "{error}");
    }
    assert!(!common::mappings(program.pid()).contains("offheap_agent"), "nothing was loaded");
}

#[test]
fn a_recording_has_the_last_picture_of_a_killed_jvm() {
    let folder = tempfile::tempdir().unwrap();
    for jdk in tried() {
        let mut program = start(jdk);
        let file = folder.path().join(format!("{}.offheap", jdk.feature));
        let file = file.to_str().unwrap();
        let child = Command::new(offheap_testkit::offheap())
            .args(["record", &program.pid().to_string(), "-o", file, "--every", "500ms"])
            .args(["--profile", "--interval", "1k"])
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        common::wait_for_the_agent(program.pid());
        let before = program.ask("?").parse::<u64>().unwrap();
        wait_until_kept(&mut program, 10_000);
        let last = program.ask("?").parse::<u64>().unwrap();
        program.kill();
        let output = child.wait_with_output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {error}", jdk.name);
        let document = common::json(&["profile", "--from", file, "--json"]);
        let sites = document["sites"].as_array().unwrap();
        let of = |name: &str, figure: &str| -> u64 {
            sites.iter().filter(|s| names(s).contains(&name)).filter_map(|s| s[figure].as_u64()).sum()
        };
        let live = of("Leak.keep", "live_bytes");
        // At least what it kept from a moment when the agent was there up to the last reading but
        // one; at most all.
        let kept = [last - before, last].map(|count| count * 1000);
        assert!(live * 10 >= kept[0] * 8 && live * 10 <= kept[1] * 12, "{}: {live} of {kept:?}", jdk.name);
        // The JVM allocates a little in there too.
        let native = of("take_a_block", "live_bytes");
        assert!(native * 100 >= live * 98, "{}: native names: {native} of {live}", jdk.name);
        // A busy machine may have had too few readings for one.
        assert!(sites[0]["slope_bytes_per_s"].as_f64().is_none_or(|slope| slope > 0.0), "{}", jdk.name);
    }
    let output = offheap(&["profile", "--from", "/no/such/file"]);
    assert_eq!(output.status.code(), Some(2));
}

//! `offheap handles`: the JNI references of a JVM whose native code says what it made.

mod common;

use common::json;
use offheap_testkit::{Jdk, Program, build_harm, build_java, jdks};
use serde_json::Value;
use std::process::Command;

const SOURCE: &str = r#"
public class Refs {
    static class Kept { }
    static native void global(Object o, int n);
    static native void weak(Object o, int n);
    static native void frames(int n, int each, Object o);
    static native void attach(int n);

    public static void main(String[] a) throws Exception {
        System.load(a[0]);
        Thread worker = new Thread(() -> {
            frames(Integer.parseInt(a[1]), 3, new Kept());
            try { Thread.sleep(1000000); } catch (InterruptedException e) { }
        }, "a worker");
        worker.setDaemon(true);
        worker.start();
        Object kept = new Kept();
        global(kept, Integer.parseInt(a[2]));
        global(new int[3][4], 77);
        weak(kept, 55);
        weak(new Object[1], 44);
        for (int i = 0; i < 5; i++) { System.gc(); Thread.sleep(20); }
        attach(3);
        System.out.println("READY");
        for (int c; (c = System.in.read()) >= 0;) if (c == '+') { global(kept, 100); System.out.println("more"); }
    }
}
"#;

fn start(jdk: &Jdk, flags: &[&str], frames: u32, globals: u32) -> Program {
    let library = build_harm("refs", &["targets/refs.c"], &["-shared", "-DJNI"]);
    let mut command = Command::new(&jdk.java);
    command.args(["-Xmx64m"]).args(flags);
    if jdk.feature >= 22 {
        command.arg("--enable-native-access=ALL-UNNAMED");
    }
    command.arg("-cp").arg(build_java("Refs", SOURCE)).arg("Refs").arg(library);
    Program::start(command.args([frames.to_string(), globals.to_string()]))
}

fn of(references: &Value, class: &str) -> u64 {
    let classes = references["by_class"].as_array().unwrap();
    classes.iter().find(|row| row["class"] == class).map_or(0, |row| row["count"].as_u64().unwrap())
}

#[test]
fn every_jdk_and_collector_is_counted_exactly() {
    for jdk in jdks() {
        for collector in jdk.collectors() {
            let flag = format!("-XX:+Use{collector}GC");
            let jvm = start(jdk, &["-XX:+UnlockExperimentalVMOptions", &flag], 200, 10_000);
            let now = &json(&["handles", &jvm.pid().to_string(), "--json"])["now"];
            let context = format!("{} {collector}: {now:#}", jdk.feature);
            assert_eq!(of(&now["global"], "Refs$Kept"), 10_000, "{context}");
            assert_eq!(of(&now["global"], "int[][]"), 77, "{context}");
            assert_eq!(of(&now["weak"], "Refs$Kept"), 55, "{context}");
            assert_eq!(now["weak"]["cleared"], 44, "{context}");
            let threads = now["threads"].as_array().unwrap();
            let worker = threads.iter().find(|thread| thread["thread"] == "a worker");
            let worker = worker.unwrap_or_else(|| panic!("{context}"));
            assert_eq!(worker["pushed_frames"], 200, "{context}");
            // Three in each frame; the JVM empties the last one where the native method returns.
            assert_eq!(of(&worker["references"], "Refs$Kept"), 597, "{context}");
            assert_eq!(now["ended_attached"].as_array().map(Vec::len), Some(3), "{context}");
        }
    }
}

#[test]
fn what_grows_is_shown_first() {
    let jdk = jdks().iter().find(|jdk| jdk.feature == 17).expect("JDK 17 is here");
    let mut jvm = start(jdk, &[], 20, 100);
    let pid = jvm.pid().to_string();
    let mut child = Command::new(offheap_testkit::offheap())
        .args(["handles", &pid, "--for", "2s"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // Before the first look, between the two, and after the second: whatever the machine's pace.
    while child.try_wait().unwrap().is_none() {
        assert_eq!(jvm.try_ask("+").as_deref(), Some("more"));
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let row = text.lines().find(|line| line.contains("Refs$Kept")).unwrap_or_else(|| panic!("{text}"));
    let grew = row.split_whitespace().find_map(|cell| cell.strip_prefix('+')).unwrap_or_default();
    let grew: u64 = grew.replace(',', "").parse().unwrap_or(0);
    assert!(grew > 0 && grew.is_multiple_of(100), "{text}");
    assert!(text.contains("Thread a worker: 20 local frames were pushed and not popped."), "{text}");
}

#[test]
fn what_is_no_jvm_is_told_so() {
    let sleep = Command::new("sleep").arg("60").spawn().unwrap();
    let ended = common::offheap(&["handles", &sleep.id().to_string()]);
    let mut sleep = sleep;
    let _ = sleep.kill();
    let _ = sleep.wait();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(2), "{said}");
    assert!(said.contains("is no JVM") && said.contains("offheap doctor"), "{said}");
}

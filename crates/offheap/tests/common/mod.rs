//! Running the binary and reading what it says.
#![allow(dead_code, reason = "each test binary uses its part")]

use serde_json::Value;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// A Java program of ordinary habits: direct buffers, a pool of threads, some heap, classes of its
/// own. It answers on its standard output what is asked on its standard input.
pub const ORDINARY: &str = r#"
import java.nio.ByteBuffer;
import java.util.*;
import java.io.*;

public class Ordinary {
    static final List<Object> kept = new ArrayList<>();

    public static void main(String[] arguments) throws Exception {
        for (int i = 0; i < 20; i++) {
            kept.add(ByteBuffer.allocateDirect(1 << 20));
            kept.add(ByteBuffer.allocateDirect(4000));
        }
        for (int i = 0; i < 12; i++) {
            Thread thread = new Thread(() -> {
                try { Thread.sleep(Long.MAX_VALUE); } catch (InterruptedException e) { }
            }, "worker-" + i);
            thread.setDaemon(true);
            thread.start();
        }
        StringBuilder text = new StringBuilder();
        for (int i = 0; i < 200_000; i++) {
            text.append(i % 7);
            if (i % 1000 == 0) kept.add(text.toString());
        }
        System.out.println("READY");
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
        for (String line; (line = input.readLine()) != null; ) {
            switch (line) {
                case "gc": System.gc(); System.out.println("done"); break;
                default: System.out.println("unknown " + line);
            }
        }
    }
}
"#;

/// Waits until `done`; fails where that takes two minutes.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(120);
    while !done() {
        assert!(Instant::now() < end, "in two minutes not: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until the resident memory of process `pid` has grown by `bytes`.
pub fn wait_for_growth(pid: i32, bytes: u64) {
    let until = kernel_rss(pid) + bytes;
    wait_until("it grows", || kernel_rss(pid) >= until);
}

/// Waits until the agent is at work in the process `pid`: until it has its live file mapped.
pub fn wait_for_the_agent(pid: i32) {
    wait_until("the agent is at work", || mappings(pid).contains("offheap-live"));
}

/// Runs `offheap` with `arguments`.
pub fn offheap(arguments: &[&str]) -> Output {
    Command::new(offheap_testkit::offheap()).args(arguments).output().expect("offheap starts")
}

/// Runs `offheap` with `arguments`, which must succeed, and reads the JSON it writes.
pub fn json(arguments: &[&str]) -> Value {
    let output = offheap(arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "offheap {arguments:?} failed ({}): {error}", output.status);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("offheap {arguments:?}: {error}"))
}

/// Resident bytes of `domain` in an account.
pub fn domain(account: &Value, domain: &str) -> u64 {
    account["domains"]
        .as_array()
        .expect("an account has domains")
        .iter()
        .find(|figure| figure["domain"] == domain)
        .and_then(|figure| figure["rss_bytes"].as_u64())
        .unwrap_or(0)
}

/// The sum over all domains.
pub fn sum(account: &Value) -> u64 {
    let domains = account["domains"].as_array().expect("an account has domains");
    domains.iter().filter_map(|figure| figure["rss_bytes"].as_u64()).sum()
}

/// Resident bytes by the kernel's own sum.
pub fn kernel_rss(pid: i32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("the process lives");
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:")).expect("smaps_rollup has Rss");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("Rss is a number") * 1024
}

/// The mappings as the kernel lists them, without figures.
pub fn mappings(pid: i32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("the process lives")
}

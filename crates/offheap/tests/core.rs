//! `offheap map` of core files that gcore wrote: what it says is what it said of the process right
//! before.

mod common;
#[path = "../../corefile/tests/support/mod.rs"]
#[allow(dead_code, reason = "of the cores made by hand one is needed")]
mod made;

use common::{domain, json, offheap};
use offheap_testkit::{Program, build_c, build_java, jdk};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// malloc, a map, and threads, without pages of zeros.
const PROGRAM: &str = r#"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
static void *work(void *unused) {
    char space[300 << 10];
    memset(space, 1, sizeof space);
    __asm__ volatile("" : : "r"(space) : "memory");
    for (int i = 0; i < 2000; i++) { char *p = malloc(1000 + i); memset(p, 1, 1000 + i); }
    for (;;) pause();
}
int main(int count, char **arguments) {
    void *old[4000];
    for (int i = 0; i < 4000; i++) { old[i] = malloc(3000); memset(old[i], 1, 3000); }
    for (int i = 0; i < 4000; i += 2) free(old[i]);
    char *map = mmap(0, 32 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(map, 1, 24 << 20);
    for (int i = 0; i < 3; i++) { pthread_t thread; pthread_create(&thread, 0, work, 0); }
    usleep(200000);
    puts("READY"); fflush(stdout);
    pause();
}
"#;

/// A JVM with buffers, threads and objects, none of it zeros.
const JAVA: &str = r#"
import java.nio.ByteBuffer;
import java.util.*;

public class Cored {
    static final List<Object> kept = new ArrayList<>();

    public static void main(String[] arguments) throws Exception {
        for (int i = 0; i < 20; i++) {
            ByteBuffer buffer = ByteBuffer.allocateDirect(1 << 20);
            while (buffer.hasRemaining()) buffer.put((byte) 7);
            kept.add(buffer);
        }
        for (int i = 0; i < 100_000; i++) kept.add("object " + i);
        System.gc();
        System.out.println("READY");
        Thread.sleep(Long.MAX_VALUE);
    }
}
"#;

/// What gcore writes of the process `pid`, in `folder`.
fn gcore(pid: i32, folder: &Path) -> PathBuf {
    let prefix = folder.join("core");
    let status = Command::new("gcore")
        .arg("-o")
        .arg(&prefix)
        .arg(pid.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("gcore starts: apt-get install gdb");
    assert!(status.success(), "gcore of {pid}");
    folder.join(format!("core.{pid}"))
}

/// What `domain` holds in the account of a core.
fn held(account: &Value, domain: &str) -> u64 {
    let domains = account["domains"].as_array().expect("an account has domains");
    let figure = domains.iter().find(|figure| figure["domain"] == domain);
    figure.and_then(|figure| figure["held_bytes"].as_u64()).unwrap_or(0)
}

/// Fails where they are further apart than a hundredth, or 64 KiB.
fn assert_near(live: &Value, core: &Value, name: &str) {
    let (resident, held) = (domain(live, name), held(core, name));
    let most = (resident / 100).max(64 << 10);
    assert!(
        held.abs_diff(resident) <= most,
        "{name}: {resident} resident, {held} in the core: {}",
        core["domains"]
    );
}

#[test]
fn a_program_in_a_core_is_what_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let program =
        Program::start(Command::new(build_c("cored", PROGRAM, &["-pthread"])).arg("-an").arg("argument"));
    let live = json(&["map", &program.pid().to_string(), "--json"]);
    let file = gcore(program.pid(), folder.path());
    drop(program);
    let core = json(&["map", file.to_str().unwrap(), "--json"]);
    assert_eq!(core["schema"], "offheap/core/v1");
    assert_eq!(core["process"]["command"], live["process"]["command"]);
    assert_eq!((&core["pid"], &core["process"]["exe"]), (&live["pid"], &live["process"]["exe"]));
    assert!(core.get("rss_bytes").is_none() && core["process"].get("uptime_s").is_none(), "absent, not zero");
    for name in ["native-malloc", "native-mmap", "thread-stacks", "allocator-retention"] {
        assert!(domain(&live, name) > 1 << 18, "{name} is there: {}", live["domains"]);
        assert_near(&live, &core, name);
    }
    let (was, is) = (&live["malloc"], &core["malloc"]);
    assert_eq!(was["in_use_count"], is["in_use_count"]);
    assert_eq!(
        (was["in_use_bytes"].as_u64(), was["free_bytes"].as_u64()),
        (is["in_use_bytes"].as_u64(), is["free_bytes"].as_u64())
    );
    assert_eq!((&is["allocator"], &is["exact"]), (&Value::from("glibc"), &Value::from(true)));
    let text = String::from_utf8(offheap(&["map", file.to_str().unwrap()]).stdout).unwrap();
    assert!(text.contains("IN THE CORE") && text.contains("copied while it ran"), "{text}");
}

#[test]
fn a_jvm_in_a_core_is_what_it_was() {
    let folder = tempfile::tempdir().unwrap();
    for (feature, collector) in [(17, "-XX:+UseSerialGC"), (21, "-XX:+UseG1GC")] {
        let java = jdk(feature);
        let program = Program::start(
            Command::new(&java.java)
                .args(["-Xmx96m", collector, "-XX:NativeMemoryTracking=summary", "-cp"])
                .arg(build_java("Cored", JAVA))
                .arg("Cored"),
        );
        let live = json(&["map", &program.pid().to_string(), "--json"]);
        let file = gcore(program.pid(), folder.path());
        drop(program);
        let core = json(&["map", file.to_str().unwrap(), "--json"]);
        for member in ["version", "gc", "main", "feature", "nmt_level", "classes"] {
            assert_eq!(core["jvm"][member], live["jvm"][member], "{member}");
        }
        assert_eq!(core["jvm"]["direct"]["count"], live["jvm"]["direct"]["count"]);
        for name in ["java-heap", "metaspace", "code-cache", "thread-stacks", "direct-memory"] {
            assert!(domain(&live, name) > 1 << 18, "{name} is there: {}", live["domains"]);
            assert_near(&live, &core, name);
        }
        std::fs::remove_file(file).unwrap();
    }
}

#[test]
fn what_is_no_core_says_so() {
    let output = offheap(&["map", "/proc/self/exe"]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(error.contains("no core file"), "{error}");
}

/// As much memory as a header can claim, of an allocator whose heaps are looked for all over it.
#[test]
fn a_core_that_claims_to_be_endless_is_looked_at_in_seconds() {
    let library = made::files(&[(0x1000, 0x2000, 0, "/usr/lib/libjemalloc.so.2")]);
    let notes = made::Segment { kind: 4, bytes: library, ..made::Segment::default() };
    let heap = made::Segment { memory_bytes: 1 << 55, ..made::load(1 << 54, vec![1; 0x1000]) };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("core.1");
    std::fs::write(&path, made::build(&[notes, heap])).unwrap();
    let mut command = Command::new(offheap_testkit::offheap());
    let ended = offheap_testkit::run_within(command.arg("map").arg(&path), Duration::from_secs(60));
    assert_eq!(ended.code(), Some(0), "{:?}: {}", ended.status, ended.err);
    assert!(ended.peak_bytes < 400 << 20, "{} MiB", ended.peak_bytes >> 20);
}

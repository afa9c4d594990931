//! Files as a ticket has them, given to the verbs that take files.

mod common;

use common::offheap;
use std::path::PathBuf;

/// A file of `text` in `folder`.
fn file(folder: &tempfile::TempDir, name: &str, text: &str) -> String {
    let path: PathBuf = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.to_string_lossy().into_owned()
}

fn text(arguments: &[&str]) -> String {
    let output = offheap(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn nmt(thread_kib: u64, other_kib: u64) -> String {
    let total = 10_000 + thread_kib + other_kib;
    format!(
        "7:\n\nNative Memory Tracking:\n\nTotal: reserved={total}KB, committed={total}KB\n\
         -                 Java Heap (reserved=10000KB, committed=10000KB)\n\
         -                    Thread (reserved={thread_kib}KB, committed={thread_kib}KB)\n\
         -                     Other (reserved={other_kib}KB, committed={other_kib}KB)\n"
    )
}

#[test]
fn nmt_reads_what_a_ticket_has() {
    let folder = tempfile::tempdir().unwrap();
    let quoted: String = nmt(100, 200).lines().map(|line| format!("> {line}\n")).collect();
    let pasted = file(&folder, "pasted.txt", &format!("See:\n{quoted}\nHelp!\n"));
    assert!(text(&["nmt", &pasted]).contains("Java Heap"));
    // Before and after in one text are compared, by nmt, by convert and by diff.
    let both = file(&folder, "both.txt", &format!("before:\n{}\nafter:\n{}", nmt(100, 200), nmt(100, 9200)));
    for verb in ["nmt", "convert", "diff"] {
        let text = text(&[verb, &both]);
        assert!(text.contains("+8.8 MiB") || text.contains("+8.79 MiB"), "{verb}: {text}");
    }
    let log = format!(
        "#\n# A fatal error has been detected by the Java Runtime Environment:\n#\n#  SIGSEGV (0xb) at pc=0x1, pid=7, tid=8\n#\n\n{}\n\
         ---------------  S Y S T E M  ---------------\n\nEND.\n",
        nmt(100, 200).trim_start_matches("7:\n\n")
    );
    assert!(text(&["nmt", &file(&folder, "hs_err_pid7.log", &log)]).contains("Other"));
    let prose = file(&folder, "prose.txt", "reserved= and committed= do not add up\n");
    for verb in ["nmt", "convert", "diff", "diagnose"] {
        let output = offheap(&[verb, &prose]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{verb}: {error}");
        assert!(error.contains("Some of its words are those of: NMT report"), "{verb}: {error}");
    }
}

#[test]
fn a_tickets_files_are_one_case() {
    let folder = tempfile::tempdir().unwrap();
    let before = file(&folder, "nmt-1.txt", &nmt(100_000, 200));
    let after = file(&folder, "nmt-2.txt", &nmt(900_000, 200));
    let threads: String = (0..900)
        .map(|number| format!("\"pool-1-thread-{number}\" #{number} prio=5 tid=0x1 nid=0x2 waiting\n\n"))
        .collect();
    let dump = format!(
        "2024-07-01 10:00:00\nFull thread dump OpenJDK:\n\n{threads}JNI global refs: 7, weak refs: 0\n"
    );
    let dump = file(&folder, "threads.txt", &dump);
    let smaps =
        "7f00a0000000-7f00de800000 rw-p 00000000 00:00 0\nSize: 1024000 kB\nRss:            1000000 kB\n";
    let smaps = file(&folder, "smaps.txt", smaps);
    let diagnose = |files: &[&str]| -> serde_json::Value {
        let arguments: Vec<&str> = ["diagnose", "--json"].iter().chain(files).copied().collect();
        let output = offheap(&arguments);
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
    };
    let case = diagnose(&[&before, &after, &dump, &smaps]);
    let verdict = &case["verdict"];
    assert_eq!(
        (verdict["status"].as_str(), verdict["domain"].as_str()),
        (Some("leak"), Some("thread-stacks")),
        "{verdict:#}"
    );
    let summary = verdict["summary"].as_str().unwrap();
    assert!(
        summary.contains("900 threads are named pool-*-thread-*")
            && summary.contains("NMT's Thread grew by 781 MiB"),
        "{summary}"
    );
    // Without the thread dump and NMT the one thing that is missing is named.
    let case = diagnose(&[&smaps, &dump]);
    assert!(
        case["verdict"]["summary"].as_str().unwrap().contains("What is missing: NMT's summary"),
        "{:#}",
        case["verdict"]
    );
    // What can't be true together is said.
    let few = file(&folder, "status.txt", "Name:\tjava\nVmPeak:\t 9 kB\nVmRSS:\t 1000000 kB\nThreads:\t40\n");
    let case = diagnose(&[&after, &dump, &few]);
    assert!(case["verdict"]["summary"].as_str().unwrap().contains("40 threads and"), "{:#}", case["verdict"]);
}

/// An account as people name it, and a file that nobody can read: the last account counts, and the
/// rest is said.
#[test]
fn a_tickets_names_tell_the_order_and_what_cannot_be_read_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let after = file(&folder, "nmt-after.txt", &nmt(100_000, 1_900_000));
    let before = file(&folder, "nmt-before.txt", &nmt(100_000, 200));
    let histogram = file(
        &folder,
        "histo.txt",
        " num     #instances         #bytes  class name\n----------------------------------------------\n   \
         1:         24010        1536640  java.nio.DirectByteBuffer\nTotal         24010        1536640\n",
    );
    let free = "               total        used        free      shared  buff/cache   available\n\
                Mem:           15886       14100         312          12        1473        1500\n";
    let free = file(&folder, "free.txt", free);
    let output = offheap(&["diagnose", "--json", &after, &before, &histogram, &free]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(json["verdict"]["cause"], "direct-buffers-kept", "{:#}", json["verdict"]);
    let left = json["not_looked_at"][0].as_str().unwrap();
    assert!(left.contains("free.txt") && left.contains("the table of free"), "{left}");
    let shown = String::from_utf8(offheap(&["diagnose", &after, &histogram, &free]).stdout).unwrap();
    assert!(shown.contains("it looks like the table of free"), "{shown}");
    assert_eq!(offheap(&["diagnose", &free]).status.code(), Some(2));
}

fn verdict(files: &[&str]) -> String {
    let arguments: Vec<&str> = ["diagnose", "--json"].iter().chain(files).copied().collect();
    let output = offheap(&arguments);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    json["verdict"]["summary"].as_str().unwrap().to_owned()
}

#[test]
fn a_directory_may_hold_what_is_no_report() {
    let folder = tempfile::tempdir().unwrap();
    file(&folder, "README.md", "What we saw on Monday: the service grew.\n");
    file(&folder, "notes.txt", "");
    for (name, other) in [("nmt-1.txt", 200), ("nmt-2.txt", 9200)] {
        file(&folder, name, &nmt(100, other));
    }
    let compared = text(&["diff", folder.path().to_str().unwrap()]);
    assert!(compared.contains("+8.8 MiB") || compared.contains("+8.79 MiB"), "{compared}");
}

#[test]
fn what_is_mapped_is_not_resident_and_of_several_kills_one_counts() {
    let folder = tempfile::tempdir().unwrap();
    let report = file(&folder, "nmt.txt", &nmt(100_000, 200));
    let mapped = "77:   java -jar app.jar\nAddress           Kbytes Mode  Offset           Device    Mapping\n\
        00007f0000000000 9000000 rw--- 0000000000000000 000:00000   [ anon ]\n\
        mapped: 9000000K    writeable/private: 9000000K    shared: 0K\n";
    let pmap = file(&folder, "pmap-d.txt", mapped);
    let summary = verdict(&[&report, &pmap]);
    assert!(!summary.contains("are resident") && summary.contains("what is resident"), "{summary}");
    let kill = |pid: u32, kib: u32| {
        format!(
            "Memory cgroup out of memory: Killed process {pid} (java) total-vm:9kB, anon-rss:{kib}kB, file-rss:1024kB, shmem-rss:0kB\n"
        )
    };
    let log = file(&folder, "kernel.txt", &[kill(7, 1_047_552), kill(8, 523_264), kill(9, 1024)].concat());
    let summary = verdict(&[&report, &log]);
    assert!(summary.contains("1.00 GiB are resident"), "{summary}");
}

#[test]
fn what_grew_most_is_named_whatever_its_kind_is_called() {
    let folder = tempfile::tempdir().unwrap();
    // "committed bytes by NMT category" comes before "resident bytes by mapped file".
    let smaps = |kib: u32| {
        format!(
            "7f00a0000000-7f00de800000 rw-p 00000000 00:00 0 /x/libleak.so\nSize: 1024000 kB\nRss: {kib} kB\n"
        )
    };
    let files = [
        file(&folder, "nmt-1.txt", &nmt(100, 200)),
        file(&folder, "nmt-2.txt", &nmt(100, 9200)),
        file(&folder, "smaps-1.txt", &smaps(1000)),
        file(&folder, "smaps-2.txt", &smaps(900_000)),
    ];
    let summary = verdict(&files.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(summary.contains("libleak.so grew most"), "{summary}");
}

#[test]
fn a_file_of_knowledge_is_read_first_and_what_is_wrong_is_said_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let good = "name = \"ours\"\nabout = \"The house's codec.\"\n\n[recognised]\nfiles = [\"libours\"]\n\n\
                [[memory]]\nwhat = \"frames\"\nowner = \"caller\"\ngives_back = \"ours_free\"\n";
    let right = file(&folder, "right.toml", good);
    let wrong = file(&folder, "wrong.toml", &format!("{good}onwer = \"caller\"\n"));
    let large = file(&folder, "large.toml", &"#".repeat(2 << 20));
    // No process has this pid: what is said tells how far it came.
    let none = "4194305";
    for verb in ["diagnose", "check", "serve"] {
        let said = |files: &[&str]| {
            let mut arguments = vec![verb, none];
            files.iter().for_each(|file| arguments.extend(["--knowledge", file]));
            let output = offheap(&arguments);
            assert_eq!(output.status.code(), Some(2), "{arguments:?}");
            String::from_utf8_lossy(&output.stderr).into_owned()
        };
        let error = said(&[&right, &wrong]);
        assert!(error.contains("wrong.toml:11: unknown field `onwer`"), "{verb}: {error}");
        let error = said(&[&large]);
        assert!(error.contains("large.toml: it has more than 1048576 bytes"), "{verb}: {error}");
        assert!(said(&["/nowhere.toml"]).contains("/nowhere.toml"));
        let error = said(&[&right]);
        assert!(!error.contains(".toml") && error.contains(none), "{verb}: {error}");
    }
}

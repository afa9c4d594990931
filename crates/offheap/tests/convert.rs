//! `offheap convert`: files of other tools in, formats that people like out.

mod common;

use common::offheap;

fn sample(name: &str) -> String {
    let path = offheap_testkit::workspace().join("crates/formats/tests/samples").join(name);
    assert!(path.exists(), "{} is missing", path.display());
    path.to_string_lossy().into_owned()
}

/// The sum of the last column of collapsed stacks.
fn total(collapsed: &str) -> u64 {
    collapsed.lines().filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

#[test]
fn a_heap_profile_keeps_its_bytes_in_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let input = sample("heaptrack.zst");
    let direct = offheap(&["convert", &input]);
    assert!(direct.status.success(), "{}", String::from_utf8_lossy(&direct.stderr));
    let bytes = total(&String::from_utf8_lossy(&direct.stdout));
    assert!(bytes > 100_000, "{bytes}");
    for ending in ["pb.gz", "collapsed", "json", "speedscope.json", "firefox.json", "csv", "html"] {
        let out = folder.path().join(format!("profile.{ending}"));
        let output = offheap(&["convert", &input, "-o", out.to_str().unwrap()]);
        assert!(output.status.success(), "{ending}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(std::fs::metadata(&out).unwrap().len() > 100, "{ending}");
        // What can be read again says the same.
        if matches!(ending, "pb.gz" | "collapsed" | "json") {
            let again = offheap(&["convert", out.to_str().unwrap()]);
            assert_eq!(total(&String::from_utf8_lossy(&again.stdout)), bytes, "{ending}");
        }
    }
}

#[test]
fn what_is_no_profile_is_refused_with_a_reason() {
    let fails = |arguments: &[&str]| {
        let output = offheap(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(fails(&["convert", &sample("smaps.txt"), "-o", "/tmp/x.pb.gz"]).contains("no allocation sites"));
    assert!(fails(&["convert", &sample("leak.cpp")]).contains("not recognised"));
    assert!(fails(&["convert", &sample("heaptrack.zst"), "-o", "/tmp/x.otlp"]).contains("--otlp-proto"));
    assert!(fails(&["convert", "/no/such/file"]).contains("cannot read"));
    assert!(
        fails(&["convert", &sample("heaptrack.zst"), "-o", "/tmp/profile.xyz"]).contains("names no format")
    );
}

fn text(arguments: &[&str]) -> String {
    let output = offheap(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn json(arguments: &[&str]) -> serde_json::Value {
    serde_json::from_str(&text(arguments)).unwrap()
}

/// Not inlined, and with a name that is found again.
#[inline(never)]
fn a_function_to_be_named(number: u64) -> u64 {
    std::hint::black_box(number).wrapping_mul(3)
}

#[test]
fn addresses_get_the_names_of_the_mapped_files_and_of_the_perf_map() {
    let folder = tempfile::tempdir().unwrap();
    let (heap, map) = (folder.path().join("jeprof.heap"), folder.path().join("code.map"));
    let own = a_function_to_be_named as fn(u64) -> u64 as usize as u64;
    assert_eq!(a_function_to_be_named(2), 6);
    // The return address in the function, its Java caller, one that nobody knows.
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let profile = format!(
        "heap_v2/524288\n  t*: 1: 1000000 [0: 0]\n  t0: 1: 1000000 [0: 0]\n@ {:#x} 0x10001011 0x20000001\n  \
         t*: 1: 1000000 [0: 0]\n\nMAPPED_LIBRARIES:\n{maps}",
        own + 2
    );
    std::fs::write(&heap, profile).unwrap();
    std::fs::write(&map, "10001000 100 int app.Main.leak(java.lang.String)\n").unwrap();
    let collapsed = text(&["convert", heap.to_str().unwrap(), "--perf-map", map.to_str().unwrap()]);
    let stack = collapsed.rsplit_once(' ').unwrap().0;
    let frames: Vec<&str> = stack.split(';').collect();
    assert_eq!(frames[..2], ["0x20000000", "app.Main.leak"]);
    assert!(frames[2].contains("a_function_to_be_named"), "{collapsed}");
    let notes = offheap(&["convert", heap.to_str().unwrap()]).stderr;
    assert!(String::from_utf8_lossy(&notes).contains("--perf-map"), "without a map the way to one is told");
}

#[test]
fn two_profiles_are_compared_as_they_are_given() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str, stacks: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, stacks).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let before = path("a.collapsed", "main;leak 1000000\nmain;gone 3000000\n");
    let after = path("b.collapsed", "main;leak 9000000\n");
    let there = text(&["diff", &before, &after]);
    let line = |text: &str, site: &str| text.lines().find(|line| line.ends_with(site)).unwrap().to_owned();
    assert!(line(&there, "leak < main").contains("+7.63 MiB"), "{there}");
    assert!(line(&there, "gone < main").contains("-2.86 MiB"), "{there}");
    assert!(there.contains("+ is growth"), "{there}");
    let back = text(&["diff", &after, &before]);
    assert!(line(&back, "leak < main").contains("-7.63 MiB"), "{back}");
    let parsed = json(&["diff", &before, &after, "--json"]);
    assert_eq!(parsed["schema"], "offheap/series/v1");
    assert_eq!(
        (&parsed["rows"][0]["delta"], &parsed["rows"][1]["delta"]),
        (&8_000_000.into(), &(-3_000_000).into())
    );
    let page = folder.path().join("diff.html");
    text(&["diff", &before, &after, "-o", page.to_str().unwrap()]);
    assert!(std::fs::read_to_string(&page).unwrap().contains("\"diff\":true"));
    let other = offheap(&["diff", &before, &sample("smaps.txt")]);
    assert_eq!(other.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&other.stderr).contains("can't be compared"));
}

#[test]
fn a_directory_is_a_series_with_a_slope_for_each_site() {
    let folder = tempfile::tempdir().unwrap();
    let start = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
    // Written out of order: what counts is when the files say they were written.
    for step in [2u64, 0, 4, 1, 3] {
        let path = folder.path().join(format!("{}.collapsed", 9 - step));
        std::fs::write(&path, format!("main;leak {}\nmain;cache 5000\n", 1_000_000 + step * 600_000))
            .unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(start + std::time::Duration::from_secs(step * 60)).unwrap();
    }
    std::fs::write(folder.path().join("notes"), "not a profile").unwrap();
    let directory = folder.path().to_str().unwrap();
    let series = json(&["diff", directory, "--json"]);
    assert_eq!(series["files"].as_array().unwrap().len(), 5);
    let row = &series["rows"][0];
    assert_eq!(row["frames"][0]["name"], "leak");
    assert_eq!((row["delta"].as_i64(), row["slope"].as_f64()), (Some(2_400_000), Some(10_000.0)));
    let shown = text(&["diff", directory]);
    assert!(
        shown.contains("5 files by when they were written over 4 min") && shown.contains("leak < main"),
        "{shown}"
    );
    assert!(!shown.contains("cache"), "what does not move is not shown: {shown}");
}

#[test]
fn nmt_reports_smaps_and_logs_say_what_they_hold() {
    let nmt = |name: &str| {
        let folder = offheap_testkit::workspace().join("crates/nmt/tests/samples");
        folder.join(name).to_string_lossy().into_owned()
    };
    let changed = json(&["diff", &nmt("17-summary-b.txt"), &nmt("17-detail.txt"), "--json"]);
    assert_eq!(changed["of"], "committed bytes by NMT category");
    assert!(changed["rows"].as_array().unwrap().iter().any(|row| row["name"] == "Java Heap"));
    assert!(text(&["convert", &nmt("17-summary.txt")]).contains("Java Heap"));
    assert!(text(&["convert", &sample("smaps.txt")]).contains("libc.so.6"));
    let log = text(&["convert", &sample("hs_err_python.log.gz")]);
    assert!(log.contains("PyList_New") && log.contains("GIL"), "{log}");
    let out = tempfile::tempdir().unwrap();
    let file = out.path().join("log.json");
    text(&["convert", &sample("hs_err_oom_17.log.gz"), "-o", file.to_str().unwrap()]);
    let log: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(
        (&log["schema"], &log["detail"]["crash"]),
        (&"offheap/figures/v1".into(), &"NativeMemory".into())
    );
    let otlp = out.path().join("profile.otlp");
    text(&["convert", &sample("heaptrack.zst"), "-o", otlp.to_str().unwrap(), "--otlp-proto", "1.10.0"]);
    assert!(std::fs::metadata(&otlp).unwrap().len() > 500);
}

#[test]
fn an_answer_without_figures_is_refused_with_what_the_jvm_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("answer.txt");
    for (answer, said) in [
        ("0\nNative memory tracking is not enabled\n", "is not enabled"),
        (
            "-1\njava.lang.IllegalArgumentException: Unknown diagnostic command\n",
            "Unknown diagnostic command",
        ),
    ] {
        std::fs::write(&path, answer).unwrap();
        let output = offheap(&["convert", path.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains(said), "{answer}");
    }
}

#[test]
fn what_unfolds_without_end_is_refused() {
    use std::io::Write;
    let folder = tempfile::tempdir().unwrap();
    let gzip = |bytes: &[u8]| {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packed.write_all(bytes).unwrap();
        packed.finish().unwrap()
    };
    // 1.25 GiB of one byte in a few pieces, behind a head that is believed.
    let zeros = gzip(&vec![0; 64 << 20]);
    let blanks = gzip(&vec![b' '; 64 << 20]);
    let mut hprof = b"JAVA PROFILE 1.0.2\0".to_vec();
    hprof.extend([0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0x2c, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    for (head, body) in [
        (hprof.as_slice(), &zeros),
        (b"FLR\0\0\x02\0\0".as_slice(), &zeros),
        (b"main;leak 5\n".as_slice(), &blanks),
    ] {
        let bomb = [gzip(head), body.repeat(20)].concat();
        let path = folder.path().join("bomb.gz");
        std::fs::write(&path, bomb).unwrap();
        // A gigabyte of it would not fit: what is too much is seen before it is all there.
        let output = std::process::Command::new("sh")
            .args(["-c", "ulimit -v 700000 && exec \"$0\" convert \"$1\""])
            .arg(offheap_testkit::offheap())
            .arg(&path)
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains("unfolds to more than is allowed"), "{error}");
    }
    // A pipe without a writer, and a file of nothing but holes.
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let hollow = folder.path().join("hollow");
    std::fs::write(&hollow, "main;leak 5\n").unwrap();
    std::fs::OpenOptions::new().write(true).open(&hollow).unwrap().set_len(1 << 30).unwrap();
    for (path, said) in [(&pipe, "is a pipe"), (&hollow, "nearly all of them are holes")] {
        let output = offheap(&["convert", path.to_str().unwrap()]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn what_is_written_is_for_its_owner_alone_and_follows_no_link() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let (out, precious) = (folder.path().join("out.json"), folder.path().join("precious"));
    std::fs::write(&precious, "precious").unwrap();
    std::os::unix::fs::symlink(&precious, &out).unwrap();
    let output = offheap(&["convert", &sample("heaptrack.zst"), "-o", out.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata = out.symlink_metadata().unwrap();
    assert!(metadata.is_file() && metadata.permissions().mode() & 0o777 == 0o600);
    assert_eq!(std::fs::read(&precious).unwrap(), b"precious");
}

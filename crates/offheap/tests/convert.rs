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
    assert!(fails(&["convert", &sample("smaps.txt")]).contains("no allocation sites"));
    assert!(fails(&["convert", "/no/such/file"]).contains("cannot read"));
    assert!(
        fails(&["convert", &sample("heaptrack.zst"), "-o", "/tmp/profile.xyz"]).contains("names no format")
    );
}

//! Files that are cut off anywhere, that claim what they do not have, or whose frames all have one
//! name.

use offheap_formats::{
    Figure, collapsed, csv, detect, firefox, flamegraph, heaptrack, hprof, jfr, json, otlp, pprof,
    read_figures, read_profile, speedscope, unwrap,
};
use offheap_model::Profile;

const LIMIT: u64 = 64 << 20;

fn samples() -> Vec<(String, Vec<u8>)> {
    let folder = format!("{}/tests/samples", env!("CARGO_MANIFEST_DIR"));
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    let read = |entry: std::fs::DirEntry| {
        (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())
    };
    let mut all: Vec<_> = entries.map(read).collect();
    all.sort();
    all
}

fn live(profile: &Profile) -> u64 {
    profile.sites.iter().map(|site| site.live_bytes).sum()
}

#[test]
fn every_prefix_of_a_small_file_is_read_or_refused() {
    let mut prefixes = 0;
    for (name, packed) in samples().into_iter().filter(|(_, bytes)| bytes.len() < 7000) {
        let whole = unwrap(&packed, LIMIT).unwrap().0.into_owned();
        if detect(&whole).is_none() {
            continue;
        }
        for length in 0..whole.len() {
            prefixes += 1;
            let prefix = &whole[..length];
            if let Ok(parsed) = read_profile(prefix) {
                assert!(parsed.cut.is_none_or(|cut| cut.at <= length as u64), "{name} at {length}");
            } else if let Ok(figures) = read_figures(prefix) {
                assert!(figures.cut.is_none_or(|cut| cut.at <= length as u64), "{name} at {length}");
            }
        }
        for length in 0..packed.len() {
            if let Ok((part, _)) = unwrap(&packed[..length], LIMIT) {
                assert!(whole.starts_with(&part) || part.len() < 8, "{name}, packed, at {length}");
            }
        }
    }
    assert!(prefixes > 30_000, "{prefixes}");
}

/// Counts that the bytes behind them can't hold: nothing is allocated for them, and no sum
/// overflows.
#[test]
fn absurd_counts_are_refused_or_end_the_file() {
    let most = u64::MAX;
    for text in [
        format!("main;leak {most}\nmain;leak {most}\n"),
        format!("main;leak {most}0\nmain;leak 1\n"),
        format!("v 10300 3\ns 4 main\ni 1 0 1\nt 1 0\na ffffffffffffffff 1\n{}", "+ 0\n".repeat(1000)),
        "v 10300 3\ns ffffffffffffffff main\nt 1 ffffffffffffffff\na 8 ffffffffffffffff\n+ 0\n+ ffffffffffffffff\n"
            .to_owned(),
        format!("heap_v2/{most}\n  t*: {most}: {most} [{most}: {most}]\n@ 0x1 0x2\n  t*: {most}: {most} [0: 0]\n@ 0x3\n  t*: {most}: {most} [0: 0]\n"),
        format!("heap profile: {most}: {most} [{most}: {most}] @ heap_v2/{most}\n{most}: {most} [{most}: {most}] @ 0x1\n"),
        format!("--- symbol\n0x2000 {}\n---\n--- heap\nheap_v2/1\n  t*: 1: 600 [0: 0]\n@{}\n  t*: 1: 600 [0: 0]\n\nMAPPED_LIBRARIES:\n",
            "f--".repeat(30_000), " 0x2000".repeat(100_000)),
        format!("desc: (none)\ncmd: x\ntime_unit: i\n#-----------\nsnapshot=0\n#-----------\ntime=0\nmem_heap_B={most}\n\
            mem_heap_extra_B={most}\nmem_stacks_B={most}\nheap_tree=peak\nn{most}: {most} (heap)\n n{most}: {most} 0x1: f (a.c:1)\n"),
        format!("num     #instances         #bytes  class name\n   1:  {most}  {most}  a.B\n   2:  {most}  {most}  a.B\n"),
    ] {
        for bytes in [text.as_bytes(), &text.as_bytes()[..text.len() - 2]] {
            let _ = (read_profile(bytes), read_figures(bytes));
        }
    }

    // A heap dump whose arrays, strings and records have 4 Gi of everything.
    let head = [b"JAVA PROFILE 1.0.2\0".as_slice(), &8u32.to_be_bytes(), &0u64.to_be_bytes()].concat();
    let record = |tag: u8, body: &[u8]| [&[tag, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], body].concat();
    for record in [
        record(0x01, &[0; 8]),
        record(0x0c, &[[0x22; 1].as_slice(), &[0; 12], &[0xff; 4], &[0; 8]].concat()),
        record(0x0c, &[[0x23; 1].as_slice(), &[0; 12], &[0xff; 4], &[11]].concat()),
        record(0x0c, &[[0x21; 1].as_slice(), &[0; 20], &[0xff; 4]].concat()),
        record(0x0c, &[[0x20; 1].as_slice(), &[0; 76], &[0xff; 2], &[0; 9]].concat()),
    ] {
        let dump = hprof::read(&[head.as_slice(), &record].concat()).unwrap();
        assert!(dump.cut.is_some(), "it does not say that it is cut off");
    }

    // A chunk of JFR that says it is 2^62 bytes long; one whose constants are 2^56 strings.
    let mut chunk = b"FLR\0\0\x02\0\0".to_vec();
    chunk.extend([0x40, 0, 0, 0, 0, 0, 0, 0]);
    chunk.resize(68, 0);
    chunk.extend([20, 1, 0, 0, 0, 1, 0x7f]);
    chunk.extend([0xff; 8]);
    chunk.resize(200, 0x7f);
    let read = jfr::read(&chunk).unwrap();
    assert!(read.profile.cut.is_some() && read.profile.profile.sites.is_empty());

    // pprof: a field longer than the file, and packed numbers that never end.
    for bytes in [&[0x12, 0xff, 0xff, 0xff, 0xff, 0x0f, 1][..], &[0x0a, 0x04, 0x08, 0xff, 0xff, 0xff]] {
        let _ = pprof::read(bytes);
    }
    let nested = format!("{{\"schema\":\"offheap/profile/v1\",\"target\":{}", "[".repeat(1 << 16));
    assert!(json::read(nested.as_bytes()).is_err());
    assert!(heaptrack::read(b"v 10300 ffff\n").is_err());
}

#[test]
fn frames_of_one_name_stay_apart_in_a_stack_and_together_across_stacks() {
    // Recursion, a stack that is the start of another, and one name in two libraries.
    let text = "main;f;f;f 7\nmain;f;f 5\nmain;f 3\nf;main 2\nf 1\n";
    let profile = collapsed::read(text.as_bytes()).unwrap().profile;
    assert_eq!((profile.frames.len(), profile.sites.len()), (2, 5));
    let stacks = |profile: &Profile| {
        let mut lines: Vec<String> =
            collapsed::write(profile, Figure::LiveBytes, false).lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let expected = stacks(&profile);
    assert_eq!(expected.len(), 5);
    let through = |bytes: &[u8]| stacks(&read_profile(bytes).unwrap().profile);
    assert_eq!(through(&pprof::write(&profile)), expected);
    assert_eq!(through(json::write(&profile, serde_json::Value::Null).as_bytes()), expected);
    for page in [
        flamegraph::write(&profile, Figure::LiveBytes, "t"),
        speedscope::write(&profile, "t"),
        firefox::write(&profile, Figure::LiveBytes, "t"),
        csv::write(&profile),
    ] {
        assert!(page.len() > 50);
    }
    assert!(!otlp::write(&profile).is_empty());
    let mut two = profile.clone();
    two.frames[1].module = Some("libother.so".to_owned());
    let again = read_profile(&pprof::write(&two)).unwrap().profile;
    assert_eq!((live(&again), again.frames.len()), (18, 2));
    assert!(again.frames.iter().any(|frame| frame.module.as_deref() == Some("libother.so")));
}

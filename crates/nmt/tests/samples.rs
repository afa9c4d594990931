//! Real outputs of JDK 8 to 25, all modes: read without a problem, and the figures add up.

use std::path::{Path, PathBuf};

use offheap_nmt::{
    Frame, Kind, RenderOptions, ReplyKind, Report, Scale, SiteKind, check_sums, diff, parse, render,
};

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples")
}

fn text(name: &str) -> Vec<u8> {
    let path = directory().join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn read(name: &str) -> Report {
    parse(&text(name))
}

/// Name and text of every sample.
fn samples() -> Vec<(String, Vec<u8>)> {
    let mut samples: Vec<_> = std::fs::read_dir(directory())
        .expect("the samples")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
        .map(|name| (name.clone(), text(&name)))
        .collect();
    samples.sort();
    assert!(samples.len() >= 54, "only {} samples", samples.len());
    samples
}

/// What a sample's name says it holds.
fn kind_by_name(name: &str) -> Kind {
    let mode = name.trim_end_matches(".txt").split_once('-').expect("VERSION-MODE").1;
    match mode {
        "summary" | "summary-b" | "summary-MB" | "summary-LC_de" | "zgc-summary" => Kind::Summary,
        "summary.diff" | "summary.diff-b" => Kind::SummaryDiff,
        "detail" | "zgc-detail" => Kind::Detail,
        "detail.diff" => Kind::DetailDiff,
        "statistics" => Kind::Statistics,
        "badarg" | "baseline" | "nobaseline-diff" | "off" => Kind::Reply,
        _ => panic!("{name} is of no known mode"),
    }
}

#[test]
fn every_sample_is_read_without_a_problem() {
    for (name, text) in samples() {
        let report = parse(&text);
        assert_eq!(report.problems, [], "{name}");
        assert_eq!(report.kind, kind_by_name(&name), "{name}");
        assert_eq!(report.status, Some(if name.contains("badarg") { -1 } else { 0 }), "{name}");
    }
}

#[test]
fn every_sample_adds_up() {
    let mut checked = 0;
    for (name, text) in samples() {
        let report = parse(&text);
        for check in check_sums(&report) {
            assert!(check.holds(), "{name}: {check:?}");
            if name.ends_with("-b.txt") {
                assert_eq!(check.stated_bytes, check.summed_bytes, "{name}: {check:?}: exact at scale b");
            }
            checked += 1;
        }
    }
    assert!(checked > 1000, "only {checked} sums");
}

#[test]
fn a_wrong_figure_does_not_add_up() {
    let text = String::from_utf8(text("17-summary-b.txt")).expect("text");
    let wrong = text.replacen("Module (reserved=", "Module (reserved=1", 1);
    assert_ne!(text, wrong);
    let failed: Vec<String> =
        check_sums(&parse(wrong.as_bytes())).into_iter().filter(|c| !c.holds()).map(|c| c.what).collect();
    assert_eq!(failed, ["total reserved", "Module reserved"]);
}

#[test]
fn every_sample_survives_json() {
    for (name, text) in samples() {
        let report = parse(&text);
        let json = serde_json::to_string(&report).expect("JSON");
        assert!(json.starts_with(r#"{"schema":"offheap/nmt/v1","#), "{name}");
        assert_eq!(serde_json::from_str::<Report>(&json).expect("a report"), report, "{name}");
    }
}

#[test]
fn the_contract() {
    let json = serde_json::to_value(read("17-summary.diff-b.txt")).expect("JSON");
    assert_eq!(json["total"]["reserved_bytes"], 1_897_571_385_u64);
    assert_eq!(json["total"]["committed_bytes_delta"], 8_669_578);
    let class = &json["categories"][1];
    assert_eq!(class["name"], "Class");
    assert_eq!(class["reserved_bytes"], 1_003_808);
    assert_eq!(class["malloc"]["bytes"], 1_003_808);
    assert_eq!(class["malloc"]["bytes_delta"], 69_728);
    assert_eq!(class["malloc"]["count"], 7191);
    assert_eq!(class["malloc"]["count_delta"], 499);
    assert_eq!(class["classes"]["count_delta"], 41);
    assert_eq!(class["metadata"]["used_bytes_delta"], 139_720);
    assert_eq!(class["class_space"]["waste_bytes_delta"], 43_656);
    let thread = &json["categories"][2];
    assert_eq!(thread["stack"]["reserved_bytes_delta"], 8_388_608);
    assert_eq!(thread["arena"]["bytes_delta"], 9600);
    assert_eq!(json["categories"][0]["mmap"]["committed_bytes_delta"], 0, "unchanged is 0 in a diff");
    for empty in ["sites", "regions", "problems"] {
        assert_eq!(json[empty], serde_json::json!([]));
    }

    let json = serde_json::to_value(parse(b"rubbish\n")).expect("JSON");
    assert_eq!(json["total"], serde_json::Value::Null);
    assert_eq!(json["problems"][0], serde_json::json!({"line": 1, "text": "not understood: rubbish"}));
}

#[test]
fn figures_are_bytes_at_every_scale() {
    let (bytes, kilobytes, megabytes) =
        (read("25-summary-b.txt"), read("25-summary.txt"), read("25-summary-MB.txt"));
    assert_eq!(bytes.scale, Some(Scale::Bytes));
    assert_eq!(kilobytes.scale, Some(Scale::Kilobytes));
    assert_eq!(megabytes.scale, Some(Scale::Megabytes));
    let heap = |report: &Report| report.category("Java Heap").expect("a heap").mapping.committed_bytes;
    assert_eq!([heap(&bytes), heap(&kilobytes), heap(&megabytes)], [256 << 20; 3]);
    let class = kilobytes.category("Class").expect("classes");
    let malloc = class.malloc.expect("malloc");
    assert_eq!((malloc.bytes, malloc.count, malloc.peak_bytes), (999 << 10, Some(7720), Some(999 << 10)));
    assert_eq!(class.classes.map(|c| c.count), Some(1703));
    assert_eq!(class.metadata.and_then(|m| m.used_bytes), Some(7847 << 10));
    let compiler = kilobytes.category("Compiler").and_then(|c| c.arena).expect("arenas");
    assert_eq!((compiler.peak_bytes, compiler.peak_count), (Some(7719 << 10), Some(7)));
}

#[test]
fn a_comma_for_a_point_changes_nothing() {
    let german = read("17-summary-LC_de.txt");
    let class = german.category("Class").expect("classes");
    assert_eq!(class.metadata.and_then(|m| m.waste_bytes), Some(1419 << 10));
    let text = String::from_utf8(text("17-summary.txt")).expect("text");
    let commas = text.replace("=19.49%", "=19,49%").replace("=48.39%", "=-nan%");
    assert_eq!(text.matches('%').count(), 2);
    assert_eq!(parse(commas.as_bytes()), parse(text.as_bytes()));
}

#[test]
fn without_status_with_pid_and_with_windows_line_ends() {
    let text = String::from_utf8(text("21-summary.txt")).expect("text");
    let report = parse(text.as_bytes());
    let saved = text.trim_start_matches("0\n");
    assert_eq!(parse(saved.as_bytes()), Report { status: None, ..report.clone() });
    let jcmd = parse(format!("4711:{saved}").replacen("4711:", "4711:\n", 1).as_bytes());
    assert_eq!(jcmd, Report { status: None, pid: Some(4711), ..report.clone() });
    assert_eq!(parse(text.replace('\n', "\r\n").as_bytes()), report);
}

#[test]
fn jdk_21_and_17_diff_quirks() {
    let thread = |name: &str| read(name).category("Thread").expect("threads").clone();
    let of_21 = thread("21-summary.diff.txt");
    assert_eq!(of_21.arena.and_then(|a| a.bytes_delta), Some(9 << 10), "+9d");
    assert_eq!(of_21.threads.and_then(|t| t.count_delta), Some(8));
    let of_17 = thread("17-summary.diff.txt");
    assert_eq!(of_17.arena.and_then(|a| a.bytes_delta), Some(9 << 10), "+9 without a unit");
    assert_eq!(of_17.threads, None, "(thread #0) is no count");
    let chunks = read("11-summary.diff.txt").category("Arena Chunk").and_then(|c| c.malloc).expect("chunks");
    assert_eq!((chunks.bytes_delta, chunks.count), (Some(-1445 << 10), None));
}

#[test]
fn a_diff_without_any_change_is_still_a_diff() {
    let text = "\nNative Memory Tracking:\n\nTotal: reserved=9KB, committed=9KB\n\n\
                -                    Module (reserved=9KB, committed=9KB)\n\
                \u{20}                           (malloc=9KB #20)\n \n";
    let report = parse(text.as_bytes());
    assert_eq!((report.kind, report.problems.len()), (Kind::SummaryDiff, 0));
    assert_eq!(report.categories[0].malloc.and_then(|m| m.count_delta), Some(0));
    assert_eq!(parse(text.replacen("9KB\n\n", "9KB\n", 1).as_bytes()).kind, Kind::Summary);
}

#[test]
fn regions_have_exact_sizes_and_stacks() {
    let report = read("17-detail.txt");
    let heap = report.regions.iter().find(|region| region.category == "Java Heap").expect("a heap");
    assert_eq!((heap.start, heap.end, heap.reserved_bytes), (0xf000_0000, 0x1_0000_0000, 256 << 20));
    assert_eq!((heap.committed_bytes, heap.committed.len(), heap.frames.len()), (256 << 20, 1, 4));
    let stack = report.regions.iter().find(|region| region.category == "Thread Stack").expect("a stack");
    let guard = &stack.committed[0];
    assert_eq!((guard.committed_bytes, guard.frames.is_empty()), (16 << 10, false));
    assert!(stack.committed[1].frames.is_empty(), "committed by the kernel as it grew: no stack");
    for name in ["8-detail.txt", "11-detail.txt", "17-detail.txt", "21-detail.txt", "25-detail.txt"] {
        let report = read(name);
        let of = |category: &str| -> u64 {
            report.regions.iter().filter(|r| r.category == category).map(|r| r.reserved_bytes).sum()
        };
        let category = |name: &str| report.category(name).and_then(|c| c.mmap).expect("a category");
        assert_eq!(of("Java Heap"), category("Java Heap").reserved_bytes, "{name}");
        assert_eq!(of("Code"), category("Code").reserved_bytes, "{name}");
        let stacks = report.category("Thread").and_then(|c| c.stack).expect("stacks");
        assert_eq!(of("Thread Stack"), stacks.reserved_bytes, "{name}");
    }
}

#[test]
fn as_hs_err_logs_have_it() {
    let text = String::from_utf8(text("25-summary.txt")).expect("text");
    let summary = text.trim_start_matches("0\n");
    let tail = "Preinit state:entries: 389 (primary: 389, empties: 7802), sum bytes: 21609, longest chain length: 1\n\
                pre-init mallocs: 435, pre-init reallocs: 2, pre-init frees: 46\nMallocLimit: unset\n\n";
    let report = parse([summary, tail].concat().as_bytes());
    assert_eq!((report.problems, report.kind), (vec![], Kind::Summary));
    assert_eq!(report.categories, parse(summary.as_bytes()).categories);
    assert_eq!(report.statistics.len(), 3);
}

#[test]
fn files_that_back_a_heap() {
    let report = read("25-zgc-detail.txt");
    let [file] = &report.memory_files[..] else { panic!("{:?}", report.memory_files) };
    assert_eq!(file.name, "ZGC heap backing file");
    let [part] = &file.regions[..] else { panic!("{:?}", file.regions) };
    assert_eq!((part.start, part.committed_bytes, part.frames.len()), (0, 64 << 20, 4));
    assert_eq!(part.category, "Java Heap");
    assert!(report.regions.len() > 30 && report.sites.len() > 200);
}

#[test]
fn sites_have_figures_categories_and_frames() {
    for (name, direct_kb) in
        [("11-detail.txt", 114_688), ("17-detail.txt", 114_688), ("25-detail.txt", 114_698)]
    {
        let report = read(name);
        let other: Vec<_> = report.sites.iter().filter(|s| s.category.as_deref() == Some("Other")).collect();
        assert_eq!(other.len(), 1, "{name}");
        assert_eq!(other[0].malloc.map(|m| m.bytes), Some(direct_kb << 10), "{name}");
        let (mapped, malloced): (Vec<_>, Vec<_>) =
            report.sites.iter().partition(|site| site.kind == SiteKind::Mmap);
        assert!(mapped.len() > 5 && malloced.len() > 100, "{name}");
        assert!(mapped.iter().all(|site| site.mmap.is_some() && !site.frames.is_empty()), "{name}");
        assert!(malloced.iter().all(|site| site.malloc.is_some() && site.category.is_some()), "{name}");
    }
    assert_eq!(read("25-detail.txt").omitted_sites, 1385);
    let unsafe_allocate = &read("17-detail.txt").sites[0].frames[0];
    assert_eq!(
        unsafe_allocate,
        &Frame {
            address: 0x7fc5_37e8_fc07,
            name: Some("Unsafe_AllocateMemory0".into()),
            offset: Some(0x87),
            module: None
        }
    );
    let java_main = read("21-detail.txt").regions[0].frames[3].clone();
    assert_eq!(java_main.module.as_deref(), Some("libjli.so"));
    let bare = read("17-detail.diff.txt");
    assert_eq!(bare.sites.iter().filter(|s| s.category.as_deref() == Some("Thread")).count(), 2);
    assert!(bare.sites.iter().all(|s| s.malloc.is_none_or(|m| m.bytes_delta.is_some())));
}

#[test]
fn replies_are_told_apart() {
    for version in [11, 17, 21, 25] {
        let reply = |mode: &str| read(&format!("{version}-{mode}.txt")).reply.expect("a reply").kind;
        assert_eq!(reply("off"), ReplyKind::NotEnabled);
        assert_eq!(reply("badarg"), ReplyKind::BadArgument);
        assert_eq!(reply("baseline"), ReplyKind::BaselineTaken);
        assert_eq!(reply("nobaseline-diff"), ReplyKind::NoBaseline);
    }
    let kind = |text: &str| {
        let report = parse(text.as_bytes());
        (report.kind, report.reply.map(|reply| reply.kind), report.problems.len())
    };
    assert_eq!(kind("0\nIncorrect scale value: b\n"), (Kind::Reply, Some(ReplyKind::BadScale), 0));
    assert_eq!(kind("Detail tracking is not enabled"), (Kind::Reply, Some(ReplyKind::DetailNotEnabled), 0));
    assert_eq!(
        kind("7:\nNative memory tracking has been turned off\n"),
        (Kind::Reply, Some(ReplyKind::ShutDown), 0)
    );
    assert_eq!(kind("-1\nsomething else\nin two lines\n"), (Kind::Reply, Some(ReplyKind::Refused), 0));
    assert_eq!(kind(""), (Kind::Unrecognized, None, 0));
    assert_eq!(kind("0\n"), (Kind::Unrecognized, None, 0));
}

#[test]
fn a_bad_line_is_reported_and_the_rest_is_read() {
    let text = String::from_utf8(text("17-summary.txt")).expect("text");
    let whole = parse(text.as_bytes());
    let broken = text.replacen("Compiler (reserved=169KB", "Compiler (reserved=169QB", 1);
    let report = parse(broken.as_bytes());
    let number = 1 + text.lines().position(|line| line.contains("Compiler (")).expect("a compiler") as u64;
    assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
    assert_eq!(report.problems[0].line, number);
    assert!(report.problems[0].text.starts_with("unknown unit: -"), "{:?}", report.problems);
    let others: Vec<_> = whole.categories.iter().filter(|c| c.name != "Compiler").cloned().collect();
    assert_eq!(report.categories, others, "what belongs to the bad one is not given to its neighbour");

    let twice = [text.as_str(), "\nhello\n", text.trim_start_matches("0\n")].concat();
    let report = parse(twice.as_bytes());
    assert_eq!(report.categories, whole.categories);
    let whys: Vec<_> = report.problems.iter().map(|p| p.text.split(": ").next().expect("why")).collect();
    assert_eq!(whys, ["not understood", "a second report starts here; it was not read"]);
}

#[test]
fn problems_are_bounded() {
    let report = parse("x\n".repeat(5000).as_bytes());
    assert_eq!((report.problems.len(), report.problems_omitted), (Report::MAX_PROBLEMS, 4000));
    let long = parse("é".repeat(100_000).as_bytes());
    assert!(long.problems[0].text.len() < 400);
}

#[test]
fn our_own_diff_is_that_of_the_jvm() {
    // The JVM's diff carries the later figures and their change, so the earlier report follows from it.
    for version in [11, 17, 21, 25] {
        let theirs = read(&format!("{version}-summary.diff-b.txt"));
        let (later, earlier) = (without_deltas(&theirs), earlier(&theirs));
        let ours = diff(&earlier, &later).expect("a diff");
        assert_eq!(ours.kind, Kind::SummaryDiff);
        for (ours, theirs) in ours.categories.iter().zip(&theirs.categories) {
            assert_eq!(ours, theirs, "{version}");
        }
        assert_eq!(ours.categories.len(), theirs.categories.len());
        assert_eq!(ours.total, theirs.total);
    }
}

/// A report with every delta taken off.
fn without_deltas(report: &Report) -> Report {
    let mut json = serde_json::to_value(report).expect("JSON");
    fn strip(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Object(map) => {
                map.retain(|key, _| !key.ends_with("_delta"));
                map.values_mut().for_each(strip);
            }
            serde_json::Value::Array(values) => values.iter_mut().for_each(strip),
            _ => {}
        }
    }
    strip(&mut json);
    json["kind"] = "summary".into();
    serde_json::from_value(json).expect("a report")
}

/// A diff's figures less their deltas.
fn earlier(report: &Report) -> Report {
    let mut json = serde_json::to_value(report).expect("JSON");
    fn subtract(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::Object(map) => {
                let deltas: Vec<(String, i64)> = map
                    .iter()
                    .filter_map(|(key, value)| {
                        Some((key.strip_suffix("_delta")?.to_owned(), value.as_i64()?))
                    })
                    .collect();
                for (key, delta) in deltas {
                    let figure = map[&key].as_i64().expect("a figure");
                    map[&key] = (figure - delta).into();
                    map.remove(&format!("{key}_delta"));
                }
                map.values_mut().for_each(subtract);
            }
            serde_json::Value::Array(values) => values.iter_mut().for_each(subtract),
            _ => {}
        }
    }
    subtract(&mut json);
    json["kind"] = "summary".into();
    serde_json::from_value(json).expect("a report")
}

#[test]
fn categories_that_come_and_go() {
    let report = |name: &str| {
        parse(format!("Native Memory Tracking:\n\nTotal: reserved=9KB, committed=9KB\n-  {name} (reserved=9KB, committed=9KB)\n").as_bytes())
    };
    let diff = diff(&report("Old"), &report("New")).expect("a diff");
    let changes: Vec<_> = diff
        .categories
        .iter()
        .map(|c| (c.name.as_str(), c.mapping.committed_bytes, c.mapping.committed_bytes_delta))
        .collect();
    assert_eq!(changes, [("New", 9 << 10, Some(9 << 10)), ("Old", 0, Some(-9 << 10))]);
    let off = parse(&text("17-off.txt"));
    assert!(offheap_nmt::diff(&off, &report("New")).is_err());
    assert!(offheap_nmt::diff(&report("New"), &off).is_err());
}

#[test]
fn details_are_compared_site_by_site() {
    let earlier = read("17-detail.txt");
    let text = String::from_utf8(text("17-detail.txt")).expect("text");
    let later =
        parse(text.replace("malloc=114688KB type=Other #21", "malloc=122880KB type=Other #29").as_bytes());
    let diff = diff(&earlier, &later).expect("a diff");
    assert_eq!((diff.kind, diff.sites.len()), (Kind::DetailDiff, 1));
    let malloc = diff.sites[0].malloc.expect("malloc");
    assert_eq!((malloc.bytes_delta, malloc.count_delta), (Some(8192 << 10), Some(8)));
}

#[test]
fn every_sample_fits_the_screen() {
    for (name, text) in samples() {
        let shown = render(&parse(&text), &RenderOptions { sites: 0, problems: 5 });
        assert!(!shown.is_empty(), "{name}");
        for line in shown.lines() {
            assert!(line.chars().count() <= 100, "{name}: {line}");
            assert_eq!(line, line.trim_end(), "{name}");
        }
    }
}

#[test]
fn snapshots() {
    let options = RenderOptions { sites: 3, problems: 5 };
    insta::assert_snapshot!("summary_8", render(&read("8-summary.txt"), &options));
    insta::assert_snapshot!("summary_25_zgc", render(&read("25-zgc-summary.txt"), &options));
    insta::assert_snapshot!("detail_diff_21", render(&read("21-detail.diff.txt"), &options));
    insta::assert_snapshot!("off", render(&read("17-off.txt"), &options));
    insta::assert_snapshot!("statistics_17", render(&read("17-statistics.txt"), &options));
    insta::assert_snapshot!("rubbish", render(&parse("\u{1F600}\n".repeat(9).as_bytes()), &options));
    insta::assert_json_snapshot!("summary_diff_21", read("21-summary.diff.txt"));
    let mut detail = read("25-detail.txt");
    detail.categories.truncate(2);
    detail.regions.truncate(2);
    detail.sites.truncate(2);
    insta::assert_json_snapshot!("detail_25_beginnings", detail);
}

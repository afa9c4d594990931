//! Readers on files made by the real tools (`samples/README.md`): totals are those the tools print
//! themselves.

use offheap_formats::hs_err::{self, Crash};
use offheap_formats::{
    Format, Parsed, detect, gperftools, heaptrack, jemalloc, massif, memcheck, read_profile, sanitizer,
    smaps, unwrap,
};
use offheap_model::Profile;

const LIMIT: u64 = 64 << 20;

fn sample(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/samples/{name}", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    unwrap(&bytes, LIMIT).unwrap().0.into_owned()
}

fn live(profile: &Profile) -> (u64, u64) {
    profile
        .sites
        .iter()
        .fold((0, 0), |(bytes, count), site| (bytes + site.live_bytes, count + site.live_count))
}

fn leaked(profile: &Profile) -> u64 {
    profile.sites.iter().map(|site| site.leak_bytes).sum()
}

/// Names of the stack of the largest site whose stack has `name`.
fn stack_with<'a>(profile: &'a Profile, name: &str) -> Vec<&'a str> {
    let stacks = profile.sites.iter().map(|site| {
        site.stack.iter().map(|index| profile.frames[*index as usize].name.as_str()).collect::<Vec<_>>()
    });
    stacks.into_iter().find(|stack| stack.iter().any(|frame| frame.contains(name))).expect("such a stack")
}

#[test]
fn each_is_recognised_by_its_content() {
    for (name, format) in [
        ("memcheck.txt", Format::MemcheckText),
        ("memcheck.xml", Format::MemcheckXml),
        ("massif.out", Format::Massif),
        ("heaptrack.zst", Format::Heaptrack),
        ("heaptrack.raw.zst", Format::Heaptrack),
        ("asan.txt", Format::Sanitizer),
        ("lsan.txt", Format::Sanitizer),
        ("asan_overflow.txt", Format::Sanitizer),
        ("gperftools.heap", Format::Gperftools),
        ("jemalloc.heap", Format::Jemalloc),
        ("native.jfr.gz", Format::Jfr),
        ("hs_err_oom_17.log.gz", Format::HsErr),
        ("hs_err_25.log.gz", Format::HsErr),
        ("smaps.txt", Format::Smaps),
        ("pmap-X.txt", Format::Pmap),
    ] {
        assert_eq!(detect(&sample(name)), Some(format), "{name}");
    }
    for other in [&b""[..], b"\x7fELF\x02\x01\x01", b"#!/bin/sh\necho 1 2 3\n", b"hello", b"v", b"{}"] {
        assert_eq!(detect(other), None, "{}", String::from_utf8_lossy(other));
    }
}

#[test]
fn leak_reports_have_every_byte_once() {
    for name in ["memcheck.txt", "memcheck.xml", "asan.txt", "lsan.txt", "heaptrack.zst", "heaptrack.raw.zst"]
    {
        let parsed = read_profile(&sample(name)).unwrap();
        assert_eq!(leaked(&parsed.profile), 409_954, "{name}");
        // heaptrack counts what valgrind's and gcc's allocators of the C++ runtime do not; not
        // here, all is freed.
        assert_eq!(live(&parsed.profile), (409_954, 212), "{name}");
        assert_eq!(parsed.cut, None, "{name}");
    }
}

#[test]
fn a_quiet_memcheck_report_is_read_too() {
    let whole = String::from_utf8(sample("memcheck.txt")).unwrap();
    // What `valgrind -q` leaves out: the lines before the first record, and the summary.
    let begin = whole.find(" bytes in ").and_then(|at| whole[..at].rfind('\n')).unwrap() + 1;
    let quiet = &whole[begin..whole.find("LEAK SUMMARY").unwrap()];
    assert_eq!(detect(quiet.as_bytes()), Some(Format::MemcheckText));
    let profile = read_profile(quiet.as_bytes()).unwrap().profile;
    assert_eq!(live(&profile), (409_954, 212));
    assert!(profile.notes.is_empty(), "{:?}", profile.notes);
}

#[test]
fn frames_have_their_file_and_line() {
    for name in ["memcheck.txt", "memcheck.xml", "lsan.txt", "heaptrack.zst"] {
        let profile = read_profile(&sample(name)).unwrap().profile;
        let stack = stack_with(&profile, "app::leak_small(int)");
        let frame = profile.frames.iter().find(|frame| frame.name == "app::leak_small(int)").unwrap();
        assert!(frame.file.as_deref().unwrap().ends_with("leak.cpp"), "{name}: {frame:?}");
        assert_eq!(frame.line, Some(7), "{name}");
        if name != "lsan.txt" {
            // The fast unwinder of the sanitizers stops here.
            assert_eq!(
                stack[stack.iter().position(|n| n.contains("leak_small")).unwrap() + 1],
                "app::run()",
                "{name}"
            );
        }
    }
}

#[test]
fn a_report_without_leaks_says_what_it_is_about() {
    let error = sanitizer::read(&sample("asan_overflow.txt")).unwrap_err().to_string();
    assert!(error.contains("heap-buffer-overflow"), "{error}");
    assert!(memcheck::read_text(b"==1== Memcheck, a memory error detector\n").is_err());
}

#[test]
fn massif_has_its_peak_and_its_course() {
    let massif = massif::read(&sample("massif.out")).unwrap();
    assert_eq!((massif.command.as_str(), massif.time_unit.as_str()), ("./leak", "i"));
    // Snapshot 27 is the one marked as the peak; massif allows itself 1 %, and a later one is 98
    // bytes larger.
    assert_eq!(massif.snapshots[27].heap_bytes, 483_659);
    assert_eq!(live(&massif.stacks.profile).0, 483_659, "own parts of the tree sum to the whole");
    assert_eq!(massif.snapshots[1].heap_bytes, 72_704);
    assert_eq!(stack_with(&massif.stacks.profile, "app::big()").last(), Some(&"main"));
}

#[test]
fn gperftools_sums_to_its_header() {
    let bytes = sample("gperftools.heap");
    let header: Vec<u64> = String::from_utf8_lossy(&bytes)
        .lines()
        .next()
        .unwrap()
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|word| word.parse().ok())
        .collect();
    let parsed = gperftools::read(&bytes).unwrap();
    assert_eq!(live(&parsed.profile), (header[1], header[0]));
    check_addresses(&parsed);
}

#[test]
fn jemalloc_sums_to_its_header_and_is_scaled_up_where_sampled() {
    let parsed = jemalloc::read(&sample("jemalloc.heap")).unwrap();
    assert_eq!(live(&parsed.profile), (550_784, 213));
    check_addresses(&parsed);
    let sampled = jemalloc::read(&sample("jemalloc-sampled.heap")).unwrap().profile;
    // 60,000 blocks of 200 bytes (usable: 224), seen 218 times. Poisson's 95 % for 218 is ± 13 %.
    let small = sampled.sites.iter().find(|site| site.live_bytes / site.live_count.max(1) == 223).unwrap();
    assert!((52_000..68_000).contains(&small.live_count), "{small:?}");
    // 20 of 600,000 (usable: 655,360): far above the interval, so hardly scaled.
    let large = sampled.sites.iter().find(|site| site.live_bytes / site.live_count.max(1) > 600_000).unwrap();
    assert_eq!((large.live_count, large.live_bytes / 10_000), (20, 1310));
}

fn check_addresses(parsed: &Parsed) {
    assert_eq!(parsed.addresses.len(), parsed.profile.frames.len());
    let in_leak = parsed
        .profile
        .frames
        .iter()
        .filter(|frame| frame.module.as_deref().is_some_and(|module| module.ends_with("/leak")));
    assert!(in_leak.count() >= 3, "frames of the program know their module");
    assert!(parsed.mappings.iter().any(|mapping| mapping.path.ends_with("libc.so.6")));
}

#[test]
fn raw_heaptrack_keeps_addresses_and_modules() {
    let parsed = heaptrack::read(&sample("heaptrack.raw.zst")).unwrap();
    check_addresses(&parsed);
    let allocated: u64 = parsed.profile.sites.iter().map(|site| site.allocated_count).sum();
    // heaptrack_print: "calls to allocation functions: 313"
    assert_eq!(allocated, 313);
}

#[test]
fn jfr_matches_frees_and_leaves_out_the_tail() {
    let jfr = offheap_formats::jfr::read(&sample("native.jfr.gz")).unwrap();
    let profile = &jfr.profile.profile;
    // What Mallocs.java does: 100 leaks of 48 of which one is freed, 100 pairs of 1000, one of 5 in
    // the last moment.
    assert_eq!(live(profile), (99 * 48 + 5, 100));
    assert_eq!(leaked(profile), 99 * 48);
    let allocated: u64 = profile.sites.iter().map(|site| site.allocated_bytes).sum();
    assert_eq!(allocated, 100 * 48 + 100 * 1000 + 5);
    assert!(
        profile.notes.iter().any(|note| note.starts_with("1 frees of blocks whose allocation was not seen"))
    );
    assert_eq!(stack_with(profile, "Mallocs.leak"), ["Mallocs.malloc", "Mallocs.leak", "Mallocs.main"]);
    assert_eq!(profile.frames.iter().find(|frame| frame.name == "Mallocs.leak").unwrap().line, Some(11));
    assert_eq!(jfr.profile.cut, None);
}

#[test]
fn jfr_has_the_jdks_series() {
    let jfr = offheap_formats::jfr::read(&sample("native.jfr.gz")).unwrap();
    let series = |event: &str, of: &str, field: &str| {
        let found = jfr
            .series
            .iter()
            .find(|s| (s.event.as_str(), s.of.as_str(), s.field.as_str()) == (event, of, field));
        found.unwrap_or_else(|| panic!("{event} {of} {field}")).points.clone()
    };
    // `jfr print` says: five of each; in the end 10 buffers of 640 KiB together.
    assert_eq!(series("jdk.NativeMemoryUsageTotal", "", "committed").len(), 5);
    assert_eq!(series("jdk.DirectBufferStatistics", "", "count").last().unwrap().1, 10);
    assert_eq!(series("jdk.DirectBufferStatistics", "", "memoryUsed").last().unwrap().1, 640 << 10);
    assert!(series("jdk.ResidentSetSize", "", "size").iter().all(|(_, bytes)| *bytes > 50 << 20));
    let total: i64 = jfr
        .series
        .iter()
        .filter(|s| s.event == "jdk.NativeMemoryUsage" && s.field == "committed")
        .map(|s| s.points.last().unwrap().1)
        .sum();
    let said = series("jdk.NativeMemoryUsageTotal", "", "committed").last().unwrap().1;
    // The two events are taken one after the other.
    assert!((total - said).abs() < said / 50, "{total} of {said}");
    let heap = series("jdk.NativeMemoryUsage", "Java Heap", "committed");
    assert!(heap.windows(2).all(|pair| pair[0].0 < pair[1].0) && heap[0].0 > 1_700_000_000_000);
    assert!(
        jfr.libraries
            .iter()
            .any(|library| library.path.ends_with("libjvm.so") && library.start < library.end)
    );
}

#[test]
fn a_jfr_that_is_being_written_gives_what_is_there() {
    let bytes = sample("native.jfr.gz");
    let jfr = offheap_formats::jfr::read(&bytes[..bytes.len() - 50]).unwrap();
    assert!(jfr.profile.cut.is_some() && !jfr.series.is_empty() && !jfr.profile.profile.sites.is_empty());
    // Two chunks, the second cut off in its header.
    let two = [bytes.as_slice(), &bytes[..30]].concat();
    let jfr = offheap_formats::jfr::read(&two).unwrap();
    assert_eq!(jfr.profile.cut.unwrap().at, bytes.len() as u64);
    assert_eq!(live(&jfr.profile.profile).1, 100);
}

/// A number as JFR writes it, and how many bytes it takes.
fn jfr_number(bytes: &[u8]) -> (usize, usize) {
    let length = bytes.iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
    (bytes[..length].iter().rev().fold(0, |value, byte| value << 7 | usize::from(byte & 0x7f)), length)
}

/// A recording of one chunk: the sample's bytes up to the chunk's end, and all its events but
/// metadata and constants.
fn jfr_chunk() -> (Vec<u8>, Vec<u8>) {
    let mut bytes = sample("native.jfr.gz");
    let size = u64::from_be_bytes(bytes[8..16].try_into().unwrap()) as usize;
    bytes.truncate(size);
    let (mut at, mut events) = (68, Vec::new());
    while at < size {
        let (length, head) = jfr_number(&bytes[at..]);
        // Neither metadata nor constants, which stay where the header says they are.
        if jfr_number(&bytes[at + head..]).0 > 1 {
            events.extend_from_slice(&bytes[at..at + length]);
        }
        at += length;
    }
    (bytes, events)
}

/// `bytes` with their length in the header.
fn jfr_of(mut bytes: Vec<u8>) -> Vec<u8> {
    let length = bytes.len() as u64;
    bytes[8..16].copy_from_slice(&length.to_be_bytes());
    bytes
}

#[test]
fn what_looks_like_events_inside_of_one_is_not_taken_for_them() {
    let (bytes, events) = jfr_chunk();
    // An event of a class that nobody knows, some megabytes long, whose inside is made of events:
    // the middle is in it.
    let inside = events.repeat((3 << 20) / events.len());
    let mut wrapper = Vec::new();
    let length = inside.len() + 4 + 2;
    wrapper
        .extend((0..4).map(|place| (length >> (7 * place)) as u8 & 0x7f | if place < 3 { 0x80 } else { 0 }));
    wrapper.extend([0xff, 0x7f]);
    wrapper.extend(inside);
    let wrapped = jfr_of([bytes.clone(), wrapper, events.clone()].concat());
    let plain = jfr_of([bytes, events].concat());
    let read = |bytes: &[u8]| offheap_formats::jfr::read(bytes).unwrap();
    let (wrapped, plain) = (read(&wrapped), read(&plain));
    assert_eq!(wrapped.profile.profile.sites, plain.profile.profile.sites);
    assert_eq!(wrapped.series, plain.series);
    assert_eq!(wrapped.profile.cut, None);
}

#[test]
fn a_large_chunk_is_read_by_two_threads_with_the_same_result() {
    let (bytes, events) = jfr_chunk();
    let size = bytes.len();
    let again = (3 << 20) / events.len();
    let mut large = jfr_of([bytes.clone(), events.repeat(again)].concat());
    let (one, many) =
        (offheap_formats::jfr::read(&bytes).unwrap(), offheap_formats::jfr::read(&large).unwrap());
    // The same, read only once from its start to its end.
    assert_eq!(offheap_formats::jfr::read_from(&mut large.as_slice()).unwrap(), many);
    // Every call is there so many times at its tick; a block can be live only once.
    assert_eq!(live(&many.profile.profile), live(&one.profile.profile));
    assert_eq!(leaked(&many.profile.profile), leaked(&one.profile.profile));
    let allocated = |jfr: &offheap_formats::jfr::Jfr| -> Vec<(u64, Vec<String>)> {
        let profile = &jfr.profile.profile;
        let name = |frame: &u32| profile.frames[*frame as usize].name.clone();
        let site =
            |site: &offheap_model::ProfileSite| (site.allocated_count, site.stack.iter().map(name).collect());
        let mut sites: Vec<_> = profile.sites.iter().map(site).collect();
        sites.sort();
        sites
    };
    let expected: Vec<_> =
        allocated(&one).into_iter().map(|(count, stack)| (count * (again as u64 + 1), stack)).collect();
    assert_eq!(allocated(&many), expected);
    assert_eq!(many.series[0].points.len(), one.series[0].points.len() * (again + 1));
    // Damage in the first half ends the reading there, whatever the second half holds.
    let damaged_at = size + events.len() * (again / 4);
    large[damaged_at] = 0;
    let damaged = offheap_formats::jfr::read(&large).unwrap();
    assert_eq!(damaged.profile.cut.unwrap().at, damaged_at as u64);
    assert_eq!(damaged.series[0].points.len(), one.series[0].points.len() * (again / 4 + 1));
}

#[test]
fn smaps_and_pmap_of_one_process_agree() {
    let smaps = smaps::read_smaps(&sample("smaps.txt")).unwrap();
    let pmap = smaps::read_pmap(&sample("pmap-X.txt")).unwrap();
    assert_eq!((smaps.cut.clone(), pmap.cut.clone()), (None, None));
    // pmap's own sum is the line "2924 1808 210 …".
    assert_eq!((smaps.rss_bytes(), pmap.rss_bytes()), (1808 << 10, 1808 << 10));
    assert_eq!(smaps.regions.len(), pmap.regions.len());
    for (a, b) in smaps.regions.iter().zip(&pmap.regions) {
        assert_eq!(
            (a.start, a.end, a.rss_bytes, &a.permissions),
            (b.start, b.end, b.rss_bytes, &b.permissions)
        );
        assert!(a.name.ends_with(&b.name), "pmap shows the last part: {} {}", a.name, b.name);
    }
    let bytes = sample("pmap-X.txt");
    assert!(smaps::read_pmap(&bytes[..1500]).unwrap().cut.is_some());
}

#[test]
fn hs_err_says_what_happened() {
    let read = |name: &str| hs_err::read(&sample(name)).unwrap();
    for (name, crash) in [
        ("hs_err_17.log.gz", Crash::SentFromOutside),
        ("hs_err_25.log.gz", Crash::SentFromOutside),
        ("hs_err_oom_17.log.gz", Crash::NativeMemory),
        ("hs_err_python.log.gz", Crash::Python),
    ] {
        let log = read(name);
        assert_eq!(log.crash(), crash, "{name}");
        assert!(!log.advice(&[]).is_empty());
        assert!(log.mappings.iter().any(|mapping| mapping.path.ends_with("libjvm.so")), "{name}");
        assert!(log.nmt.as_ref().unwrap().contains("Total: reserved="), "{name}");
        assert!(log.command_line.contains("-XX:NativeMemoryTracking=summary"), "{name}");
        assert!(
            log.physical_bytes.unwrap().0 > 1 << 30 && log.pid.is_some() && log.uptime_s.is_some(),
            "{name}"
        );
        assert_eq!(log.cut, None, "{name}");
    }
    let log = read("hs_err_17.log.gz");
    assert_eq!((log.c_heap_bytes, log.c_heap_retained_bytes), (Some(185_282 << 10), Some(2125 << 10)));
    assert_eq!(log.signal.as_ref().unwrap().sender, Some(26_912));
    assert_eq!(log.java_threads, None);
    let python = read("hs_err_python.log.gz");
    assert_eq!(python.java_threads, Some(12));
    assert_eq!((python.native_stack[0].name.as_str(), python.pid), ("PyList_New", Some(29_724)));
    assert_eq!(python.signal.unwrap().address, Some(0x10));
    let names: Vec<&str> = python.java_stack.iter().map(|frame| frame.name.as_str()).collect();
    assert_eq!(names[..4], ["jep.Jep.invoke", "jep.Jep.invoke", "Main.request", "Main.main"]);
    let oom = read("hs_err_oom_17.log.gz");
    assert!(
        oom.java_stack.iter().any(|frame| frame.name == "java.util.concurrent.ConcurrentHashMap.addCount")
    );
    let bytes = sample("hs_err_17.log.gz");
    let part = hs_err::read(&bytes[..20_000]).unwrap();
    assert!(part.cut.is_some() && part.crash() == Crash::SentFromOutside);
}

#[test]
fn a_file_that_is_cut_off_gives_its_part_and_says_where_it_ends() {
    for name in ["gperftools.heap", "jemalloc.heap", "heaptrack.zst", "heaptrack.raw.zst", "massif.out"] {
        let bytes = sample(name);
        let stop = match name {
            "massif.out" => bytes.windows(10).position(|w| w == b" n1: 40000").unwrap() + 40,
            "gperftools.heap" | "jemalloc.heap" => {
                bytes.windows(9).position(|w| w == b"MAPPED_LI").unwrap() - 30
            }
            _ => bytes.len() - 3,
        };
        let parsed = read_profile(&bytes[..stop]).unwrap();
        let cut = parsed.cut.unwrap_or_else(|| panic!("{name} does not say that it is cut off"));
        assert!(cut.at <= stop as u64 && !parsed.profile.notes.is_empty(), "{name}");
        if name != "massif.out" {
            assert!(!parsed.profile.sites.is_empty(), "{name}");
        }
    }
}

/// Every reader on every sample, cut off anywhere and with bytes changed: it may refuse, it may not
/// panic.
#[test]
fn nothing_makes_a_reader_panic() {
    type Reader = fn(&[u8]) -> bool;
    let readers: [Reader; 36] = [
        |bytes| offheap_formats::collapsed::read(bytes).is_ok(),
        |bytes| gperftools::read(bytes).is_ok(),
        |bytes| heaptrack::read(bytes).is_ok(),
        |bytes| jemalloc::read(bytes).is_ok(),
        |bytes| offheap_formats::json::read(bytes).is_ok(),
        |bytes| offheap_formats::hs_err::read(bytes).is_ok(),
        |bytes| offheap_formats::smaps::read_smaps(bytes).is_ok(),
        |bytes| offheap_formats::smaps::read_pmap(bytes).is_ok(),
        |bytes| offheap_formats::jfr::read(bytes).is_ok(),
        |bytes| massif::read(bytes).is_ok(),
        |bytes| memcheck::read_text(bytes).is_ok(),
        |bytes| memcheck::read_xml(bytes).is_ok(),
        |bytes| offheap_formats::memleak::read(bytes).is_ok(),
        |bytes| offheap_formats::pprof::read(bytes).is_ok(),
        |bytes| sanitizer::read(bytes).is_ok(),
        |bytes| read_profile(bytes).is_ok(),
        |bytes| offheap_formats::top::read(bytes).is_ok(),
        |bytes| offheap_formats::ms_print::read(bytes).is_ok(),
        |bytes| offheap_formats::heaptrack_print::read(bytes).is_ok(),
        |bytes| offheap_formats::jfr_text::read_print(bytes).is_ok(),
        |bytes| offheap_formats::jfr_text::read_view(bytes).is_ok(),
        |bytes| offheap_formats::proc_status::read(bytes).is_ok(),
        |bytes| offheap_formats::memory_stat::read(bytes).is_ok(),
        |bytes| offheap_formats::oom::read(bytes).is_ok(),
        |bytes| offheap_formats::malloc_stats::read(bytes).is_ok(),
        |bytes| offheap_formats::jemalloc_stats::read(bytes).is_ok(),
        |bytes| offheap_formats::tcmalloc_stats::read(bytes).is_ok(),
        |bytes| offheap_formats::mimalloc_stats::read(bytes).is_ok(),
        |bytes| offheap_formats::javacore::read(bytes).is_ok(),
        |bytes| offheap_formats::vmmap::read(bytes).is_ok(),
        |bytes| offheap_formats::kubectl::read(bytes).is_ok(),
        |bytes| offheap_formats::docker_stats::read(bytes).is_ok(),
        |bytes| offheap_formats::speedscope::read(bytes).is_ok(),
        |bytes| offheap_formats::firefox::read(bytes).is_ok(),
        |bytes| offheap_formats::symbolised::read(bytes).is_ok(),
        |bytes| offheap_formats::smaps::read_mapped(bytes).is_ok(),
    ];
    let folder = format!("{}/tests/samples", env!("CARGO_MANIFEST_DIR"));
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below.max(1) as u64) as usize
    };
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let bytes = sample(&name);
        for round in 0..45 {
            let mut mutant = bytes.clone();
            if round % 3 == 0 {
                mutant.truncate(random(bytes.len()));
            }
            for _ in 0..round % 9 {
                let at = random(mutant.len());
                if let Some(byte) = mutant.get_mut(at) {
                    *byte = *b"0f9-+:@=<>;[]() \n\x00\xff\xf0nvsti"[random(25)..].first().unwrap();
                }
            }
            for read in readers {
                read(&mutant);
            }
        }
    }
}

//! With a profile the findings name the code.

mod common;

use common::Random;
use common::world::{MB, World, jvm};
use offheap_diagnose::{Diagnosis, Evidence, diagnose, render_markdown};
use offheap_model::{Age, Domain, Frame, FrameKind, FrameLabel, Profile, ProfileSite, Status};

fn frame(name: &str, kind: FrameKind, module: &str) -> Frame {
    let file = (kind == FrameKind::Java).then(|| "Source.java".to_owned());
    let line = file.as_ref().map(|_| 42);
    Frame { name: name.into(), kind, file, line, module: (!module.is_empty()).then(|| module.into()) }
}

fn native(name: &str, module: &str) -> Frame {
    frame(name, FrameKind::Native, module)
}

fn java(name: &str) -> Frame {
    frame(name, FrameKind::Java, "")
}

/// A profile of one site that leaks at 1 MB/s and one that is large but steady.
fn profile(leaking: Vec<Frame>) -> Profile {
    let n = leaking.len() as u32;
    let mut frames = leaking;
    frames.extend([
        native("malloc", "/lib/libc.so.6"),
        native("cache_fill", "/opt/libcache.so"),
        java("app.Cache.load"),
    ]);
    Profile {
        seconds: 60.0,
        frames,
        sites: vec![
            ProfileSite {
                stack: (n..n + 3).collect(),
                live_bytes: 70_000_000,
                live_count: 700,
                leak_bytes: 68_000_000,
                slope_bytes_per_s: Some(0.0),
                ..ProfileSite::default()
            },
            ProfileSite {
                stack: (0..n).collect(),
                live_bytes: 60_000_000,
                live_count: 60_000,
                leak_bytes: 45_000_000,
                slope_bytes_per_s: Some(1e6),
                slope_ci95: Some([0.95e6, 1.05e6]),
                age_seconds: Some(Age { p50: 31.0, p90: 54.0 }),
                ..ProfileSite::default()
            },
        ],
        ..Profile::default()
    }
}

fn leaking() -> World {
    jvm(61, 12.0, &mut Random::new(7)).with(|t, s| s.malloc += MB * t)
}

fn judged(world: World, frames: Vec<Frame>) -> Diagnosis {
    let (snapshots, profile) = (world.snapshots(), profile(frames));
    diagnose(&Evidence::of(&snapshots).with_profile(&profile))
}

#[test]
fn an_unclosed_peer_is_named_with_its_library_and_the_line() {
    let diagnosis = judged(
        leaking(),
        vec![
            native("malloc", "/lib/libc.so.6"),
            native("inflateInit2_", "/jdk/lib/libzip.so"),
            native("Java_java_util_zip_Inflater_init", "/jdk/lib/libzip.so"),
            java("java.util.zip.Inflater.init"),
            java("java.util.zip.Inflater.<init>"),
            java("app.Compression.unpack"),
        ],
    );
    let verdict = &diagnosis.verdict;
    assert_eq!(
        (verdict.cause.as_str(), verdict.status),
        ("unclosed-native-peer", Status::Leak),
        "{verdict:#?}"
    );
    assert_eq!(verdict.domain, Some(Domain::NativeMalloc));
    assert!(
        verdict
            .summary
            .contains("inflateInit2_ in libzip.so, called by app.Compression.unpack (Source.java:42)")
    );
    assert!(verdict.fix[0].contains("end() every Inflater"), "{:?}", verdict.fix);
    let site = verdict.site.as_ref().unwrap();
    assert_eq!((site.frames[0].name.as_str(), site.bytes), ("malloc", 60_000_000));
    assert!(render_markdown(&diagnosis).contains("app.Compression.unpack"));
}

#[test]
fn a_library_of_ones_own_is_a_jni_leak() {
    let diagnosis = judged(
        leaking(),
        vec![
            native("malloc", "/lib/libc.so.6"),
            native("frame_new", "/app/libjni_codec.so"),
            native("Java_app_NativeCodec_encode", "/app/libjni_codec.so"),
            java("app.NativeCodec.encode"),
            java("app.NativeCodec.handleFrame"),
        ],
    );
    let verdict = &diagnosis.verdict;
    assert_eq!(verdict.cause, "jni-library-leak", "{verdict:#?}");
    assert!(verdict.summary.contains("frame_new in libjni_codec.so"), "{}", verdict.summary);
    assert!(verdict.summary.contains("Java_app_NativeCodec_encode"), "{}", verdict.summary);
}

#[test]
fn a_function_of_the_jvm_says_what_must_be_released() {
    let jvm = |name: &str| frame(name, FrameKind::Jvm, "/jdk/lib/server/libjvm.so");
    let diagnosis = judged(
        leaking(),
        vec![
            native("malloc", "/lib/libc.so.6"),
            jvm("os::malloc(unsigned long, MEMFLAGS, NativeCallStack const&)"),
            jvm("AllocateHeap(unsigned long, MEMFLAGS, AllocFailStrategy::AllocFailEnum)"),
            jvm("jni_GetStringUTFChars"),
            native("Java_app_Parser_length", "/app/libparser.so"),
            java("app.Parser.length"),
        ],
    );
    let verdict = &diagnosis.verdict;
    assert_eq!(verdict.domain, Some(Domain::JvmInternal), "{verdict:#?}");
    assert!(verdict.fix[0].contains("ReleaseStringUTFChars"), "{:?}", verdict.fix);
    assert!(
        verdict.summary.contains("allocated by jni_GetStringUTFChars in libjvm.so"),
        "{}",
        verdict.summary
    );
}

#[test]
fn what_the_collector_keeps_is_no_leak_of_its_own() {
    let jvm = |name: &str| frame(name, FrameKind::Jvm, "/jdk/lib/server/libjvm.so");
    let stack = vec![
        jvm("os::malloc(unsigned long, MemTag, NativeCallStack const&)"),
        jvm("ReallocateHeap(char*, unsigned long, MemTag, AllocFailStrategy::AllocFailEnum)"),
        jvm("GrowableBitMap<CHeapBitMap>::initialize(unsigned long, bool)"),
        jvm("ZLiveMap::reset(ZGenerationId)"),
        jvm("ZMark::drain(ZMarkContext*)"),
    ];
    let verdict = judged(leaking(), stack).verdict;
    assert_eq!((verdict.status, verdict.domain), (Status::Inconclusive, Some(Domain::Gc)), "{verdict:#?}");
    assert!(verdict.fix[0].contains("Java heap"), "{:?}", verdict.fix);
}

#[test]
fn unsafe_memory_gets_its_domain_from_the_stack() {
    let diagnosis = judged(
        leaking(),
        vec![
            native("malloc", "/lib/libc.so.6"),
            frame("Unsafe_AllocateMemory0(JNIEnv_*, _jobject*, long)", FrameKind::Jvm, "libjvm.so"),
            java("jdk.internal.misc.Unsafe.allocateMemory"),
            java("app.UnsafeCache.store"),
        ],
    );
    assert_eq!(diagnosis.verdict.domain, Some(Domain::DirectMemory), "{:#?}", diagnosis.verdict);
    assert!(diagnosis.verdict.summary.contains("app.UnsafeCache.store"), "{}", diagnosis.verdict.summary);
}

#[test]
fn arenas_of_python_in_a_jvm_are_named_by_what_called_python() {
    let world = jvm(61, 12.0, &mut Random::new(7)).with(|t, s| s.python = 18.0 * MB + MB * t);
    let diagnosis = judged(
        world,
        vec![
            native("[mmap]", ""),
            native("new_arena", "/usr/lib/libpython3.11.so.1.0"),
            native("PyDict_SetItem", "/usr/lib/libpython3.11.so.1.0"),
            native("Java_jep_Jep_invoke", "/app/libjep.so"),
            java("jep.Jep.invoke"),
            java("app.Rules.apply"),
        ],
    );
    let verdict = &diagnosis.verdict;
    assert_eq!(
        (verdict.cause.as_str(), verdict.domain),
        ("python-growth", Some(Domain::PythonHeap)),
        "{verdict:#?}"
    );
    // Whoever opened an arena need not be whose objects stay, and the interpreter's functions say
    // nothing.
    assert!(verdict.summary.contains("Arenas were opened in app.Rules.apply"), "{}", verdict.summary);
    assert!(!verdict.summary.contains("libpython"), "{}", verdict.summary);
}

#[test]
fn pages_are_named_by_who_was_first_to_write_to_them() {
    let world = jvm(61, 12.0, &mut Random::new(7)).with(|t, s| s.malloc += MB * t);
    let mut inlined = native("construct_at<Entry>", "/app/journal");
    inlined.file = Some("/usr/include/c++/12/bits/stl_construct.h".into());
    let frames = vec![
        native(&FrameLabel::FirstWrite.to_string(), ""),
        inlined,
        native("std::vector<Entry>::push_back(Entry const&)", "/app/journal"),
        native("journal_append()", "/app/journal"),
    ];
    let diagnosis = judged(world, frames);
    let verdict = &diagnosis.verdict;
    let words = "Most of what stays is first written to by journal_append() in journal.";
    assert!(verdict.summary.contains(words), "{}", verdict.summary);
    let first = verdict.summary.split(". ").next().unwrap();
    assert!(
        first.contains(" first written to by journal_append()") && !first.contains("allocated"),
        "{first}"
    );
    let told = verdict.evidence.iter().find(|told| told.source.starts_with("page faults")).unwrap();
    assert!(told.text.contains("60000 pages") && !told.text.contains("allocated"), "{}", told.text);
    let map = [native(&FrameLabel::FirstWriteToMap.to_string(), ""), native("grow", "/app/pool")];
    assert_eq!(offheap_diagnose::domain_of(&map), Domain::NativeMmap);
    let python = "/usr/lib/libpython3.11.so.1.0";
    let map = ["pymalloc_alloc", "new_keys_object"].map(|name| native(name, python));
    let map = [&[native(&FrameLabel::FirstWriteToMap.to_string(), "")], &map[..]].concat();
    assert_eq!(offheap_diagnose::domain_of(&map), Domain::PythonHeap);
    assert_eq!(offheap_diagnose::function(map.iter()).unwrap().name, "new_keys_object");
}

#[test]
fn a_site_of_another_domain_is_not_blamed() {
    let world = jvm(61, 12.0, &mut Random::new(7)).with(|t, s| s.metaspace += 0.5 * MB * t);
    let diagnosis =
        judged(world, vec![native("malloc", "libc.so.6"), native("x_new", "libx.so"), java("app.X.y")]);
    assert_eq!(diagnosis.verdict.cause, "class-loader-leak");
    assert!(diagnosis.verdict.site.is_none());
}

#[test]
fn a_healthy_process_stays_healthy_whatever_the_profile_holds() {
    let world = jvm(61, 12.0, &mut Random::new(7));
    let diagnosis =
        judged(world, vec![native("malloc", "libc.so.6"), native("x_new", "libx.so"), java("app.X.y")]);
    assert_eq!(diagnosis.verdict.status, Status::Healthy, "{:#?}", diagnosis.verdict);
}

#[test]
fn the_table_of_libraries_matches_modules_and_classes() {
    use offheap_diagnose::libraries::library_of;
    let name = |frames: &[Frame]| library_of(frames).map(|found| found.library.name.as_str());
    assert_eq!(name(&[native("rocksdb_x", "/tmp/librocksdbjni123.so")]), Some("RocksDB"));
    assert_eq!(name(&[java("com.github.luben.zstd.Zstd.compress")]), Some("zstd-jni"));
    assert_eq!(name(&[java("io.netty.internal.tcnative.SSL.newSSL")]), Some("netty-tcnative (OpenSSL)"));
    assert_eq!(name(&[java("io.netty.buffer.PoolArena.allocate")]), Some("Netty"));
    assert_eq!(name(&[java("app.Main.main"), native("f", "/home/librocksdbjni/mine.so")]), None);
    // A bridge answers for its own memory, not for that of the code it calls.
    let (malloc, bridge) = (native("malloc", "libc.so.6"), native("dispatch", "/tmp/jna/libjnidispatch.so"));
    let own = java("com.sun.jna.Native.malloc");
    assert_eq!(name(&[malloc.clone(), bridge.clone(), own]), Some("JNA"));
    let called = java("com.sun.jna.Native.invokeLong");
    assert_eq!(name(&[malloc.clone(), bridge.clone(), called.clone()]), None);
    assert_eq!(name(&[malloc, native("theirs_new", "/app/libtheirs.so"), bridge, called]), None);
}

#[test]
fn a_framework_that_called_the_program_is_not_blamed_for_it() {
    let stack = vec![
        native("malloc", "libc.so.6"),
        native("codec_new", "/app/libcodec.so"),
        java("app.Codec.open"),
        java("io.netty.channel.AbstractChannelHandlerContext.invokeChannelRead"),
        java("java.lang.Thread.run"),
    ];
    let verdict = judged(leaking(), stack).verdict;
    assert_eq!(verdict.cause, "jni-library-leak", "{verdict:#?}");
    assert!(!verdict.fix.iter().any(|line| line.contains("Netty:")), "{:?}", verdict.fix);
    assert!(verdict.summary.contains("codec_new") && verdict.summary.contains("app.Codec.open"));
}

#[test]
fn who_owns_the_memory_decides_what_is_advised() {
    let fix = |stack: Vec<Frame>| judged(leaking(), stack).verdict.fix;
    // A library in C that the program's own library calls: the caller gives it back.
    let resolved = fix(vec![
        native("malloc", "libc.so.6"),
        native("getaddrinfo", "libc.so.6"),
        native("resolve", "/app/libresolve.so"),
        java("app.Resolver.resolve"),
    ]);
    assert!(resolved[0].contains("freeaddrinfo"), "{resolved:?}");
    // zlib below the JDK: the Java object that has it, with the code to write.
    let inflated = fix(vec![
        native("malloc", "libc.so.6"),
        native("inflateInit2_", "/usr/lib/libz.so.1"),
        native("Java_java_util_zip_Inflater_init", "/jdk/lib/libzip.so"),
        java("java.util.zip.Inflater.<init>"),
        java("app.Reader.open"),
    ]);
    assert!(
        inflated[0].contains("end() every Inflater") && inflated[0].contains("inflater.end();"),
        "{inflated:?}"
    );
    assert!(!inflated.iter().any(|line| line.contains("inflateEnd")), "{inflated:?}");
}

//! Who answers for a stack.

use offheap_knowledge::{Knowledge, Library, Problem, knowledge};
use offheap_model::{Frame, FrameKind};
use proptest::prelude::*;

fn frame(name: &str, kind: FrameKind, module: &str) -> Frame {
    let module = Some(module.to_owned()).filter(|module| !module.is_empty());
    Frame { name: name.to_owned(), kind, file: None, line: None, module }
}

fn native(name: &str, module: &str) -> Frame {
    frame(name, FrameKind::Native, module)
}

fn java(name: &str) -> Frame {
    frame(name, FrameKind::Java, "")
}

fn jvm(name: &str) -> Frame {
    frame(name, FrameKind::Jvm, "")
}

fn python(file: &str, name: &str) -> Frame {
    Frame { file: Some(file.to_owned()), ..frame(name, FrameKind::Python, "") }
}

/// The library that answers, and what gives it back; empty where nobody does.
fn answer(frames: &[Frame]) -> (String, String) {
    knowledge()
        .answer(frames)
        .map(|found| (found.library.name.clone(), found.memory.gives_back.clone()))
        .unwrap_or_default()
}

fn library(frames: &[Frame]) -> String {
    answer(frames).0
}

const LIBC: &str = "/usr/lib/libc.so.6";

#[test]
fn the_innermost_that_is_known_answers() {
    let opened = [
        native("malloc", LIBC),
        native("rocksdb::NewArenaWrappedDbIterator(rocksdb::Env*)", "/tmp/librocksdbjni1.so"),
        native("Java_org_rocksdb_RocksDB_iterator", "/tmp/librocksdbjni1.so"),
        java("org.rocksdb.RocksDB.iterator"),
        java("org.apache.kafka.streams.state.internals.RocksDBStore.all"),
        java("app.Orders.all"),
    ];
    let (name, advice) = answer(&opened);
    assert_eq!(name, "RocksDB");
    assert!(advice.contains("RocksIterator"), "{advice}");
    // Without symbols, by the method that called it.
    let stripped: Vec<Frame> = opened
        .iter()
        .enumerate()
        .map(
            |(at, f)| {
                if at == 1 { native("librocksdbjni1.so+0x12", "/tmp/librocksdbjni1.so") } else { f.clone() }
            },
        )
        .collect();
    assert!(answer(&stripped).1.contains("RocksIterator"));
    // What a read leaves in the cache is the library's.
    let read =
        [native("malloc", LIBC), native("rocksdb::BlockFetcher::ReadBlockContents()", ""), opened[3].clone()];
    let found = knowledge().answer(&read).unwrap();
    assert!(!found.is_the_callers() && found.memory.bound.contains("setBlockCache"), "{found:?}");
}

#[test]
fn the_longer_pattern_wins() {
    assert_eq!(library(&[java("io.netty.buffer.PoolArena.allocate")]), "Netty");
    assert_eq!(library(&[java("io.netty.internal.tcnative.SSL.newSSL")]), "netty-tcnative (OpenSSL)");
    assert_eq!(library(&[native("f", "/tmp/libx_librocksdbjni.so")]), "RocksDB");
    assert_eq!(library(&[native("f", "/home/librocksdbjni/mine.so")]), "");
    assert_eq!(
        library(&[native("my::rocksdb::Cache::f()", "/app/mine.so")]),
        "",
        "a namespace of somebody else's"
    );
    assert_eq!(library(&[native("store(rocksdb::Cache*)", "/app/mine.so")]), "", "a parameter");
    assert_eq!(
        library(&[native("deflateInit2_mine", "/app/mine.so")]),
        "zlib",
        "its name ends with an underscore"
    );
    assert_eq!(library(&[native("getaddrinfo_mine", "/app/mine.so")]), "", "the name goes on");
}

#[test]
fn what_is_the_callers_is_whose_the_caller_is() {
    let zlib = [native("malloc", LIBC), native("inflateInit2_", "/usr/lib/libz.so.1")];
    let with = |more: &[Frame]| [&zlib, more].concat();
    assert_eq!(
        library(&with(&[native("mine_open", "/app/libmine.so"), native("main", "/app/mine")])),
        "zlib"
    );
    let inflater = [
        native("Java_java_util_zip_Inflater_init", "/jdk/lib/libzip.so"),
        java("java.util.zip.Inflater.init"),
        java("app.Reader.open"),
    ];
    let (name, advice) = answer(&with(&inflater));
    assert_eq!(name, "java.util.zip");
    assert!(advice.contains("end() every Inflater"), "{advice}");
    // The JVM's own functions between do not count as callers.
    let string = [
        native("malloc", LIBC),
        jvm("os::malloc(unsigned long, MEMFLAGS)"),
        jvm("jni_GetStringUTFChars"),
        native("decode", "/app/libcodec.so"),
        java("app.Codec.decode"),
        java("io.netty.channel.AbstractChannelHandlerContext.invoke"),
    ];
    assert_eq!(library(&string), "JNI");
    let direct = |caller: &str| {
        let frames = [
            jvm("Unsafe_AllocateMemory0"),
            java("jdk.internal.misc.Unsafe.allocateMemory"),
            java("java.nio.DirectByteBuffer.<init>"),
        ];
        answer(&[&frames[..], &[java("java.nio.ByteBuffer.allocateDirect"), java(caller)]].concat())
    };
    assert_eq!(direct("app.Images.load").0, "Direct buffers");
    assert!(direct("sun.nio.ch.Util.getTemporaryDirectBuffer").1.contains("maxCachedBufferSize"));
    assert_eq!(direct("io.netty.buffer.PoolArena$DirectArena.newChunk").0, "Netty");
}

#[test]
fn beyond_a_program_nobody_answers() {
    let below = java("io.netty.util.concurrent.SingleThreadEventExecutor.run");
    let own =
        [native("malloc", LIBC), native("codec_new", "/app/libcodec.so"), java("app.Codec.open"), below];
    assert_eq!(library(&own), "");
    let own = [
        native("malloc", LIBC),
        python("/srv/app/shop.py", "add"),
        python("/x/site-packages/torch/utils/data/dataloader.py", "next"),
    ];
    assert_eq!(library(&own), "");
    // Python's own modules are between, as the JDK is.
    let through = [
        native("f", ""),
        python("/usr/lib/python3.11/functools.py", "wrapper"),
        python("/x/site-packages/torch/nn/modules/module.py", "call"),
    ];
    assert_eq!(library(&through), "PyTorch");
    let class = [
        jvm("Unsafe_X"),
        java("$Proxy12.find"),
        java("com.sun.proxy.$Proxy3.find"),
        java("org.rocksdb.RocksDB.get"),
    ];
    assert_eq!(library(&class), "RocksDB");
}

#[test]
fn what_passes_calls_through_answers_for_its_own() {
    for unpacked in ["/tmp/libjnidispatch.so", "/root/.cache/JNA/temp/jna1234567890.tmp"] {
        let called = |first: &[Frame]| {
            let rest = [
                native("ffi_call", unpacked),
                native("Java_com_sun_jna_Native_invokePointer", unpacked),
                java("com.sun.jna.Native.invokePointer"),
                java("$Proxy0.strdup"),
                java("app.Names.get"),
            ];
            answer(&[first, &rest].concat()).1
        };
        assert!(called(&[native("strdup", LIBC)]).contains("Native.free"));
        assert!(
            called(&[native("malloc", LIBC), native("names_new", "/app/libnames.so")])
                .contains("Native.free")
        );
        // A library that JNA called and that is known answers itself.
        assert!(
            called(&[native("malloc", LIBC), native("sqlite3_open_v2", "/usr/lib/libsqlite3.so.0")])
                .contains("sqlite3_close_v2")
        );
        for own in ["Java_com_sun_jna_Native_malloc", "jna1234567890.tmp+0x7f10"] {
            let frames = [
                native("malloc", LIBC),
                native(own, unpacked),
                java("com.sun.jna.Native.malloc"),
                java("app.Names.get"),
            ];
            assert!(answer(&frames).1.contains("close() com.sun.jna.Memory"), "{own}");
        }
        let other =
            [native("malloc", LIBC), native("theirs", "/app/libtheirs.so"), native("dispatch", unpacked)];
        assert_eq!(library(&other), "");
    }
}

#[test]
fn functions_of_the_jvm_are_its_own_only_in_the_jvm() {
    assert_eq!(library(&[jvm("StringTable::do_intern(Handle)")]), "HotSpot");
    assert_eq!(library(&[native("StringTable::do_intern(Handle)", "/jdk/lib/server/libjvm.so")]), "HotSpot");
    assert_eq!(library(&[native("StringTable::add(int)", "/app/libmine.so")]), "");
}

#[test]
fn a_users_file_is_added_and_wins() {
    let text = r#"
name = "ours"
about = "The house's own codec."
[recognised]
java = ["com.house.codec.", "io.netty.buffer.PoolArena"]
[[memory]]
what = "frames"
owner = "java object"
gives_back = "free() every Frame"
"#;
    let mut libraries = knowledge().libraries().to_vec();
    libraries.push(Library::parse("ours.toml", text).unwrap());
    let more = Knowledge::of(libraries);
    for name in ["com.house.codec.Frame.open", "io.netty.buffer.PoolArena.allocate"] {
        assert_eq!(more.answer(&[java(name)]).unwrap().library.name, "ours");
    }
    assert_eq!(
        more.answer(&[java("com.house.codec.Frame.open")]).unwrap().advice(),
        ["ours: free() every Frame"]
    );
}

#[test]
fn what_is_wrong_with_a_file_is_said_with_its_line() {
    let head = "name = \"x\"\nabout = \"X.\"\n[recognised]\njava = [\"a.b.\"]\n";
    let entry = "[[memory]]\nwhat = \"a\"\nowner = \"caller\"\ngives_back = \"b\"\n";
    let wrong = |text: &str| Library::parse("mine.toml", text).unwrap_err().to_string();
    assert_eq!(Library::parse("mine.toml", &format!("{head}{entry}")).map(|l| l.memory.len()), Ok(1));
    for (text, place, word) in [
        (format!("{head}{entry}owned = \"x\"\n"), "mine.toml:9: ", "owned"),
        (format!("{head}{}", entry.replace("caller", "nobody")), "mine.toml:7: ", "nobody"),
        (format!("{head}{entry}write = 5\n"), "mine.toml:9: ", "string"),
        (format!("{head}{entry}{entry}"), "mine.toml:5: ", "no pattern"),
        (format!("{head}{entry}java = [\"a.*.b\"]\n"), "mine.toml:9: ", "*"),
        (format!("{head}{entry}functions = [\"f(int)\"]\n"), "mine.toml:9: ", "parameters"),
        (format!("{head}{entry}functions = [\"f\"]\n"), "mine.toml:", "3"),
        (format!("{head}{entry}links = [\"http://x.y\"]\n"), "mine.toml:9: ", "https"),
        (head.to_owned(), "mine.toml", "memory"),
        (format!("{head}{}", entry.replace("\"a\"", "\"\"")), "mine.toml:6: ", "empty"),
        ("name = ".to_owned(), "mine.toml:1: ", ""),
        ("[".repeat(100_000), "mine.toml:1: ", ""),
        (" ".repeat(2 << 20), "mine.toml: ", "1048576"),
    ] {
        let said = wrong(&text);
        assert!(
            said.starts_with(place) && said.contains(word),
            "{said} should start with {place}, name {word}"
        );
        assert!(said.lines().count() == 1, "{said}");
    }
    assert_eq!(
        offheap_knowledge::add(&[("bad.toml".to_owned(), "x = 1".to_owned())])
            .map_err(|Problem { place, .. }| place),
        Err("bad.toml:1".to_owned())
    );
}

fn hostile() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC{0,40}",
        "[<>()*:_./$ a-z]{0,60}",
        (0usize..5).prop_map(|at| ["(", "<", "a::", "\u{1F980}", "rocksdb::"][at].repeat(20_000)),
    ]
}

proptest! {
    #[test]
    fn hostile_stacks_are_answered(
        names in prop::collection::vec((hostile(), hostile(), 0u8..4), 0..20)
    ) {
        let kinds = [FrameKind::Java, FrameKind::Native, FrameKind::Jvm, FrameKind::Python];
        let frames: Vec<Frame> = names
            .into_iter()
            .map(|(name, module, kind)| Frame {
                kind: kinds[usize::from(kind)],
                file: Some(format!("/x/site-packages/{module}")),
                module: Some(module),
                line: None,
                name,
            })
            .collect();
        if let Some(found) = knowledge().answer(&frames) {
            prop_assert!(found.frame < frames.len());
        }
    }

    #[test]
    fn hostile_files_are_refused_or_read(text in "\\PC{0,200}") {
        _ = Library::parse("x.toml", &text);
    }
}

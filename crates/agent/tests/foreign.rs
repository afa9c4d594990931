//! Java's foreign function interface: the callers of downcalls, critical downcalls and up-calls,
//! and virtual threads.

mod common;

use std::process::Command;

use offheap_live::{Counter, FrameKind, Reader, stack_flags};

#[test]
fn callers_through_the_foreign_function_interface() {
    let jdk = common::jvms().into_iter().find(|j| j.version >= 22 && j.java.with_file_name("javac").exists());
    let Some(jdk) = jdk else {
        // common::jvms has made sure that there is some JVM; only this one needs a new compiler.
        println!("no JDK 22 or later with a compiler");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let javac = jdk.java.with_file_name("javac");
    let status =
        Command::new(javac).arg("-d").arg(dir.path()).arg(common::source("java/Foreign.java")).status();
    assert!(status.unwrap().success());
    for mode in ["-Xint", "-XX:TieredStopAtLevel=1", "-XX:+TieredCompilation"] {
        let file = dir.path().join(format!("{}.live", mode.replace(':', "")));
        let mut command = Command::new(&jdk.java);
        command
            .arg(mode)
            .args(["-Xmx256m", "--enable-native-access=ALL-UNNAMED"])
            .arg(format!("-agentpath:{}=file={},interval=1", common::agent().display(), file.display()))
            .arg("-cp")
            .arg(dir.path())
            .arg("Foreign");
        let (out, err, code) = common::run(&mut command, 120);
        assert_eq!((out.as_str(), err.as_str(), code), ("", "", Some(0)), "{mode}");
        let bytes = std::fs::read(&file).unwrap();
        let r = Reader::new(&bytes).unwrap();
        let count = |size: u64, wanted: &[&str], flags: u16| {
            let of_size = r.samples().filter(|s| s.size == size).filter_map(|s| r.stack(s.stack?));
            of_size
                .filter(|stack| stack.flags & (stack_flags::JAVA_BROKEN | stack_flags::TRUNCATED) == 0)
                .filter(|stack| stack.flags & flags == flags)
                .filter(|stack| {
                    let java =
                        stack.frames().filter(|f| !matches!(f.kind, FrameKind::Native | FrameKind::Stub));
                    let ours = java.filter(|f| f.class == Some(b"Foreign"));
                    ours.map(|f| String::from_utf8_lossy(f.name.unwrap_or(b"?")).into_owned())
                        .eq(wanted.iter().copied())
                })
                .count()
        };
        assert_eq!(count(100_016, &["plain", "main"], 0), 10_000, "{mode}");
        assert_eq!(count(100_032, &["critical", "main"], 0), 10_000, "{mode}");
        // Two elements need one comparison.
        assert_eq!(count(100_064, &["plain", "compare", "sort", "main"], 0), 500, "{mode}");
        // A virtual thread that was parked has only its youngest frames on the stack; the stack
        // says so.
        let whole = count(100_048, &["plain", "parked", "lambda$main$0"], 0);
        let part = count(100_048, &["plain"], stack_flags::VIRTUAL)
            + count(100_048, &["plain", "parked"], stack_flags::VIRTUAL);
        assert_eq!(whole + part, 20, "{mode}: {whole} whole, {part} partly in the Java heap");
        assert_eq!(r.counter(Counter::JavaBroken), 0, "{mode}");
    }
}

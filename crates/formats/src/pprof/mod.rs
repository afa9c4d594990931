//! pprof's `profile.proto`: protobuf, usually in gzip. Source: github.com/google/pprof,
//! proto/profile.proto.
//!
//! What kind a frame is has no field there. It is in its mapping: frames of Java are in one called
//! `[java]`, of Python in `[python]`, of the JVM in libjvm; all others are native.

mod read;
mod write;

pub use read::{is, read};
pub use write::write;

/// The mapping that stands for Java code.
const JAVA: &str = "[java]";
/// The mapping that stands for Python code.
const PYTHON: &str = "[python]";
/// The mapping of the JVM's own code where the library's path is not known.
const JVM: &str = "libjvm.so";

/// The sample types written, (type, unit). The first four are what Go's heap profiles have, so that
/// every viewer knows them; the last is the part of `inuse_space` that is older than the window's
/// tail.
const TYPES: [(&str, &str); 5] = [
    ("alloc_objects", "count"),
    ("alloc_space", "bytes"),
    ("inuse_objects", "count"),
    ("inuse_space", "bytes"),
    ("leak_space", "bytes"),
];

#[cfg(test)]
mod tests {
    use crate::Builder;
    use offheap_model::{Frame, FrameKind, ProfileSite, Sampling};

    #[test]
    fn what_is_written_is_read_again() {
        let mut builder = Builder::new();
        let frame = |name: &str, kind, module: Option<&str>| Frame {
            name: name.to_owned(),
            kind,
            file: Some(format!("{name}.src")),
            line: Some(7),
            module: module.map(str::to_owned),
        };
        let stack = [
            builder.frame(frame("malloc", FrameKind::Native, Some("/lib/libc.so.6"))),
            builder.frame(frame("os::malloc(unsigned long)", FrameKind::Jvm, None)),
            builder.frame(frame("app.Main.leak", FrameKind::Java, None)),
            builder.frame(frame("run", FrameKind::Python, None)),
        ];
        let figures = ProfileSite {
            live_bytes: 1 << 40,
            live_count: 2,
            leak_bytes: 3,
            allocated_bytes: 1 << 41,
            allocated_count: 5,
            ..ProfileSite::default()
        };
        builder.add(&stack, &figures);
        builder.add(&stack[1..], &ProfileSite { live_bytes: 1, ..ProfileSite::default() });
        builder.profile().start_ms = 1_700_000_000_123;
        builder.profile().seconds = 60.0;
        builder.profile().sampling = Sampling { interval_bytes: 524_288, samples: 0, dropped: 0 };
        builder.profile().notes.push("said".to_owned());
        let profile = builder.finish(Vec::new(), None).profile;
        let bytes = super::write(&profile);
        assert!(super::is(&bytes));
        let mut read = super::read(&bytes).unwrap();
        assert_eq!(read.profile.frames[1].module.take().as_deref(), Some("libjvm.so"));
        assert_eq!(read.profile, profile);
        assert!(read.cut.is_none());
        // Every shorter file gives a part, or a clear no.
        for end in 0..bytes.len() {
            if let Ok(part) = super::read(&bytes[..end]) {
                assert!(part.profile.sites.len() <= 2);
            }
        }
    }

    // What Go's runtime writes: period and its type first; and what `pprof -base` leaves of a
    // difference.
    #[test]
    fn fields_in_any_order_and_differences() {
        let field = |number: u8, message: &[u8]| [&[number << 3 | 2, message.len() as u8], message].concat();
        let parts = [
            field(11, &[8, 3, 16, 2]),
            vec![96, 0x80, 0x80, 0x20],
            field(1, &[8, 1, 16, 2]),
            field(2, &[8, 1, 16, 100]),
            // -5, in ten bytes.
            field(2, &[8, 2, 16, 0xfb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
            field(4, &[8, 1, 34, 2, 8, 7]),
            field(5, &[8, 7, 16, 4]),
            field(6, b""),
            field(6, b"inuse_space"),
            field(6, b"bytes"),
            field(6, b"space"),
            field(6, b"main.leak"),
        ];
        let expect = |bytes: &[u8]| {
            assert!(super::is(bytes));
            let profile = super::read(bytes).unwrap().profile;
            assert_eq!((profile.sites[0].live_bytes, profile.frames[0].name.as_str()), (100, "main.leak"));
            assert!(profile.notes[0].contains("1 samples are negative, by 5 B"), "{:?}", profile.notes);
        };
        expect(&parts.concat());
        let mut strings_first = parts.clone();
        strings_first.rotate_right(5);
        expect(&strings_first.concat());
        for other in
            [&b"\nNative Memory Tracking:\n"[..], b"\x0a\x04\x08\x01\x10\x02\x13", b"hello world", b""]
        {
            assert!(!super::is(other), "{other:?}");
        }
    }
}

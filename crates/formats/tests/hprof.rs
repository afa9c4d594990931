//! Heap dumps of a real JVM.

use offheap_formats::{Format, detect, hprof};
use std::path::PathBuf;

/// A JDK that runs source files (11 and later have the launcher).
fn java() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib/jvm").expect("a JDK below /usr/lib/jvm");
    let mut found: Vec<PathBuf> = folders
        .filter_map(Result::ok)
        .map(|folder| folder.path())
        .filter(|folder| folder.join("bin/javac").exists())
        .map(|folder| folder.join("bin/java"))
        .collect();
    found.sort();
    found.into_iter().next().expect("a JDK with javac below /usr/lib/jvm")
}

#[test]
fn what_the_heap_holds_outside_is_counted() {
    let folder = std::env::temp_dir().join(format!("offheap-hprof-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("dump.hprof");
    let status = std::process::Command::new(java())
        .arg("-Xmx64m")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/Dumped.java"))
        .arg(&file)
        .status()
        .unwrap();
    assert!(status.success());
    let bytes = std::fs::read(&file).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(detect(&bytes), Some(Format::Hprof));
    let dump = hprof::read(&bytes).unwrap();
    assert_eq!(dump.cut, None);
    let of = |size: u64| {
        dump.direct.by_capacity.iter().find(|(capacity, _)| *capacity == size).map(|(_, count)| *count)
    };
    // The duplicates own nothing: the three they were made of do.
    assert_eq!((of(12_345), of(1 << 20)), (Some(40), Some(3)));
    assert!(dump.direct.capacity_bytes >= 40 * 12_345 + (3 << 20));
    let class = |name: &str| dump.classes.iter().find(|class| class.name == name).map(|class| class.count);
    // The source launcher itself may hold a few.
    assert!(class("java.util.zip.Inflater") >= Some(17), "{:?}", class("java.util.zip.Inflater"));
    assert!(
        class("long[][]") >= Some(1) && class("byte[]") > Some(100) && class("java.lang.String") > Some(100)
    );
    assert!(
        dump.loaders[0].classes > 300
            && dump.loaders.iter().any(|loader| loader.class.contains("AppClassLoader"))
    );
    assert!(dump.threads >= 3 && !dump.jni_globals.is_empty());
    assert!((dump.time_ms - 1_700_000_000_000) > 0);
    // Slices, duplicates and views of another type have its address, and nothing to close.
    assert_eq!(of(54_321), Some(1));
    let buffers: Vec<_> = dump.peers.iter().filter(|peer| peer.class.starts_with("java.nio.")).collect();
    assert_eq!(buffers.iter().map(|peer| peer.open).sum::<u64>(), dump.direct.count, "{buffers:?}");
    // 17 inflaters, none closed; each holds its address in an object of its own.
    let peer = dump.peers.iter().find(|peer| peer.class.contains("Inflater")).expect("a native peer");
    assert!(peer.field == "address" && peer.open >= 17 && peer.count >= peer.open, "{peer:?}");
    // Dumped.KEEP → ArrayList.elementData → Object[] → the buffer; the source launcher's loader may
    // be nearer.
    let (_, path) = dump.direct.paths.iter().find(|(capacity, _)| *capacity == 12_345).expect("a path");
    let steps: Vec<(&str, &str)> =
        path.steps.iter().map(|step| (step.class.as_str(), step.field.as_str())).collect();
    assert!(path.is_held, "{path:?}");
    assert_eq!(path.root, "static Dumped.KEEP", "{path:?}");
    assert_eq!(
        steps,
        [
            ("java.util.ArrayList", "elementData"),
            ("java.lang.Object[]", "[]"),
            ("java.nio.DirectByteBuffer", "")
        ]
    );
    // The last is the record of the end, of nine bytes.
    for part in [bytes.len() / 2, bytes.len() - 1, bytes.len() - 9, 40] {
        let dump = hprof::read(&bytes[..part]).unwrap();
        assert!(dump.cut.is_some(), "cut off at {part}");
    }
}

/// A record of the file.
fn record(tag: u8, body: &[u8]) -> Vec<u8> {
    [&[tag, 0, 0, 0, 0][..], &(body.len() as u32).to_be_bytes(), body].concat()
}

fn ids(ids: &[u64]) -> Vec<u8> {
    ids.iter().flat_map(|id| id.to_be_bytes()).collect()
}

/// The description of a class with these fields: name and type.
fn class(id: u64, fields: &[(u64, u8)]) -> Vec<u8> {
    let mut out = [vec![0x20], ids(&[id]), vec![0; 4], vec![0; 8 * 6 + 4 + 2 + 2]].concat();
    out.extend((fields.len() as u16).to_be_bytes());
    fields.iter().for_each(|(name, kind)| out.extend([ids(&[*name]), vec![*kind]].concat()));
    out
}

fn instance(id: u64, class: u64, fields: &[u8]) -> Vec<u8> {
    [
        vec![0x21],
        ids(&[id]),
        vec![0; 4],
        ids(&[class]),
        (fields.len() as u32).to_be_bytes().to_vec(),
        fields.to_vec(),
    ]
    .concat()
}

/// HotSpot describes classes first and names roots last; others need not.
#[test]
fn the_order_of_the_records_makes_no_difference() {
    let texts = ["java/nio/DirectByteBuffer", "cleaner", "capacity", "Holder", "buffer"];
    let names: Vec<u8> = texts
        .iter()
        .zip(1u64..)
        .flat_map(|(text, id)| record(0x01, &[&ids(&[id])[..], text.as_bytes()].concat()))
        .chain([(100, 1), (101, 4)].into_iter().flat_map(|(class, name)| {
            record(0x02, &[vec![0; 4], ids(&[class]), vec![0; 4], ids(&[name])].concat())
        }))
        .collect();
    let classes = record(0x1c, &[class(100, &[(3, 10), (2, 2)]), class(101, &[(5, 2)])].concat());
    let buffer = instance(0x1000, 100, &[&7u32.to_be_bytes()[..], &ids(&[0x3000])].concat());
    let objects = record(0x1c, &[buffer, instance(0x90_2000, 101, &ids(&[0x1000]))].concat());
    let global = [vec![0x01], ids(&[0x90_2000, 0])].concat();
    let roots = record(0x1c, &global);
    let head = [b"JAVA PROFILE 1.0.2\0", &8u32.to_be_bytes()[..], &[0; 8]].concat();
    let read = |parts: &[&[u8]]| {
        let bytes = [&head[..], &parts.concat(), &record(0x2c, &[])].concat();
        let dump = hprof::read(&bytes).unwrap();
        let wrapped = hprof::read_from(&mut || Ok(Box::new(&bytes[..]))).unwrap();
        assert_eq!(dump, wrapped);
        dump
    };
    let usual = read(&[&names, &classes, &objects, &roots]);
    assert_eq!(usual.cut, None);
    assert_eq!((usual.direct.count, usual.direct.capacity_bytes), (1, 7));
    let (_, path) = &usual.direct.paths[0];
    assert_eq!((path.root.as_str(), path.steps.len()), ("JNI global reference", 2), "{path:?}");
    assert_eq!(usual.jni_globals, [("Holder".to_owned(), 1)]);
    for order in [
        [&objects[..], &names, &classes, &roots],
        [&roots, &objects, &classes, &names],
        [&names, &objects, &roots, &classes],
    ] {
        assert_eq!(read(&order), usual);
    }
}

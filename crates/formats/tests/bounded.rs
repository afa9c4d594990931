//! Small files that claim much: what a reader takes of memory and time is bounded by what it was
//! given, not by what that says. Each of these took gigabytes, minutes or the whole stack.

use offheap_formats::{heaptrack, hprof, jfr, pprof, speedscope};
use std::time::{Duration, Instant};

/// Far above what it takes: this is no benchmark.
const BOUND: Duration = Duration::from_secs(120);

fn varint(into: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        into.push(value as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

fn message(into: &mut Vec<u8>, field: u64, body: &[u8]) {
    varint(into, field << 3 | 2);
    varint(into, body.len() as u64);
    into.extend_from_slice(body);
}

fn numbers(fields: &[(u64, u64)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (field, value) in fields {
        varint(&mut body, field << 3);
        varint(&mut body, *value);
    }
    body
}

#[test]
fn one_long_name_of_many_frames_is_cut() {
    let mut profile = Vec::new();
    message(&mut profile, 1, &numbers(&[(1, 1), (2, 2)]));
    let frames = 300;
    for id in 1..=frames {
        message(&mut profile, 5, &numbers(&[(1, id), (2, 3), (4, 3)]));
        let mut location = numbers(&[(1, id)]);
        message(&mut location, 4, &numbers(&[(1, id), (2, id)]));
        message(&mut profile, 4, &location);
        message(&mut profile, 2, &numbers(&[(1, id), (2, 1)]));
    }
    for text in ["", "inuse_space", "bytes", &"x".repeat(4 << 20)] {
        message(&mut profile, 6, text.as_bytes());
    }
    let begun = Instant::now();
    let parsed = pprof::read(&profile).unwrap();
    let text: usize = parsed.profile.frames.iter().map(|frame| frame.name.len()).sum();
    assert!(text < 30 << 20, "{text}");
    assert_eq!(parsed.profile.sites.iter().map(|site| site.live_bytes).sum::<u64>(), frames);
    assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());
}

// A copy of the file's name for each use of the frame is 1 TiB here.
#[test]
fn a_long_file_name_is_copied_once_however_often_its_frame_is_met() {
    let (stack, file) = (format!("[{}0]", "0,".repeat(999)), "x".repeat(10 << 20));
    let (stacks, weights) = (vec![stack.as_str(); 100].join(","), vec!["1"; 100].join(","));
    let text = format!(
        r#"{{"$schema":"https://www.speedscope.app/file-format-schema.json","shared":{{"frames":[{{"name":"f","file":"{file}"}}]}},
        "profiles":[{{"unit":"bytes","samples":[{stacks}],"weights":[{weights}]}}]}}"#
    );
    let begun = Instant::now();
    let profile = speedscope::read(text.as_bytes()).unwrap().profile;
    assert_eq!((profile.frames.len(), profile.sites[0].live_bytes), (1, 100));
    assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());
}

#[test]
fn a_deep_stack_of_many_kinds_ends() {
    let mut text = String::from("v 10300 3\nX app\n");
    for node in 0..4096 {
        text.push_str(&format!("t {:x} {node:x}\n", 0x1000 + node));
    }
    for size in 1..10_000 {
        text.push_str(&format!("+ {size:x} 1000 {:x}\n", 0x10_0000 + size));
    }
    let begun = Instant::now();
    let parsed = heaptrack::read(text.as_bytes()).unwrap();
    assert!(parsed.profile.sites.iter().any(|site| site.stack.len() == 4096));
    assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());
}

/// A dump of `records` before its heap, which has `heap`.
fn dump(records: &[(u8, Vec<u8>)], heap: &[u8]) -> Vec<u8> {
    let mut bytes = b"JAVA PROFILE 1.0.2\0\0\0\0\x08\0\0\0\0\0\0\0\0".to_vec();
    for (tag, body) in records.iter().chain([&(0x0c, heap.to_vec())]) {
        bytes.push(*tag);
        bytes.extend([0; 4]);
        bytes.extend((body.len() as u32).to_be_bytes());
        bytes.extend(body);
    }
    bytes
}

fn name(id: u64, text: &[u8]) -> (u8, Vec<u8>) {
    (0x01, [&id.to_be_bytes()[..], text].concat())
}

fn class_of(id: u64, name: u64) -> (u8, Vec<u8>) {
    (0x02, [&[0; 4][..], &id.to_be_bytes(), &[0; 4], &name.to_be_bytes()].concat())
}

fn class(heap: &mut Vec<u8>, id: u64, parent: u64, fields: u16) {
    heap.push(0x20);
    heap.extend(id.to_be_bytes());
    heap.extend([0; 4]);
    heap.extend(parent.to_be_bytes());
    heap.extend([0; 8 * 5 + 4 + 2 + 2]);
    heap.extend(fields.to_be_bytes());
    for _ in 0..fields {
        heap.extend([0, 0, 0, 0, 0, 0, 0, 1, 2]);
    }
}

#[test]
fn a_long_class_name_is_kept_once_however_many_objects_there_are() {
    let mut heap = Vec::new();
    let objects = 40_000u64;
    for object in 0..objects {
        heap.push(0x01);
        heap.extend((0x1000 + object).to_be_bytes());
        heap.extend([0; 8]);
        heap.push(0x21);
        heap.extend((0x1000 + object).to_be_bytes());
        heap.extend([0; 4]);
        heap.extend(7u64.to_be_bytes());
        heap.extend([0; 4]);
    }
    let dump = hprof::read(&dump(&[name(1, &vec![b'x'; 60_000]), class_of(7, 1)], &heap)).unwrap();
    assert_eq!((dump.jni_globals.len(), dump.jni_globals[0].1), (1, objects));
    assert_eq!(dump.jni_globals[0].0.chars().count(), 1001, "cut, and marked as cut");
    assert!(dump.classes[0].name.len() < 1100);
}

#[test]
fn classes_with_all_fields_there_can_be_and_their_children_end() {
    let mut records = vec![name(1, b"a"), name(2, b"java/nio/DirectByteBuffer")];
    let mut heap = Vec::new();
    for id in 10..50u64 {
        class(&mut heap, id, id - 1, 65_535);
    }
    for id in 100..4000u64 {
        class(&mut heap, id, 49, 0);
        records.push(class_of(id, 2));
    }
    let begun = Instant::now();
    hprof::read(&dump(&records, &heap)).unwrap();
    assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());
}

/// An event with its size before it; sizes are written with five bytes, so that they don't depend
/// on themselves.
fn event(body: &[u8]) -> Vec<u8> {
    let size = body.len() as u64 + 5;
    let bytes = (0..5).map(|place| (size >> (7 * place)) as u8 & 0x7f | if place < 4 { 0x80 } else { 0 });
    bytes.chain(body.iter().copied()).collect()
}

/// An element of the metadata: its name, its attributes (numbers of strings), its children.
fn element(name: u8, attributes: &[(u8, u8)], children: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = vec![name, attributes.len() as u8];
    bytes.extend(attributes.iter().flat_map(|(key, value)| [*key, *value]));
    bytes.push(children.len() as u8);
    bytes.extend(children.concat());
    bytes
}

#[test]
fn constants_that_are_each_other_have_no_text() {
    let strings = [
        "root",
        "metadata",
        "class",
        "field",
        "id",
        "name",
        "constantPool",
        "true",
        "20",
        "21",
        "jdk.types.FrameType",
        "X",
        "description",
        "string",
    ];
    let field = |name: u8, class: u8| element(3, &[(5, name), (2, class), (6, 7)], &[]);
    let classes =
        [element(2, &[(4, 8), (5, 10)], &[field(12, 9)]), element(2, &[(4, 9), (5, 11)], &[field(13, 9)])];
    // Type 0: start, duration, id; then the strings, then the tree.
    let mut metadata = vec![0, 0, 0, 1, strings.len() as u8];
    for text in strings {
        metadata.extend([3, text.len() as u8]);
        metadata.extend(text.as_bytes());
    }
    metadata.extend(element(0, &[], &[element(1, &[], &classes)]));
    // Type 1: start, duration, delta, mask; two pools of one constant each, which refers to key 1
    // of class 21: itself.
    let pool = [1, 0, 0, 0, 1, 2, 20, 1, 1, 1, 21, 1, 1, 1];
    let (metadata, pool) = (event(&metadata), event(&pool));
    let mut chunk = b"FLR\0\0\x02\0\0".to_vec();
    let longs = [68 + metadata.len() + pool.len(), 68 + metadata.len(), 68, 0, 0, 0, 1];
    chunk.extend(longs.iter().flat_map(|long| (*long as u64).to_be_bytes()));
    chunk.extend([0; 4]);
    chunk.extend(metadata);
    chunk.extend(pool);
    // Whether it is read or refused: it ends.
    let _ = jfr::read(&chunk);
}

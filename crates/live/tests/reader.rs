//! The reader against hand-made and damaged files.

use core::mem::offset_of;
use offheap_live::*;

/// A file with one module, one stack of two frames (the first inlined into a second) and one
/// sample.
fn file() -> Vec<u8> {
    let size = MIN_FILE_BYTES;
    let l = Layout::new(size).unwrap();
    let mut f = vec![0u8; size as usize];
    put(&mut f, offset_of!(Header, version), &VERSION.to_ne_bytes());
    put(&mut f, offset_of!(Header, file_bytes), &size.to_ne_bytes());
    put(&mut f, offset_of!(Header, layout), &l.modules.offset.to_ne_bytes());
    put(&mut f, offset_of!(Header, pid), &77u32.to_ne_bytes());
    put(&mut f, offset_of!(Header, state), &1u32.to_ne_bytes());
    put(&mut f, offset_of!(Header, magic), &MAGIC.to_ne_bytes());
    let name = |f: &mut Vec<u8>, slot: u64, offset: u32, text: &str| {
        let o = (l.strings.offset + slot * 16) as usize;
        put(f, o, &hash_bytes(text.as_bytes()).to_ne_bytes());
        put(f, o + 8, &offset.to_ne_bytes());
        put(f, o + 12, &(text.len() as u32).to_ne_bytes());
        put(f, l.bytes.offset as usize + offset as usize, text.as_bytes());
    };
    name(&mut f, 3, 0, "a/B");
    name(&mut f, 9, 3, "run");
    let frame = |f: &mut Vec<u8>, i: u64, next: u32, kind: FrameKind| {
        let o = (l.frames.offset + i * size_of::<FrameRec>() as u64) as usize;
        let words = [0, 4, 10, 0, 12, next];
        put(f, o, &5u64.to_ne_bytes());
        put(f, o + offset_of!(FrameRec, pc), &42u64.to_ne_bytes());
        for (k, w) in words.iter().enumerate() {
            put(f, o + offset_of!(FrameRec, module) + 4 * k, &w.to_ne_bytes());
        }
        put(f, o + offset_of!(FrameRec, kind), &[kind as u8]);
        let check = frame_check(5, 42, words, kind as u8);
        put(f, o + offset_of!(FrameRec, check), &check.to_ne_bytes());
    };
    frame(&mut f, 6, 8, FrameKind::Inlined);
    frame(&mut f, 7, 0, FrameKind::C2);
    put(&mut f, l.frame_ids.offset as usize, &6u32.to_ne_bytes());
    let o = (l.stacks.offset + 2 * size_of::<StackRec>() as u64) as usize;
    put(&mut f, o, &99u64.to_ne_bytes());
    put(&mut f, o + offset_of!(StackRec, len), &1u16.to_ne_bytes());
    put(&mut f, o + offset_of!(StackRec, check), &stack_check(99, 0, 1, 0).to_ne_bytes());
    put(&mut f, o + offset_of!(StackRec, alloc_bytes), &1000u64.to_ne_bytes());
    put(&mut f, o + offset_of!(StackRec, alloc_count), &(3 * COUNT_UNIT / 2).to_ne_bytes());
    let mut s =
        SampleRec { addr: 0x5000, size: 100, time_ns: 7, weight: 2.5, stack: 2, tid: 8, seq: 1, check: 0 };
    s.check = sample_check(&s);
    let o = (l.samples.offset + 17 * size_of::<SampleRec>() as u64) as usize;
    put(&mut f, (l.keys.offset + 17 * 8) as usize, &s.addr.to_ne_bytes());
    put(&mut f, o, &s.addr.to_ne_bytes());
    put(&mut f, o + 8, &s.size.to_ne_bytes());
    put(&mut f, o + 16, &s.time_ns.to_ne_bytes());
    put(&mut f, o + 24, &s.weight.to_ne_bytes());
    put(&mut f, o + 32, &s.stack.to_ne_bytes());
    put(&mut f, o + 36, &s.tid.to_ne_bytes());
    put(&mut f, o + 40, &s.seq.to_ne_bytes());
    put(&mut f, o + 44, &s.check.to_ne_bytes());
    f
}

fn put(f: &mut [u8], at: usize, bytes: &[u8]) {
    f[at..at + bytes.len()].copy_from_slice(bytes);
}

#[test]
fn reads_what_was_written() {
    let f = file();
    let r = Reader::new(&f).unwrap();
    assert_eq!((r.info().pid, r.info().state), (77, Some(State::Running)));
    let samples: Vec<_> = r.samples().collect();
    assert_eq!(samples.len(), 1);
    assert_eq!((samples[0].size, samples[0].weight, samples[0].stack), (100, 2.5, Some(2)));
    let stack = r.stack(2).unwrap();
    assert_eq!((stack.alloc_bytes, stack.alloc_count), (1000.0, 1.5));
    let frames: Vec<_> = stack.frames().collect();
    assert_eq!(frames.len(), 2);
    assert_eq!(frames[0].kind, FrameKind::Inlined);
    assert_eq!(
        (frames[1].kind, frames[1].class, frames[1].name),
        (FrameKind::C2, Some(&b"a/B"[..]), Some(&b"run"[..]))
    );
    assert_eq!(frames[1].line, Some(12));
}

#[test]
fn objects_are_no_blocks() {
    let l = Layout::new(MIN_FILE_BYTES).unwrap();
    let mut f = file();
    // Its class is the name in slot 3.
    let mut s = SampleRec { addr: object_key(4, 9), size: 24, time_ns: 7, weight: 4.0, ..Default::default() };
    (s.stack, s.tid, s.seq) = (2, 8, 1);
    s.check = sample_check(&s);
    let o = (l.samples.offset + 30 * size_of::<SampleRec>() as u64) as usize;
    put(&mut f, (l.keys.offset + 30 * 8) as usize, &s.addr.to_ne_bytes());
    put(&mut f, o, &s.addr.to_ne_bytes());
    put(&mut f, o + 8, &s.size.to_ne_bytes());
    put(&mut f, o + 16, &s.time_ns.to_ne_bytes());
    put(&mut f, o + 24, &s.weight.to_ne_bytes());
    for (i, word) in [s.stack, s.tid, s.seq, s.check].iter().enumerate() {
        put(&mut f, o + 32 + 4 * i, &word.to_ne_bytes());
    }
    let r = Reader::new(&f).unwrap();
    assert_eq!(r.samples().map(|s| s.size).collect::<Vec<_>>(), [100]);
    let objects: Vec<_> = r.objects().collect();
    assert_eq!(objects.len(), 1);
    assert_eq!((objects[0].class, objects[0].size), (Some(&b"a/B"[..]), 24));
    assert!(!r.stack(2).unwrap().is_object());
    assert_eq!(r.info().objects, Objects::Off);
    put(&mut f, offset_of!(Header, objects), &(ObjectState::Failed as u32).to_ne_bytes());
    put(&mut f, offset_of!(Header, objects_error), &(-3i32).to_ne_bytes());
    let info = Reader::new(&f).unwrap().info();
    assert!(info.objects == Objects::Failed(-3) && info.objects.refused());
    // A file of the version before has none, and no word of them.
    let mut old = file();
    put(&mut old, offset_of!(Header, version), &1u32.to_ne_bytes());
    let r = Reader::new(&old).unwrap();
    assert_eq!((r.samples().count(), r.objects().count(), r.info().objects), (1, 0, Objects::Off));
}

#[test]
fn half_written_records_are_skipped() {
    let l = Layout::new(MIN_FILE_BYTES).unwrap();
    let mut f = file();
    f[(l.samples.offset + 17 * size_of::<SampleRec>() as u64 + 8) as usize] ^= 1;
    assert_eq!(Reader::new(&f).unwrap().samples().count(), 0);
    let mut f = file();
    f[(l.frames.offset + 7 * size_of::<FrameRec>() as u64 + 8) as usize] ^= 1;
    assert_eq!(Reader::new(&f).unwrap().stack(2).unwrap().frames().count(), 1);
    let mut f = file();
    f[(l.stacks.offset + 2 * size_of::<StackRec>() as u64 + 14) as usize] ^= 1;
    assert!(Reader::new(&f).unwrap().stack(2).is_none());
    let mut f = file();
    f[l.bytes.offset as usize] ^= 1;
    assert_eq!(Reader::new(&f).unwrap().stack(2).unwrap().frames().next().unwrap().class, None);
}

#[test]
fn says_why_it_can_not_read() {
    assert_eq!(Reader::new(&[0; 10]).unwrap_err(), LiveError::TooShort);
    assert_eq!(Reader::new(&[0; HEADER_BYTES]).unwrap_err(), LiveError::NotALiveFile);
    let f = file();
    assert_eq!(Reader::new(&f[..f.len() - 1]).unwrap_err(), LiveError::BadLayout);
    let mut g = f.clone();
    g[8] = 200;
    assert!(matches!(Reader::new(&g), Err(LiveError::Version(_))));
}

#[test]
fn every_layout_fits_its_file() {
    for size in
        [MIN_FILE_BYTES, MIN_FILE_BYTES + 4096, 7 << 20, DEFAULT_FILE_BYTES, 100 << 20, MAX_FILE_BYTES]
    {
        let l = Layout::new(size).unwrap();
        let ends = [
            (l.modules, size_of::<ModuleRec>()),
            (l.regions, size_of::<RegionRec>()),
            (l.keys, 8),
            (l.passed, 4),
            (l.samples, size_of::<SampleRec>()),
            (l.stacks, size_of::<StackRec>()),
            (l.frame_ids, 4),
            (l.frames, size_of::<FrameRec>()),
            (l.strings, size_of::<StrRec>()),
            (l.bytes, 1),
        ];
        let mut at = HEADER_BYTES as u64;
        for (s, record) in ends {
            assert!(s.offset >= at && s.count > 0, "{size}: {s:?}");
            at = s.offset + s.count * record as u64;
        }
        assert!(at <= size, "{size}: {at}");
        assert!(l.keys.count.is_power_of_two() && l.frames.count.is_power_of_two());
        // A tenth or more of the file for names, or the table above it is of no use.
        assert!(l.bytes.count >= size / 16, "{size}: {}", l.bytes.count);
    }
    assert!(size_of::<Header>() <= HEADER_BYTES);
}

/// Damages random places: the reader may lose records, it may not panic or run without end.
#[test]
fn never_panics_on_damaged_files() {
    let clean = file();
    let mut x = 0x1234_5678_9abc_def1u64;
    let mut random = move || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x
    };
    let l = Layout::new(MIN_FILE_BYTES).unwrap();
    let interesting = [
        0,
        l.modules.offset,
        l.regions.offset,
        l.keys.offset + 17 * 8,
        l.samples.offset + 17 * 48,
        l.stacks.offset + 2 * 64,
        l.frame_ids.offset,
        l.frames.offset + 6 * 48,
        l.strings.offset + 3 * 16,
    ];
    for _ in 0..60 {
        let mut f = clean.clone();
        for _ in 0..8 {
            let place = interesting[(random() % 9) as usize] + random() % 96;
            f[place as usize] = random() as u8;
        }
        // Version and magic stay, else nothing behind them is exercised.
        f[..12].copy_from_slice(&clean[..12]);
        if let Ok(r) = Reader::new(&f) {
            let _ = (
                r.info(),
                r.dropped(),
                r.samples().count(),
                r.objects().count(),
                r.regions().count(),
                r.modules().count(),
            );
            for s in r.stacks() {
                let _ = s.frames().count();
            }
        }
    }
}

/// A file is never worth more work and memory than its size: its stacks share no frames, and no
/// frame is inlined for ever.
#[test]
fn what_is_said_to_be_in_it_has_room_in_it() {
    let mut f = file();
    let l = Layout::new(MIN_FILE_BYTES).unwrap();
    let stack = |f: &mut Vec<u8>, i: u64, len: u16| {
        let o = (l.stacks.offset + i * size_of::<StackRec>() as u64) as usize;
        put(f, o, &99u64.to_ne_bytes());
        put(f, o + offset_of!(StackRec, len), &len.to_ne_bytes());
        put(f, o + offset_of!(StackRec, check), &stack_check(99, 0, len, 0).to_ne_bytes());
    };
    // The outer frame says that it is inlined into itself.
    let o = (l.frames.offset + 7 * size_of::<FrameRec>() as u64) as usize;
    let words = [0, 4, 10, 0, 12, 8];
    put(&mut f, o + offset_of!(FrameRec, next), &8u32.to_ne_bytes());
    let check = frame_check(5, 42, words, FrameKind::C2 as u8);
    put(&mut f, o + offset_of!(FrameRec, check), &check.to_ne_bytes());
    assert_eq!(Reader::new(&f).unwrap().stack(2).unwrap().frames().count(), 1 + MAX_INLINED);
    let all = l.frame_ids.count / 1000;
    assert!(all < l.stacks.count);
    (0..all).for_each(|i| stack(&mut f, i, 1000));
    assert!(Reader::new(&f).is_ok(), "as many as there is room for");
    stack(&mut f, all, 1000);
    assert_eq!(Reader::new(&f).err(), Some(LiveError::BadLayout));
}

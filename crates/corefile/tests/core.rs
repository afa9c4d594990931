//! Core files made by hand: what is read of good ones, and that bad ones do no harm.

mod support;

use offheap_corefile::{Core, Error};
use offheap_target::{Memory, ProcText, ReadError, Reads, Target, page_bytes};
use proptest::prelude::*;
use std::io::Write;
use support::{Segment, auxiliary, build, file, files, identity, load, note, thread};

const CODE: u64 = 0x4000_0000_0000;
const STACK: u64 = 0x7ffc_0000_0000;
const HEAP: u64 = 0x5555_0000_0000;
const AT_PAGESZ: u64 = 6;
const AT_EXECFN: u64 = 31;
const AT_RANDOM: u64 = 25;

/// The top of a stack: two arguments, one variable, the auxiliary vector, the texts.
fn stack() -> (Vec<u8>, Vec<(u64, u64)>) {
    let texts = STACK + 0x800;
    let pairs = vec![(AT_RANDOM, STACK + 0x700), (AT_EXECFN, texts + 17), (AT_PAGESZ, page_bytes()), (0, 0)];
    let mut bytes = vec![0; 0x600];
    let mut words = vec![2, texts, texts + 4, 0, texts + 8, 0];
    words.extend(pairs.iter().flat_map(|(kind, value)| [*kind, *value]));
    bytes.extend(words.into_iter().flat_map(u64::to_le_bytes));
    bytes.resize(0x800, 0);
    // Both arguments, the variable, the path.
    bytes.extend(b"app\0-x\x80\0KEY=word\0/bin/app\0");
    bytes.resize(0x1000, 0);
    (bytes, pairs)
}

fn core() -> Vec<u8> {
    core_with_pages(page_bytes())
}

fn core_with_pages(bytes: u64) -> Vec<u8> {
    let (stack, mut pairs) = stack();
    let pages = pairs.iter_mut().find(|(kind, _)| *kind == AT_PAGESZ).unwrap();
    pages.1 = bytes;
    let notes = [
        thread(42, 6, STACK + 0x100),
        identity(42, "app", "app -x"),
        auxiliary(&pairs),
        files(&[(0x1000, 0x3000, 0, "/bin/app"), (0x9000, 0xa000, 1, "/tmp/gone (deleted)")]),
        thread(43, 0, 0x10),
    ];
    let notes = Segment { kind: 4, bytes: notes.concat(), ..Segment::default() };
    let mut heap = vec![0; 0x4000];
    heap[0x1000] = 7;
    let text = Segment { memory_bytes: 0x2000, flags: 5, ..load(0x1000, vec![1; 0x1000]) };
    build(&[notes, text, load(HEAP, heap), load(STACK, stack)])
}

#[test]
fn a_core_is_read_as_it_is() {
    let core = Core::open(file(&core())).unwrap();
    assert_eq!(core.pid(), 42);
    assert_eq!(
        core.threads().iter().map(|thread| (thread.tid, thread.signal)).collect::<Vec<_>>(),
        [(42, 6), (43, 0)]
    );
    let tasks = core.tasks().unwrap();
    assert_eq!((tasks[0].name.as_str(), tasks[0].stack_pointer), ("app", Some(STACK + 0x100)));
    assert_eq!(core.text(ProcText::CommandLine).unwrap(), b"app\0-x\x80\0");
    assert_eq!(core.text(ProcText::Environment).unwrap(), b"KEY=word\0");
    assert_eq!(core.exe().as_deref(), Some("/bin/app"));
    let paths: Vec<(&str, bool)> = core.vmas().iter().map(|vma| (vma.path.as_str(), vma.deleted)).collect();
    assert_eq!(paths, [("/bin/app", false), ("/tmp/gone", true), ("", false), ("[stack]", false)]);
    assert!(core.vmas()[0].exec && !core.vmas()[0].write);

    // One page of the heap has something; the others are zeros, and are read as such.
    let runs: Vec<(u64, u64)> =
        core.runs(HEAP, HEAP + 0x4000).iter().map(|run| (run.start, run.end)).collect();
    assert_eq!(runs, [(HEAP + 0x1000, HEAP + 0x2000)]);
    assert_eq!((core.u64(HEAP + 0x1000), core.u64(HEAP + 0x3000)), (Ok(7), Ok(0)));
    assert_eq!(core.vmas()[2].rss, 0x1000);
    assert_eq!((core.held_bytes(), core.zero_bytes(), core.missing_bytes()), (0x3000, 0x3000, 0));
    assert!(!core.knows_residency());
    // What is not in the file: the rest of a text whose file is another one here, and what was
    // never mapped.
    assert_eq!(core.u64(0x2000), Err(ReadError::NotPresent(0x2000)));
    assert_eq!(core.u64(0x4000), Err(ReadError::NotMapped(0x4000)));
    let mut across = vec![0; 0x3000];
    assert_eq!(core.read_bulk(HEAP + 0x2000, &mut across), 0x2000);
}

#[test]
fn a_core_that_was_cut_off_is_read_as_far_as_it_goes() {
    let whole = core();
    let cut = whole.len() - 0x2800;
    let core = Core::open(file(&whole[..cut])).unwrap();
    assert_eq!(core.missing_bytes(), 0x2800);
    assert_eq!(core.pid(), 42);
    assert_eq!(core.u64(HEAP + 0x1000), Ok(7));
    assert!(core.u64(STACK).is_err());
    assert_eq!(core.text(ProcText::CommandLine).unwrap(), b"app\0-x", "what the kernel noted");
    assert_eq!(core.text(ProcText::Environment), None);
}

#[test]
fn what_nobody_could_access_is_not_readable() {
    let guard = |bytes: Vec<u8>| Segment { flags: 4, ..load(HEAP - 0x1000, bytes) };
    for (bytes, is_data) in [(vec![0; 0x1000], false), (vec![1; 0x1000], true)] {
        let core = Core::open(file(&build(&[guard(bytes), load(HEAP, vec![1; 0x1000])]))).unwrap();
        assert_eq!((core.vmas()[0].read, core.vmas()[1].read), (is_data, true));
    }
}

#[test]
fn pages_of_a_file_come_from_the_very_file_only() {
    let mut library = tempfile::NamedTempFile::new().unwrap();
    let mut bytes = vec![3u8; 0x2000];
    bytes[..4].copy_from_slice(b"\x7fELF");
    library.write_all(&bytes).unwrap();
    let path = library.path().to_str().unwrap();
    for same in [true, false] {
        let mut first = bytes[..0x1000].to_vec();
        first[100] ^= u8::from(!same);
        let notes = files(&[(0x10000, 0x12000, 0, path)]);
        let notes = Segment { kind: 4, bytes: notes, ..Segment::default() };
        let text = Segment { memory_bytes: 0x2000, flags: 5, ..load(0x10000, first) };
        let core = Core::open(file(&build(&[notes, text]))).unwrap();
        assert_eq!(core.u8(0x11000).ok(), same.then_some(3));
        assert_eq!(core.open(&core.vmas()[0]).is_some(), same);
    }
}

#[test]
fn what_is_no_core_is_refused_in_words() {
    let open = |bytes: &[u8]| Core::open(file(bytes)).unwrap_err();
    assert!(matches!(open(b""), Error::NotElf));
    assert!(matches!(open(&[b'x'; 200]), Error::NotElf));
    assert!(matches!(open(&std::fs::read("/proc/self/exe").unwrap()), Error::NotCore));
    assert!(matches!(open(&[&[0x28, 0xb5, 0x2f, 0xfd][..], &[0; 100]].concat()), Error::Compressed));
    let mut other = core();
    other[18] = 243;
    assert!(matches!(open(&other), Error::Machine { machine: 243, bits: 64 }));
    let bytes = 16 * page_bytes();
    assert!(matches!(open(&core_with_pages(bytes)), Error::Pages { bytes: said } if said == bytes));
    assert!(matches!(open(&core()[..100]), Error::Empty));
    assert!(matches!(open(&build(&[])), Error::Empty));
}

#[test]
fn a_terabyte_of_nothing_takes_no_time() {
    let bytes = build(&[load(HEAP, vec![5; 0x1000])]);
    let file = file(&bytes);
    file.set_len(1 << 40).unwrap();
    let mut header = [0; 8];
    header.copy_from_slice(&((1u64 << 40) - 0x1000).to_le_bytes());
    // Both sizes of the only segment.
    use std::os::unix::fs::FileExt;
    file.write_all_at(&header, 64 + 32).unwrap();
    file.write_all_at(&header, 64 + 40).unwrap();
    let core = Core::open(file).unwrap();
    assert_eq!(core.held_bytes(), 0x1000);
    assert_eq!(core.u64(HEAP + (1 << 39)), Ok(0));
}

#[test]
fn memory_that_no_process_can_have_is_left_out() {
    let far = Segment { memory_bytes: 1 << 63, ..load(HEAP, vec![5; 0x1000]) };
    let library =
        files(&[(1 << 62, 1 << 63, 0, "/lib/libjemalloc.so.2"), (CODE, CODE + 0x1000, 0, "/lib/a.so")]);
    let notes = Segment { kind: 4, bytes: library, ..Segment::default() };
    let core = Core::open(file(&build(&[notes, far, load(STACK, vec![6; 0x1000])]))).unwrap();
    let ranges: Vec<(u64, u64)> = core.vmas().iter().map(|vma| (vma.start, vma.end)).collect();
    assert!(ranges.iter().all(|(_, end)| *end <= 1 << 56), "{ranges:x?}");
    assert!(ranges.contains(&(STACK, STACK + 0x1000)), "{ranges:x?}");
    assert!(core.vmas().iter().all(|vma| !vma.path.contains("jemalloc")), "{:?}", core.vmas());
}

#[test]
fn bytes_of_the_file_are_nobodys_twice() {
    let mut bytes = build(&[load(HEAP, vec![5; 0x1000]), load(STACK, vec![6; 0x1000])]);
    // The second segment claims the first one's place in the file.
    let first: [u8; 8] = bytes[64 + 8..64 + 16].try_into().unwrap();
    bytes[64 + 56 + 8..64 + 56 + 16].copy_from_slice(&first);
    let core = Core::open(file(&bytes)).unwrap();
    assert_eq!(core.held_bytes(), 0x1000);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_it_panic(
        changes in prop::collection::vec((0usize..0x600, any::<u8>()), 0..12),
        words in prop::collection::vec((0usize..0xc0, prop_oneof![Just(0), Just(u64::MAX), Just(1 << 63), any::<u64>()]), 0..4),
        cut in prop::option::of(0usize..0xb000),
    ) {
        let mut bytes = core();
        let notes = 0x1000;
        for (at, byte) in changes {
            // The headers, or the notes.
            let at = if at % 2 == 0 { at } else { notes + at };
            bytes[at] = byte;
        }
        for (at, word) in words {
            bytes[at * 8..at * 8 + 8].copy_from_slice(&word.to_le_bytes());
        }
        bytes.truncate(cut.unwrap_or(usize::MAX));
        if let Ok(core) = Core::open(file(&bytes)) {
            for pair in core.vmas().windows(2) {
                prop_assert!(pair[0].start < pair[0].end && pair[0].end <= pair[1].start);
            }
            prop_assert!(core.held_bytes() <= bytes.len() as u64 + 0x10000);
            for vma in core.vmas() {
                let _ = (core.u64(vma.start), core.u64(vma.end - 8), core.open(vma));
                let mut piece = [0; 64];
                core.read_bulk(vma.start, &mut piece);
                core.runs(vma.start, vma.end);
            }
            let _ = (core.text(ProcText::CommandLine), core.exe(), core.tasks());
        }
    }

    #[test]
    fn no_notes_make_it_panic(desc in prop::collection::vec(any::<u8>(), 0..400), kind in prop::sample::select(vec![1u32, 3, 6, 0x4649_4c45])) {
        let notes = Segment { kind: 4, bytes: note(kind, &desc), ..Segment::default() };
        let _ = Core::open(file(&build(&[notes, load(HEAP, vec![1; 0x1000])])));
    }
}

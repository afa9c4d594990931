//! A live file with words of any value anywhere, as a hostile or dying target leaves it: whatever is read of it, reading ends.
#![no_main]

use libfuzzer_sys::fuzz_target;
use offheap_live::{Counter, Reader};
use std::sync::Mutex;

static TEMPLATE: Mutex<Vec<u8>> = Mutex::new(Vec::new());

fuzz_target!(|input: &[u8]| {
    let mut bytes = TEMPLATE.lock().unwrap();
    if bytes.is_empty() {
        *bytes = std::fs::read("template.live").expect("./corpus.sh makes template.live");
    }
    let length = bytes.len() as u64;
    let mut was = Vec::new();
    // Where, and what: half of the places in the header, which everything else follows from.
    for piece in input.chunks_exact(13) {
        let place = u64::from(u32::from_le_bytes([piece[1], piece[2], piece[3], piece[4]]));
        let at = (if piece[0] & 1 == 0 { place % 4096 } else { place % (length - 8) }) as usize;
        was.push((at, <[u8; 8]>::try_from(&bytes[at..at + 8]).unwrap()));
        bytes[at..at + 8].copy_from_slice(&piece[5..13]);
    }
    if let Ok(reader) = Reader::new(&bytes) {
        // Any number may stand there.
        let numbers = [reader.dropped(), reader.counter(Counter::Samples), u64::from(reader.info().pid)];
        let sizes = reader.samples().map(|sample| sample.size);
        let mut sum = numbers.into_iter().chain(sizes).fold(0, u64::wrapping_add) >> 1;
        sum += reader.regions().count() as u64 + reader.objects().count() as u64;
        for stack in reader.stacks() {
            sum += stack.frames().count() as u64;
        }
        sum += reader.modules().map(|module| module.path.len() + module.build_id.len()).sum::<usize>() as u64;
        for id in [0, 1, 77, u32::MAX, input.first().copied().unwrap_or(0).into()] {
            sum += reader.stack(id).map_or(0, |stack| stack.frames().count() as u64);
            sum += u64::from(reader.module(id).is_some());
        }
        std::hint::black_box(sum);
    }
    for (at, word) in was.into_iter().rev() {
        bytes[at..at + 8].copy_from_slice(&word);
    }
});

//! Which pages a core file holds something of: those that are not all zero.

use offheap_target::arch::PIECE;
use offheap_target::{page_bytes, page_start};
use rustix::fs::SeekFrom;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Bytes read at a time.
const AT_ONCE: usize = 1 << 20;

/// The memory of one mapping in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Load {
    /// First address.
    pub start: u64,
    /// Where in the file its bytes are.
    pub offset: u64,
    /// How many of them there are in the file; never more than the file has.
    pub bytes: u64,
}

/// The pages of `load` that are not all zero, as ranges of addresses, ascending; touching ones are
/// joined. Of a page that the file has only a part of, that part counts.
pub(crate) fn pages(file: &File, load: &Load, held: &mut Vec<(u64, u64)>) {
    let mut buffer = vec![0; AT_ONCE];
    let mut done = 0;
    while done < load.bytes {
        // The holes of a sparse file are read as zeros, a terabyte of them as slowly as anything
        // else.
        match data_after(file, load.offset + done) {
            Some(data) => {
                let skipped = data.saturating_sub(load.offset + done);
                done = done.saturating_add(page_start(skipped));
            }
            None => return,
        }
        let want = load.bytes.saturating_sub(done).min(AT_ONCE as u64) as usize;
        let Some(piece) = buffer.get_mut(..want) else { return };
        if want == 0 || file.read_exact_at(piece, load.offset + done).is_err() {
            return;
        }
        for (index, page) in piece.chunks(page_bytes() as usize).enumerate() {
            if is_zero(page) {
                continue;
            }
            let start = load.start + done + index as u64 * page_bytes();
            match held.last_mut() {
                Some(last) if last.1 == start => last.1 += page_bytes(),
                _ => held.push((start, start + page_bytes())),
            }
        }
        done += want as u64;
    }
}

/// Where data comes next in the file; `None` where only a hole does. A file system that can't tell
/// has data everywhere.
fn data_after(file: &File, at: u64) -> Option<u64> {
    match rustix::fs::seek(file, SeekFrom::Data(at)) {
        Ok(data) => Some(data),
        Err(rustix::io::Errno::NXIO) => None,
        Err(_) => Some(at),
    }
}

fn is_zero(page: &[u8]) -> bool {
    const ZEROS: [u8; PIECE] = [0; PIECE];
    ZEROS.get(..page.len()) == Some(page)
}

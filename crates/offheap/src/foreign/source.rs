//! A recording's or a heap dump's file, read anywhere.

use crate::files;
use offheap_formats::jfr::Source;
use offheap_formats::wrapping;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// A file that is not wrapped.
pub(super) struct Plain(File);

impl Plain {
    /// The file at `path`; `None` where it is wrapped, or can't be read.
    pub(super) fn open(path: &Path) -> Option<Plain> {
        let plain = Plain(files::open(path).ok()?);
        let mut head = [0; 4];
        let count = plain.read_at(0, &mut head).ok()?;
        wrapping(head.get(..count)?).is_none().then_some(plain)
    }
}

impl Source for Plain {
    fn read_at(&self, at: u64, into: &mut [u8]) -> std::io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = into.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.0.read_at(rest, at + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }
}

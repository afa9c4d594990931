//! A target that a test makes by hand.

use crate::{Memory, PageKind, ProcText, ReadError, Run, Target, Task, Vma, find, page_bytes};
use std::collections::HashMap;
use std::fs::File;

/// A target of given bytes, for tests: every page of its mappings holds something.
#[derive(Debug, Clone, Default)]
pub struct Synthetic {
    vmas: Vec<Vma>,
    bytes: HashMap<u64, Vec<u8>>,
    /// Its threads; `None` as of a target that doesn't know them.
    pub tasks: Option<Vec<Task>>,
    /// Its texts.
    pub texts: HashMap<ProcText, Vec<u8>>,
    /// What [`Target::knows_residency`] says.
    pub knows_residency: bool,
}

impl Synthetic {
    /// Adds a mapping that starts with `bytes`; what is left of it are zeros. Mappings may come in
    /// any order, and never overlap.
    pub fn map(&mut self, vma: Vma, bytes: impl Into<Vec<u8>>) {
        let mut bytes = bytes.into();
        bytes.resize(vma.len() as usize, 0);
        self.bytes.insert(vma.start, bytes);
        let place = self.vmas.partition_point(|other| other.start < vma.start);
        self.vmas.insert(place, vma);
    }

    /// Adds private memory that can be written, from `start` on.
    pub fn anonymous(&mut self, start: u64, bytes: impl Into<Vec<u8>>) {
        let bytes = bytes.into();
        let end = start + (bytes.len() as u64).next_multiple_of(page_bytes());
        self.map(Vma { start, end, read: true, write: true, ..Vma::default() }, bytes);
    }
}

impl Memory for Synthetic {
    fn read(&self, address: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let mut at = address;
        let mut rest = buffer;
        while !rest.is_empty() {
            let vma = find(&self.vmas, at).ok_or(ReadError::NotMapped(at))?;
            let bytes = self.bytes.get(&vma.start).ok_or(ReadError::NotPresent(at))?;
            let from = bytes.get((at - vma.start) as usize..).unwrap_or_default();
            let count = from.len().min(rest.len());
            let (head, tail) = rest.split_at_mut(count);
            head.copy_from_slice(&from[..count]);
            at += count as u64;
            rest = tail;
        }
        Ok(())
    }

    fn read_bulk(&self, address: u64, buffer: &mut [u8]) -> usize {
        if self.read(address, buffer).is_ok() { buffer.len() } else { 0 }
    }
}

impl Target for Synthetic {
    fn pid(&self) -> i32 {
        1
    }

    fn vmas(&self) -> &[Vma] {
        &self.vmas
    }

    fn runs(&self, start: u64, end: u64) -> Vec<Run> {
        let touched = self.vmas.iter().filter(|vma| vma.start < end && vma.end > start);
        touched
            .map(|vma| Run { start: vma.start.max(start), end: vma.end.min(end), kind: PageKind::Present })
            .collect()
    }

    fn knows_residency(&self) -> bool {
        self.knows_residency
    }

    fn open(&self, _: &Vma) -> Option<File> {
        None
    }

    fn tasks(&self) -> Option<Vec<Task>> {
        self.tasks.clone()
    }

    fn text(&self, text: ProcText) -> Option<Vec<u8>> {
        self.texts.get(&text).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reads;

    #[test]
    fn what_was_put_is_read_and_nothing_else() {
        let mut target = Synthetic::default();
        target.anonymous(0x3000, *b"later");
        target.anonymous(0x1000, 7u64.to_le_bytes());
        assert_eq!(target.u64(0x1000), Ok(7));
        assert_eq!(target.c_string(0x3000, 100).unwrap(), "later");
        assert_eq!(target.u64(0x1ffc), Err(ReadError::NotMapped(0x2000)));
        assert!(target.is_present(0x1fff) && !target.is_present(0x2000));
        assert_eq!(target.vma(0x3001).map(|vma| vma.end), Some(0x4000));
        assert_eq!(target.exe(), None);
    }
}

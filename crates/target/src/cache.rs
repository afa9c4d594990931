//! A cache of pages for who reads structures in another address space. (Where pages are larger than
//! [`PIECE`], it is pieces of them.)

use crate::ReadError;
use crate::arch::PIECE;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Pages kept at most: 16 MiB. Walking structures touches the same few pages again and again.
const CACHED_PAGES: usize = 4096;

/// The bytes of one page.
pub type Page = Box<[u8; PIECE]>;

/// The page of `file` at `offset`; what lies behind the end of the file is zeros, as in a mapping
/// of it.
///
/// # Errors
/// What the kernel says.
pub fn page_of(file: &File, offset: u64) -> std::io::Result<Page> {
    let mut bytes = Box::new([0; PIECE]);
    let mut done = 0;
    while done < bytes.len() {
        match file.read_at(&mut bytes[done..], offset.saturating_add(done as u64))? {
            0 => break,
            count => done += count,
        }
    }
    Ok(bytes)
}

/// Keeps the pages that were read, and remembers those that can't be: walkers follow the same stale
/// pointer many times.
#[derive(Debug, Default)]
pub struct PageCache(RefCell<HashMap<u64, Option<Page>>>);

impl PageCache {
    /// Fills `buffer` from `address`; a page that is not kept is read by `load`, which is given its
    /// address.
    ///
    /// # Errors
    /// What `load` says, and [`ReadError::NotPresent`] where it failed before.
    pub fn read(
        &self,
        address: u64,
        buffer: &mut [u8],
        load: impl Fn(u64) -> Result<Page, ReadError>,
    ) -> Result<(), ReadError> {
        let mut at = address;
        let mut rest = buffer;
        while !rest.is_empty() {
            let inside = (at % PIECE as u64) as usize;
            let count = rest.len().min(PIECE - inside);
            let (head, tail) = rest.split_at_mut(count);
            self.with_page(at - inside as u64, &load, |page| {
                head.copy_from_slice(&page[inside..inside + count]);
            })?;
            at = at.checked_add(count as u64).ok_or(ReadError::NotMapped(address))?;
            rest = tail;
        }
        Ok(())
    }

    /// Keeps nothing any more.
    pub fn forget(&self) {
        self.0.borrow_mut().clear();
    }

    fn with_page(
        &self,
        page: u64,
        load: impl Fn(u64) -> Result<Page, ReadError>,
        look: impl FnOnce(&[u8; PIECE]),
    ) -> Result<(), ReadError> {
        let mut pages = self.0.borrow_mut();
        if pages.len() >= CACHED_PAGES && !pages.contains_key(&page) {
            pages.clear();
        }
        if let Some(known) = pages.get(&page) {
            return known.as_deref().map(look).ok_or(ReadError::NotPresent(page));
        }
        let read = load(page);
        let result = match &read {
            Ok(bytes) => {
                look(bytes);
                Ok(())
            }
            Err(error) => Err(*error),
        };
        pages.insert(page, read.ok());
        result
    }
}

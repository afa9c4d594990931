//! The allocators that are known: each is a folder of this crate and a line of [`ALLOCATORS`].

use crate::{Heap, Options, glibc, jemalloc, mimalloc, musl, tcmalloc};
use offheap_target::Target;
use std::fmt;

/// An allocator that can serve `malloc`. All that is known of it lies in its folder.
pub struct Allocator {
    /// Its usual name, in lower case.
    pub name: &'static str,
    /// How a program has it give back what it holds free; `None` where it offers no way.
    pub gives_back_by: Option<&'static str>,
    /// Symbols that give it away.
    pub(crate) marks: &'static [&'static str],
    /// Parts of the names of the libraries that it comes in.
    pub(crate) libraries: &'static [&'static str],
    /// How its version is found.
    pub(crate) version: Version,
    /// Makes what looks at its heap; its code is in the file at this path.
    pub(crate) open: fn(&str) -> Box<dyn HeapWalk>,
}

/// Every allocator that is known. One that has a more certain mark stands before one that has a
/// less certain one.
pub static ALLOCATORS: [&Allocator; 5] =
    [&glibc::ALLOCATOR, &jemalloc::ALLOCATOR, &tcmalloc::ALLOCATOR, &mimalloc::ALLOCATOR, &musl::ALLOCATOR];

/// Parts of the names of libraries that may serve `malloc` and are of none of [`ALLOCATORS`].
pub(crate) const OTHERS: [&str; 2] = ["malloc", "alloc.so"];

/// How an allocator's version is found.
pub(crate) enum Version {
    /// By a text in its code.
    Text {
        /// What is in that text.
        part: &'static [u8],
        /// Whether it is the right one.
        accepts: fn(&str) -> bool,
        /// The version in it.
        take: fn(&str) -> Option<String>,
    },
    /// By what follows `.so.` in its file's name.
    FileName,
}

/// What looks at one process's heap, and keeps what it has learnt of it.
pub(crate) trait HeapWalk: fmt::Debug {
    /// Looks at the heap as it is now.
    fn walk(&mut self, target: &dyn Target, options: &Options<'_>) -> Heap;
}

impl fmt::Debug for Allocator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Allocator {
    fn eq(&self, other: &Allocator) -> bool {
        self.name == other.name
    }
}

impl Eq for Allocator {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_allocators_are_told_by_the_same() {
        let mut seen = std::collections::HashSet::new();
        for allocator in ALLOCATORS {
            assert!(!allocator.marks.is_empty() && !allocator.libraries.is_empty(), "{allocator:?}");
            assert_eq!(allocator.name, allocator.name.to_lowercase());
            let words = allocator.marks.iter().chain(allocator.libraries).chain([&allocator.name]);
            assert!(words.copied().all(|word| seen.insert(word)), "{allocator:?}");
        }
    }
}

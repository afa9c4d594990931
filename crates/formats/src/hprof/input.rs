//! Where a dump's bytes come from.

use crate::jfr::Source;
use std::io::{self, ErrorKind, Read};

/// Bytes that are thrown away at once, where a file can only be read forwards.
const SCRATCH: usize = 64 << 10;

/// A file that can be read at any place, if need be from its start again.
pub(super) trait Input {
    /// Reads what is at `at`, into at most the whole of `into`; 0 behind the end.
    ///
    /// # Errors
    /// As the file says.
    fn read_at(&mut self, at: u64, into: &mut [u8]) -> io::Result<usize>;
}

impl Input for &dyn Source {
    fn read_at(&mut self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        Source::read_at(*self, at, into)
    }
}

/// Opens a file anew.
pub(super) type Open<'o, 'a> = &'o mut dyn FnMut() -> io::Result<Box<dyn Read + 'a>>;

/// A wrapped file: it is unfolded from its start on, as often as somebody looks back.
pub(super) struct Again<'o, 'a> {
    open: Open<'o, 'a>,
    input: Option<Box<dyn Read + 'a>>,
    at: u64,
}

impl<'o, 'a> Again<'o, 'a> {
    pub(super) fn new(open: Open<'o, 'a>) -> Again<'o, 'a> {
        Again { open, input: None, at: 0 }
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let input = match &mut self.input {
            Some(input) => input,
            None => {
                self.at = 0;
                self.input.insert((self.open)()?)
            }
        };
        loop {
            match input.read(into) {
                Ok(read) => {
                    self.at += read as u64;
                    return Ok(read);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Input for Again<'_, '_> {
    fn read_at(&mut self, at: u64, into: &mut [u8]) -> io::Result<usize> {
        if at < self.at || self.input.is_none() {
            (self.input, self.at) = (None, 0);
        }
        let mut scratch = if self.at < at { vec![0; SCRATCH] } else { Vec::new() };
        while self.at < at {
            let step = (at - self.at).min(SCRATCH as u64) as usize;
            if self.read(scratch.get_mut(..step).unwrap_or_default())? == 0 {
                return Ok(0);
            }
        }
        self.read(into)
    }
}

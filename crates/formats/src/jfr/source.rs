//! Where a recording's bytes come from, chunk by chunk.

use super::FORMAT;
use super::chunk::{self, Chunk, HEADER};
use crate::Error;
use std::io::Read;

/// A recording that can be read anywhere, by several threads at once: a file, or bytes in memory.
pub trait Source: Sync {
    /// Fills `into` with what is at `at`; how much that was: less only at the end.
    ///
    /// # Errors
    /// It can't be read.
    fn read_at(&self, at: u64, into: &mut [u8]) -> std::io::Result<usize>;
}

impl Source for &[u8] {
    fn read_at(&self, at: u64, into: &mut [u8]) -> std::io::Result<usize> {
        let rest = usize::try_from(at).ok().and_then(|at| self.get(at..)).unwrap_or_default();
        let count = rest.len().min(into.len());
        if let (Some(to), Some(from)) = (into.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        Ok(count)
    }
}

/// A source, read from `at` on.
struct Following<'s> {
    source: &'s dyn Source,
    at: u64,
}

impl Read for Following<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let count = self.source.read_at(self.at, into)?;
        self.at += count as u64;
        Ok(count)
    }
}

/// Chunks are at most this large. The JDK starts a new one at 12 MiB (-XX:FlightRecorderOptions
/// maxchunksize), async-profiler at 100 MiB (chunksize).
const LARGEST_CHUNK: u64 = 2 << 30;

/// A recording, one chunk after the other.
pub(super) struct Chunks<'i> {
    input: Input<'i>,
    /// The chunk at hand, where it had to be read whole.
    bytes: Vec<u8>,
}

pub(super) enum Input<'i> {
    /// What can only be read once, from its start to its end.
    Stream(&'i mut dyn Read),
    Anywhere(&'i dyn Source),
}

impl<'i> Chunks<'i> {
    pub(super) fn new(input: Input<'i>) -> Chunks<'i> {
        Chunks { input, bytes: Vec::new() }
    }

    /// The chunk at `at`, where the one before ended; `None` at the end.
    pub(super) fn next(&mut self, at: u64) -> Result<Option<Chunk>, Error> {
        self.bytes.clear();
        let Chunks { input, bytes } = self;
        match input {
            Input::Stream(stream) => load(stream, bytes, at)?,
            Input::Anywhere(source) => match finished(*source, at) {
                Some(length) => return Chunk::open(*source, at, length).map(Some),
                None => load(&mut Following { source: *source, at }, bytes, at)?,
            },
        }
        if bytes.is_empty() {
            return Ok(None);
        }
        if bytes.len() as u64 > LARGEST_CHUNK {
            let reason = "a chunk of more than 2 GiB, which no JVM writes".to_owned();
            return Err(Error::TooLarge { format: FORMAT, reason });
        }
        Chunk::open(&bytes.as_slice(), 0, bytes.len()).map(Some)
    }

    /// Gives `reader` what the chunk is in that [`next`](Self::next) gave last.
    pub(super) fn with<T>(&self, reader: impl FnOnce(&dyn Source) -> T) -> T {
        match &self.input {
            Input::Anywhere(source) if self.bytes.is_empty() => reader(*source),
            _ => reader(&self.bytes.as_slice()),
        }
    }
}

/// The length of the chunk at `at`, where it is finished and all there.
fn finished(source: &dyn Source, at: u64) -> Option<usize> {
    let mut header = [0; HEADER];
    let count = source.read_at(at, &mut header).ok()?;
    let length = chunk::length(header.get(..count)?).filter(|length| *length <= LARGEST_CHUNK)?;
    let last = source.read_at(at.checked_add(length - 1)?, &mut [0]).ok()?;
    (last == 1).then_some(length as usize)
}

/// Reads a chunk whole.
fn load(input: &mut dyn Read, bytes: &mut Vec<u8>, at: u64) -> Result<(), Error> {
    fill(input, bytes, HEADER as u64, at)?;
    // A chunk without a length is being written: it is all that follows.
    let length = chunk::length(bytes).unwrap_or(u64::MAX).saturating_sub(bytes.len() as u64);
    fill(input, bytes, length.min(LARGEST_CHUNK), at)
}

fn fill(input: &mut dyn Read, chunk: &mut Vec<u8>, length: u64, at: u64) -> Result<(), Error> {
    match input.take(length).read_to_end(chunk) {
        Ok(_) => Ok(()),
        Err(error) if let Some(refused) = crate::unwrap::refusal(FORMAT, &error) => Err(refused),
        // What a damaged wrapping still gave is used; nothing at all is an error.
        Err(_) if at > 0 || !chunk.is_empty() => Ok(()),
        Err(error) => Err(Error::Damaged { format: FORMAT, at, reason: error.to_string() }),
    }
}

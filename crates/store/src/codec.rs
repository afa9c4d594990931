//! Snapshots as bytes: JSON, compressed with an earlier snapshot as the dictionary. Of two
//! snapshots a second apart hardly anything differs but digits, so a snapshot of 40 KB takes a few
//! hundred bytes.

use offheap_model::Snapshot;
use std::io;

/// No snapshot is larger than this in JSON; what claims to be is damaged. A JVM of 2,000 threads
/// has 0.2 MB.
pub(crate) const SNAPSHOT: usize = 16 << 20;
/// Nor is a profile.
pub(crate) const PROFILE: usize = 64 << 20;

/// The usual level: its ratio is near the best here, at a tenth of the time.
const LEVEL: i32 = 3;

/// A snapshot as JSON.
pub(crate) fn json(snapshot: &Snapshot) -> Vec<u8> {
    // Plain data with string keys: there is nothing that could fail.
    serde_json::to_vec(snapshot).unwrap_or_default()
}

/// Compresses on its own.
pub(crate) fn pack(bytes: &[u8]) -> io::Result<Vec<u8>> {
    Ok(with_length(bytes, zstd::bulk::compress(bytes, LEVEL)?))
}

/// Undoes [`pack`]; more than `most` bytes are an error.
pub(crate) fn unpack(bytes: &[u8], most: usize) -> io::Result<Vec<u8>> {
    let (length, packed) = length(bytes, most)?;
    zstd::bulk::decompress(packed, length)
}

/// Compresses against a frame.
pub(crate) struct Packer {
    frame: usize,
    compressor: zstd::bulk::Compressor<'static>,
}

impl Packer {
    pub(crate) fn new(frame: &[u8]) -> io::Result<Packer> {
        let compressor = zstd::bulk::Compressor::with_dictionary(LEVEL, frame)?;
        Ok(Packer { frame: frame.len(), compressor })
    }

    pub(crate) fn pack(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        Ok(with_length(bytes, self.compressor.compress(bytes)?))
    }

    /// True where a packed size says that the frame has become a bad dictionary: threads and files
    /// came and went.
    pub(crate) fn is_worn(&self, packed: usize) -> bool {
        packed > 1024 && packed > self.frame / 12
    }
}

/// Undoes [`Packer::pack`].
pub(crate) struct Unpacker(zstd::bulk::Decompressor<'static>);

impl Unpacker {
    pub(crate) fn new(frame: &[u8]) -> io::Result<Unpacker> {
        Ok(Unpacker(zstd::bulk::Decompressor::with_dictionary(frame)?))
    }

    pub(crate) fn unpack(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let (length, packed) = length(bytes, SNAPSHOT)?;
        self.0.decompress(packed, length)
    }
}

/// The length of `bytes` in four bytes, little endian, and then `packed`.
fn with_length(bytes: &[u8], packed: Vec<u8>) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    [&length.to_le_bytes(), packed.as_slice()].concat()
}

/// Undoes [`with_length`]; a length above `most` is refused before any memory is taken for it.
fn length(bytes: &[u8], most: usize) -> io::Result<(usize, &[u8])> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, "its stated length is not believable");
    let (head, packed) = bytes.split_first_chunk::<4>().ok_or_else(wrong)?;
    let length = u32::from_le_bytes(*head) as usize;
    if length > most { Err(wrong()) } else { Ok((length, packed)) }
}

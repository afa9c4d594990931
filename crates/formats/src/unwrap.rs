//! gzip and zstd around a file, with a bound on what they may unfold to.

use crate::{Cut, Error};
use std::borrow::Cow;
use std::io::{BufReader, ErrorKind, Read};

/// What a file is wrapped in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrapping {
    /// gzip (RFC 1952), also of several members.
    Gzip,
    /// Zstandard (RFC 8878).
    Zstd,
}

/// What `bytes` are wrapped in, by their magic number.
pub fn wrapping(bytes: &[u8]) -> Option<Wrapping> {
    if bytes.starts_with(&[0x1f, 0x8b, 8]) {
        Some(Wrapping::Gzip)
    } else if bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        Some(Wrapping::Zstd)
    } else {
        None
    }
}

/// `bytes` without their gzip or zstd wrapping; as they are where they have none. A wrapped file
/// that is cut off gives what can be unfolded.
///
/// # Errors
/// [`Error::TooLarge`] if there would be more than `limit` bytes.
pub fn unwrap(bytes: &[u8], limit: u64) -> Result<(Cow<'_, [u8]>, Option<Cut>), Error> {
    match wrapping(bytes) {
        None => Ok((Cow::Borrowed(bytes), None)),
        Some(Wrapping::Gzip) => {
            let (plain, cut) = read("gzip file", flate2::read::MultiGzDecoder::new(bytes), limit)?;
            Ok((Cow::Owned(plain), cut))
        }
        Some(Wrapping::Zstd) => {
            let mut decoder = zstd::Decoder::with_buffer(BufReader::new(bytes))
                .map_err(|error| Error::Damaged { format: "zstd file", at: 0, reason: error.to_string() })?;
            // 128 MiB of window: what `zstd --long=27` needs, and no more.
            decoder.window_log_max(27).map_err(|error| Error::Damaged {
                format: "zstd file",
                at: 0,
                reason: error.to_string(),
            })?;
            let (plain, cut) = read("zstd file", decoder, limit)?;
            Ok((Cow::Owned(plain), cut))
        }
    }
}

/// `input` without its gzip or zstd wrapping, piece by piece; as it is where it has none. Reading
/// on beyond `limit` bytes is an error of kind [`ErrorKind::FileTooLarge`], so that a bomb ends.
///
/// # Errors
/// Its first bytes can't be read, or its wrapping is damaged there.
pub fn unwrapped<'a>(mut input: impl Read + 'a, limit: u64) -> std::io::Result<Box<dyn Read + 'a>> {
    let mut head = Vec::new();
    input.by_ref().take(4).read_to_end(&mut head)?;
    let kind = wrapping(&head);
    let whole = std::io::Cursor::new(head).chain(input);
    let inner: Box<dyn Read + 'a> = match kind {
        None => return Ok(Box::new(whole)),
        Some(Wrapping::Gzip) => Box::new(flate2::read::MultiGzDecoder::new(whole)),
        Some(Wrapping::Zstd) => {
            let mut decoder = zstd::Decoder::new(whole)?;
            decoder.window_log_max(27)?;
            Box::new(decoder)
        }
    };
    Ok(Box::new(Limited { inner, left: limit }))
}

/// The refusal of a `format` whose reading ended with `error`, where that was a bomb.
pub(crate) fn refusal(format: &'static str, error: &std::io::Error) -> Option<Error> {
    (error.kind() == ErrorKind::FileTooLarge).then(|| Error::TooLarge { format, reason: error.to_string() })
}

struct Limited<'a> {
    inner: Box<dyn Read + 'a>,
    left: u64,
}

impl Read for Limited<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(into)?;
        self.left = self.left.checked_sub(count as u64).ok_or_else(|| {
            let text = "it unfolds to more than is allowed; unfold it by hand if that is meant";
            std::io::Error::new(ErrorKind::FileTooLarge, text)
        })?;
        Ok(count)
    }
}

fn read(format: &'static str, mut from: impl Read, limit: u64) -> Result<(Vec<u8>, Option<Cut>), Error> {
    let mut plain = Vec::new();
    let mut chunk = vec![0; 64 << 10];
    loop {
        match from.read(&mut chunk) {
            Ok(0) => return Ok((plain, None)),
            Ok(count) => plain.extend_from_slice(chunk.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if plain.is_empty() => {
                return Err(Error::Damaged { format, at: 0, reason: error.to_string() });
            }
            Err(error) => {
                let at = plain.len() as u64;
                return Ok((plain, Some(Cut { at, reading: format!("the {format} ({error})") })));
            }
        }
        if plain.len() as u64 > limit {
            return Err(Error::TooLarge {
                format,
                reason: format!("it unfolds to more than {limit} bytes; unfold it by hand if that is meant"),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn both_are_undone_and_their_bombs_refused() {
        let text: Vec<u8> = (0..200_000u32).flat_map(u32::to_le_bytes).collect();
        for packed in [gzip(&text), zstd::encode_all(text.as_slice(), 3).unwrap()] {
            assert_eq!(unwrap(&packed, 1 << 20).unwrap(), (Cow::Borrowed(text.as_slice()), None));
            let (part, cut) = unwrap(&packed[..packed.len() / 2], 1 << 20).unwrap();
            assert!(text.starts_with(&part) && !part.is_empty());
            assert_eq!(cut.unwrap().at, part.len() as u64);
        }
        let bomb = vec![0; 50 << 20];
        for packed in [gzip(&bomb), zstd::encode_all(bomb.as_slice(), 3).unwrap()] {
            assert!(packed.len() < 100_000);
            assert!(matches!(unwrap(&packed, 1 << 20), Err(Error::TooLarge { .. })));
        }
        assert_eq!(unwrap(b"plain", 1).unwrap().0.as_ref(), b"plain");
    }

    #[test]
    fn piece_by_piece_it_is_the_same() {
        let text: Vec<u8> = (0..200_000u32).flat_map(u32::to_le_bytes).collect();
        for packed in [text.clone(), gzip(&text), zstd::encode_all(text.as_slice(), 3).unwrap()] {
            let mut plain = Vec::new();
            unwrapped(packed.as_slice(), 1 << 20).unwrap().read_to_end(&mut plain).unwrap();
            assert_eq!(plain, text);
        }
        let refused =
            unwrapped(gzip(&vec![0; 50 << 20]).as_slice(), 1 << 20).unwrap().read_to_end(&mut Vec::new());
        assert!(refused.unwrap_err().to_string().contains("more than is allowed"));
    }
}

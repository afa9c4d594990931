//! `/proc/PID/maps`, as heap profilers append it to their files.

use crate::Mapping;

/// The mappings of files in `text`; other lines are passed over. Layout: proc(5), `/proc/pid/maps`.
pub(crate) fn mappings(text: &str) -> Vec<Mapping> {
    text.lines().filter_map(mapping).collect()
}

fn mapping(line: &str) -> Option<Mapping> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let _permissions = fields.next()?;
    let offset = fields.next()?;
    let (_device, _inode) = (fields.next()?, fields.next()?);
    // A path may hold blanks: it is all the rest.
    let path = line.get(line.find('/')?..)?;
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    Some(Mapping {
        start: hex(start)?,
        end: hex(end)?,
        offset: hex(offset)?,
        path: path.to_owned(),
        build_id: None,
    })
}

/// The file that is mapped at `address`; `mappings` are sorted.
pub(crate) fn module(mappings: &[Mapping], address: u64) -> Option<&str> {
    let next = mappings.partition_point(|mapping| mapping.start <= address);
    let mapping = mappings.get(next.checked_sub(1)?)?;
    (address < mapping.end).then_some(mapping.path.as_str())
}

/// A stack of return addresses as the readers of addresses give it: each one byte back, into the call it returns from.
pub(crate) fn call_sites(text: &str) -> Option<Vec<u64>> {
    text.split_ascii_whitespace()
        .map(|word| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok()?.checked_sub(1))
        .collect()
}

/// What a sampled figure stands for: of blocks of mean size s sampled each `interval` bytes by a Poisson process, one is seen
/// with probability 1 − e^(−s / interval). jeprof does the same for `heap_v2`.
pub(crate) fn unbias(count: u64, bytes: u64, interval: u64) -> (u64, u64) {
    if count == 0 || interval <= 1 {
        return (count, bytes);
    }
    let ratio = bytes as f64 / count as f64 / interval as f64;
    let seen = 1.0 - (-ratio).exp();
    if seen <= 0.0 {
        return (count, bytes);
    }
    ((count as f64 / seen).round() as u64, (bytes as f64 / seen).round() as u64)
}

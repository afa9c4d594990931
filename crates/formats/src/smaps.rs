//! `/proc/PID/smaps` and `pmap -X`, as saved to a file: the mappings with their sizes. Source: proc(5), pmap(1).

use crate::{Cut, Error};

/// A mapping with its sizes, in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Region {
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// `rw-p`
    pub permissions: String,
    /// Path, `[heap]`, or empty.
    pub name: String,
    /// Resident.
    pub rss_bytes: u64,
    /// Resident, shared pages divided among those who share them.
    pub pss_bytes: u64,
    /// Private and written.
    pub private_dirty_bytes: u64,
    /// Anonymous.
    pub anonymous_bytes: u64,
    /// Swapped out.
    pub swap_bytes: u64,
}

/// What a file says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Regions {
    /// The mappings, by address.
    pub regions: Vec<Region>,
    /// Where the readable part ends, where that is before the file's end.
    pub cut: Option<Cut>,
}

impl Regions {
    /// Resident bytes of all.
    pub fn rss_bytes(&self) -> u64 {
        self.regions.iter().fold(0, |sum, region| sum.saturating_add(region.rss_bytes))
    }
}

/// True where `head` begins like smaps.
pub(crate) fn is_smaps(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head.get(..4096).unwrap_or(head));
    let mut lines = text.lines();
    lines.next().is_some_and(|line| header(line).is_some())
        && lines.next().is_some_and(|line| line.starts_with("Size:"))
}

/// True where `head` begins like `pmap -X`.
pub(crate) fn is_pmap(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head.get(..4096).unwrap_or(head));
    text.lines().take(3).any(|line| line.trim_start().starts_with("Address Perm "))
}

/// Reads smaps.
///
/// # Errors
/// It does not begin with a mapping.
pub fn read_smaps(bytes: &[u8]) -> Result<Regions, Error> {
    let text = String::from_utf8_lossy(bytes);
    let mut all = Regions::default();
    let mut at = 0u64;
    for line in text.split_inclusive('\n') {
        let here = at;
        at += line.len() as u64;
        let line = line.trim_end();
        if let Some(region) = header(line) {
            all.regions.push(region);
            continue;
        }
        let Some(region) = all.regions.last_mut() else {
            return Err(Error::NotThis {
                format: "smaps file",
                reason: "its first line is no mapping".into(),
            });
        };
        let Some((key, value)) = line.split_once(':') else {
            all.cut = Some(Cut { at: here, reading: "a mapping's figures".into() });
            break;
        };
        let slot = match key {
            "Rss" => &mut region.rss_bytes,
            "Pss" => &mut region.pss_bytes,
            "Private_Dirty" => &mut region.private_dirty_bytes,
            "Anonymous" => &mut region.anonymous_bytes,
            "Swap" => &mut region.swap_bytes,
            _ => continue,
        };
        match value.trim().strip_suffix(" kB").and_then(|value| value.parse::<u64>().ok()) {
            Some(kib) => *slot = kib.saturating_mul(1024),
            None => {
                all.cut = Some(Cut { at: here, reading: format!("the figure {key}") });
                break;
            }
        }
    }
    if all.regions.is_empty() {
        return Err(Error::NotThis { format: "smaps file", reason: "it is empty".into() });
    }
    Ok(all)
}

/// `7f00-7f10 r-xp 00000000 fe:00 123   /path with blanks`
fn header(line: &str) -> Option<Region> {
    let mut rest = line;
    let mut field = || {
        let (field, after) = rest.split_once(' ').unwrap_or((rest, ""));
        rest = after;
        field
    };
    let (start, end) = field().split_once('-')?;
    let permissions = field().to_owned();
    let (_offset, _device, inode) = (field(), field(), field());
    inode.parse::<u64>().ok()?;
    Some(Region {
        start: u64::from_str_radix(start, 16).ok()?,
        end: u64::from_str_radix(end, 16).ok()?,
        permissions,
        name: rest.trim_start().to_owned(),
        ..Region::default()
    })
}

/// Reads `pmap -X`, also `-XX`: the columns are found by their names.
///
/// # Errors
/// There is no line with the columns' names.
pub fn read_pmap(bytes: &[u8]) -> Result<Regions, Error> {
    let text = String::from_utf8_lossy(bytes);
    let mut all = Regions::default();
    let mut columns: Vec<&str> = Vec::new();
    let mut at = 0u64;
    let mut complete = false;
    for line in text.split_inclusive('\n') {
        let here = at;
        at += line.len() as u64;
        let line = line.trim();
        if line.starts_with("Address Perm ") {
            columns = line.split_ascii_whitespace().collect();
        } else if columns.is_empty() {
            continue;
        } else if line.starts_with('=') {
            complete = true;
            break;
        } else {
            match row(&columns, line) {
                Some(region) => all.regions.push(region),
                None => {
                    all.cut = Some(Cut { at: here, reading: "a row".into() });
                    break;
                }
            }
        }
    }
    if columns.is_empty() {
        return Err(Error::NotThis {
            format: "pmap output",
            reason: "it has no line that begins with Address Perm".into(),
        });
    }
    if !complete && all.cut.is_none() {
        all.cut = Some(Cut { at, reading: "the rows: their sum does not follow".into() });
    }
    Ok(all)
}

fn row(columns: &[&str], line: &str) -> Option<Region> {
    let mut region = Region::default();
    let mut rest = line;
    for (place, column) in columns.iter().enumerate() {
        if place + 1 == columns.len() {
            // The last is the name, blanks and all.
            region.name = rest.trim().to_owned();
            break;
        }
        rest = rest.trim_start();
        let (value, after) = rest.split_once(' ').unwrap_or((rest, ""));
        rest = after;
        let kib = || value.parse::<u64>().ok().map(|kib| kib.saturating_mul(1024));
        match *column {
            "Address" => region.start = u64::from_str_radix(value, 16).ok()?,
            "Perm" => region.permissions = value.to_owned(),
            "Size" => region.end = region.start.checked_add(kib()?)?,
            "Rss" => region.rss_bytes = kib()?,
            "Pss" => region.pss_bytes = kib()?,
            "Private_Dirty" => region.private_dirty_bytes = kib()?,
            "Anonymous" => region.anonymous_bytes = kib()?,
            "Swap" => region.swap_bytes = kib()?,
            _ => {}
        }
    }
    Some(region)
}

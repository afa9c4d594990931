//! `/proc/PID/smaps`, `smaps_rollup`, `maps` and `pmap` in all its forms, as saved to a file: the
//! mappings with their sizes. Source: proc(5), pmap(1).

use crate::{Cut, Error};

/// Columns that are looked for in each row: pmap has thirty.
const MAX_COLUMNS: usize = 64;

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

/// True where `head` starts like smaps.
pub(crate) fn is_smaps(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head.get(..4096).unwrap_or(head));
    let mut lines = text.lines();
    lines.next().is_some_and(|line| header(line).is_some())
        // smaps_rollup has one mapping, without a size.
        && lines.next().is_some_and(|line| line.starts_with("Size:") || line.starts_with("Rss:"))
}

/// True where `line` has the names of the columns of `pmap -X`, `-x` or `-d`.
pub(crate) fn is_columns(line: &str) -> bool {
    let mut words = line.split_ascii_whitespace();
    words.next() == Some("Address") && matches!(words.next(), Some("Perm" | "Kbytes"))
}

/// True where `head` starts like `pmap -X`, `-x` or `-d`.
pub(crate) fn is_pmap(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head.get(..4096).unwrap_or(head));
    let first = text.lines().map(str::trim).find(|line| !line.is_empty());
    text.lines().take(3).any(is_columns) || first.is_some_and(x_row)
}

/// True where a list of mappings starts with `line`.
pub(crate) fn begins_smaps(line: &str) -> bool {
    header(line).is_some()
}

/// True where `line` can be of smaps.
pub(crate) fn has_smaps(line: &str) -> bool {
    line.split_once(':').is_some_and(|(key, value)| {
        key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
            && (value.ends_with(" kB") || matches!(key, "VmFlags" | "THPeligible" | "ProtectionKey"))
    }) || header(line.trim_end()).is_some()
}

/// True where `line` can be of `pmap`, in any of its forms.
pub(crate) fn has_pmap(line: &str) -> bool {
    let line = line.trim();
    is_columns(line)
        || plain_row(line).is_some()
        || line.split_ascii_whitespace().next().is_some_and(|word| {
            word.len() >= 8
                && word.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-' || byte == b'=')
        })
        || ["total", "mapped:", "----", "===="].iter().any(|begin| line.starts_with(begin))
        || line.split_once(": ").is_some_and(|(pid, _)| pid.parse::<u32>().is_ok())
}

/// `00007fe1b2e00000  65536K rw---   [ anon ]`, of `pmap` without an option: address, bytes,
/// permissions, name.
fn plain_row(line: &str) -> Option<Region> {
    let (address, rest) = line.split_once(' ')?;
    let (size, rest) = rest.trim_start().split_once("K ")?;
    let (permissions, name) = rest.trim_start().split_once(' ').unwrap_or((rest, ""));
    let start = u64::from_str_radix(address, 16).ok().filter(|_| address.len() >= 8)?;
    let bytes = size.parse::<u64>().ok()?.checked_mul(1024)?;
    let name = name.trim();
    Some(Region {
        start,
        end: start.checked_add(bytes)?,
        permissions: permissions.to_owned(),
        name: if name == "[ anon ]" { String::new() } else { name.to_owned() },
        ..Region::default()
    })
}

/// What `pmap -x` calls its columns, for rows that were pasted without them.
const X_COLUMNS: [&str; 6] = ["Address", "Kbytes", "RSS", "Dirty", "Mode", "Mapping"];

/// `00007fe16b400000  241664   13188   13188 rw---   [ anon ]`, of `pmap -x`.
fn x_row(line: &str) -> bool {
    let mut words = line.split_ascii_whitespace();
    let address = words
        .next()
        .is_some_and(|word| word.len() == 16 && word.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let numbers = words.by_ref().take(3).filter(|word| word.parse::<u64>().is_ok()).count() == 3;
    address && numbers && words.next().is_some_and(|mode| mode.len() == 5 && mode.starts_with(['r', '-']))
}

/// True where rows of `pmap -x` may start with `line`.
pub(crate) fn begins_x(line: &str) -> bool {
    x_row(line)
}

/// True where `head` is `pmap` without an option: `77:   java …`, then rows.
pub(crate) fn is_plain_pmap(head: &[u8]) -> bool {
    let lines = crate::words::lines_of(head, 4);
    let first = lines.iter().position(|line| !line.is_empty()).unwrap_or(0);
    lines.iter().skip(first).take(2).any(|line| plain_row(line).is_some())
}

/// True where `pmap` without an option may start with `line`.
pub(crate) fn begins_plain_pmap(line: &str) -> bool {
    plain_row(line).is_some()
}

/// True where `head` is `/proc/PID/maps`: mappings without sizes.
pub(crate) fn is_maps(head: &[u8]) -> bool {
    let lines = crate::words::lines_of(head, 3);
    let mut lines = lines.iter().filter(|line| !line.is_empty());
    lines.next().is_some_and(|line| header(line).is_some())
        && lines.next().is_none_or(|line| header(line).is_some() || !has_smaps(line))
}

/// True where `line` can be of `/proc/PID/maps`.
pub(crate) fn has_maps(line: &str) -> bool {
    header(line.trim()).is_some()
}

/// Reads `/proc/PID/maps`, or `pmap` without an option: what is mapped. What of it is resident is
/// not in it.
///
/// # Errors
/// No line is a mapping.
pub fn read_mapped(bytes: &[u8]) -> Result<Regions, Error> {
    let text = String::from_utf8_lossy(bytes);
    let row = |line: &str| header(line.trim()).or_else(|| plain_row(line.trim()));
    let regions: Vec<Region> = text.lines().filter_map(row).collect();
    if regions.is_empty() {
        return Err(Error::NotThis { format: "list of mappings", reason: "no line of it is one".into() });
    }
    Ok(Regions { regions, cut: None })
}

/// Reads smaps.
///
/// # Errors
/// It does not start with a mapping.
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

/// Reads `pmap -X`, also `-x` and `-XX`: the columns are found by their names.
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
        if columns.is_empty() && x_row(line) {
            columns = X_COLUMNS.to_vec();
        }
        if is_columns(line) {
            columns = line.split_ascii_whitespace().take(MAX_COLUMNS).collect();
        } else if columns.is_empty() {
            continue;
        } else if line.starts_with(['=', '-']) || line.starts_with("mapped:") || line.starts_with("total") {
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
            reason: "it has no line with the names of columns".into(),
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
            // The last is the name, blanks and all. Without a file `-x` says so.
            region.name = Some(rest.trim()).filter(|name| *name != "[ anon ]").unwrap_or_default().to_owned();
            break;
        }
        rest = rest.trim_start();
        if *column == "VmFlags" {
            // Any number of words of two letters.
            let is_flag =
                |word: &str| word.len() == 2 && word.bytes().all(|letter| letter.is_ascii_lowercase());
            while let Some(flag) = rest.split_ascii_whitespace().next().filter(|word| is_flag(word)) {
                rest = rest.trim_start().strip_prefix(flag).unwrap_or_default();
            }
            continue;
        }
        let (value, after) = rest.split_once(' ').unwrap_or((rest, ""));
        rest = after;
        let kib = || value.parse::<u64>().ok().map(|kib| kib.saturating_mul(1024));
        match *column {
            // What `-d` has instead of what is resident.
            "Offset" | "Device" | "Inode" => {}
            "Address" => region.start = u64::from_str_radix(value, 16).ok()?,
            "Perm" | "Mode" => region.permissions = value.to_owned(),
            "Size" | "Kbytes" => region.end = region.start.checked_add(kib()?)?,
            "Rss" | "RSS" => region.rss_bytes = kib()?,
            "Pss" => region.pss_bytes = kib()?,
            "Private_Dirty" => region.private_dirty_bytes = kib()?,
            "Anonymous" => region.anonymous_bytes = kib()?,
            "Swap" => region.swap_bytes = kib()?,
            _ => {}
        }
    }
    Some(region)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_that_ends_before_it_starts_is_no_arena() {
        let low = "7f0000000000-7f0000000000 rw-p 00000000 00:00 0\n7f0004000000-7f0000000000 rw-p 00000000 00:00 0\n\
            ffffffffffffffff-0 rw-p 00000000 00:00 0\n0-ffffffffffffffff rw-p 00000000 00:00 0\n";
        let figures = crate::figures::mapped(low.as_bytes()).unwrap();
        assert_eq!(figures.says.len(), 1, "{:?}", figures.says);
    }

    fn named(regions: &Regions) -> Vec<(&str, u64)> {
        regions.regions.iter().map(|region| (region.name.as_str(), region.rss_bytes >> 10)).collect()
    }

    // Lines as procps 4.0 and Linux 6 print them.
    #[test]
    fn pmaps_other_columns_and_the_rollup() {
        let short = b"77:   java -cp . W\nAddress           Kbytes     RSS   Dirty Mode  Mapping\n\
            0000000687400000   32768   20388   20388 rw---   [ anon ]\n\
            00007f1a69e5e000     288     280       0 r-x-- libjvm.so (deleted)\n\
            ---------------- ------- ------- ------- \ntotal kB           33056   20668   20388\n";
        assert!(is_pmap(short));
        let regions = read_pmap(short).unwrap();
        assert_eq!(named(&regions), [("", 20_388), ("libjvm.so (deleted)", 280)]);
        assert_eq!((regions.cut, regions.regions[0].end), (None, 0x6_8740_0000 + (32_768 << 10)));
        let flags = b"77:   java\n         Address Perm   Offset Device    Inode    Size  Rss  Pss THPeligible              VmFlags Mapping\n       \
            687400000 rw-p 00000000  00:00        0   32768   20388  20388           0    rd wr mr mw me ac  \n    \
            7f1a69e5e000 r-xp 00000000  fe:00   123     288   280  28           0       rd ex mr mw me libjvm.so\n\
            === \n";
        assert_eq!(named(&read_pmap(flags).unwrap()), [("", 20_388), ("libjvm.so", 280)]);
        let rollup = b"687400000-7ffe8cd9f000 ---p 00000000 00:00 0                             [rollup]\n\
            Rss:              312288 kB\nPss:              309171 kB\n";
        assert!(is_smaps(rollup));
        assert_eq!(named(&read_smaps(rollup).unwrap()), [("[rollup]", 312_288)]);
    }
}

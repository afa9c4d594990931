//! `/proc/PID/maps` and `smaps` (Documentation/filesystems/proc.rst), parsed in one pass over the
//! bytes: with 5,000 mappings this is the hot path of every snapshot.

use offheap_target::Vma;

/// Reads the text of `maps` or `smaps`. Lines that are neither a mapping nor a known figure are
/// passed over, so a newer kernel's additions do no harm.
pub fn parse_smaps(text: &[u8]) -> Vec<Vma> {
    let mut vmas: Vec<Vma> = Vec::new();
    for line in text.split(|byte| *byte == b'\n') {
        match line.first() {
            // A mapping starts with a hexadecimal digit in lower case, a figure with a capital
            // letter.
            Some(b'0'..=b'9' | b'a'..=b'f') => vmas.extend(parse_mapping(line)),
            Some(b'A'..=b'Z') => {
                if let Some(vma) = vmas.last_mut() {
                    parse_figure(line, vma);
                }
            }
            _ => {}
        }
    }
    vmas
}

fn parse_mapping(line: &[u8]) -> Option<Vma> {
    // "start-end perms offset major:minor inode", then blanks and the name, which may itself hold
    // blanks.
    let mut rest = line;
    let mut word = || {
        let end = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
        let (word, tail) = rest.split_at(end);
        rest = tail.get(1..).unwrap_or_default();
        word
    };
    let range = word();
    let permissions = word();
    let offset = word();
    let device = word();
    let inode = word();
    let dash = range.iter().position(|byte| *byte == b'-')?;
    let colon = device.iter().position(|byte| *byte == b':')?;
    let [read, write, exec, shared] = *permissions.first_chunk::<4>()?;
    let (start, end) = (hex(range.get(..dash)?)?, hex(range.get(dash + 1..)?)?);
    if start >= end {
        return None;
    }
    let name = String::from_utf8_lossy(rest.trim_ascii_start());
    let (path, deleted) = match name.strip_suffix(" (deleted)") {
        Some(path) => (path, true),
        None => (&*name, false),
    };
    Some(Vma {
        start,
        end,
        read: read == b'r',
        write: write == b'w',
        exec: exec == b'x',
        shared: shared == b's',
        offset: hex(offset)?,
        device: (hex(device.get(..colon)?)? as u32, hex(device.get(colon + 1..)?)? as u32),
        inode: decimal(inode),
        path: path.to_owned(),
        deleted,
        ..Vma::default()
    })
}

fn parse_figure(line: &[u8], vma: &mut Vma) {
    let Some(colon) = line.iter().position(|byte| *byte == b':') else { return };
    let (name, value) = line.split_at(colon);
    let figure = match name {
        b"Rss" => &mut vma.rss,
        b"Pss" => &mut vma.pss,
        b"Private_Clean" | b"Private_Dirty" => {
            vma.private = vma.private.saturating_add(kib(&value[1..]));
            return;
        }
        b"Anonymous" => &mut vma.anonymous,
        b"AnonHugePages" => &mut vma.anon_huge,
        b"Swap" => &mut vma.swap,
        _ => return,
    };
    *figure = kib(&value[1..]);
}

/// `"   132 kB"` → 135168.
pub(crate) fn kib(text: &[u8]) -> u64 {
    decimal(text.trim_ascii_start()).saturating_mul(1024)
}

/// The decimal number that `text` starts with; 0 where it starts with none.
fn decimal(text: &[u8]) -> u64 {
    text.iter()
        .take_while(|byte| byte.is_ascii_digit())
        .fold(0u64, |number, byte| number.saturating_mul(10).saturating_add(u64::from(byte - b'0')))
}

fn hex(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 16 {
        return None;
    }
    text.iter().try_fold(0u64, |number, byte| Some(number << 4 | u64::from((*byte as char).to_digit(16)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &str = "\
7f00-8000 rw-p 00001000 fd:01 42                         /tmp/a b (deleted)
Size:                  4 kB
Rss:                   8 kB
Pss:                   3 kB
Private_Clean:         4 kB
Private_Dirty:         4 kB
Anonymous:             4 kB
AnonHugePages:         0 kB
Swap:                 12 kB
VmFlags: rd wr mr mw me ac sd
9000-a000 ---p 00000000 00:00 0 
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
";

    #[test]
    fn a_mapping_keeps_its_name_and_figures() {
        let vmas = parse_smaps(SMAPS.as_bytes());
        assert_eq!(vmas.len(), 3);
        let file = &vmas[0];
        assert_eq!((file.path.as_str(), file.deleted, file.inode), ("/tmp/a b", true, 42));
        assert_eq!((file.rss, file.pss, file.private, file.swap), (8192, 3072, 8192, 12288));
        assert!(file.is_file() && vmas[1].is_anonymous() && vmas[1].path.is_empty());
        assert!(vmas[2].exec && vmas[2].path == "[vsyscall]" && vmas[2].is_anonymous());
        assert_eq!(offheap_target::find(&vmas, 0x9fff).map(|vma| vma.start), Some(0x9000));
        assert_eq!(offheap_target::find(&vmas, 0x8000), None);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(cut in 0..SMAPS.len(), at in 0..SMAPS.len(), byte: u8) {
            let mut bytes = SMAPS.as_bytes().to_vec();
            bytes[at] = byte;
            bytes.truncate(cut);
            for vma in parse_smaps(&bytes) {
                assert!(vma.start < vma.end);
            }
        }
    }
}

//! `/proc/PID/maps` and `smaps` (Documentation/filesystems/proc.rst), parsed in one pass over the bytes: with 5,000
//! mappings this is the hot path of every snapshot.

/// One mapping, with the kernel's figures where it was read from `smaps`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vma {
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// Readable.
    pub read: bool,
    /// Writable.
    pub write: bool,
    /// Executable.
    pub exec: bool,
    /// `MAP_SHARED`.
    pub shared: bool,
    /// Offset into the file.
    pub offset: u64,
    /// Device of the file, as `major:minor`.
    pub device: (u32, u32),
    /// Inode of the file; 0 for anonymous memory.
    pub inode: u64,
    /// The path or the kernel's name (`[heap]`, `[stack]`, `[anon:…]`), without ` (deleted)`; empty if anonymous.
    pub path: String,
    /// The file was unlinked.
    pub deleted: bool,
    /// Resident bytes.
    pub rss: u64,
    /// Resident bytes, each page divided by its number of mappers.
    pub pss: u64,
    /// Resident bytes nobody else maps.
    pub private: u64,
    /// Resident anonymous bytes.
    pub anonymous: u64,
    /// Bytes in anonymous huge pages.
    pub anon_huge: u64,
    /// Bytes swapped out.
    pub swap: u64,
}

impl Vma {
    /// Bytes of address space.
    pub fn len(&self) -> u64 {
        self.end - self.start
    }

    /// True for the mapping of no bytes, which the kernel never shows.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// True where `address` lies in it.
    pub fn contains(&self, address: u64) -> bool {
        (self.start..self.end).contains(&address)
    }

    /// True where a file (also memfd and shared memory) is behind it.
    pub fn is_file(&self) -> bool {
        self.inode != 0 || self.path.starts_with('/')
    }

    /// True where it is private memory without a file or with only the kernel's name for it.
    pub fn is_anonymous(&self) -> bool {
        !self.is_file()
    }
}

/// The mapping that holds `address`, in a list ascending by address.
pub(crate) fn find(vmas: &[Vma], address: u64) -> Option<&Vma> {
    let after = vmas.partition_point(|vma| vma.end <= address);
    vmas.get(after).filter(|vma| vma.contains(address))
}

/// Where the loaded image of a module begins: the mapping of the file's first bytes that lies next below its code. A
/// profiler, our own agent too, may have mapped parts of the same file once more, anywhere, to read them; those have no code.
/// The first mapping that `is` wanted where none of them has code.
pub fn image_of(vmas: &[Vma], is: impl Fn(&Vma) -> bool) -> Option<&Vma> {
    let Some(code) = vmas.iter().position(|vma| vma.exec && is(vma)) else {
        return vmas.iter().find(|vma| is(vma));
    };
    let file = |vma: &Vma| (vma.device, vma.inode);
    let wanted = file(vmas.get(code)?);
    vmas.get(..=code)?
        .iter()
        .rev()
        .find(|vma| vma.offset == 0 && file(vma) == wanted)
        .or_else(|| vmas.get(code))
}

/// Reads the text of `maps` or `smaps`. Lines that are neither a mapping nor a known figure are passed over, so a newer
/// kernel's additions do no harm.
pub fn parse_smaps(text: &[u8]) -> Vec<Vma> {
    let mut vmas: Vec<Vma> = Vec::new();
    for line in text.split(|byte| *byte == b'\n') {
        match line.first() {
            // A mapping starts with a hexadecimal digit in lower case, a figure with a capital letter.
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
    // "start-end perms offset major:minor inode", then blanks and the name, which may itself hold blanks.
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
    fn an_image_begins_below_its_code() {
        let vmas = parse_smaps(
            b"1000-2000 r--p 00000000 08:01 7 /lib/libx.so\n\
              3000-4000 r--p 00003000 08:01 7 /lib/libx.so\n\
              5000-6000 r--p 00000000 08:01 7 /lib/libx.so\n\
              6000-7000 r-xp 00001000 08:01 7 /lib/libx.so\n\
              7000-8000 rw-p 00002000 08:01 7 /lib/libx.so\n\
              9000-a000 r--p 00001000 08:01 9 /usr/share/data\n",
        );
        let named = |name: &str| image_of(&vmas, |vma| vma.path.ends_with(name)).map(|vma| vma.start);
        assert_eq!(named("libx.so"), Some(0x5000));
        assert_eq!(named("data"), Some(0x9000));
        assert_eq!(named("nothing"), None);
    }

    #[test]
    fn a_mapping_keeps_its_name_and_figures() {
        let vmas = parse_smaps(SMAPS.as_bytes());
        assert_eq!(vmas.len(), 3);
        let file = &vmas[0];
        assert_eq!((file.path.as_str(), file.deleted, file.inode), ("/tmp/a b", true, 42));
        assert_eq!((file.rss, file.pss, file.private, file.swap), (8192, 3072, 8192, 12288));
        assert!(file.is_file() && vmas[1].is_anonymous() && vmas[1].path.is_empty());
        assert!(vmas[2].exec && vmas[2].path == "[vsyscall]" && vmas[2].is_anonymous());
        assert_eq!(find(&vmas, 0x9fff).map(|vma| vma.start), Some(0x9000));
        assert_eq!(find(&vmas, 0x8000), None);
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

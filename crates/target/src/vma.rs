//! One mapping of a process, and finding one in a list.

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
    /// The path or the kernel's name (`[heap]`, `[stack]`, `[anon:…]`), without ` (deleted)`; empty
    /// if anonymous.
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
pub fn find(vmas: &[Vma], address: u64) -> Option<&Vma> {
    let after = vmas.partition_point(|vma| vma.end <= address);
    vmas.get(after).filter(|vma| vma.contains(address))
}

/// Where the loaded image of a module starts: the mapping of the file's first bytes that lies next
/// below its code. A profiler, our own agent too, may have mapped parts of the same file once more,
/// anywhere, to read them; those have no code. The first mapping that `is` wanted where none of
/// them has code.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_begins_below_its_code() {
        let vma = |start: u64, offset: u64, exec: bool, inode: u64, path: &str| Vma {
            start,
            end: start + 0x1000,
            read: true,
            exec,
            offset,
            device: (8, 1),
            inode,
            path: path.to_owned(),
            ..Vma::default()
        };
        let vmas = [
            vma(0x1000, 0, false, 7, "/lib/libx.so"),
            vma(0x3000, 0x3000, false, 7, "/lib/libx.so"),
            vma(0x5000, 0, false, 7, "/lib/libx.so"),
            vma(0x6000, 0x1000, true, 7, "/lib/libx.so"),
            vma(0x7000, 0x2000, false, 7, "/lib/libx.so"),
            vma(0x9000, 0x1000, false, 9, "/usr/share/data"),
        ];
        let named = |name: &str| image_of(&vmas, |vma| vma.path.ends_with(name)).map(|vma| vma.start);
        assert_eq!(named("libx.so"), Some(0x5000));
        assert_eq!(named("data"), Some(0x9000));
        assert_eq!(named("nothing"), None);
    }
}

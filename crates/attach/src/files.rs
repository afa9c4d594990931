//! Files of ours in the target's `/tmp`: a library for it to load, and what that library writes.

use std::fs::File;
use std::io::{self, Write};

use rustix::fs::{AtFlags, Mode, OFlags, StatVfsMountFlags, fstatvfs, openat, unlinkat};

use crate::session::Session;

impl Session {
    /// Writes the new file `/tmp/NAME` in the target's own file system, owned by the target's user and readable by
    /// nobody else. What could not be written whole is taken away again.
    ///
    /// # Errors
    /// There is a file of that name, or what the kernel says: read-only, full.
    pub fn create_in_tmp(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let tmp = &self.rendezvous.tmp;
        self.rendezvous.identity.run(|| {
            let mut file = File::from(openat(tmp, name, flags, Mode::RUSR | Mode::WUSR)?);
            file.write_all(bytes).inspect_err(|_| {
                let _ = unlinkat(tmp, name, AtFlags::empty());
            })
        })?
    }

    /// Opens the target's file `/tmp/NAME` for reading. No symbolic link is followed.
    ///
    /// # Errors
    /// What the kernel says; it is no regular file.
    pub fn open_in_tmp(&self, name: &str) -> io::Result<File> {
        // Without NONBLOCK a pipe of that name would hold us up for ever.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let tmp = &self.rendezvous.tmp;
        let file =
            self.rendezvous.identity.run(|| openat(tmp, name, flags, Mode::empty()).map(File::from))??;
        if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
    }

    /// Removes the target's file `/tmp/NAME`.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn remove_from_tmp(&self, name: &str) -> io::Result<()> {
        let tmp = &self.rendezvous.tmp;
        Ok(self.rendezvous.identity.run(|| unlinkat(tmp, name, AtFlags::empty()))??)
    }

    /// Whether the target's `/tmp` is mounted `noexec`: no library can be loaded from there.
    pub fn tmp_is_noexec(&self) -> bool {
        fstatvfs(&self.rendezvous.tmp).is_ok_and(|stat| stat.f_flag.contains(StatVfsMountFlags::NOEXEC))
    }
}

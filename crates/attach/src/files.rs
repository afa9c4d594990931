//! Files in the target's `/tmp`: what a library that it has loaded writes.

use std::fs::File;
use std::io;

use offheap_linux::foreign::{self, Expect};
use rustix::fs::{AtFlags, unlinkat};

use crate::session::Session;

impl Session {
    /// Opens the file `/tmp/NAME` that the target's user has written. No symbolic link is followed.
    ///
    /// # Errors
    /// What the kernel says; it is no regular file, or somebody else's.
    pub fn open_in_tmp(&self, name: &str) -> io::Result<File> {
        let expect = Expect::written_by(self.rendezvous.identity.uid, u64::MAX);
        let tmp = &self.rendezvous.tmp;
        Ok(self.rendezvous.identity.run(|| foreign::open(tmp, name, &expect))??)
    }

    /// Removes the target's file `/tmp/NAME`.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn remove_from_tmp(&self, name: &str) -> io::Result<()> {
        let tmp = &self.rendezvous.tmp;
        Ok(self.rendezvous.identity.run(|| unlinkat(tmp, name, AtFlags::empty()))??)
    }
}

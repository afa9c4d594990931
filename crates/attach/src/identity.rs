//! Doing something as the target's user, without changing who the rest of the process is.

use std::io;
use std::sync::{Mutex, PoisonError};

use rustix::process::{
    DumpableBehavior, Gid, Uid, dumpable_behavior, getegid, geteuid, set_dumpable_behavior,
};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

/// An effective user and group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
}

/// One at a time, as the dumpable flag is the process's.
static SWITCHING: Mutex<()> = Mutex::new(());

impl Identity {
    /// Whether it is our own.
    pub fn is_ours(self) -> bool {
        self.uid == geteuid().as_raw() && self.gid == getegid().as_raw()
    }

    /// Runs `work` with this identity: where it isn't our own, on a thread of its own, since the
    /// kernel keeps identities per thread (libc's setuid changes all threads; the raw system calls
    /// used here don't). The thread ends with `work`, so nothing has to be changed back.
    ///
    /// Only the effective ids change: files and sockets go by those, and as real and saved ids stay
    /// ours, the target's user can neither signal nor trace the thread meanwhile.
    ///
    /// Fails with the kernel's refusal when another user's identity can't be taken; another group
    /// of the same user is done without then.
    pub fn run<T: Send>(self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        if self.is_ours() {
            return Ok(work());
        }
        let _one_at_a_time = SWITCHING.lock().unwrap_or_else(PoisonError::into_inner);
        let dumpable = dumpable_behavior();
        let result = std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                self.take()?;
                Ok(work())
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        // A change of the effective user makes the kernel take the flag away, as for a set-user-id
        // program.
        if let Ok(DumpableBehavior::Dumpable) = dumpable {
            let _ = set_dumpable_behavior(DumpableBehavior::Dumpable);
        }
        result
    }

    /// Makes this the identity of the calling thread.
    fn take(self) -> io::Result<()> {
        // -1 is "leave as it is" to the kernel, and nobody's id.
        if self.uid == u32::MAX || self.gid == u32::MAX {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let other_user = self.uid != geteuid().as_raw();
        // Groups first: without the user's rights they can't be changed any more. Those of ours
        // that can't be dropped do no harm: all that is done here is to open and connect what has
        // been opened before.
        let _ = set_thread_groups(&[]);
        match set_thread_res_gid(None, Gid::from_raw(self.gid), None) {
            Err(error) if other_user => return Err(error.into()),
            _ => {}
        }
        if other_user {
            set_thread_res_uid(None, Uid::from_raw(self.uid), None)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_thread_changes() {
        if !geteuid().is_root() {
            return;
        }
        let nobody = Identity { uid: 65534, gid: 65533 };
        let before = dumpable_behavior().expect("the flag");
        let inside = nobody.run(|| (geteuid().as_raw(), getegid().as_raw())).expect("root may");
        assert_eq!(inside, (65534, 65533));
        assert!(geteuid().is_root());
        assert_eq!(dumpable_behavior().expect("the flag"), before);
        let refused = nobody.run(|| Identity { uid: 1, gid: 1 }.take().is_err()).expect("root may");
        assert!(refused, "nobody may not become somebody");
    }
}

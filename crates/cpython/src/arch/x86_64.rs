//! x86-64.

/// `struct pthread.tid` in glibc, since 2.4.
pub(crate) const PTHREAD_TID: u64 = 0x2d0;

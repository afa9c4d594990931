//! Signals of this tool itself.

/// Lets a closed pipe end this tool silently, as it ends any other command.
pub fn restore_sigpipe() {
    // SAFETY: SIG_DFL is a valid disposition for SIGPIPE, and no handler of ours exists that it would replace.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

/// Whether this tool was started with `signal` ignored, as `nohup` does with SIGHUP: it stays ignored then.
pub fn is_ignored(signal: i32) -> bool {
    // SAFETY: zeroes are a valid sigaction; with no new one the call only writes the old one to it.
    unsafe {
        let mut old: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &raw mut old) == 0 && old.sa_sigaction == libc::SIG_IGN
    }
}

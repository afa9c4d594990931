//! Signals of this tool itself.

/// Lets a closed pipe end this tool silently, as it ends any other command.
pub fn restore_sigpipe() {
    // SAFETY: SIG_DFL is a valid disposition for SIGPIPE, and no handler of ours exists that it would replace.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

//! What this tool asks of the kernel for itself: signals, and who is killed for memory.

/// Lets a closed pipe end this tool silently, as it ends any other command.
pub fn restore_sigpipe() {
    // SAFETY: SIG_DFL is a valid disposition for SIGPIPE, and no handler of ours exists that it
    // would replace.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

/// Whether this tool was started with `signal` ignored, as `nohup` does with SIGHUP: it stays
/// ignored then.
pub fn is_ignored(signal: i32) -> bool {
    // SAFETY: zeroes are a valid sigaction; with no new one the call only writes the old one to it.
    unsafe {
        let mut old: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &raw mut old) == 0 && old.sa_sigaction == libc::SIG_IGN
    }
}

/// Has the kernel kill this tool, and nobody else, where memory runs out in the control group that
/// it shares with the process it looks at: in a container it is charged to the very limit that the
/// process is near to (proc_pid_oom_score_adj(5)). Children started afterwards inherit it. To raise
/// the figure takes no rights.
pub fn be_killed_first() {
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
}

//! The kernel's own figures in the model's words.

use offheap_linux::{Error, Process, Residency, Shares, Source, Vma, user_name};
use offheap_model as model;

/// Whose memory it is.
pub fn process(process: &Process) -> Result<model::Process, Error> {
    let status = process.status()?;
    let arguments = process.arguments().unwrap_or_default();
    Ok(model::Process {
        pid: process.pid(),
        inner_pid: status.inner_pid(),
        start_ticks: process.start_ticks(),
        uid: status.euid,
        user: user_name(status.euid),
        name: status.name,
        command: model::secrets::masked(arguments.iter().map(String::as_str)),
        exe: process.exe().unwrap_or_default(),
        uptime_s: process.uptime_s().unwrap_or(0.0),
        threads: status.threads,
    })
}

/// What of the resident bytes is shared: already known where smaps was read.
pub fn shares(process: &Process, residency: &Residency) -> Option<Shares> {
    let sum = |figure: fn(&Vma) -> u64| residency.vmas.iter().map(figure).sum();
    match residency.source {
        Source::Smaps => Some(Shares { private: sum(|vma| vma.private), pss: Some(sum(|vma| vma.pss)) }),
        _ => process.shares(&residency.vmas).ok(),
    }
}

/// The totals of its mappings.
pub fn memory(process: &Process, residency: &Residency, shares: Option<Shares>) -> model::MemoryTotals {
    let vmas = &residency.vmas;
    let sum = |figure: fn(&Vma) -> u64| vmas.iter().map(figure).sum::<u64>();
    let is_shm = |vma: &&Vma| {
        vma.is_file()
            && (vma.path.starts_with("/memfd:")
                || vma.path.starts_with("/dev/shm/")
                || vma.path.starts_with("/SYSV")
                || vma.path == "/dev/zero")
    };
    let rss_bytes = sum(|vma| vma.rss);
    let anon_bytes = sum(|vma| vma.anonymous);
    let shmem_bytes = vmas.iter().filter(is_shm).map(|vma| vma.rss.saturating_sub(vma.anonymous)).sum();
    model::MemoryTotals {
        rss_bytes,
        pss_bytes: shares.and_then(|shares| shares.pss),
        uss_bytes: shares.map(|shares| shares.private),
        swap_bytes: sum(|vma| vma.swap),
        anon_bytes,
        file_bytes: rss_bytes.saturating_sub(anon_bytes).saturating_sub(shmem_bytes),
        shmem_bytes,
        anon_huge_bytes: (residency.source != Source::Entries).then(|| sum(|vma| vma.anon_huge)),
        virtual_bytes: sum(Vma::len),
        vma_count: vmas.len() as u64,
        vma_limit: std::fs::read_to_string("/proc/sys/vm/max_map_count")
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(0),
        peak_rss_bytes: process.status().map_or(0, |status| status.peak_rss_bytes),
    }
}

/// The control group.
pub fn cgroup(group: offheap_linux::Cgroup) -> model::Cgroup {
    model::Cgroup {
        version: group.version,
        headroom_bytes: group.headroom,
        limit_bytes: group.limit,
        current_bytes: group.current,
        anon_bytes: group.anon,
        file_bytes: group.file,
        inactive_file_bytes: group.inactive_file,
        shmem_bytes: group.shmem,
        kernel_bytes: group.kernel,
        slab_bytes: group.slab,
        oom_kills: group.oom_kills,
        processes: group.processes,
        path: group.path,
    }
}

//! Whether a process will fit: its limit, what may still grow, and when it is reached.

use crate::evidence::Evidence;
use crate::series::{Key, total};
use offheap_model::{Cgroup, Domain, FileKind, Finding, Jvm, Snapshot, Status, units};
use serde::{Deserialize, Serialize};

/// What may become of the process within its limit.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Outlook {
    /// The limit in force: the control group's, or the one that was asked about; `None` where there
    /// is none.
    pub limit_bytes: Option<u64>,
    /// What is left until the kernel kills, page cache that it drops first not counted; `None`
    /// without a limit.
    pub headroom_bytes: Option<u64>,
    /// What all parts may come to: the sum of their `may_grow_to_bytes`.
    pub ceiling_bytes: u64,
    /// Whether that is within the limit; `None` without one.
    pub fits: Option<bool>,
    /// What it is made of, in the order of the account, then what is beside the process.
    pub parts: Vec<Part>,
    /// When the limit is reached at the verdict's slope, milliseconds since the Unix epoch; `None`
    /// where nothing leaks.
    pub kill_at: Option<i64>,
    /// The 95 % interval of that, by the slope's; the later end is `None` where growth may stop.
    pub kill_at_ci95: Option<[Option<i64>; 2]>,
    /// What leaks has no bound of its own: the ceiling is what it comes to once the leak is
    /// stopped.
    #[serde(default)]
    pub leaks_unbounded: bool,
    /// What to set where it does not fit, best first.
    pub settings: Vec<String>,
}

/// A part of what is charged to the process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schemars", derive(schemars::JsonSchema))]
pub struct Part {
    /// Which.
    pub domain: Domain,
    /// Resident now.
    pub now_bytes: u64,
    /// What it may come to, by configuration where that binds and by observation elsewhere.
    pub may_grow_to_bytes: u64,
    /// What configuration alone would let it come to; `None` where nothing bounds it.
    pub bound_bytes: Option<u64>,
    /// It grew in the window and nothing bounds it: what it may come to is then only what it is
    /// now.
    #[serde(default)]
    pub unbounded: bool,
    /// Why, in words.
    pub because: String,
}

/// The kernel's table of pages takes a byte for this many that are mapped.
/// Unit: bytes.
/// Source: 8 bytes for a page of 4 KiB.
const PAGE_TABLE: u64 = 512;
/// A code cache that grows is expected to come to this many times what it is.
/// Unit: times.
const JIT: u64 = 2;
/// A heap that this many collections of the window left as it was has found its size under this
/// load.
const SETTLED: usize = 3;
/// Beside what is expected a limit should leave one part in this many free: a twentieth.
/// Unit: parts.
const SPARE: u64 = 20;
/// A limit from here on is none.
/// Source: the kernel's "no limit" of cgroup version 1, near to 2⁶³ rounded to pages.
const NO_LIMIT: u64 = 1 << 60;
/// The longest that the hour of the kill is told ahead: ten years.
const FAR_S: f64 = 10.0 * 365.0 * 86_400.0;

impl Outlook {
    /// What the evidence shows, within `limit` or the control group's.
    pub fn of(evidence: &Evidence<'_>, limit: Option<u64>) -> Outlook {
        let Some(last) = evidence.last() else { return Outlook::default() };
        let group =
            last.cgroup.as_ref().filter(|group| group.limit_bytes.is_some_and(|bytes| bytes < NO_LIMIT));
        let limit_bytes = limit.or(group.and_then(|group| group.limit_bytes));
        // What is asked about is not what the group's other processes take a part of.
        let parts = parts(evidence, last, group.filter(|_| limit.is_none()));
        let ceiling_bytes = total(parts.iter().map(|part| part.may_grow_to_bytes));
        let fits = limit_bytes.map(|limit| ceiling_bytes <= limit);
        let mut outlook = Outlook {
            limit_bytes,
            headroom_bytes: limit_bytes.map(|limit| limit.saturating_sub(held(&parts))),
            ceiling_bytes,
            fits,
            parts,
            ..Outlook::default()
        };
        if fits == Some(false) {
            outlook.settings = settings(&outlook, last.jvm.as_ref());
        }
        outlook
    }

    /// Adds what `verdict`'s growth comes to if it goes on, and when the limit is reached.
    #[must_use]
    pub fn with_kill(mut self, evidence: &Evidence<'_>, verdict: &Finding) -> Outlook {
        let is_bounded = |part: &Part| Some(part.domain) == verdict.domain && part.bound_bytes.is_some();
        self.leaks_unbounded = verdict.status == Status::Leak && !self.parts.iter().any(is_bounded);
        let grows = verdict.status == Status::Leak && verdict.slope_bytes_per_s > 0.0;
        // What is on the Java heap ends at -Xmx, with an exception.
        let Some(headroom) =
            self.headroom_bytes.filter(|_| grows && verdict.domain != Some(Domain::JavaHeap))
        else {
            return self;
        };
        let now = evidence.last().map_or(0, |last| last.time_ms);
        let at = |per_s: f64| {
            let seconds = headroom as f64 / per_s;
            (per_s > 0.0 && seconds < FAR_S).then(|| now.saturating_add((seconds * 1000.0) as i64))
        };
        self.kill_at = at(verdict.slope_bytes_per_s);
        let sooner = |[low, high]: [f64; 2]| Some([Some(at(high)?), at(low)]);
        self.kill_at_ci95 = verdict.slope_ci95.filter(|_| self.kill_at.is_some()).and_then(sooner);
        self
    }

    /// Whether it fits, in a sentence; empty where nothing is known of the process.
    pub fn words(&self) -> String {
        let ceiling = units::bytes(self.ceiling_bytes);
        let answer = match (self.limit_bytes, self.fits, self.kill_at) {
            _ if self.parts.is_empty() => return String::new(),
            (None, ..) if self.leaks_unbounded => format!(
                "No limit is set. It may come to {ceiling} once the leak is stopped; while it leaks, to any size"
            ),
            (None, ..) => format!("No limit is set. It may come to {ceiling}"),
            (Some(limit), fits, kill_at) => format!(
                "Limit {}, {} left; {}",
                units::bytes(limit),
                units::bytes(self.headroom_bytes.unwrap_or(0)),
                match (fits, kill_at) {
                    (Some(true), Some(_)) => "it fits only if the leak is stopped",
                    (Some(true), None) => "it fits",
                    _ => "it does not fit",
                }
            ),
        };
        format!("{answer}: {}.", self.arithmetic())
    }

    /// The arithmetic in a sentence: the largest parts and their sum against the limit.
    pub fn arithmetic(&self) -> String {
        let mut parts: Vec<&Part> = self.parts.iter().filter(|part| part.may_grow_to_bytes > 0).collect();
        parts.sort_by_key(|part| std::cmp::Reverse(part.may_grow_to_bytes));
        let (named, rest) = parts.split_at(parts.len().min(5));
        let mut terms: Vec<String> = named
            .iter()
            .map(|part| format!("{} {}", part.domain, units::bytes(part.may_grow_to_bytes)))
            .collect();
        let others = total(rest.iter().map(|part| part.may_grow_to_bytes));
        if others > 0 {
            terms.push(format!("all else {}", units::bytes(others)));
        }
        let limit =
            self.limit_bytes.map_or_else(String::new, |bytes| format!(", limit {}", units::bytes(bytes)));
        format!("{} = {}{limit}", terms.join(" + "), units::bytes(self.ceiling_bytes))
    }
}

/// What of the parts can't be dropped now.
fn held(parts: &[Part]) -> u64 {
    total(parts.iter().map(|part| part.now_bytes.min(part.may_grow_to_bytes)))
}

fn parts(evidence: &Evidence<'_>, last: &Snapshot, group: Option<&Cgroup>) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for figure in &last.domains {
        let now = figure.rss_bytes;
        let part = match (figure.domain, &last.jvm) {
            (Domain::JavaHeap, Some(jvm)) => heap(evidence, jvm),
            (Domain::Metaspace, Some(jvm)) => metaspace(evidence, jvm, now),
            (Domain::CodeCache, Some(jvm)) => code_cache(evidence, jvm, now),
            (Domain::DirectMemory, Some(jvm)) => direct(evidence, jvm, now),
            (Domain::Gc, Some(jvm)) => collector(jvm, now, figure.virtual_bytes),
            (Domain::ThreadStacks, _) => stacks(last, now),
            (Domain::MappedFiles | Domain::Libraries | Domain::Cds | Domain::Kernel, _) => {
                files(last, figure.domain, now)
            }
            (domain, _) if grows(evidence, &Key::Domain(domain)) => Part::unbounded(domain, now, ""),
            (domain, _) => Part::bound(domain, now, now, None, "flat in the window; nothing bounds it"),
        };
        parts.push(part);
    }
    if let Some(group) = group {
        parts.extend(beside(last, group));
    }
    let (mapped, grown) =
        (total(parts.iter().map(|p| p.now_bytes)), total(parts.iter().map(|p| p.may_grow_to_bytes)));
    let tables = grown.saturating_sub(mapped) / PAGE_TABLE;
    if let Some(kernel) = parts.iter_mut().find(|part| part.domain == Domain::KernelMemory) {
        kernel.may_grow_to_bytes = kernel.may_grow_to_bytes.saturating_add(tables);
    }
    parts
}

impl Part {
    fn now(domain: Domain, now_bytes: u64) -> Part {
        Part {
            domain,
            now_bytes,
            may_grow_to_bytes: now_bytes,
            bound_bytes: None,
            unbounded: false,
            because: String::new(),
        }
    }

    fn bound(domain: Domain, now: u64, to: u64, bound: Option<u64>, because: impl Into<String>) -> Part {
        Part {
            may_grow_to_bytes: to.max(now),
            bound_bytes: bound,
            because: because.into(),
            ..Part::now(domain, now)
        }
    }

    /// One that grows; `remedy` says what would bound it.
    fn unbounded(domain: Domain, now: u64, remedy: &str) -> Part {
        Part {
            unbounded: true,
            because: format!("it grows, and nothing bounds it{remedy}"),
            ..Part::now(domain, now)
        }
    }
}

/// The most that is kept of a flag's value.
fn flag(jvm: &Jvm, name: &str) -> Option<u64> {
    jvm.flag(name)?.parse().ok().filter(|bytes| (1..NO_LIMIT).contains(bytes))
}

/// Mapped several times, the heap is charged once. It goes to `-Xmx`, but where it was seen to stay
/// far below that under load.
fn heap(evidence: &Evidence<'_>, jvm: &Jvm) -> Part {
    let (now, max) = (jvm.heap.resident_bytes, jvm.heap.max_bytes);
    let bound = Some(max).filter(|max| *max > 0);
    let collections = evidence.collections().any.len();
    let settled = collections >= SETTLED && now < max / 2 && !grows(evidence, &Key::HeapResident);
    if settled {
        let because =
            format!("flat across {collections} collections at less than half of -Xmx: twice what it is now");
        return Part::bound(Domain::JavaHeap, now, now.saturating_mul(2).min(max), bound, because);
    }
    let because = if max == 0 { "its limit is not known" } else { "-Xmx, or MaxRAMPercentage" };
    Part::bound(Domain::JavaHeap, now, max, bound, because)
}

/// Whether a series grew in the window by an amount worth a word.
fn grows(evidence: &Evidence<'_>, key: &Key) -> bool {
    evidence
        .trend(key)
        .is_some_and(|trend| trend.growth() >= evidence.material() && trend.slope.ci95[0] > 0.0)
}

fn metaspace(evidence: &Evidence<'_>, jvm: &Jvm, now: u64) -> Part {
    let bound = flag(jvm, "MaxMetaspaceSize");
    match bound {
        Some(max) if grows(evidence, &Key::Metaspace) => {
            Part::bound(Domain::Metaspace, now, max, bound, "it grows, and MaxMetaspaceSize binds it")
        }
        Some(_) => Part::bound(Domain::Metaspace, now, now, bound, "flat in the window"),
        None if grows(evidence, &Key::Metaspace) => {
            Part::unbounded(Domain::Metaspace, now, ": -XX:MaxMetaspaceSize would")
        }
        None => Part::bound(Domain::Metaspace, now, now, None, "flat in the window; no limit is set"),
    }
}

fn code_cache(evidence: &Evidence<'_>, jvm: &Jvm, now: u64) -> Part {
    let bound = jvm.code_cache.max_bytes.or(Some(jvm.code_cache.reserved_bytes)).filter(|bytes| *bytes > 0);
    let most = bound.unwrap_or(u64::MAX);
    if grows(evidence, &Key::CodeCache) {
        let to = now.saturating_mul(JIT).min(most);
        Part::bound(
            Domain::CodeCache,
            now,
            to,
            bound,
            "the JIT is at work: twice what it is now, at most ReservedCodeCacheSize",
        )
    } else {
        Part::bound(Domain::CodeCache, now, now, bound, "flat in the window")
    }
}

fn direct(evidence: &Evidence<'_>, jvm: &Jvm, now: u64) -> Part {
    let bound = flag(jvm, "MaxDirectMemorySize")
        .or_else(|| jvm.direct.as_ref().map(|direct| direct.max_bytes))
        .filter(|bytes| *bytes > 0);
    let grew = grows(evidence, &Key::DirectReserved) || grows(evidence, &Key::Domain(Domain::DirectMemory));
    match bound {
        Some(max) if grew => {
            let name = match flag(jvm, "MaxDirectMemorySize") {
                Some(_) => "it grows, to MaxDirectMemorySize",
                None => "it grows, and no MaxDirectMemorySize is set: as much as -Xmx",
            };
            Part::bound(Domain::DirectMemory, now, max, bound, name)
        }
        _ => Part::bound(Domain::DirectMemory, now, now, bound, "flat in the window"),
    }
}

/// Marks, remembered sets and card tables grow with the heap they are about.
fn collector(jvm: &Jvm, now: u64, room: u64) -> Part {
    let (resident, max) = (jvm.heap.resident_bytes.max(1), jvm.heap.max_bytes.max(jvm.heap.resident_bytes));
    let grown = u64::try_from(u128::from(now) * u128::from(max) / u128::from(resident)).unwrap_or(u64::MAX);
    let to = if room > now { grown.min(room) } else { grown.min(now.saturating_mul(2)) };
    Part::bound(
        Domain::Gc,
        now,
        to,
        Some(room).filter(|room| *room > now),
        "in proportion to the heap at -Xmx",
    )
}

fn stacks(last: &Snapshot, now: u64) -> Part {
    let threads = last.process.threads;
    let reserved = total(last.threads.iter().map(|pool| pool.reserved_bytes));
    let because = format!("{threads} threads as deep as now; -Xss would let them have the bound");
    Part::bound(Domain::ThreadStacks, now, now, Some(reserved).filter(|bytes| *bytes > now), because)
}

/// Clean pages of files are dropped before anyone is killed: only private copies stay, and what is
/// in shared memory.
fn files(last: &Snapshot, domain: Domain, now: u64) -> Part {
    let of_domain = |kind: FileKind| match domain {
        Domain::Libraries => kind == FileKind::Library,
        Domain::Cds => kind == FileKind::CdsArchive,
        Domain::MappedFiles => !matches!(kind, FileKind::Library | FileKind::CdsArchive),
        _ => false,
    };
    let stays = total(last.files.iter().filter(|file| of_domain(file.kind)).map(|file| match file.kind {
        FileKind::Memfd | FileKind::Shm | FileKind::Device => file.rss_bytes,
        _ => file.dirty_bytes.min(file.rss_bytes),
    }));
    Part {
        may_grow_to_bytes: stays.min(now),
        because: "clean pages of files are dropped before anyone is killed".to_owned(),
        ..Part::now(domain, now)
    }
}

/// What is charged to the control group beside the process's own pages.
fn beside(last: &Snapshot, group: &Cgroup) -> Vec<Part> {
    let others = group.anon_bytes.saturating_sub(last.memory.anon_bytes);
    let part = |domain: Domain, now: u64, because: String| Part { because, ..Part::now(domain, now) };
    let mut parts = vec![part(
        Domain::KernelMemory,
        group.kernel_bytes,
        "page tables, sockets, slab; page tables grow with what is mapped".to_owned(),
    )];
    let tmpfs = group.shmem_bytes.saturating_sub(last.memory.shmem_bytes);
    if tmpfs > 0 {
        parts.push(part(
            Domain::Tmpfs,
            tmpfs,
            "files in tmpfs and shared memory: no page of them can be dropped".to_owned(),
        ));
    }
    if group.processes > 1 && others > 0 {
        let because = format!(
            "{} other processes share the limit; what they may grow to was not looked at",
            group.processes - 1
        );
        parts.push(part(Domain::OtherProcesses, others, because));
    }
    parts
}

/// The flags and limits that make it fit.
fn settings(outlook: &Outlook, jvm: Option<&Jvm>) -> Vec<String> {
    let Some(limit) = outlook.limit_bytes else { return Vec::new() };
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    let needed = outlook.ceiling_bytes.saturating_add(outlook.ceiling_bytes / SPARE);
    let mut settings = Vec::new();
    let part = |domain: Domain| outlook.parts.iter().find(|part| part.domain == domain);
    let grows = |part: &&Part| part.may_grow_to_bytes > part.now_bytes;
    let mut saved = 0;
    if let Some(direct) = part(Domain::DirectMemory).filter(grows) {
        let most = direct.now_bytes.saturating_mul(2).clamp(64 << 20, NO_LIMIT).next_multiple_of(1 << 20);
        saved = direct.may_grow_to_bytes.saturating_sub(most);
        if saved > 0 {
            settings.push(format!("-XX:MaxDirectMemorySize={}m: room for twice what it is now", mib(most)));
        }
    }
    if let (Some(jvm), Some(heap)) = (jvm, part(Domain::JavaHeap)) {
        let beside = outlook.ceiling_bytes.saturating_sub(heap.may_grow_to_bytes).saturating_sub(saved);
        let room = limit.saturating_sub(limit / SPARE).saturating_sub(beside);
        if room > jvm.heap.used_bytes.unwrap_or(0) && room < heap.may_grow_to_bytes {
            settings.insert(0, format!("-Xmx{}m: what the limit leaves beside the other parts", room >> 20));
        }
    }
    let or = if settings.is_empty() { "" } else { "or " };
    settings.push(format!("{or}a limit of {} MiB: the sum and a twentieth to spare", mib(needed)));
    settings
}

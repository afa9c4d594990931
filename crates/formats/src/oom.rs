//! What the kernel, the kubelet, Kubernetes' events and systemd-oomd say when memory ran out.
//! Source: Linux, mm/oom_kill.c (`oom_kill_process`, `dump_header`); kubelet's oomwatcher and
//! eviction/helpers.go; systemd's oomd-manager.c.

use crate::Error;
use crate::figures::{Figures, Named};
use crate::words::{Base, behind, size};
use offheap_model::units::bytes as in_words;
use std::collections::HashMap;

/// Words of the lines that are of it.
const WORDS: [&str; 12] = [
    "invoked oom-killer",
    "Memory cgroup out of memory",
    "Out of memory: Kill",
    "oom-kill:constraint=",
    "oom_reaper: reaped process",
    "Memory cgroup stats for",
    "System OOM encountered",
    "OOMKilling",
    "killed as a result of limit of",
    EVICTED,
    "due to memory pressure for ",
    "due to memory used ",
];

/// What the kubelet says of a pod that it ended.
const EVICTED: &str = "The node was low on resource: memory";

/// True where such a line is of it.
pub(crate) fn begins(line: &str) -> bool {
    WORDS.iter().any(|word| line.contains(word))
}

/// True where `line` can be of it: the kernel prints registers and a table of all tasks around it.
pub(crate) fn has(line: &str) -> bool {
    begins(line) || is_usage(line) || line.contains("anon-rss:")
}

fn is_usage(line: &str) -> bool {
    line.contains("usage ") && line.contains("limit ") && line.contains("kB")
}

/// True where any of the first lines of `head` is of it.
pub(crate) fn is(head: &[u8]) -> bool {
    crate::words::any_of(head, 2000, begins)
}

/// Killed processes that have a sentence each.
const MOST_TOLD: usize = 20;

/// A process that was killed.
#[derive(Default)]
struct Killed {
    pid: String,
    name: String,
    resident: u64,
    parts: [u64; 3],
}

/// `…Killed process 77 (java) total-vm:1kB, anon-rss:1kB, file-rss:1kB, shmem-rss:1kB`; `Kill
/// process` up to Linux 4.
fn killed(line: &str) -> Option<Killed> {
    let (_, rest) = line.split_once("Killed process ").or_else(|| line.split_once("Kill process "))?;
    let (pid, rest) = rest.split_once(' ')?;
    let name = rest.split_once('(').and_then(|(_, rest)| rest.split_once(')')).map_or("", |(name, _)| name);
    let kib = |key: &str| behind(line, key).and_then(|text| size(text, Base::Binary)).unwrap_or(0);
    let parts = [kib("anon-rss:"), kib("file-rss:"), kib("shmem-rss:")];
    Some(Killed {
        pid: pid.trim_end_matches(',').to_owned(),
        name: name.to_owned(),
        resident: parts.iter().fold(0, |sum, part| sum.saturating_add(*part)),
        parts,
    })
}

/// What others than the kernel have ended: `The node was low on resource: memory. … Container api
/// was using 3901Mi, request is 1Gi, …`, and systemd-oomd's `Killed /a.scope due to memory …`.
fn ended(line: &str) -> Option<(String, Option<Named>)> {
    if line.contains(EVICTED) {
        let using = behind(line, "Container ").and_then(|_| line.split_once(" was using "));
        let Some((before, after)) = using else {
            return Some(("Kubernetes evicted the pod: its node ran low on memory.".to_owned(), None));
        };
        let name = before.rsplit(' ').next().unwrap_or_default();
        let used = size(after.split([',', ' ']).next()?, Base::Decimal)?;
        let request =
            behind(after, "request is ").and_then(|text| size(text.trim_end_matches(','), Base::Decimal));
        let request = match request {
            Some(0) | None => "no request".to_owned(),
            Some(bytes) => format!("a request of {}", in_words(bytes)),
        };
        let says = format!(
            "Kubernetes evicted the pod: its node ran low on memory, and {name} was using {} with {request}.",
            in_words(used)
        );
        return Some((
            says,
            Some(Named { name: format!("{name}, as the pod was evicted"), bytes: used, count: None }),
        ));
    }
    let (killed, why) = line.split_once(" due to memory ")?;
    let (_, killed) = killed.rsplit_once("Killed ")?;
    Some((format!("systemd-oomd killed {killed}: memory {}.", why.trim_end_matches('.')), None))
}

/// Reads such lines.
///
/// # Errors
/// None of them names what was killed, or a limit.
pub fn read(bytes: &[u8]) -> Result<Figures, Error> {
    let text = String::from_utf8_lossy(bytes);
    let (mut all, mut limit, mut group, mut host): (Vec<Killed>, Option<(u64, u64)>, bool, bool) =
        (Vec::new(), None, false, false);
    // Where in `all` the process with a pid is.
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut victim = None;
    let mut others: Vec<(String, Option<Named>)> = Vec::new();
    for line in text.lines() {
        if let Some(found) = killed(line).filter(|found| found.resident > 0 || !line.contains("Kill process"))
        {
            // The kernel says it once as it decides and once as it is done.
            match places.get(&found.pid).and_then(|place| all.get_mut(*place)) {
                Some(known) if found.resident > known.resident => *known = found,
                Some(_) => {}
                None => {
                    places.insert(found.pid.clone(), all.len());
                    all.push(found);
                }
            }
        }
        if others.len() < MOST_TOLD
            && let Some(other) = ended(line).filter(|other| !others.contains(other))
        {
            others.push(other);
        }
        group |= line.contains("Memory cgroup out of memory")
            || line.contains("CONSTRAINT_MEMCG")
            || line.contains("killed as a result of limit of");
        host |= line.contains("CONSTRAINT_NONE") || line.contains("System OOM encountered");
        if line.contains("System OOM encountered") {
            victim = behind(line, "victim process: ").map(str::to_owned);
        }
        if is_usage(line) && limit.is_none() && !line.contains("memory+swap") && !line.contains("kmem") {
            let kib = |key: &str| behind(line, key).and_then(|text| size(text, Base::Binary));
            limit = kib("usage ").zip(kib("limit "));
        }
    }
    let by_others = all.is_empty() && limit.is_none() && victim.is_none() && !group && !host;
    if by_others && others.is_empty() {
        return Err(Error::NotThis {
            format: "out-of-memory message",
            reason: "it names neither what was killed nor a limit".into(),
        });
    }
    let mut named: Vec<Named> = Vec::new();
    for one in &all {
        for (part, bytes) in ["anonymous", "of files", "shared memory"].iter().zip(one.parts) {
            named.push(Named { name: format!("{} ({}), {part}", one.name, one.pid), bytes, count: None });
        }
    }
    let (says, used): (Vec<String>, Vec<Option<Named>>) = others.into_iter().unzip();
    named.extend(used.into_iter().flatten());
    let mut figures = Figures::new("what was killed as memory ran out", named);
    figures.says = says;
    if by_others {
        return Ok(figures.advising("What ran low is the machine's memory, and what was ended need not be what grew: compare each service with its request or its memory limit (kubectl top pod, systemd-cgtop), and set them near what it needs."));
    }
    for one in all.iter().take(MOST_TOLD) {
        let name = if one.name.is_empty() { "a process" } else { &one.name };
        let resident = if one.resident > 0 {
            format!(
                " with {} resident, {} of it anonymous",
                in_words(one.resident),
                in_words(one.parts.first().copied().unwrap_or(0))
            )
        } else {
            String::new()
        };
        figures = figures.saying(format!("The kernel killed {name} (pid {}){resident}.", one.pid));
    }
    if all.len() > MOST_TOLD {
        figures = figures.saying(format!("The kernel killed {} more.", all.len() - MOST_TOLD));
    }
    if let (Some(victim), true) = (&victim, all.is_empty()) {
        figures =
            figures.saying(format!("The kernel killed {victim}: the machine itself had no memory left."));
    }
    if let Some((usage, limit)) = limit {
        figures = figures.saying(format!(
            "The control group had used {} of its limit of {}.",
            in_words(usage),
            in_words(limit)
        ));
    }
    figures = if group {
        figures
            .saying("The limit that was hit is the container's, not the machine's.")
            .advising("Compare the limit with -Xmx plus what the JVM has beside its heap: offheap fit PID, or offheap map PID of the next one before it dies.")
            .advising("offheap record --profile keeps the last state of a process that is killed, with the code that allocated.")
    } else {
        figures
            .saying("The machine itself ran out: the largest process was killed, which need not be the one that grew.")
            .advising("The table of tasks before this message has the resident pages (rss) of each process: add up who grew.")
            .advising("Give each service a memory limit of its own, so that the one that grows is the one that is killed.")
    };
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_and_a_machine() {
        let container = "java invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=984\n\
            memory: usage 2097152kB, limit 2097152kB, failcnt 312\nmemory+swap: usage 2097152kB, limit 9007199254740988kB, failcnt 0\n\
            oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),task=java,pid=4711,uid=1000\n\
            Memory cgroup out of memory: Killed process 4711 (java) total-vm:7654321kB, anon-rss:2031616kB, file-rss:16384kB, shmem-rss:0kB, UID:1000 pgtables:5000kB oom_score_adj:984\n";
        assert!(is(container.as_bytes()));
        let figures = read(container.as_bytes()).unwrap();
        assert_eq!(
            figures.says[0],
            "The kernel killed java (pid 4711) with 1.95 GiB resident, 1.94 GiB of it anonymous."
        );
        assert_eq!(figures.says[1], "The control group had used 2.00 GiB of its limit of 2.00 GiB.");
        assert!(figures.says[2].contains("container's"), "{:?}", figures.says);
        let machine = "Out of memory: Killed process 99 (mysqld) total-vm:9000kB, anon-rss:8192kB, file-rss:0kB, shmem-rss:0kB\n";
        assert!(read(machine.as_bytes()).unwrap().says[1].contains("machine itself"));
        let kubelet = "E0501 10:11:12.123456 kubelet oom_watcher.go: System OOM encountered, victim process: java, pid: 77\n";
        assert!(read(kubelet.as_bytes()).unwrap().says[0].contains("killed java"));
    }

    #[test]
    fn others_than_the_kernel_end_processes_too() {
        let evicted = "  Message: The node was low on resource: memory. Threshold quantity: 100Mi, available: 45Mi. \
            Container api was using 3901Mi, request is 1Gi, has larger consumption of memory. \n";
        assert!(is(evicted.as_bytes()));
        let figures = read(evicted.as_bytes()).unwrap();
        assert_eq!(
            figures.says,
            [
                "Kubernetes evicted the pod: its node ran low on memory, and api was using 3.81 GiB with a request of 1.00 GiB."
            ]
        );
        assert_eq!(figures.list[0].bytes, 3901 << 20);
        let oomd = "systemd-oomd[812]: Killed /user.slice/a.scope due to memory pressure for /user.slice being 63.21% > 50.00%\n";
        assert!(
            read(oomd.as_bytes()).unwrap().says[0]
                .starts_with("systemd-oomd killed /user.slice/a.scope: memory pressure")
        );
    }

    #[test]
    fn a_process_that_is_named_twice_is_one_and_of_many_the_first_are_told() {
        let line = |pid: u32, kib: u64| {
            format!(
                "Out of memory: Killed process {pid} (java) total-vm:9kB, anon-rss:{kib}kB, file-rss:0kB, shmem-rss:0kB\n"
            )
        };
        let twice = read((line(7, 1024) + &line(7, 2048)).as_bytes()).unwrap();
        assert_eq!(twice.list.iter().map(|named| named.bytes).sum::<u64>(), 2 << 20);
        assert!(twice.says[0].contains("2.00 MiB resident"), "{:?}", twice.says);
        assert!(!twice.says[1].contains("killed java"), "{:?}", twice.says);
        let storm: String = (0..1000).map(|pid| line(pid, 1024)).collect();
        let storm = read(storm.as_bytes()).unwrap();
        assert_eq!((storm.list.len(), storm.says.len()), (3000, 22));
        assert_eq!(storm.says[20], "The kernel killed 980 more.");
    }
}

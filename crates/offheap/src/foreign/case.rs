//! The handful of files that a ticket has, as one case: what they say together, what they
//! contradict, and which one measurement is missing.

use super::series::sort;
use super::verdict::{document, finding, growing, instant, window};
use super::{Content, Reading, series_of};
use offheap_diagnose::Diagnosis;
use offheap_formats::{BY_CLASS, Figures, Format, RESIDENT, ROLLUP, sum};
use offheap_model::units::bytes;
use offheap_model::{Domain, Evidence, Finding, Status};
use std::collections::BTreeMap;

/// What is outside of the JVM's account is worth a word from this part of the resident memory on.
const OUTSIDE: f64 = 0.2;
/// How sure a cause is that several files show together, and one that a single file shows.
const TOGETHER: f64 = 0.75;
const ALONE: f64 = 0.5;
/// Threads of one pool that are a leak of threads.
const MANY_THREADS: u64 = 500;
/// Direct buffers that are worth a word.
const MANY_BUFFERS: u64 = 1000;

/// A figure and the file that has it.
type Said<T> = Option<(T, String)>;

/// What the files know of one process, each figure as the last file that has it says.
#[derive(Default)]
struct Facts {
    /// Resident bytes.
    resident: Said<u64>,
    /// What NMT knows, committed, and its largest categories.
    nmt: Said<Vec<(String, u64)>>,
    /// The memory limit.
    limits: Vec<(u64, String)>,
    /// Threads.
    threads: Vec<(u64, String)>,
    /// The largest pool of threads.
    pool: Said<(String, u64)>,
    /// Live objects on the heap.
    objects: Said<u64>,
    /// Direct buffers: how many, and their bytes where they are known.
    buffers: Said<(u64, Option<u64>)>,
    /// Free but held by the allocator.
    held: Said<u64>,
    /// Whether something was killed for memory.
    killed: Said<String>,
    /// Whether any file has allocation sites.
    has_sites: bool,
}

impl Facts {
    fn of(readings: &[Reading]) -> Facts {
        let mut facts = Facts::default();
        for reading in readings {
            let file = reading.path.display().to_string();
            match &reading.content {
                Content::Profile(_) => facts.has_sites = true,
                Content::Log(log, nmt) => {
                    facts.resident = log.rss_bytes.map(|rss| (rss, file.clone())).or(facts.resident);
                    facts.held = log.c_heap_retained_bytes.map(|held| (held, file.clone())).or(facts.held);
                    facts.threads.extend(log.java_threads.map(|count| (count, file.clone())));
                    if let Some(pool) = log.pools.first() {
                        facts.pool = Some((pool.clone(), file.clone()));
                    }
                    if !nmt.is_empty() {
                        let list = nmt.iter().map(|named| (named.name.clone(), named.bytes)).collect();
                        facts.nmt = Some((list, file));
                    }
                }
                Content::Dump(dump) => {
                    facts.buffers = Some(((dump.direct.count, Some(dump.direct.capacity_bytes)), file));
                }
                Content::Figures(figures) => facts.figures(reading.format, figures, file),
                Content::Recording(_) => {}
            }
        }
        facts
    }

    fn figures(&mut self, format: Format, figures: &Figures, file: String) {
        let sum = || sum(&figures.list);
        let get = |name: &str| figures.list.iter().find(|named| named.name == name);
        match format {
            // `pmap -d` has only what is mapped.
            Format::Smaps | Format::Pmap if figures.of == RESIDENT || figures.of == ROLLUP => {
                self.resident = Some((sum(), file))
            }
            Format::ProcStatus => {
                self.resident =
                    get("resident").map(|named| (named.bytes, file.clone())).or(self.resident.take());
                self.threads.extend(get("threads").and_then(|named| named.count).map(|count| (count, file)));
            }
            Format::Oom => {
                let largest = largest_process(figures);
                self.resident = (largest > 0).then(|| (largest, file.clone())).or(self.resident.take());
                self.killed = figures.says.first().map(|text| (text.clone(), file));
            }
            Format::Kubectl => {
                let limits = figures.list.iter().filter(|named| named.name.ends_with("memory limit"));
                self.limits.extend(limits.map(|named| (named.bytes, file.clone())));
                self.killed = figures
                    .says
                    .iter()
                    .find(|text| text.contains("OOMKilled"))
                    .map(|text| (text.clone(), file))
                    .or(self.killed.take());
            }
            Format::Nmt | Format::VmInfo if figures.of == super::NMT => {
                let list = figures.list.iter().map(|named| (named.name.clone(), named.bytes)).collect();
                self.nmt = Some((list, file));
            }
            Format::MallocStats | Format::JemallocStats => {
                let held = figures.list.iter().find(|named| named.name.contains("free but held"));
                self.held = held.map(|named| (named.bytes, file)).or(self.held.take());
            }
            Format::Jcmd => match figures.of.as_str() {
                BY_CLASS => {
                    let buffers =
                        figures.list.iter().filter(|named| named.name == "java.nio.DirectByteBuffer");
                    let count = buffers.filter_map(|named| named.count).sum();
                    self.buffers = Some(((count, None), file.clone()))
                        .filter(|_| self.buffers.is_none() && count > 0)
                        .or(self.buffers.take());
                    self.objects = Some((sum(), file));
                }
                "threads by pool" => {
                    let count = figures.list.iter().filter_map(|named| named.count).sum();
                    let largest = figures.list.iter().max_by_key(|named| named.count);
                    self.pool =
                        largest.map(|named| ((named.name.clone(), named.count.unwrap_or(0)), file.clone()));
                    self.threads.push((count, file));
                }
                "glibc's heap by arena" => {
                    self.held =
                        get("arenas, free but held").map(|named| (named.bytes, file)).or(self.held.take());
                }
                _ => {}
            },
            _ => {}
        }
    }

    fn category(&self, name: &str) -> u64 {
        let (list, _) =
            self.nmt.as_ref().map_or((&[][..], ""), |(list, file)| (list.as_slice(), file.as_str()));
        list.iter().find(|(known, _)| known == name).map_or(0, |(_, bytes)| *bytes)
    }

    fn accounted(&self) -> Option<u64> {
        self.nmt
            .as_ref()
            .map(|(list, _)| list.iter().fold(0u64, |sum, (_, bytes)| sum.saturating_add(*bytes)))
    }
}

/// Resident bytes of the largest process in the `figures` of an out-of-memory message: a log has
/// those of several kills.
fn largest_process(figures: &Figures) -> u64 {
    let mut processes: BTreeMap<&str, u64> = BTreeMap::new();
    for named in &figures.list {
        // `java (77), anonymous`
        let (process, _) = named.name.rsplit_once(", ").unwrap_or((&named.name, ""));
        let resident = processes.entry(process).or_default();
        *resident = resident.saturating_add(named.bytes);
    }
    processes.into_values().max().unwrap_or(0)
}

/// What `readings`, which are of several kinds, say together.
pub(super) fn case(readings: Vec<Reading>) -> anyhow::Result<Diagnosis> {
    let readings = in_order(readings);
    let files: Vec<_> = readings.iter().map(|reading| reading.path.clone()).collect();
    let facts = Facts::of(&readings);
    let mut evidence: Vec<Evidence> = readings.iter().map(line).collect();
    let mut kinds: BTreeMap<String, Vec<Reading>> = BTreeMap::new();
    let mut findings: Vec<Finding> = Vec::new();
    for reading in readings {
        match reading.kind().map(str::to_owned) {
            Some(kind) if !matches!(reading.content, Content::Log(..)) => {
                kinds.entry(kind).or_default().push(reading);
            }
            None if reading.profile().is_some() => kinds.entry(String::new()).or_default().push(reading),
            // A log says by itself what happened.
            _ => findings.push(instant(&reading)),
        }
    }
    let mut grown: Vec<(String, i64)> = Vec::new();
    for (_, list) in kinds.into_iter().filter(|(_, list)| list.len() > 1) {
        // Order as in a series by itself: by time, else by name.
        let series = series_of(list, false)?;
        grown.extend(
            series
                .table
                .rows
                .iter()
                .filter(|row| row.change() > 1 << 20 && series.table.is_bytes)
                .map(|row| (super::label(row), row.change())),
        );
        findings.extend(growing(&series));
    }
    grown.sort_by_key(|(_, change)| std::cmp::Reverse(*change));
    let contradictions = contradictions(&facts);
    let missing = missing(&facts, &grown);
    let mut together = together(&facts, &grown);
    together.evidence.append(&mut evidence);
    together.evidence.extend(contradictions.iter().map(|text| Evidence {
        text: format!("contradiction: {text}"),
        source: "the files together".to_owned(),
    }));
    if !contradictions.is_empty() {
        together
            .summary
            .push_str(&format!(" The files contradict each other: {}.", contradictions.join("; ")));
    }
    if let Some(missing) = missing {
        together.summary.push_str(&format!(" What is missing: {missing}."));
        together.confirm.insert(0, format!("take {missing}, then: offheap diagnose with all files again"));
    }
    // A crash that is told by its own log is the case, unless the files together know a leak.
    let is_first =
        together.status == Status::Leak || !findings.iter().any(|finding| finding.cause == "fatal-error");
    findings.insert(if is_first { 0 } else { 1.min(findings.len()) }, together);
    Ok(document(&files, window(1), findings))
}

/// `readings` by what they are of, those of one kind by time: the last one's figures count.
fn in_order(readings: Vec<Reading>) -> Vec<Reading> {
    let mut kinds: BTreeMap<(&str, String), Vec<Reading>> = BTreeMap::new();
    for reading in readings {
        let of = reading.kind().unwrap_or_default().to_owned();
        kinds.entry((reading.format.name(), of)).or_default().push(reading);
    }
    let sorted = kinds.into_values().map(|mut list| {
        sort(&mut list);
        list
    });
    sorted.flatten().collect()
}

/// A file in one line.
fn line(reading: &Reading) -> Evidence {
    let says = match &reading.content {
        Content::Log(log, _) => log.crash().title().to_owned(),
        Content::Profile(parsed) => format!("{} allocation sites", parsed.profile.sites.len()),
        Content::Recording(_) => "a recording".to_owned(),
        Content::Dump(dump) => {
            format!("{} direct buffers, {}", dump.direct.count, bytes(dump.direct.capacity_bytes))
        }
        Content::Figures(figures) => {
            let first = figures.says.first().cloned();
            first.unwrap_or_else(|| {
                let sum = sum(&figures.list);
                let largest = figures.list.first().map_or("", |named| named.name.as_str());
                if sum > 0 {
                    format!("{}: {} together, most of it {largest}", figures.of, bytes(sum))
                } else {
                    let count: u64 = figures.list.iter().filter_map(|named| named.count).sum();
                    format!("{}: {count}, most of them {largest}", figures.of)
                }
            })
        }
    };
    Evidence { text: says, source: format!("{} ({})", reading.path.display(), reading.format.name()) }
}

/// The cause that the files show together, or what they leave open.
fn together(facts: &Facts, grown: &[(String, i64)]) -> Finding {
    let grows =
        |name: &str| grown.iter().find(|(known, _)| known == name).map(|(_, change)| change.unsigned_abs());
    let (status, sure) = (Status::Leak, TOGETHER);
    let mut parts: Vec<String> = Vec::new();
    if let Some((text, _)) = &facts.killed {
        parts.push(text.trim_end_matches('.').to_owned());
    }
    if let (Some(accounted), Some((resident, _))) = (facts.accounted(), &facts.resident) {
        let outside = resident.saturating_sub(accounted);
        parts.push(if outside as f64 > *resident as f64 * OUTSIDE {
            format!("{} are resident and the JVM accounts for {}: at least {} are outside of its account, of native libraries or free but held by the allocator", bytes(*resident), bytes(accounted), bytes(outside))
        } else {
            format!("the JVM accounts for {} of {} resident: what is large is its own", bytes(accounted), bytes(*resident))
        });
    }
    let summary = |parts: &[String], text: String| {
        let lead = if parts.is_empty() { String::new() } else { format!("{}. ", parts.join(". ")) };
        let mut all = lead + &text;
        // What was killed may be named there, as it is spelled.
        if facts.killed.is_none()
            && let Some(first) = all.get(..1)
        {
            let upper = first.to_uppercase();
            all.replace_range(..1, &upper);
        }
        all
    };
    let pool = facts.pool.as_ref().filter(|((_, count), _)| *count >= MANY_THREADS);
    if let Some(((name, count), file)) = pool {
        let more = grows("Thread")
            .or(grows("Thread Stack"))
            .map_or_else(String::new, |change| format!(", and NMT's Thread grew by {}", bytes(change)));
        let stacks = facts.category("Thread") + facts.category("Thread Stack");
        let outside = facts
            .accounted()
            .zip(facts.resident.as_ref())
            .map_or(0, |(accounted, (resident, _))| resident.saturating_sub(accounted));
        let rest = if stacks > 0 && outside > stacks {
            format!(
                " Their stacks are {} by NMT, which is less than what is outside of its account: so many threads also have as many of the allocator's arenas, or something else grows beside them.",
                bytes(stacks)
            )
        } else {
            String::new()
        };
        let text = format!(
            "{count} threads are named {name} ({file}){more}: threads are started without an end.{rest}"
        );
        let mut found = finding(
            status,
            Some(Domain::ThreadStacks),
            "threads-by-pool",
            if more.is_empty() { ALONE } else { sure },
            summary(&parts, text),
        );
        found.fix = vec![format!(
            "find what starts threads named {name}: a pool that is made for each request, or one without a limit; close it, or share one"
        )];
        return found;
    }
    if let (Some(change), Some(((count, capacity), file))) =
        (grows("Other"), facts.buffers.as_ref().filter(|((count, _), _)| *count >= MANY_BUFFERS))
    {
        let capacity = capacity.map_or_else(String::new, |capacity| format!(" of {}", bytes(capacity)));
        let text = format!(
            "NMT's Other (direct buffers and Unsafe) grew by {}, and {count} DirectByteBuffers{capacity} are on the heap ({file}): direct buffers are kept.",
            bytes(change)
        );
        let mut found =
            finding(status, Some(Domain::DirectMemory), "direct-buffers-kept", sure, summary(&parts, text));
        found.fix = vec!["find what keeps the buffers: a heap dump names a path to one of each size (offheap convert dump.hprof)".to_owned()];
        return found;
    }
    if let Some((name, change)) = grown.first().filter(|(name, _)| name != "Java Heap") {
        let text = format!("{name} grew most between the files: by {}.", bytes(change.unsigned_abs()));
        return finding(Status::Inconclusive, None, "growth-between-files", ALONE, summary(&parts, text));
    }
    if let (Some(accounted), Some((resident, _))) = (facts.accounted(), &facts.resident) {
        let outside = resident.saturating_sub(accounted);
        if let Some((held, file)) = facts
            .held
            .as_ref()
            .filter(|(held, _)| *held > outside / 2 && *held as f64 > *resident as f64 * OUTSIDE)
        {
            let text = format!(
                "{} of that are free but held by the allocator ({file}): that is retention, not a leak.",
                bytes(*held)
            );
            let mut found = finding(
                Status::Retention,
                Some(Domain::AllocatorRetention),
                "free-but-held",
                sure,
                summary(&parts, text),
            );
            found.fix = vec!["MALLOC_ARENA_MAX=2, or offheap trim PID; jcmd PID System.trim_native_heap on JDK 17 and later".to_owned()];
            return found;
        }
        if outside as f64 > *resident as f64 * OUTSIDE {
            let text = "Whether it grows, one instant can't tell.".to_owned();
            let mut found = finding(
                Status::Inconclusive,
                Some(Domain::Malloc),
                "outside-of-the-jvms-account",
                ALONE,
                summary(&parts, text),
            );
            found.fix = vec![
                "name the code that allocates it: offheap profile PID, or jemalloc's heap profiles"
                    .to_owned(),
            ];
            return found;
        }
        let heap = facts.category("Java Heap");
        if heap > accounted / 2 {
            let text = format!("{} of it are the Java heap.", bytes(heap));
            return finding(
                Status::Inconclusive,
                Some(Domain::JavaHeap),
                "mostly-heap",
                ALONE,
                summary(&parts, text),
            );
        }
    }
    finding(
        Status::Inconclusive,
        None,
        "several-files",
        ALONE,
        summary(&parts, "These files together show no cause.".to_owned()),
    )
}

/// What can't be true of one process at one time.
fn contradictions(facts: &Facts) -> Vec<String> {
    let mut all = Vec::new();
    let heap = facts.category("Java Heap");
    if let (Some((objects, file)), Some((_, nmt))) = (&facts.objects, &facts.nmt)
        && heap > 0
        && *objects > heap + heap / 20
    {
        all.push(format!("{file} has {} of objects, and the Java heap has {} ({nmt}): they are of other times, or of other processes", bytes(*objects), bytes(heap)));
    }
    let (least, most) = (facts.threads.iter().min(), facts.threads.iter().max());
    if let (Some((few, a)), Some((many, b))) = (least, most)
        && *many > few.saturating_mul(2).saturating_add(100)
    {
        all.push(format!(
            "{a} has {few} threads and {b} {many}: they are of other times, or of other processes"
        ));
    }
    let (lowest, highest) = (facts.limits.iter().min(), facts.limits.iter().max());
    if let (Some((resident, file)), Some((limit, of))) =
        (&facts.resident, highest.filter(|_| lowest == highest))
        && *resident > limit.saturating_add(limit / 10)
    {
        all.push(format!(
            "{} are resident ({file}) where {} are allowed ({of}): another container, or another limit then",
            bytes(*resident),
            bytes(*limit)
        ));
    }
    all
}

/// The one measurement that would help most.
fn missing(facts: &Facts, grown: &[(String, i64)]) -> Option<String> {
    let outside = facts
        .accounted()
        .zip(facts.resident.as_ref())
        .map(|(accounted, (resident, _))| (resident.saturating_sub(accounted), *resident));
    Some(match outside {
        _ if facts.nmt.is_none() => "NMT's summary (-XX:NativeMemoryTracking=summary, then jcmd PID VM.native_memory)",
        None => "what is resident (/proc/PID/smaps, or pmap -X PID) at the time of the NMT report",
        Some((outside, resident)) if outside as f64 > resident as f64 * OUTSIDE && facts.held.is_none() && !facts.has_sites => {
            "what the allocator holds free (jcmd PID System.native_heap_info), which tells a leak outside of the JVM from retention"
        }
        Some((outside, _)) if facts.held.as_ref().is_some_and(|(held, _)| *held > outside / 2) => {
            "what is resident after offheap trim PID, or jcmd PID System.trim_native_heap, which proves that it was only held"
        }
        Some((outside, resident)) if outside as f64 > resident as f64 * OUTSIDE && !facts.has_sites => {
            "a profile of the native allocations (offheap profile PID, or jemalloc's heap profiles), which names the code"
        }
        Some(_) if grown.is_empty() => "the same files of a later time, as one instant never shows what grows",
        Some(_) => return None,
    }
    .to_owned())
}

//! What hsperfdata tells of a JVM, and how it is got: from memory, or from its file.

use crate::hsperf::Hsperf;
use crate::target::Target;
use crate::vm::Vm;
use offheap_linux::{PAGE, Process};
use std::io::Read;

/// `PerfDataMemorySize` is 32 KB; nobody makes it larger than this.
const MAX_BYTES: usize = 1 << 20;
/// Bytes of the prologue that say how much is in use.
const PROLOGUE: usize = 32;

/// The counters from the JVM's memory; `None` with `-XX:-UsePerfData`.
pub(crate) fn from_memory(vm: &Vm<'_>) -> Option<Hsperf> {
    let start = vm.static_pointer("PerfMemory", "_start")?;
    let used = Hsperf::used(&vm.target.bytes(start, PROLOGUE)?)?.min(MAX_BYTES);
    Hsperf::parse(&pages(vm.target, start, used)).ok()
}

/// `len` bytes, those of pages that can't be read as zeros.
fn pages(target: &dyn Target, start: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let mut done = 0;
    while done < len {
        let at = start.saturating_add(done as u64);
        let count = ((PAGE - at % PAGE) as usize).min(len - done);
        if let Some(chunk) = bytes.get_mut(done..done + count)
            && target.read(at, chunk).is_err()
        {
            chunk.fill(0);
        }
        done += count;
    }
    bytes
}

/// The counters from the file `hsperfdata_USER/PID` in the process's own `/tmp`, which the process has mapped.
pub(crate) fn from_file(process: &Process) -> Option<Hsperf> {
    let inner_pid = process.status().ok()?.inner_pid();
    let directory = process.path_in_root("/tmp");
    std::fs::read_dir(directory).ok()?.filter_map(Result::ok).take(4096).find_map(|entry| {
        if !entry.file_name().to_str()?.starts_with("hsperfdata_") {
            return None;
        }
        let file = std::fs::File::open(entry.path().join(inner_pid.to_string())).ok()?;
        // A file left by an earlier process of this pid is older than the process.
        if !is_newer(&file, process) {
            return None;
        }
        let mut bytes = Vec::new();
        file.take(MAX_BYTES as u64).read_to_end(&mut bytes).ok()?;
        Hsperf::parse(&bytes).ok()
    })
}

/// True where the file was written after the process started, or where that can't be told.
fn is_newer(file: &std::fs::File, process: &Process) -> bool {
    let written = file.metadata().and_then(|data| data.modified()).ok().and_then(|time| time.elapsed().ok());
    match (written, process.uptime_s()) {
        (Some(age), Ok(uptime)) => age.as_secs_f64() <= uptime + 2.0,
        _ => true,
    }
}

/// `"17"` or `"1.8"`, as in `java.vm.specification.version`.
pub(crate) fn feature_of_specification(text: &str) -> Option<u32> {
    text.strip_prefix("1.").unwrap_or(text).parse().ok()
}

/// The release's own text: `"17.0.15+6-Debian-1deb12u1"`, in JDK 8 `"25.402-b08"`.
pub(crate) fn feature_of_release(text: &str) -> Option<u32> {
    let number: u32 = text.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
    // JDK 8's HotSpot counted on its own, to 25, and named its builds -bNN.
    Some(if number == 25 && text.contains("-b") && !text.contains('+') { 8 } else { number })
}

/// Young and old collections. With Z and Shenandoah the JVM counts pauses, a few for each collection.
pub(crate) fn collections(hsperf: &Hsperf) -> (Option<u64>, Option<u64>) {
    let (mut young, mut old) = (None::<u64>, None::<u64>);
    for index in 0..4 {
        let Some(name) = hsperf.text(&format!("sun.gc.collector.{index}.name")) else { continue };
        let count = hsperf.number(&format!("sun.gc.collector.{index}.invocations"));
        let name = name.to_ascii_lowercase();
        let is_old = ["full", "major", "msc", "mark", "old", "parallelcompact", "cms"]
            .iter()
            .any(|word| name.contains(word))
            || (index == 1 && !name.contains("young"));
        // G1 counts the pauses of its concurrent cycle apart.
        if name.contains("stop-the-world phases") || name.contains("concurrent cycle") {
            continue;
        }
        let sum = if is_old { &mut old } else { &mut young };
        *sum = count.map(|count| sum.unwrap_or(0).saturating_add(count)).or(*sum);
    }
    (young, old)
}

/// The collector, by the names of its counters; empty where they tell nothing.
pub(crate) fn collector(hsperf: &Hsperf) -> &'static str {
    // Epsilon and Shenandoah name a space or a pause, the others a policy or a collector.
    let names = [
        "sun.gc.policy.name",
        "sun.gc.collector.0.name",
        "sun.gc.generation.1.name",
        "sun.gc.generation.0.name",
    ];
    let known = [
        ("GarbageFirst", "G1"),
        ("G1 ", "G1"),
        ("ParScav", "Parallel"),
        ("ParNew", "ConcMarkSweep"),
        ("Copy:MSC", "Serial"),
        ("ZGC", "Z"),
        ("Z concurrent", "Z"),
        ("Shenandoah", "Shenandoah"),
        ("Epsilon", "Epsilon"),
    ];
    names
        .into_iter()
        .filter_map(|name| hsperf.text(name))
        .find_map(|text| known.into_iter().find(|(prefix, _)| text.starts_with(prefix)))
        .map_or("", |(_, collector)| collector)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_of_every_age_have_their_feature_number() {
        let feature = |text| feature_of_release(text);
        assert_eq!(feature("25.402-b08"), Some(8));
        assert_eq!(feature("11.0.13+8"), Some(11));
        assert_eq!(feature("17.0.15+6-Debian-1deb12u1"), Some(17));
        assert_eq!(feature("25.0.3+9-LTS"), Some(25));
        assert_eq!(feature("26-ea+12-beta"), Some(26));
        assert_eq!(feature("nonsense"), None);
        assert_eq!(feature_of_specification("1.8"), Some(8));
        assert_eq!(feature_of_specification("21"), Some(21));
    }
}

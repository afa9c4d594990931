//! What hsperfdata tells of a JVM, and how it is got: from its memory, or from the file that it has
//! mapped there. What merely lies in `/tmp` under a name that fits can be anybody's, and is not
//! looked at.

use crate::hsperf::Hsperf;
use crate::target::{Peek, Target};
use crate::vm::Vm;
use offheap_linux::foreign::{self, Expect};
use offheap_linux::{Process, page_bytes};

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
        let count = ((page_bytes() - at % page_bytes()) as usize).min(len - done);
        if let Some(chunk) = bytes.get_mut(done..done + count)
            && target.read(at, chunk).is_err()
        {
            chunk.fill(0);
        }
        done += count;
    }
    bytes
}

/// The counters from the mapping of the file `hsperfdata_USER/PID` that the process has: by its
/// memory, else, where that may not be read, by the file, which must be the very one that is
/// mapped, and of the process's user. `None` with `-XX:-UsePerfData` and
/// `-XX:+PerfDisableSharedMem`, which map no file.
pub(crate) fn from_mapping(process: &Process) -> Option<Hsperf> {
    let status = process.status().ok()?;
    let vmas = process.maps().ok()?;
    // A JVM that watches others has theirs mapped too.
    let vma = vmas.iter().find(|vma| is_counters(&vma.path, status.inner_pid()))?;
    let from_memory = || {
        let memory = process.memory(std::slice::from_ref(vma)).ok()?;
        let length = usize::try_from(vma.len()).ok()?.min(MAX_BYTES);
        Hsperf::parse(&pages(&memory, vma.start, length)).ok()
    };
    let from_file = || {
        let expect = Expect::written_by(status.euid, MAX_BYTES as u64);
        let file = process.mapped_file(vma, &expect).ok()?;
        Hsperf::parse(&foreign::read(file, MAX_BYTES as u64).ok()?).ok()
    };
    from_memory().or_else(from_file)
}

/// Whether the file at `path` is the counters of the process that knows itself as `pid`.
fn is_counters(path: &str, pid: i32) -> bool {
    let mut names = path.rsplit('/');
    names.next().is_some_and(|name| name == pid.to_string())
        && names.next().is_some_and(|name| name.starts_with("hsperfdata_"))
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

/// Collections since the start. With Z and Shenandoah the JVM counts pauses, a few for each
/// collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Collections {
    /// Young ones.
    pub young: Option<u64>,
    /// Old and full ones.
    pub old: Option<u64>,
    /// Microseconds that the program stood still for those.
    pub old_us: Option<u64>,
}

/// Reads how many there were, and how long the old ones took.
pub(crate) fn collections(hsperf: &Hsperf) -> Collections {
    let mut all = Collections::default();
    let ticks_per_s = hsperf.number("sun.os.hrt.frequency").filter(|ticks| *ticks > 0);
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
        let add = |sum: &mut Option<u64>, more: Option<u64>| {
            *sum = more.map(|more| sum.unwrap_or(0).saturating_add(more)).or(*sum);
        };
        add(if is_old { &mut all.old } else { &mut all.young }, count);
        if is_old {
            let ticks = hsperf.number(&format!("sun.gc.collector.{index}.time"));
            let us = ticks.zip(ticks_per_s).map(|(ticks, per_s)| {
                u64::try_from(u128::from(ticks) * 1_000_000 / u128::from(per_s)).unwrap_or(u64::MAX)
            });
            add(&mut all.old_us, us);
        }
    }
    all
}

/// How often each collector ran, without G1's concurrent cycles, which move nothing.
pub(crate) fn invocations(hsperf: &Hsperf) -> Vec<u64> {
    let of = |index: u32| {
        let name = hsperf.text(&format!("sun.gc.collector.{index}.name"))?.to_ascii_lowercase();
        let moves_nothing = name.starts_with("g1") && name.contains("concurrent");
        hsperf.number(&format!("sun.gc.collector.{index}.invocations")).filter(|_| !moves_nothing)
    };
    (0..4).filter_map(of).collect()
}

/// The most that the old generation may become; a heap without generations is one as a whole.
pub(crate) fn old_max(hsperf: &Hsperf) -> Option<u64> {
    let max = |index: u32| hsperf.number(&format!("sun.gc.generation.{index}.maxCapacity"));
    max(1).filter(|bytes| *bytes > 0).or_else(|| max(0))
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
    fn only_the_processs_own_counters_are_its() {
        assert!(is_counters("/tmp/hsperfdata_app/17", 17));
        for other in ["/tmp/hsperfdata_app/18", "/tmp/hsperfdata_app/17/17", "/tmp/17", "17", ""] {
            assert!(!is_counters(other, 17), "{other}");
        }
    }

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

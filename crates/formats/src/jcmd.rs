//! What `jcmd PID COMMAND` prints, saved to a file: the commands that tell sizes. Source: HotSpot's
//! diagnosticCommand.cpp and the printers it calls; samples of JDK 11 to 25.
//!
//! The text may start with the pid and a colon (as `jcmd` prints) or with the status (as the attach
//! protocol replies).

mod compiler;
mod vm;

use crate::figures::{BY_CLASS, Figures, Named};
use crate::words::{self, Base};
use crate::{Cut, Error};

const FORMAT: &str = "jcmd output";

/// A command whose output is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Command {
    /// `GC.class_histogram`: instances and bytes by class.
    ClassHistogram,
    /// `VM.flags`: what flags are set to; those that are sizes as bytes.
    Flags,
    /// `VM.stringtable`, `VM.symboltable`, `VM.systemdictionary`: bytes and entries by table.
    HashTables,
    /// `PerfCounter.print`: the counters that are of memory, classes and threads.
    PerfCounters,
    /// `VM.classloader_stats`: classes and metaspace chunks by the loader's class.
    ClassLoaderStats,
    /// `Compiler.codecache`: used bytes by code heap.
    CodeCache,
    /// `Compiler.memory`: arena bytes and compilations by method.
    CompilerMemory,
    /// `GC.heap_info`: used and committed bytes of the heap and metaspace.
    HeapInfo,
    /// `VM.metaspace`: used, committed and free bytes.
    Metaspace,
    /// `System.native_heap_info`: glibc's `malloc_info` by arena.
    NativeHeap,
    /// `System.map`: resident bytes by what NMT says a mapping is.
    SystemMap,
    /// `System.trim_native_heap`: what it gave back.
    TrimNativeHeap,
    /// `Thread.print`: threads by the name of their pool.
    ThreadPrint,
}

/// How much of a file is looked at to tell the command.
const HEAD: usize = 8 << 10;

/// The command whose output `head` starts with.
pub fn command(head: &[u8]) -> Option<Command> {
    let text = String::from_utf8_lossy(head.get(..HEAD).unwrap_or(head));
    let first = first_line(&text)?;
    let starts = |with: &str| first.starts_with(with);
    let second = || text.lines().map(str::trim).find(|line| line.starts_with("Full thread dump"));
    if starts("num ") && first.contains("#instances") {
        Some(Command::ClassHistogram)
    } else if starts("ClassLoader ") && first.contains("CLD*") {
        Some(Command::ClassLoaderStats)
    } else if starts("CodeHeap '") || starts("CodeCache: size=") {
        Some(Command::CodeCache)
    } else if compiler::is_memory(first) {
        Some(Command::CompilerMemory)
    } else if starts("<malloc version=") {
        Some(Command::NativeHeap)
    } else if starts("Memory mappings:") {
        Some(Command::SystemMap)
    } else if starts("Trim native heap:") {
        Some(Command::TrimNativeHeap)
    } else if starts("-XX:") {
        Some(Command::Flags)
    } else if vm::is_counter(first) {
        Some(Command::PerfCounters)
    } else if vm::is_hash_table(first) {
        Some(Command::HashTables)
    } else if starts("Usage per loader:")
        || (starts("Usage:") || starts("Total Usage") || starts("Metaspace ")) && text.contains("Non-class")
    {
        Some(Command::Metaspace)
    } else if starts("Full thread dump") || first.get(..4).is_some_and(is_year) && second().is_some() {
        Some(Command::ThreadPrint)
    } else if is_heap(first) {
        Some(Command::HeapInfo)
    } else {
        None
    }
}

/// True where an output that may stand behind another starts with `line`.
pub(crate) fn begins(line: &str) -> bool {
    line.starts_with("num ") && line.contains("#instances")
        || ["Full thread dump", "<malloc version=", "Memory mappings:", "Compiler Memory Statistic"]
            .iter()
            .any(|begin| line.starts_with(begin))
        || line.starts_with("ClassLoader ") && line.contains("CLD*")
}

/// True where one may start with it.
pub(crate) fn perhaps(line: &str) -> bool {
    if line.starts_with("-XX:") {
        // A JVM's own list is long; in a ticket's words there are one or two.
        return line.matches("-XX:").count() > 6;
    }
    command(line.as_bytes()).is_some()
        || ["Usage per loader:", "Total Usage"].iter().any(|begin| line.starts_with(begin))
}

/// True where `line` can be of any output: what a ticket writes in between as `...` is not.
pub(crate) fn has(line: &str) -> bool {
    !matches!(line.trim(), "..." | "…" | "[...]" | "[…]" | "(...)" | "<snip>" | "[snip]")
}

/// The first line of the output itself, behind `12345:` or a status.
fn first_line(text: &str) -> Option<&str> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next()?;
    if first.trim_end_matches(':').parse::<i64>().is_ok() { lines.next() } else { Some(first) }
}

/// What the JVM says in `head` of a command that it refused.
pub fn refusal(head: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(head.get(..HEAD).unwrap_or(head));
    let reason = first_line(&text)?.strip_prefix("java.lang.IllegalArgumentException: ")?;
    Some(reason.to_owned())
}

fn is_year(text: &str) -> bool {
    text.parse::<u32>().is_ok_and(|year| year > 1990)
}

/// `garbage-first heap   total 262144K, used …`; generations of the others: `def new generation
/// total`.
fn is_heap(line: &str) -> bool {
    let collectors = [
        "garbage-first heap",
        "def new generation",
        "par new generation",
        "concurrent mark-sweep",
        "DefNew ",
        "PSYoungGen",
        "ZHeap",
        "Shenandoah Heap",
        "Generational Shenandoah Heap",
        "Epsilon Heap",
    ];
    let is_collector = collectors.iter().any(|name| line.starts_with(name));
    is_collector || line.starts_with("Heap") && line.len() < 6
}

/// True where `head` is the output of a command known here.
pub(crate) fn is(head: &[u8]) -> bool {
    command(head).is_some()
}

/// Reads the output of whichever command it is.
///
/// # Errors
/// It is of no command known here, or has no figure.
pub fn read(bytes: &[u8]) -> Result<Figures, Error> {
    let not = |reason: &str| Error::NotThis { format: FORMAT, reason: reason.to_owned() };
    let command = command(bytes).ok_or_else(|| not("no command is known that prints this"))?;
    let text = String::from_utf8_lossy(bytes);
    let lines = || text.lines();
    let (of, named, end): (&str, Vec<Named>, Option<&str>) = match command {
        Command::ClassHistogram => (BY_CLASS, lines().filter_map(class).collect(), Some("Total ")),
        Command::ClassLoaderStats => {
            ("metaspace by the class of the loader", lines().filter_map(loader).collect(), Some("Total = "))
        }
        Command::CodeCache => {
            ("code cache by heap", lines().filter_map(code_heap).collect(), Some(" total_blobs="))
        }
        Command::CompilerMemory => ("compilers' arenas by method", compiler::memory(&text), None),
        Command::Flags => ("flags", text.split_ascii_whitespace().filter_map(vm::flag).collect(), None),
        Command::PerfCounters => ("performance counters", lines().filter_map(vm::counter).collect(), None),
        Command::HashTables => ("hash tables of the JVM", vm::hash_tables(&text), None),
        Command::HeapInfo => ("heap", lines().flat_map(heap_line).collect(), None),
        Command::Metaspace => ("metaspace", metaspace(&text), Some("Chunk freelists")),
        Command::NativeHeap => ("glibc's heap by arena", native_heap(&text), Some("</malloc>")),
        Command::SystemMap => {
            ("resident bytes by what is mapped", system_map(&text), Some("Number of mappings"))
        }
        Command::TrimNativeHeap => ("trimmed", lines().flat_map(trimmed).collect(), None),
        Command::ThreadPrint => {
            ("threads by pool", lines().filter_map(thread).collect(), Some("JNI global ref"))
        }
    };
    if named.is_empty() {
        return Err(not("it has no figure"));
    }
    let mut figures = Figures::new(of, named);
    if let Some(end) = end.filter(|end| !text.lines().any(|line| line.starts_with(end))) {
        let reading = format!("the output: {:?} does not follow", end.trim());
        figures.cut = Some(Cut { at: bytes.len() as u64, reading });
    }
    Ok(figures)
}

fn named(name: &str, bytes: u64, count: Option<u64>) -> Named {
    Named { name: name.to_owned(), bytes, count }
}

/// `   1:         28073        1501800  [B (java.base@17.0.9)`
fn class(line: &str) -> Option<Named> {
    let (number, rest) = line.split_once(':')?;
    number.trim().parse::<u64>().ok()?;
    let mut words = rest.split_ascii_whitespace();
    let (count, bytes) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some(named(&crate::hprof::spelled(words.next()?), bytes, Some(count)))
}

/// `0x…  0x…  0x…       1       768       230  Wl$CL`
fn loader(line: &str) -> Option<Named> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let [loader, _, _, classes, chunks, _, rest @ ..] = words.as_slice() else { return None };
    loader.strip_prefix("0x")?;
    let name = rest.join(" ");
    Some(named(if name.is_empty() { "?" } else { &name }, chunks.parse().ok()?, Some(classes.parse().ok()?)))
}

/// `CodeHeap 'non-profiled nmethods': size=120036Kb used=120Kb max_used=…`; JDK 8: `CodeCache:
/// size=…`.
fn code_heap(line: &str) -> Option<Named> {
    let (name, figures) = line.split_once(": ")?;
    let name = match name.strip_prefix("CodeHeap '") {
        Some(name) => name.trim_end_matches('\''),
        // The line of all heaps together starts the same and has commas.
        None if name == "CodeCache" && !figures.contains(", used") => name,
        None => return None,
    };
    let used = figures.split_ascii_whitespace().find_map(|word| word.strip_prefix("used="))?;
    Some(named(name, size(used.trim_end_matches(','))?, None))
}

/// ` garbage-first heap   total 262144K, used 8157K [0x…`: two figures a line. Shenandoah has the
/// words behind the figures: ` 65536K max, 65536K soft max, 65536K committed, 1536K used`.
fn heap_line(line: &str) -> Vec<Named> {
    let line = line.split('[').next().unwrap_or(line).trim();
    let digits = |word: &str| word.starts_with(|c: char| c.is_ascii_digit());
    let words: Vec<&str> = line.split_ascii_whitespace().map(|word| word.trim_end_matches(',')).collect();
    // Shenandoah's; the first was `total` up to JDK 8 and 11, and is the heap's limit.
    // Generational: the generations have `max` and `used`, the entire heap `soft max` and
    // `committed`.
    if let [figure, "max" | "total" | "soft", ..] = words.as_slice()
        && digits(figure)
    {
        let pairs = words.windows(2).filter_map(|pair| match pair {
            [value, key @ ("committed" | "used")] => {
                Some(named(&format!("Shenandoah Heap, {key}"), size(value)?, None))
            }
            _ => None,
        });
        return pairs.collect();
    }
    // Epsilon's one space is all committed; what of it is used it says in percent only.
    if let ["space", figure, _, "used", ..] = words.as_slice() {
        return size(figure).map(|bytes| named("Epsilon Heap, committed", bytes, None)).into_iter().collect();
    }
    let keys = ["total", "committed", "used", "capacity"];
    let first = words.iter().position(|word| keys.contains(word)).unwrap_or(0);
    let name = words.get(..first).unwrap_or_default().join(" ");
    // JDK 8 has Metaspace's `capacity` beside `committed`, which holds it; ZGC has `max capacity`,
    // a limit.
    let has = |key: &str| words.contains(&key);
    let (keeps_capacity, is_z) = (!has("committed"), name == "ZHeap");
    let pairs = words.windows(3).filter_map(|three| match three {
        [before, key, value] if keys.contains(key) && digits(value) => {
            let name = match (*before, *key) {
                ("max", key) => format!("{name}, max {key}"),
                (_, "total") => format!("{name}, committed"),
                (_, "capacity") if is_z => format!("{name}, committed"),
                (_, "capacity") if !keeps_capacity => return None,
                (_, key) => format!("{name}, {key}"),
            };
            Some(named(&name, size(value)?, None))
        }
        _ => None,
    });
    if name.is_empty() { Vec::new() } else { pairs.collect() }
}

/// The tables of `VM.metaspace`: `      Both:      7.53 MB used.`, `Non-class space:  64.00 MB
/// reserved,  8.00 MB ( 12%) committed`.
fn metaspace(text: &str) -> Vec<Named> {
    let mut all = Vec::new();
    // What each loader has may come first.
    let (_, text) = text.split_at(text.find("\nTotal Usage").unwrap_or(0));
    // What is committed stands there twice from JDK 16 on: what loaders have of it, and all.
    let has_spaces = text.lines().any(|line| line.trim() == "Virtual space:");
    for line in text.lines() {
        let Some((name, figures)) = line.split_once(':') else { continue };
        let name = name.trim();
        let is_part =
            |end: &str| ["Non-class", "Class", "Non-Class"].iter().any(|part| name == format!("{part}{end}"));
        if !is_part("") && !is_part(" space") {
            continue;
        }
        let is_said_below = has_spaces && is_part("");
        for figure in figures.split(',') {
            // "81%" in brackets stands between size and word.
            let bare = figure.split_once('(').map_or(figure.to_owned(), |(size, rest)| {
                format!("{size} {}", rest.split_once(')').map_or("", |(_, word)| word))
            });
            let mut words = bare.split_ascii_whitespace();
            let (Some(number), Some(unit)) = (words.next(), words.next()) else { continue };
            let what = words.next().map(|word| word.trim_end_matches('.')).unwrap_or("free chunks");
            if matches!(what, "used" | "committed" | "free chunks")
                && !(what == "committed" && is_said_below)
                && let Some(bytes) = size(&format!("{number}{unit}"))
            {
                let class = if name.starts_with("Non") { "non-class" } else { "class" };
                all.push(named(&format!("{class}, {what}"), bytes, None));
            }
        }
    }
    all
}

/// glibc's malloc_info(3): for each arena what it has from the system and what of that is free,
/// then blocks of their own mapping.
fn native_heap(text: &str) -> Vec<Named> {
    let attribute = |line: &str, name: &str| -> Option<u64> {
        let (_, rest) = line.split_once(&format!("{name}=\""))?;
        rest.split('"').next()?.parse().ok()
    };
    let mut all = Vec::new();
    let (mut inside, mut free, mut blocks) = (false, 0u64, 0u64);
    for line in text.lines() {
        if line.starts_with("<heap nr=") {
            (inside, free, blocks) = (true, 0, 0);
        } else if line.starts_with("</heap>") {
            inside = false;
        } else if inside && line.starts_with("<total type=") {
            free = free.saturating_add(attribute(line, "size").unwrap_or(0));
            blocks = blocks.saturating_add(attribute(line, "count").unwrap_or(0));
        } else if inside && line.starts_with("<system type=\"current\"") {
            let system = attribute(line, "size").unwrap_or(0);
            all.push(named("arenas, in use", system.saturating_sub(free), None));
            all.push(named("arenas, free but held", free, Some(blocks)));
        } else if let Some(size) =
            (!inside && line.starts_with("<total type=\"mmap\"")).then(|| attribute(line, "size")).flatten()
        {
            all.push(named("blocks with a mapping of their own", size, attribute(line, "count")));
        }
    }
    all
}

/// The rows of `System.map`: `from-to vsize prot rss hugetlb pgsz notes info file`, `-` where a
/// column has nothing.
fn system_map(text: &str) -> Vec<Named> {
    let row = |line: &str| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let [range, _, _, rss, _, _, _, info, file @ ..] = words.as_slice() else { return None };
        range.strip_prefix("0x")?;
        let name = match (*info, file.join(" ").as_str()) {
            // One thread's stack is named after it: the sum is what counts.
            (info, _) if info.starts_with("STACK") => "STACK".to_owned(),
            ("-", "-" | "") => "(anonymous)".to_owned(),
            ("-", file) => file.to_owned(),
            (info, _) => info.to_owned(),
        };
        Some(named(&name, rss.parse().ok()?, Some(1)))
    };
    text.lines().filter_map(row).collect()
}

/// `Trim native heap: RSS+Swap: 206M->205M (-1508K)`
fn trimmed(line: &str) -> Vec<Named> {
    let figures = line.split_once("RSS+Swap: ").and_then(|(_, rest)| rest.split_once("->"));
    let Some((before, after)) = figures else { return Vec::new() };
    let after = after.split(' ').next().unwrap_or_default();
    let pairs = [("before", size(before)), ("after", size(after))];
    pairs.into_iter().filter_map(|(name, bytes)| Some(named(name, bytes?, None))).collect()
}

/// `"worker-12" #33 …`: threads whose names differ only in digits are one pool.
fn thread(line: &str) -> Option<Named> {
    let (name, rest) = line.strip_prefix('"')?.rsplit_once("\" ")?;
    rest.contains("tid=").then(|| named(&words::without_numbers(name, '*'), 0, Some(1)))
}

/// `120036Kb`, `8157K`, `206M` → bytes.
fn size(text: &str) -> Option<u64> {
    words::size(text, Base::Binary)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn figures(text: &str) -> Vec<(String, u64, Option<u64>)> {
        let figures = read(text.as_bytes()).unwrap();
        figures.list.into_iter().map(|named| (named.name, named.bytes, named.count)).collect()
    }

    // Lines as JDK 17 and 25 print them.
    #[test]
    fn each_command_is_told_by_its_output_and_cut_off_ones_say_so() {
        let histogram = "12345:\n num     #instances         #bytes  class name (module)\n\
            -------------------------------------------------------\n   \
            1:         28073        1501800  [B (java.base@17.0.9)\n   2:  5  80  app.Main$1\nTotal  28078  1501880\n";
        assert_eq!(
            figures(histogram),
            [("byte[]".to_owned(), 1_501_800, Some(28_073)), ("app.Main$1".to_owned(), 80, Some(5))]
        );
        assert!(read(&histogram.as_bytes()[..histogram.len() - 30]).unwrap().cut.is_some());
        let heap = "0\ngarbage-first heap   total reserved 262144K, committed 200000K, used 4571K [0x1, 0x2)\n \
            region size 1024K, 3 young (3072K), 2 survivors (2048K)\n";
        let heap = figures(heap);
        assert!(
            heap.iter().any(|(name, bytes, _)| name.ends_with("used") && *bytes == 4571 << 10),
            "{heap:?}"
        );
        assert!(heap.iter().any(|(name, bytes, _)| name.ends_with("committed") && *bytes == 200_000 << 10));
        let code = "CodeHeap 'profiled nmethods': size=120032Kb used=676Kb max_used=676Kb free=119355Kb\n \
            total_blobs=1059, nmethods=603\n";
        assert_eq!(figures(code), [("profiled nmethods".to_owned(), 676 << 10, None)]);
        let threads = "2026-11-21 07:12:30\nFull thread dump OpenJDK 64-Bit Server VM (17.0.9+9 mixed mode):\n\n\
            \"pool-1-thread-7\" #9 prio=5 tid=0x1 nid=0x2\n\"pool-1-thread-12\" #10 prio=5 tid=0x3 nid=0x4\n\
            JNI global refs: 7, weak refs: 0\n";
        assert_eq!(figures(threads), [("pool-*-thread-*".to_owned(), 0, Some(2))]);
        let map = "Memory mappings:\n\
            0x0000000075000000-0x0000000075080000       524288 rw-p       524288            0 4K   com              CLASS   -\n\
            0x00007f665de00000-0x00007f665de01000         4096 r--p         4096            0 4K   com              -       /lib/libz.so.1\n\
            0x00007f665def3000-0x00007f665def7000        16384 rw-p        16384            0 4K   com              STACK-3752-Attach-Listener -\n\
            Number of mappings: 3\n";
        let names: Vec<String> = figures(map).into_iter().map(|(name, ..)| name).collect();
        assert_eq!(names, ["CLASS", "STACK", "/lib/libz.so.1"]);
        let serial = "22613:\nDefNew     total 19648K, used 1397K [0x1, 0x2, 0x3)\n eden space 17472K,   8% used [0x1, 0x2, 0x3)\n\
            Tenured    total 43712K, used 1166K [0x1, 0x2, 0x3)\n";
        assert!(figures(serial).contains(&("Tenured, used".to_owned(), 1166 << 10, None)));
        let shenandoah = "1:\nShenandoah Heap\n 65536K max, 65536K soft max, 60000K committed, 1536K used\n 256 x 256K regions\n";
        assert_eq!(
            figures(shenandoah),
            [
                ("Shenandoah Heap, committed".to_owned(), 60_000 << 10, None),
                ("Shenandoah Heap, used".to_owned(), 1536 << 10, None)
            ]
        );
        let z = "7:\n ZHeap           used 68M, capacity 256M, max capacity 1024M\n \
            Metaspace       used 128K, capacity 300K, committed 320K, reserved 1114112K\n";
        let z = figures(z);
        for (name, mib) in [("ZHeap, used", 68), ("ZHeap, committed", 256), ("ZHeap, max capacity", 1024)] {
            assert!(z.contains(&(name.to_owned(), mib << 20, None)), "{z:?}");
        }
        assert!(!z.iter().any(|(name, ..)| name == "Metaspace, capacity"), "{z:?}");
        let epsilon = "7:\n Epsilon Heap\n Allocation space:\n space 262144K,   0% used [0x1, 0x2, 0x3)\n";
        assert_eq!(figures(epsilon), [("Epsilon Heap, committed".to_owned(), 256 << 20, None)]);
        let shenandoah8 =
            "7:\nShenandoah Heap\n 6000M total, 5000M committed, 3000M used\n 2500 x 2048K regions\n";
        assert_eq!(
            figures(shenandoah8),
            [
                ("Shenandoah Heap, committed".to_owned(), 5000 << 20, None),
                ("Shenandoah Heap, used".to_owned(), 3000 << 20, None)
            ]
        );
        let metaspace = "0\nMetaspace        used 10085K, committed 12416K, reserved 1114112K\n\nUsage:\n  \
            Non-class:      8.75 MB used.\n      Class:      1.10 MB used.\n\nChunk freelists:\n   Non-Class:  4.99 MB\n";
        assert!(figures(metaspace).contains(&("non-class, used".to_owned(), 9_175_040, None)));
        let loaders = "1:\nUsage per loader:\n\n  1: CLD 0x1: \"app\"\n  Non-Class:    1 chunk,  4.00 KB committed,  3.00 KB used\n\n\
            Total Usage - 1 loaders, 1 classes:\n  Non-Class:    1 chunk,  4.00 KB committed,  3.00 KB used\n";
        assert!(figures(loaders).contains(&("non-class, used".to_owned(), 3072, None)));
        let refused = b"-1\njava.lang.IllegalArgumentException: Unknown diagnostic command";
        assert!(command(refused).is_none());
        assert_eq!(refusal(refused).as_deref(), Some("Unknown diagnostic command"));
    }
}
